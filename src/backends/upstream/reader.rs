//! A stream being read: bytes, events, steps, and how long to wait for the next.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::super::wire::{self, Event, Frames, Outlet};
use super::super::{BackendError, Step, Steps};
use super::habit::Habit;
use super::{Upstream, broken};
use crate::config::{Timeouts, Wire};

/// Dropping it closes the connection, which tells the server to stop.
pub(super) struct Reader {
    response: reqwest::Response,
    frames: Frames,
    events: VecDeque<Event>,
    wire: wire::Reader,
    outlet: Outlet,
    habit: Arc<Habit>,
    failed: Option<BackendError>,
    ended: bool,
    deadline: Instant,
    timeouts: Timeouts,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    pub(super) fn new(
        wire: Wire,
        response: reqwest::Response,
        outlet: Outlet,
        upstream: &Upstream,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Reader {
        Reader {
            response,
            frames: wire::frames(wire),
            events: VecDeque::new(),
            wire: wire::Reader::new(wire),
            outlet,
            habit: Arc::clone(&upstream.habit),
            failed: None,
            ended: false,
            deadline,
            timeouts: upstream.config.timeouts,
            _permit: permit,
        }
    }

    pub(super) fn into_steps(self) -> Steps {
        Box::pin(stream::unfold(self, |mut reader| async move {
            let step = reader.next().await?;
            Some((step, reader))
        }))
    }

    async fn next(&mut self) -> Option<Result<Step, BackendError>> {
        loop {
            if let Some(step) = self.outlet.pop() {
                return Some(Ok(step));
            }
            if self.ended {
                return None;
            }
            if let Some(error) = self.failed.take() {
                self.ended = true;
                return Some(Err(error));
            }
            // What came before an error still goes out.
            self.failed = self.advance().await.err();
        }
    }

    /// Reads one event, or once more from the connection.
    async fn advance(&mut self) -> Result<(), BackendError> {
        if let Some(event) = self.events.pop_front() {
            return if self.wire.event(&event, &mut self.outlet)? { self.end() } else { Ok(()) };
        }
        let (what, patience) = match self.outlet.has_begun() {
            false => ("send a first token", self.timeouts.first_token),
            true => ("send another token", self.timeouts.idle),
        };
        let until = self.deadline.min(Instant::now() + patience);
        let chunk = match timeout_at(until, self.response.chunk()).await {
            Err(_) if until == self.deadline => {
                return Err(BackendError::Timeout("finish its answer", self.timeouts.total));
            }
            Err(_) => return Err(BackendError::Timeout(what, patience)),
            Ok(chunk) => chunk.map_err(broken)?,
        };
        match chunk {
            Some(chunk) => self.events.extend(self.frames.push(&chunk)?),
            None => {
                let last = self.frames.end()?;
                for event in last {
                    self.wire.event(&event, &mut self.outlet)?;
                }
                self.end()?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BackendError> {
        self.outlet.end()?;
        self.habit.learn(self.outlet.shape());
        self.ended = true;
        Ok(())
    }
}
