//! "How is a conversation framed on its way to a server, and how is what comes back read?"
//!
//! One folder or file per wire: `body` turns a chat-completions body into the wire's own, without a word about thinking,
//! which is the dialect's; a reader turns what comes back into steps. `outlet.rs` is where all of it leaves, and where
//! reasoning is told from answer; `whole.rs` puts steps together for clients that want no stream; `history.rs` is about
//! reasoning of earlier turns.

pub(super) mod anthropic;
pub(super) mod bedrock;
mod binary;
mod chat;
mod fields;
#[cfg(test)]
mod fixtures;
mod frames;
pub(super) mod gemini;
#[cfg(test)]
mod goldens;
pub(super) mod history;
pub(super) mod ollama;
mod outlet;
mod turns;
pub(super) mod whole;

use serde_json::{Map, Value};

use self::binary::Binary;
pub(super) use self::frames::{Event, Frames};
pub(super) use self::outlet::Outlet;
use self::turns::Turns;
use self::whole::Gathering;
use super::sse::Events;
use super::{BackendError, Whole};
use crate::config::Wire;

/// An image that was made comes in one event.
const MAX_IMAGE_EVENT_BYTES: usize = 16 << 20;

/// The body in the wire's frame.
#[must_use]
pub(super) fn framed(wire: Wire, chat: Map<String, Value>) -> Map<String, Value> {
    match wire {
        Wire::Chat => chat,
        Wire::Anthropic => anthropic::body(&chat),
        Wire::Gemini => gemini::body(&chat),
        Wire::OllamaNative => ollama::body(&chat),
        Wire::Bedrock => bedrock::body(&chat),
    }
}

/// Refuses what the wire has no place for, rather than let the model answer without having seen it.
///
/// # Errors
/// [`BackendError::Refused`] with what it is.
pub(super) fn refuse(wire: Wire, chat: &Map<String, Value>) -> Result<(), BackendError> {
    let takes: fn(&turns::Media<'_>) -> bool = match wire {
        Wire::Chat => return Ok(()),
        Wire::Anthropic => anthropic::takes,
        Wire::Gemini => gemini::takes,
        Wire::OllamaNative => ollama::takes,
        Wire::Bedrock => bedrock::takes,
    };
    let several = chat.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1);
    if several && wire != Wire::Gemini {
        let message = "this model's server gives one answer at a time; n must be 1".into();
        return Err(BackendError::Refused { param: "n".into(), message, code: "unsupported_parameter" });
    }
    let turns = Turns::read(chat);
    let Some(media) = turns.media().find(|media| !takes(media)) else { return Ok(()) };
    Err(BackendError::Refused {
        param: "messages".into(),
        message: format!("this model's server takes no {}", media.describe()),
        code: "unsupported_content",
    })
}

/// What a stream is announced as.
pub(super) fn media_type(wire: Wire) -> &'static str {
    match wire {
        Wire::Chat | Wire::Anthropic | Wire::Gemini => "text/event-stream",
        Wire::OllamaNative => "application/x-ndjson",
        Wire::Bedrock => "application/vnd.amazon.eventstream",
    }
}

/// A stream being read.
#[derive(Debug)]
pub(super) enum Reader {
    Chat,
    Anthropic(anthropic::Reader),
    Gemini(gemini::Reader),
    Ollama(ollama::Reader),
    Bedrock(bedrock::Reader),
}

impl Reader {
    pub(super) fn new(wire: Wire) -> Reader {
        match wire {
            Wire::Chat => Reader::Chat,
            Wire::Anthropic => Reader::Anthropic(anthropic::Reader::default()),
            Wire::Gemini => Reader::Gemini(gemini::Reader::default()),
            Wire::OllamaNative => Reader::Ollama(ollama::Reader),
            Wire::Bedrock => Reader::Bedrock(bedrock::Reader::default()),
        }
    }

    /// Reads one event into the outlet; true when the server said it was the last.
    ///
    /// # Errors
    /// The event tells of an error, or is none of this wire's.
    pub(super) fn event(&mut self, event: &Event, outlet: &mut Outlet) -> Result<bool, BackendError> {
        match self {
            Reader::Chat => chat::event(&event.data, outlet),
            Reader::Anthropic(reader) => reader.event(&event.data, outlet),
            Reader::Gemini(reader) => reader.event(&event.data, outlet).map(|()| false),
            Reader::Ollama(reader) => reader.event(&event.data, outlet),
            Reader::Bedrock(reader) => reader.event(event, outlet),
        }
    }
}

/// How the wire's events are told apart.
pub(super) fn frames(wire: Wire) -> Frames {
    match wire {
        Wire::Chat | Wire::Anthropic => Frames::Sse(Events::default()),
        Wire::Gemini => Frames::Sse(Events::up_to(MAX_IMAGE_EVENT_BYTES)),
        Wire::OllamaNative => Frames::Lines(Vec::new()),
        Wire::Bedrock => Frames::Binary(Binary::default()),
    }
}

/// An answer in one piece.
///
/// # Errors
/// The answer tells of an error, or is none of this wire's.
pub(super) fn read_whole(wire: Wire, body: Value, outlet: &mut Outlet) -> Result<Whole, BackendError> {
    let Value::Object(body) = body else {
        return Err(BackendError::BadAnswer("an answer that is not an object".into()));
    };
    match wire {
        Wire::Chat => return chat::whole(body, outlet),
        Wire::Anthropic => anthropic::whole(&body, outlet)?,
        Wire::Gemini => gemini::whole(&body, outlet)?,
        Wire::OllamaNative => ollama::whole(&body, outlet)?,
        Wire::Bedrock => bedrock::whole(&body, outlet)?,
    }
    outlet.end()?;
    let mut gathering = Gathering::default();
    std::iter::from_fn(|| outlet.pop()).for_each(|step| gathering.take(step));
    Ok(gathering.into_whole())
}

/// The error in a body, in OpenAI's shape, whatever the shape it came in.
pub(super) fn error_body(body: Value) -> Value {
    // Gemini sends a list where a stream was asked for.
    let body = match body {
        Value::Array(mut list) if !list.is_empty() => list.swap_remove(0),
        body => body,
    };
    let error = body.get("error").unwrap_or(&body);
    if error.get("message").is_some_and(Value::is_string) {
        return body;
    }
    // Ollama's error is a text, FastAPI's a `detail`, Amazon's `Message` now and then.
    let text = error.as_str().or_else(|| {
        ["detail", "Message", "error_description"].iter().find_map(|key| error.get(*key)?.as_str())
    });
    match text {
        Some(text) => serde_json::json!({"error": {"message": text, "type": null, "code": null}}),
        None => body,
    }
}

/// An event's fields; one that has none says nothing.
fn parse(data: &str) -> Result<Map<String, Value>, BackendError> {
    match serde_json::from_str(data) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Ok(Map::new()),
        Err(_) => Err(BackendError::BadAnswer("an event that is not JSON".into())),
    }
}

/// An error in the middle of a stream; where it names a status, it is as good as one before it. Its body is in OpenAI's shape.
fn told(error: &Value, status: Option<u64>) -> BackendError {
    match status.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status)) {
        Some(status) => {
            let body =
                serde_json::json!({"error": {"message": message_of(error), "type": null, "code": null}});
            BackendError::Status { status, body: Some(body), retry_after: None }
        }
        None => BackendError::Reported(message_of(error)),
    }
}

/// What an error says, at most 500 characters of it.
fn message_of(error: &Value) -> String {
    let text = error.get("message").and_then(Value::as_str).or_else(|| error.as_str());
    text.unwrap_or("no message").chars().take(500).collect()
}
