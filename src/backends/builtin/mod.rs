//! From a chat request to the built-in engine and back.

mod reply;
mod request;

use thinkgate_engine as engine;

use self::reply::{Watch, collect, steps_of};
use self::request::{refused, request_of};
use super::{Answer, BackendError, Call};

/// A model that this process runs.
pub struct Builtin {
    name: String,
    engine: engine::Engine,
}

impl Builtin {
    /// The model `name`, already loaded.
    #[must_use]
    pub fn new(name: &str, engine: engine::Engine) -> Self {
        Builtin { name: name.to_owned(), engine }
    }

    /// Queues the call and returns its steps, or the whole answer.
    ///
    /// # Errors
    /// The request asks for something the engine does not do, or there is no room.
    pub async fn ask(&self, call: &Call) -> Result<Answer, BackendError> {
        if call.is_completion() {
            return Err(BackendError::Refused {
                param: "prompt".into(),
                message: "prompt: the built-in engine continues no plain text; send messages to /v1/chat/completions, or \
                          name an upstream model"
                    .into(),
                code: "unsupported_parameter",
            });
        }
        let request = request_of(call, self.engine.info())?;
        let held_by = match request.answer_format {
            engine::AnswerFormat::ToolCall(_) => "tools",
            _ => "response_format",
        };
        // Long prompts take long to tokenise, and other requests' events must not wait for that.
        let engine = self.engine.clone();
        let submitted = tokio::task::spawn_blocking(move || engine.submit(request)).await;
        let generation = submitted
            .map_err(|error| BackendError::Engine(error.to_string()))?
            .map_err(|error| self.explain(error, held_by))?;
        let watch = Watch::new(&self.name, &self.engine, call.experts.is_some());
        if call.stream {
            return Ok(Answer::Steps(steps_of(generation, watch)));
        }
        collect(generation, watch).await.map(|whole| Answer::Whole(Box::new(whole)))
    }

    /// Tokens of the prompt that the call would be rendered to.
    ///
    /// # Errors
    /// The request asks for something the engine does not do.
    pub async fn count_tokens(&self, call: &Call) -> Result<usize, BackendError> {
        let chat = request_of(call, self.engine.info())?.chat;
        let engine = self.engine.clone();
        let counted = tokio::task::spawn_blocking(move || engine.count_tokens(&chat)).await;
        counted
            .map_err(|error| BackendError::Engine(error.to_string()))?
            .map_err(|error| self.explain(error.into(), "response_format"))
    }

    /// `held_by` is the field that the answer's format comes from.
    fn explain(&self, error: engine::SubmitError, held_by: &str) -> BackendError {
        use engine::SubmitError;
        match error {
            SubmitError::Prompt(reason) => {
                refused("messages", format!("the chat template refuses it: {reason}"))
            }
            SubmitError::Invalid { field, value, reason } => {
                refused(field, format!("{field}: {reason}, got {value}"))
            }
            SubmitError::Format(reason) => refused(
                held_by,
                format!("{held_by}: what the answer is held to cannot be enforced: {reason}"),
            ),
            SubmitError::TooLong { tokens, context } => BackendError::Refused {
                param: "messages".into(),
                message: format!("the prompt has {tokens} tokens; {} holds {context}", self.name),
                code: "context_length_exceeded",
            },
            SubmitError::Busy => BackendError::Busy(self.name.clone()),
            SubmitError::Stopped => BackendError::Engine("it has stopped".into()),
        }
    }
}
