//! "Who runs the model, and how do we speak to them?"
//!
//! Every backend answers in the same steps, so that nothing above this module knows which one it was.

mod applied;
pub mod breaker;
pub mod builtin;
pub mod capability;
pub mod dialect;
mod experts;
mod intent;
mod sse;
mod think;
pub mod upstream;
mod wire;

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::applied::{Applied, Lossy};
pub use self::experts::{ExpertDetail, ExpertReport, LayerReport, TRACED, TokenReport};
pub use self::intent::{Asked, Intent};
use crate::conversation::Mode;

/// What a backend is asked to do.
#[derive(Debug, Clone)]
pub struct Call {
    /// The client's body, as it came.
    pub body: Map<String, Value>,
    /// What was decided about thinking.
    pub thinking: Mode,
    /// Most reasoning tokens.
    pub budget: Option<u32>,
    /// What of these the client asked for itself.
    pub asked: Asked,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// What the client wants to know of the experts; upstreams cannot tell.
    pub experts: Option<ExpertDetail>,
    /// Whose request it is: what one caller's texts left in memory must not be felt by another.
    pub caller: u64,
}

impl Call {
    /// A text to be continued as it stands, not a conversation to be answered.
    #[must_use]
    pub fn is_completion(&self) -> bool {
        self.body.contains_key("prompt") && !self.body.contains_key("messages")
    }
}

/// What a backend answers.
pub enum Answer {
    /// All at once.
    Whole(Box<Whole>),
    /// Step by step.
    Steps(Steps),
}

/// Steps as they come. Dropping it cancels the work behind it.
pub type Steps = Pin<Box<dyn Stream<Item = Result<Step, BackendError>> + Send>>;

/// A finished answer.
#[derive(Debug, Clone, Default)]
pub struct Whole {
    /// `choices` in the client's format, reasoning already apart from content.
    pub choices: Vec<Value>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Which experts worked on it, where that was asked for and is known.
    pub experts: Option<ExpertReport>,
    /// The loop it ended in, where the backend looks for loops.
    pub repetition: Option<Repetition>,
}

/// A model that says the same again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Repetition {
    /// Tokens of the passage that came again and again.
    pub period: usize,
    /// Tokens of the whole loop.
    pub tokens: usize,
    /// The engine cut it off, which a client prevents by setting `max_tokens`.
    pub cut: bool,
}

/// One step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Reasoning text; never empty.
    Reasoning {
        /// Which choice it belongs to.
        choice: u64,
        /// The text.
        text: String,
    },
    /// Answer text; never empty.
    Answer {
        /// Which choice it belongs to.
        choice: u64,
        /// The text.
        text: String,
    },
    /// What we pass on without reading it: tool calls, refusals, log probabilities.
    Other {
        /// Which choice it belongs to.
        choice: u64,
        /// Fields of the delta.
        delta: Map<String, Value>,
        /// Fields beside the delta.
        beside: Map<String, Value>,
    },
    /// Which experts worked on it; before the end, where it was asked for and is known.
    Experts(ExpertReport),
    /// The loop it ended in; before the end.
    Repetition(Repetition),
    /// A choice is complete.
    Finished {
        /// Which choice.
        choice: u64,
        /// Why it ended.
        reason: String,
    },
    /// What it cost. At most once, last.
    Usage(Usage),
}

/// What an answer cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens generated, reasoning included.
    pub completion_tokens: u64,
    /// Tokens of reasoning, where they were counted.
    pub reasoning_tokens: Option<u64>,
    /// Tokens of the prompt that had been read for an earlier request, where they were counted.
    pub cached_tokens: Option<u64>,
    /// The upstream's own object, which may hold more.
    pub raw: Option<Value>,
}

