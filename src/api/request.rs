//! From the bytes of a request to a checked canonical body with the wishes of its headers.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::client::{Api, Form};
use super::error::ApiError;
use super::headers::Headers;
use super::rights;
use crate::app::App;
use crate::backends::ExpertDetail;
use crate::config::{Config, Key, Limits, ReasoningField};
use crate::conversation::{BadRequest, Conversation, is_known};
use crate::decide::Snapshot;
use crate::policy::Policy;
use crate::record::Caller;

/// A request for an answer, as far as the gateway itself reads it.
pub(super) struct ClientRequest {
    /// A chat-completions body, whatever the client sent.
    body: Value,
    headers: Headers,
    /// How the answer is to look.
    pub(super) form: Box<dyn Form>,
    /// The client wants a stream.
    pub(super) stream: bool,
    room: Room,
}

/// A body's share of the memory for bodies; held for as long as the body is.
pub(super) type Room = Vec<OwnedSemaphorePermit>;

impl ClientRequest {
    /// Reads and checks the body. Without an API, its fields tell which it is.
    pub(super) async fn read(
        app: &App,
        config: &Config,
        api: Option<Api>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<ClientRequest, ApiError> {
        check_media_type(headers)?;
        let wishes = Headers::read(headers)?;
        let (bytes, room) = read_body(body, &app.config.limits, &app.body_bytes).await?;
        let body: Value =
            serde_json::from_slice(&bytes).map_err(|error| ApiError::NotJson(error.to_string()))?;
        let api = api.unwrap_or_else(|| Api::of_body(&body, headers));
        let (body, form) = api.read(body, config.hosted_tools)?;
        let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
        Ok(ClientRequest { stream, form, headers: wishes, body, room })
    }

    /// What deciding reads: the body, the wishes of the headers, and what is known of key and backends.
    ///
    /// # Errors
    /// A field that cannot be understood, or a right that the key does not have.
    pub(super) fn conversation<'a>(
        &'a self,
        app: &App,
        caller: &Caller,
        snapshot: &Snapshot,
    ) -> Result<Conversation<'a>, ApiError> {
        let policy = &snapshot.policy;
        let mut conversation = Conversation::from_body(&self.body, policy)?;
        self.headers.put_first(&mut conversation, policy)?;
        if let Some(key) = caller.key.as_deref() {
            rights::check(key, &conversation)?;
            rights::limit(key, &mut conversation, policy);
        }
        conversation.unavailable = app.unavailable();
        if self.is_completion() {
            conversation.barred.extend(app.builtin_beside_upstreams());
        }
        if let Value::Object(body) = &self.body {
            let trail = app.warmth.trail(body, caller.key.as_deref().map_or(0, Key::holder));
            conversation.warm = app.warmth.model(&trail, std::time::Instant::now());
        }
        Ok(conversation)
    }

    /// A text to be continued, which no thinking switch reaches and the built-in engine does not take.
    pub(super) fn is_completion(&self) -> bool {
        self.body.get("messages").is_none() && self.body.get("prompt").is_some()
    }

    /// A model that a header overrules need not be one of ours.
    pub(super) fn forget_overruled_model(&mut self, policy: &Policy) {
        let overruled = self.headers.names_model()
            && self.body.get("model").and_then(Value::as_str).is_some_and(|name| !is_known(name, policy));
        if let (true, Value::Object(fields)) = (overruled, &mut self.body) {
            fields.shift_remove("model");
        }
    }

    /// Whether the client sees reasoning, and under which name: as the header says, else the body, else the configuration.
    pub(super) fn reasoning(&self, config: &Config) -> Option<ReasoningField> {
        match self.headers.reasoning {
            Some(said) => said,
            None if self.form.hides_reasoning() => None,
            None => Some(config.reasoning_field),
        }
    }

    /// What the client wants to know of the experts.
    pub(super) fn experts(&self) -> Option<ExpertDetail> {
        self.headers.experts
    }

    /// How the answer is to look, and the body, to be sent on, with its share of memory.
    pub(super) fn into_parts(self) -> (Box<dyn Form>, Map<String, Value>, Room) {
        match self.body {
            Value::Object(mut fields) => {
                // Read as a wish; no chat server knows it.
                fields.shift_remove(OUTPUT_CONFIG);
                (self.form, fields, self.room)
            }
            _ => (self.form, Map::new(), self.room),
        }
    }
}

/// Fields that no API but chat completions documents and that servers behind it read, so that clients of the others send
/// them beside their own: how to draw tokens, and whether to think.
pub(super) const EXTENSIONS: &[&str] = &[
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "priority",
    "answer_sampling",
    "enable_thinking",
    "chat_template_kwargs",
    "think",
    "thinking",
    "thinking_budget",
    "thinking_token_budget",
    "thinking_budget_tokens",
    "reasoning_effort",
];

