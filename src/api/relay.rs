//! From the steps of an answer to the bytes of a stream, whoever writes them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::client::{Queue, Writer};
use super::error::ApiError;
use crate::backends::{BackendError, Step, Steps};
use crate::record::{Outcome, Record};

/// An answer on its way to the client.
pub(super) struct Relay {
    pub(super) writer: Box<dyn Writer>,
    pub(super) steps: Steps,
}

impl Relay {
    /// The response. Dropping its body drops the steps, which cancels the work behind them.
    pub(super) fn respond(
        self,
        record: Record,
        ping: Duration,
        cut_off: watch::Receiver<bool>,
    ) -> Response<Body> {
        let mut pings = tokio::time::interval(ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let mut sending =
            Sending { relay: self, record, pings, cut_off, queue: VecDeque::new(), over: false };
        sending.relay.writer.begin(&mut sending.queue);
        let events = stream::unfold(sending, |mut sending| async move {
            let event = sending.next().await?;
            Some((Ok::<_, Infallible>(event), sending))
        });
        let mut response = Response::new(Body::from_stream(events));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        response
    }
}

/// Resolves when the flag is set, or can no longer be.
async fn come_true(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

/// A relay with its record and its clock.
struct Sending {
    relay: Relay,
    record: Record,
    pings: Interval,
    cut_off: watch::Receiver<bool>,
    queue: Queue,
    over: bool,
}

impl Sending {
    async fn next(&mut self) -> Option<Bytes> {
        while self.queue.is_empty() && !self.over {
            tokio::select! {
                biased;
                step = self.relay.steps.next() => self.take(step),
                () = come_true(&mut self.cut_off) => self.fail(&ApiError::ShuttingDown),
                _ = self.pings.tick() => self.queue.push_back(self.relay.writer.ping()),
            }
        }
        self.pings.reset();
        self.queue.pop_front()
    }

    fn fail(&mut self, error: &ApiError) {
        self.record.ended(Outcome::Truncated, Some(error.code()));
        self.relay.writer.fail(error, &mut self.queue);
        self.over = true;
    }

    fn take(&mut self, step: Option<Result<Step, BackendError>>) {
        match step {
            Some(Ok(step)) => {
                match &step {
                    Step::Reasoning { .. } | Step::Answer { .. } => self.record.token(),
                    Step::Usage(usage) => self.record.used(usage),
                    Step::Other { .. } | Step::Experts(_) | Step::Repetition(_) | Step::Finished { .. } => {}
                }
                self.relay.writer.step(step, &mut self.queue);
            }
            Some(Err(error)) => self.fail(&ApiError::from(error)),
            None => {
                self.relay.writer.end(&mut self.queue);
                self.record.ended(Outcome::Answered, None);
                self.over = true;
            }
        }
    }
}