impl Usage {
    /// Reads OpenAI's `usage` object.
    #[must_use]
    pub fn of_json(usage: &Value) -> Option<Usage> {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        let (prompt, mut completion) = (count("prompt_tokens")?, count("completion_tokens")?);
        let reasoning = usage
            .pointer("/completion_tokens_details/reasoning_tokens")
            .or_else(|| usage.get("reasoning_tokens"))
            .and_then(Value::as_u64);
        // xAI and Gemini count reasoning beside the rest of the answer; their own total shows it.
        if let (Some(reasoning), Some(total)) = (reasoning, count("total_tokens"))
            && total == prompt + completion + reasoning
        {
            completion += reasoning;
        }
        Some(Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            reasoning_tokens: reasoning,
            cached_tokens: usage.pointer("/prompt_tokens_details/cached_tokens").and_then(Value::as_u64),
            raw: Some(usage.clone()),
        })
    }

    /// OpenAI's `usage` object. Counts nobody made are left out, never invented.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut usage = match &self.raw {
            Some(Value::Object(raw)) => raw.clone(),
            _ => Map::new(),
        };
        usage.insert("prompt_tokens".into(), self.prompt_tokens.into());
        usage.insert("completion_tokens".into(), self.completion_tokens.into());
        usage.insert("total_tokens".into(), (self.prompt_tokens + self.completion_tokens).into());
        for (group, name, count) in [
            ("completion_tokens_details", "reasoning_tokens", self.reasoning_tokens),
            ("prompt_tokens_details", "cached_tokens", self.cached_tokens),
        ] {
            let Some(count) = count else { continue };
            match usage.entry(group).or_insert_with(|| Map::new().into()) {
                Value::Object(details) => {
                    details.insert(name.into(), count.into());
                }
                other => *other = serde_json::json!({ name: count }),
            }
        }
        usage.into()
    }
}

/// What went wrong at a backend, in terms of whose fault it is and whether another backend may be tried.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No connection came about, so nothing was started.
    #[error("could not connect to the model server")]
    Connect(#[source] reqwest::Error),
    /// It did not answer in time; it may still be working.
    #[error("the model server did not {0} within {1:?}")]
    Timeout(&'static str, Duration),
    /// It answered with an error status.
    #[error("the model server answered with status {status}")]
    Status {
        /// Its status.
        status: u16,
        /// Its error body, where it was JSON.
        body: Option<Value>,
        /// Its `retry-after`.
        retry_after: Option<String>,
    },
    /// It answered with something that is not what it promised.
    #[error("the model server sent something unexpected: {0}")]
    BadAnswer(String),
    /// It reported an error in the middle of its answer.
    #[error("the model server reported an error: {0}")]
    Reported(String),
    /// It hung up in the middle of its answer.
    #[error("the model server broke off before the end of the answer")]
    Truncated(#[source] Option<reqwest::Error>),
    /// It has no room now.
    #[error("the model {0:?} is busy")]
    Busy(String),
    /// The request asks for something this backend does not do.
    #[error("{message}")]
    Refused {
        /// The field.
        param: String,
        /// Why.
        message: String,
        /// A machine-readable reason.
        code: &'static str,
    },
    /// The built-in engine failed.
    #[error("the built-in engine failed: {0}")]
    Engine(String),
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller's; trying elsewhere would not help.
    Caller,
    /// The backend's; it counts against its health.
    Backend,
    /// Nobody's: there is more work than room.
    Load,
}

impl BackendError {
    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            BackendError::Refused { .. } => Blame::Caller,
            BackendError::Busy(_) | BackendError::Status { status: 429 | 529, .. } => Blame::Load,
            BackendError::Status { status, .. } if (400..500).contains(status) && !is_ours(*status) => {
                Blame::Caller
            }
            _ => Blame::Backend,
        }
    }

    /// Whether another backend may be asked: only where this one cannot have started to generate.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(
            self,
            BackendError::Connect(_)
                | BackendError::Busy(_)
                | BackendError::Status { status: 429 | 503 | 529, .. }
        )
    }

    /// A short name for metrics and the error's `code`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            BackendError::Connect(_) => "upstream_connect_failed",
            BackendError::Timeout(..) => "upstream_timeout",
            BackendError::Status { status: 429, .. } => "rate_limit_exceeded",
            BackendError::Status { status, .. } if is_ours(*status) => "upstream_auth",
            BackendError::Status { .. } => "upstream_status",
            BackendError::BadAnswer(_) => "upstream_bad_response",
            BackendError::Reported(_) => "upstream_error",
            BackendError::Truncated(_) => "upstream_disconnected",
            BackendError::Busy(_) => "server_is_overloaded",
            BackendError::Refused { code, .. } => code,
            BackendError::Engine(_) => "engine_failed",
        }
    }
}

/// Statuses that blame our own key or address, which the caller can do nothing about.
pub(crate) fn is_ours(status: u16) -> bool {
    matches!(status, 401 | 403 | 407)
}