/// Where a canonical body keeps Anthropic's effort until it has been read.
pub(super) const OUTPUT_CONFIG: &str = "output_config";

/// Whether a body asks not to see reasoning, in whichever API's words.
pub(super) fn omits_reasoning(fields: &Map<String, Value>) -> bool {
    let inside = |object: &str, field: &str| fields.get(object).and_then(|object| object.get(field));
    fields.get("include_reasoning") == Some(&Value::Bool(false))
        || inside("reasoning", "exclude") == Some(&Value::Bool(true))
        || inside("thinking", "display").is_some_and(|display| display == "omitted")
}

/// Clients that name no type mean JSON, and so does a form type, which is what curl says unasked.
fn check_media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let kind = kind.to_str().unwrap_or("?").to_ascii_lowercase();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    match essence {
        "application/json" | "application/x-www-form-urlencoded" | "text/plain" => Ok(()),
        other => Err(ApiError::MediaType(other.chars().take(80).collect())),
    }
}

/// Reads a body within the limits of size and time.
async fn read_body(body: Body, limits: &Limits, all: &Arc<Semaphore>) -> Result<(Bytes, Room), ApiError> {
    let end = Instant::now() + limits.body_total;
    let mut body = body;
    let mut bytes = Vec::new();
    let mut room = Vec::new();
    loop {
        let until = end.min(Instant::now() + limits.body_idle);
        let frame = timeout_at(until, body.frame()).await.map_err(|_| ApiError::SlowBody)?;
        let Some(frame) = frame else { return Ok((bytes.into(), room)) };
        let Ok(data) = frame.map_err(|_| ApiError::BrokenBody)?.into_data() else { continue };
        if bytes.len() + data.len() > limits.body_bytes {
            return Err(ApiError::TooLarge(limits.body_bytes));
        }
        let share = u32::try_from(data.len()).map_err(|_| ApiError::TooLarge(limits.body_bytes))?;
        room.push(Arc::clone(all).try_acquire_many_owned(share).map_err(|_| ApiError::Overloaded)?);
        bytes.extend_from_slice(&data);
    }
}

/// The fields whose range is the same everywhere. What only some backends take is theirs to judge.
pub(super) fn check_fields(fields: &Map<String, Value>) -> Result<(), BadRequest> {
    check_sampling(fields)?;
    check(
        fields,
        "n",
        |value| value.as_u64().is_some_and(|n| (1..=8).contains(&n)),
        "a whole number from 1 to 8",
    )?;
    check(fields, "priority", Value::is_i64, "a whole number")?;
    check(fields, "seed", |value| value.is_i64() || value.is_u64(), "a whole number")?;
    check(fields, "include_reasoning", Value::is_boolean, "true or false")?;
    check(fields, "stream_options", Value::is_object, "an object")?;
    check(
        fields,
        "tools",
        |value| value.as_array().is_some_and(|tools| tools.len() <= 128),
        "at most 128 tools",
    )?;
    check(fields, "chat_template_kwargs", Value::is_object, "an object")?;
    check(fields, "stop", is_stop, "a string, or up to 4 strings")
}

/// The fields that every API has, under one name and with one range.
pub(super) fn check_sampling(fields: &Map<String, Value>) -> Result<(), BadRequest> {
    for (field, least, most) in [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("min_p", 0.0, 1.0),
        ("presence_penalty", -2.0, 2.0),
        ("frequency_penalty", -2.0, 2.0),
    ] {
        let within = |value: &Value| value.as_f64().is_some_and(|number| (least..=most).contains(&number));
        check(fields, field, within, &format!("a number from {least} to {most}"))?;
    }
    check(fields, "stream", Value::is_boolean, "true or false")
}

pub(super) fn check(
    fields: &Map<String, Value>,
    field: &str,
    accepts: impl Fn(&Value) -> bool,
    accepted: &str,
) -> Result<(), BadRequest> {
    match fields.get(field) {
        Some(value) if !value.is_null() && !accepts(value) => Err(BadRequest::value(field, value, accepted)),
        _ => Ok(()),
    }
}

fn is_stop(value: &Value) -> bool {
    let filled = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    match value {
        Value::Array(several) => several.len() <= 4 && several.iter().all(filled),
        one => filled(one),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (body, param) in [
            (json!({"temperature": 2.1}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": -0.1}), "top_p"),
            (json!({"n": 0}), "n"),
            (json!({"n": 9}), "n"),
            (json!({"stream": "true"}), "stream"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"stop": ""}), "stop"),
            (json!({"seed": 1.5}), "seed"),
        ] {
            let Value::Object(fields) = &body else { panic!("an object") };
            let refused = check_fields(fields).expect_err("refused");
            assert_eq!(refused.param.as_deref(), Some(param), "{body}");
        }
        let Value::Object(fields) = json!({"temperature": null, "n": 1, "stop": "x", "top_p": 1}) else {
            panic!("an object")
        };
        check_fields(&fields).expect("accepted");
    }
}
