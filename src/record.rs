//! "What is kept of a request?" One record per request, finished when its body ends or is dropped.
//!
//! Neither prompts nor keys are in it.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::backends::Usage;
use crate::config::Key;
use crate::decide::Decision;
use crate::metrics::Metrics;

/// Which route a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/count_tokens`
    Count,
    /// `/v1/responses`
    Responses,
    /// `/v1/decision`
    Decision,
}

impl Route {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Route::Chat => "chat",
            Route::Completions => "completions",
            Route::Messages => "messages",
            Route::Count => "count_tokens",
            Route::Responses => "responses",
            Route::Decision => "decision",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer was handed over.
    Answered,
    /// The request was at fault.
    Refused,
    /// There was no room.
    Busy,
    /// A backend or this gateway was at fault, before anything of the answer went out.
    Failed,
    /// The same, after some of the answer went out.
    Truncated,
    /// The client went away.
    Cancelled,
}

impl Outcome {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Refused => "refused",
            Outcome::Busy => "busy",
            Outcome::Failed => "failed",
            Outcome::Truncated => "truncated",
            Outcome::Cancelled => "cancelled",
        }
    }
}

/// Who sent a request, as far as a record needs it.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The request's id: the client's own, or ours.
    pub request_id: String,
    /// The key it came with.
    pub key: Option<Arc<Key>>,
    /// A place among the requests being answered; freed when the record is finished.
    pub place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Caller {
    /// The name of its key.
    #[must_use]
    pub fn key_name(&self) -> Option<&str> {
        self.key.as_deref().map(|key| key.name.as_str())
    }
}

/// Turns finished records into metrics, a log line and, where configured, a line of the decision log.
#[derive(Debug)]
pub struct Recorder {
    /// What is counted.
    pub metrics: Metrics,
    log: Option<DecisionLog>,
}

impl Recorder {
    /// With a decision log at `decisions`, where one is wanted.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(decisions: Option<&Path>) -> std::io::Result<Self> {
        let log = decisions.map(DecisionLog::open).transpose()?;
        Ok(Recorder { metrics: Metrics::default(), log })
    }

    /// Begins the record of one request.
    pub fn start(self: &Arc<Self>, route: Route, caller: Caller) -> Record {
        self.metrics.request_began();
        Record {
            recorder: Arc::clone(self),
            route,
            caller,
            began: Instant::now(),
            decision: None,
            first_token: None,
            usage: None,
            // Unless told otherwise before it is dropped, nobody waited for the end.
            outcome: Outcome::Cancelled,
            code: None,
        }
    }
}

/// One request, from its arrival to the end of its body.
#[derive(Debug)]
pub struct Record {
    recorder: Arc<Recorder>,
    route: Route,
    caller: Caller,
    began: Instant,
    decision: Option<Decision>,
    first_token: Option<Duration>,
    usage: Option<Usage>,
    outcome: Outcome,
    code: Option<&'static str>,
}

impl Record {
    /// Notes the decision.
    pub fn decided(&mut self, decision: &Decision) {
        self.recorder.metrics.decided(decision);
        self.decision = Some(decision.clone());
    }

    /// Notes what the backend is told of the decision.
    pub fn told(&mut self, decision: &Decision) {
        self.decision = Some(decision.clone());
    }

    /// Notes that another model than the one decided on answers.
    pub fn served_by(&mut self, decision: &Decision) {
        self.recorder.metrics.fell_back();
        self.decision = Some(decision.clone());
    }

    /// Notes the first token; later ones change nothing.
    pub fn token(&mut self) {
        if self.first_token.is_none() {
            let after = self.began.elapsed();
            self.first_token = Some(after);
            self.recorder.metrics.first_token(self.model(), after);
        }
    }

    /// Notes what the answer cost.
    pub fn used(&mut self, usage: &Usage) {
        self.recorder.metrics.used(self.model(), usage);
        self.usage = Some(usage.clone());
    }

    /// Notes how the request ended.
    pub fn ended(&mut self, outcome: Outcome, code: Option<&'static str>) {
        self.outcome = outcome;
        self.code = code;
    }

    fn model(&self) -> &str {
        self.decision.as_ref().map_or("none", |decision| &decision.model)
    }

    fn write_log_line(&self) {
        let (Some(log), Some(decision)) = (&self.recorder.log, &self.decision) else { return };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = json!({
            "time": time.as_secs_f64(),
            "request_id": self.caller.request_id,
            "key": self.caller.key_name(),
            "route": self.route.as_str(),
            "outcome": self.outcome.as_str(),
            "code": self.code,
            "seconds": self.began.elapsed().as_secs_f64(),
            "first_token_seconds": self.first_token.map(|time| time.as_secs_f64()),
            "usage": self.usage.as_ref().map(Usage::to_json),
            "decision": decision,
        });
        if !log.write(line.to_string()) {
            self.recorder.metrics.log_dropped();
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.recorder.metrics.request_ended(self.route, self.outcome, took);
        tracing::info!(
            request_id = self.caller.request_id,
            key = self.caller.key_name(),
            route = self.route.as_str(),
            outcome = self.outcome.as_str(),
            code = self.code,
            decision = self.decision.as_ref().map(Decision::compact),
            tokens = self.usage.as_ref().map(|usage| usage.completion_tokens),
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "request finished"
        );
        self.write_log_line();
    }
}

/// Lines waiting for the disk; more are dropped and counted, because serving goes before logging.
const QUEUE: usize = 4096;

/// A file of decisions, written by a thread of its own.
#[derive(Debug)]
struct DecisionLog {
    /// Taken when the log is dropped, which ends the thread.
    lines: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
}

impl DecisionLog {
    fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (lines, waiting) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("decision-log".into())
            .spawn(move || write_lines(file, &waiting))?;
        Ok(DecisionLog { lines: Some(lines), writer: Some(writer) })
    }

    fn write(&self, line: String) -> bool {
        self.lines.as_ref().is_some_and(|lines| lines.try_send(line).is_ok())
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        self.lines.take();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to say.
            let _ = writer.join();
        }
    }
}

/// Writes until no sender is left; flushes whenever it has caught up.
fn write_lines(file: File, waiting: &Receiver<String>) {
    let mut out = BufWriter::new(file);
    while let Ok(first) = waiting.recv() {
        let written = std::iter::once(first)
            .chain(waiting.try_iter())
            .try_for_each(|line| writeln!(out, "{line}"))
            .and_then(|()| out.flush());
        if let Err(error) = written {
            tracing::warn!(%error, "the decision log cannot be written");
        }
    }
}
