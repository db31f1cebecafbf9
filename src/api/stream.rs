//! From the steps of an answer to the events of a stream.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::error::ApiError;
use crate::backends::{BackendError, Step, Steps};
use crate::record::{Outcome, Record};

/// A sign of life that clients skip.
const PING: Bytes = Bytes::from_static(b": ping\n\n");
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// An answer on its way to the client.
pub(super) struct Relay {
    /// What every chunk begins with.
    head: Map<String, Value>,
    steps: Steps,
    include_usage: bool,
    show_reasoning: bool,
    /// Choices whose first chunk has named the role.
    begun: BTreeSet<u64>,
    usage: Option<Value>,
    /// What the last chunk of the choice says beside the answer: of the experts, if the client asked, and of a loop.
    notes: Map<String, Value>,
}

impl Relay {
    pub(super) fn new(
        head: Map<String, Value>,
        steps: Steps,
        include_usage: bool,
        show_reasoning: bool,
        experts: bool,
    ) -> Self {
        Relay {
            head,
            steps,
            include_usage,
            show_reasoning,
            begun: BTreeSet::new(),
            usage: None,
            notes: experts.then(|| ("experts".to_owned(), Value::Null)).into_iter().collect(),
        }
    }

    /// The response. Dropping its body drops the steps, which cancels the work behind them.
    pub(super) fn respond(
        self: Box<Self>,
        record: Record,
        ping: Duration,
        cut_off: watch::Receiver<bool>,
    ) -> Response<Body> {
        let mut pings = tokio::time::interval(ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let sending = Sending { relay: self, record, pings, cut_off, queue: VecDeque::new(), over: false };
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

    fn events_of(&mut self, step: Step, queue: &mut VecDeque<Bytes>) {
        match step {
            Step::Reasoning { choice, text } if self.show_reasoning => {
                self.delta(choice, json!({"reasoning_content": text}), Map::new(), queue);
            }
            Step::Reasoning { choice, .. } => self.begin(choice, queue),
            Step::Answer { choice, text } => {
                self.delta(choice, json!({"content": text}), Map::new(), queue);
            }
            Step::Other { choice, delta, beside } => self.delta(choice, delta.into(), beside, queue),
            Step::Experts(report) => drop(self.notes.insert("experts".into(), json!(report))),
            Step::Repetition(repetition) => drop(self.notes.insert("repetition".into(), json!(repetition))),
            Step::Finished { choice, reason } => {
                self.begin(choice, queue);
                let mut beside = Map::new();
                beside.insert("finish_reason".into(), reason.into());
                let mut chunk = self.chunk(choice, json!({}), beside);
                if !self.notes.is_empty() {
                    chunk.insert("thinkgate".into(), std::mem::take(&mut self.notes).into());
                }
                queue.push_back(data(chunk));
            }
            Step::Usage(usage) => self.usage = Some(usage.to_json()),
        }
    }

    fn delta(&mut self, choice: u64, delta: Value, beside: Map<String, Value>, queue: &mut VecDeque<Bytes>) {
        self.begin(choice, queue);
        queue.push_back(data(self.chunk(choice, delta, beside)));
    }

    /// A choice's first chunk names the role and says nothing yet.
    fn begin(&mut self, choice: u64, queue: &mut VecDeque<Bytes>) {
        if self.begun.insert(choice) {
            let delta = json!({"role": "assistant", "content": ""});
            queue.push_back(data(self.chunk(choice, delta, Map::new())));
        }
    }

    fn chunk(&self, choice: u64, delta: Value, beside: Map<String, Value>) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("index".into(), choice.into());
        fields.insert("delta".into(), delta);
        fields.insert("finish_reason".into(), Value::Null);
        fields.extend(beside);
        self.event(vec![fields.into()], Value::Null)
    }

    fn event(&self, choices: Vec<Value>, usage: Value) -> Map<String, Value> {
        let mut chunk = self.head.clone();
        chunk.insert("choices".into(), choices.into());
        if self.include_usage {
            chunk.insert("usage".into(), usage);
        }
        chunk
    }

    fn end(&mut self, queue: &mut VecDeque<Bytes>) {
        if let Some(usage) = self.usage.take().filter(|_| self.include_usage) {
            queue.push_back(data(self.event(Vec::new(), usage)));
        }
        queue.push_back(DONE);
    }
}

fn data(value: impl Into<Value>) -> Bytes {
    let value = value.into();
    Bytes::from(format!("data: {value}\n\n"))
}

/// Resolves when the flag is set, or can no longer be.
async fn come_true(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

/// A relay with its record and its clock.
struct Sending {
    relay: Box<Relay>,
    record: Record,
    pings: Interval,
    cut_off: watch::Receiver<bool>,
    queue: VecDeque<Bytes>,
    over: bool,
}

impl Sending {
    async fn next(&mut self) -> Option<Bytes> {
        while self.queue.is_empty() && !self.over {
            tokio::select! {
                biased;
                step = self.relay.steps.next() => self.take(step),
                () = come_true(&mut self.cut_off) => self.fail(&ApiError::ShuttingDown),
                _ = self.pings.tick() => self.queue.push_back(PING),
            }
        }
        self.pings.reset();
        self.queue.pop_front()
    }

    /// Clients take an end without [DONE] for a failure only if an error stands before it.
    fn fail(&mut self, error: &ApiError) {
        self.record.ended(Outcome::Truncated, Some(error.code()));
        self.queue.push_back(data(error.body()));
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
                self.relay.events_of(step, &mut self.queue);
            }
            Some(Err(error)) => self.fail(&ApiError::from(error)),
            None => {
                self.relay.end(&mut self.queue);
                self.record.ended(Outcome::Answered, None);
                self.over = true;
            }
        }
    }
}
