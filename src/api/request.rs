//! From the bytes of a request to a checked body with the wishes of its headers.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use crate::app::App;
use crate::backends::ExpertDetail;
use crate::config::{Key, Limits};
use crate::conversation::{Asks, BadRequest, Conversation, Origin, Wish, unknown_model, wish_in_header};
use crate::decide::Snapshot;
use crate::policy::Policy;
use crate::record::Caller;

/// A chat request, as far as the gateway itself reads it.
pub(super) struct ChatRequest {
    body: Value,
    headers: Wishes,
    /// The client wants a stream.
    pub(super) stream: bool,
    /// The client wants the usage chunk of a stream.
    pub(super) include_usage: bool,
    /// The client wants to see reasoning.
    pub(super) show_reasoning: bool,
    /// What the client wants to know of the experts.
    pub(super) experts: Option<ExpertDetail>,
    room: Room,
}

/// A body's share of the memory for bodies; held for as long as the body is.
pub(super) type Room = Vec<OwnedSemaphorePermit>;

/// What the gateway's own headers ask.
struct Wishes {
    thinking: Option<Asks>,
    model: Option<String>,
    experts: Option<ExpertDetail>,
}

impl ChatRequest {
    /// Reads and checks the body.
    pub(super) async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<ChatRequest, ApiError> {
        check_media_type(headers)?;
        let wishes = Wishes::of(headers)?;
        let (bytes, room) = read_body(body, &app.config.limits, &app.body_bytes).await?;
        let body: Value =
            serde_json::from_slice(&bytes).map_err(|error| ApiError::NotJson(error.to_string()))?;
        if let Value::Object(fields) = &body {
            check_fields(fields)?;
        }
        let flag = |pointer: &str| body.pointer(pointer).and_then(Value::as_bool);
        Ok(ChatRequest {
            stream: flag("/stream").unwrap_or(false),
            include_usage: flag("/stream_options/include_usage").unwrap_or(false),
            show_reasoning: flag("/include_reasoning").unwrap_or(true),
            experts: wishes.experts,
            headers: wishes,
            body,
            room,
        })
    }

    /// What deciding reads: the body, the wishes of the headers, and what is known of key and backends.
    pub(super) fn conversation(
        &self,
        app: &App,
        caller: &Caller,
        snapshot: &Snapshot,
    ) -> Result<Conversation<'_>, ApiError> {
        let mut conversation = Conversation::from_body(&self.body, &snapshot.policy)?;
        self.headers.put_first(&mut conversation, &snapshot.policy)?;
        if conversation.preset.is_none() {
            let preset = caller.key.as_deref().and_then(|key| key.preset.clone());
            conversation.preset = preset.map(Into::into);
        }
        conversation.unavailable = app.unavailable();
        if let Value::Object(body) = &self.body {
            let trail = app.warmth.trail(body, caller.key.as_deref().map_or(0, Key::holder));
            conversation.warm = app.warmth.model(&trail, std::time::Instant::now());
        }
        Ok(conversation)
    }

    /// The body, to be sent on, with its share of memory.
    pub(super) fn into_fields(self) -> (Map<String, Value>, Room) {
        match self.body {
            Value::Object(fields) => (fields, self.room),
            _ => (Map::new(), self.room),
        }
    }
}

impl Wishes {
    fn of(headers: &HeaderMap) -> Result<Wishes, ApiError> {
        let text = |name: &'static str| match headers.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.trim())),
            Some(Err(_)) => Err(BadRequest {
                param: Some(name.into()),
                message: format!("header {name} holds characters outside ASCII"),
                code: "invalid_value",
            }),
        };
        let thinking = text("x-thinkgate-thinking")?.map(wish_in_header).transpose()?.flatten();
        let model = text("x-thinkgate-model")?.filter(|name| !name.is_empty() && *name != "auto");
        let experts = text("x-thinkgate-experts")?.map(experts_in_header).transpose()?;
        Ok(Wishes { thinking, model: model.map(str::to_owned), experts })
    }

    /// Headers outrank everything else.
    fn put_first(&self, conversation: &mut Conversation<'_>, policy: &Policy) -> Result<(), ApiError> {
        let mut wishes = Vec::new();
        if let Some(asks) = &self.thinking {
            wishes.push(Wish::outside_text(Origin::Header, "x-thinkgate-thinking", asks.clone()));
        }
        if let Some(name) = &self.model {
            if !policy.models.iter().any(|model| model.name == *name) {
                return Err(unknown_model(name, policy).into());
            }
            wishes.push(Wish::outside_text(Origin::Header, "x-thinkgate-model", Asks::Model(name.clone())));
        }
        conversation.wishes.splice(0..0, wishes);
        Ok(())
    }
}

fn experts_in_header(value: &str) -> Result<ExpertDetail, BadRequest> {
    ExpertDetail::parse(value).ok_or_else(|| BadRequest {
        param: Some("x-thinkgate-experts".into()),
        message: format!("header x-thinkgate-experts: {value:?} is not one of summary, tokens"),
        code: "invalid_value",
    })
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
fn check_fields(fields: &Map<String, Value>) -> Result<(), BadRequest> {
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
    check(
        fields,
        "n",
        |value| value.as_u64().is_some_and(|n| (1..=8).contains(&n)),
        "a whole number from 1 to 8",
    )?;
    check(fields, "priority", Value::is_i64, "a whole number")?;
    check(fields, "seed", |value| value.is_i64() || value.is_u64(), "a whole number")?;
    check(fields, "stream", Value::is_boolean, "true or false")?;
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

fn check(
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
