//! "Which API does the client speak?" Each reads its own bodies into the one canonical form, a chat-completions body, and
//! writes answers its own way; what lies between knows none of them.

use std::collections::VecDeque;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request};
use serde_json::{Map, Value};

use super::error::{ApiError, ErrorForm};
use super::{chat, completions, messages, responses};
use crate::backends::{Step, Whole};
use crate::config::{HostedTools, ReasoningField};
use crate::conversation::BadRequest;
use crate::record::Route;

/// A client API that asks for answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's older completions of a plain text.
    Completions,
    /// Anthropic's messages.
    Messages,
    /// OpenAI's responses.
    Responses,
}

impl Api {
    /// The API of a body that came without a path to tell it by.
    pub(super) fn of_body(body: &Value, headers: &HeaderMap) -> Api {
        let has = |field: &str| body.get(field).is_some();
        match () {
            () if has("messages") && (headers.contains_key(VERSION) || messages::is_one(body)) => {
                Api::Messages
            }
            () if has("messages") => Api::Chat,
            () if has("input") => Api::Responses,
            () if has("prompt") => Api::Completions,
            () => Api::Chat,
        }
    }

    /// The canonical body, and how the answer is to look.
    ///
    /// # Errors
    /// The first field of the body that cannot be carried over.
    pub(super) fn read(
        self,
        body: Value,
        hosted_tools: HostedTools,
    ) -> Result<(Value, Box<dyn Form>), BadRequest> {
        match self {
            Api::Chat => chat::read(body),
            Api::Completions => completions::read(body),
            Api::Messages => messages::read(body, hosted_tools),
            Api::Responses => responses::read(body, hosted_tools),
        }
    }

    pub(super) fn route(self) -> Route {
        match self {
            Api::Chat => Route::Chat,
            Api::Completions => Route::Completions,
            Api::Messages => Route::Messages,
            Api::Responses => Route::Responses,
        }
    }

    pub(super) fn errors(self) -> ErrorForm {
        match self {
            Api::Messages => ErrorForm::Anthropic,
            Api::Chat | Api::Completions | Api::Responses => ErrorForm::OpenAi,
        }
    }
}

/// The header that Anthropic's clients send everywhere.
const VERSION: &str = "anthropic-version";

/// The form of errors for whoever sent this, known before anything else of the request is.
pub(super) fn error_form<B>(request: &Request<B>) -> ErrorForm {
    let path = request.uri().path();
    let anthropic = path.starts_with("/v1/messages")
        || (path.starts_with("/v1/models") && request.headers().contains_key(VERSION));
    if anthropic { ErrorForm::Anthropic } else { ErrorForm::OpenAi }
}

/// What every answer begins with.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// The request's id, which the ids of answers are made of.
    pub(super) request_id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// Who answers.
    pub(super) model: String,
    /// Whether reasoning is shown, and to a chat client under which name.
    pub(super) reasoning: Option<ReasoningField>,
    /// The client wants to know of the experts.
    pub(super) experts: bool,
}

impl Head {
    /// The same, of an answer by this model.
    pub(super) fn by(mut self, model: &str) -> Head {
        model.clone_into(&mut self.model);
        self
    }

    /// What an answer says beside itself: of the experts, if the client asked, and of a loop.
    pub(super) fn notes(&self) -> Map<String, Value> {
        self.experts.then(|| ("experts".to_owned(), Value::Null)).into_iter().collect()
    }

    pub(super) fn notes_of(&self, whole: &Whole) -> Map<String, Value> {
        let mut notes = self.notes();
        if let Some(report) = whole.experts.as_ref().filter(|_| self.experts) {
            notes.insert("experts".into(), serde_json::json!(report));
        }
        if let Some(repetition) = &whole.repetition {
            notes.insert("repetition".into(), serde_json::json!(repetition));
        }
        notes
    }
}

/// How the answer to one request is to look.
pub(super) trait Form: Send + Sync {
    /// The client asks not to see reasoning.
    fn hides_reasoning(&self) -> bool {
        false
    }

    /// The answer in one piece.
    fn whole(self: Box<Self>, head: Head, whole: Whole) -> Value;

    /// The answer in pieces.
    fn writer(self: Box<Self>, head: Head) -> Box<dyn Writer>;
}

/// Bytes on their way to the client, one event each.
pub(super) type Queue = VecDeque<Bytes>;

/// Writes one answer as the events of its API.
pub(super) trait Writer: Send {
    /// What stands before everything else.
    fn begin(&mut self, _out: &mut Queue) {}

    /// What a step adds.
    fn step(&mut self, step: Step, out: &mut Queue);

    /// The end of an answer that is complete.
    fn end(&mut self, out: &mut Queue);

    /// The end of one that is not.
    fn fail(&mut self, error: &ApiError, out: &mut Queue);

    /// A sign of life that clients skip. A comment is legal wherever events are.
    fn ping(&self) -> Bytes {
        Bytes::from_static(b": ping\n\n")
    }
}

/// An event without a name.
pub(super) fn data(value: impl Into<Value>) -> Bytes {
    let value = value.into();
    Bytes::from(format!("data: {value}\n\n"))
}

/// An event whose name is its `type`.
pub(super) fn named(event: &Value) -> Bytes {
    let name = event.get("type").and_then(Value::as_str).unwrap_or("message");
    Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_told_by_its_fields() {
        let said = json!([{"role": "user", "content": "hi"}]);
        let called = json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]);
        for (body, api) in [
            (json!({"messages": said}), Api::Chat),
            (json!({"messages": said, "system": "Be brief."}), Api::Messages),
            (json!({"messages": said, "tools": [{"name": "f", "input_schema": {}}]}), Api::Messages),
            (json!({"messages": called}), Api::Messages),
            (json!({"input": "hi"}), Api::Responses),
            (json!({"prompt": "hi"}), Api::Completions),
            (json!({}), Api::Chat),
        ] {
            assert_eq!(Api::of_body(&body, &HeaderMap::new()), api, "{body}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(VERSION, "2023-06-01".parse().expect("a value"));
        assert_eq!(Api::of_body(&json!({"messages": said}), &headers), Api::Messages);
    }
}
