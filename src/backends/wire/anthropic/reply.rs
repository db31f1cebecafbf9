use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::outlet::Outlet;
use super::super::turns::text_of;
use super::super::{parse, told};
use crate::backends::{BackendError, Usage};

/// Anthropic's answers have one choice.
const CHOICE: u64 = 0;

/// A stream being read.
#[derive(Debug, Default)]
pub(in crate::backends) struct Reader {
    /// Blocks begun and not ended, by their index.
    blocks: BTreeMap<u64, Block>,
    /// Usage in pieces: what was read at the start, what was written at the end.
    usage: Map<String, Value>,
    reason: Option<String>,
}

#[derive(Debug)]
enum Block {
    Text,
    /// Collected whole, because it has to go back whole.
    Thinking {
        text: String,
        signature: String,
    },
    Call {
        number: u64,
        input: Value,
        any: bool,
    },
    /// A tool that Anthropic runs itself, or its result.
    Other,
}

impl Reader {
    /// One event; true when it was the last.
    pub(in crate::backends::wire) fn event(
        &mut self,
        data: &str,
        outlet: &mut Outlet,
    ) -> Result<bool, BackendError> {
        let event = Value::Object(parse(data)?);
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        match text_of(&event, "type") {
            Some("message_start") => self.count(event.pointer("/message/usage")),
            Some("content_block_start") => {
                if let Some(block) = event.get("content_block") {
                    self.start(index, block, outlet);
                }
            }
            Some("content_block_delta") => {
                if let Some(delta) = event.get("delta") {
                    self.delta(index, delta, outlet);
                }
            }
            Some("content_block_stop") => self.stop(index, outlet),
            Some("message_delta") => {
                self.count(event.get("usage"));
                if let Some(reason) = event.pointer("/delta/stop_reason").and_then(Value::as_str) {
                    self.reason = Some(reason.to_owned());
                }
            }
            Some("message_stop") => {
                self.finish(outlet);
                return Ok(true);
            }
            Some("error") => return Err(reported(&event)),
            // Pings, and whatever is invented next.
            _ => {}
        }
        Ok(false)
    }

    fn count(&mut self, usage: Option<&Value>) {
        let counts = usage.and_then(Value::as_object).into_iter().flatten();
        // The second object repeats the first's counts, or leaves them out as null.
        self.usage.extend(
            counts.filter(|(_, count)| !count.is_null()).map(|(name, count)| (name.clone(), count.clone())),
        );
    }

    fn start(&mut self, index: u64, block: &Value, outlet: &mut Outlet) {
        let text = |key| text_of(block, key).unwrap_or_default().to_owned();
        let begun = match text_of(block, "type") {
            Some("text") => {
                outlet.content(CHOICE, &text("text"));
                Block::Text
            }
            Some("thinking") => {
                outlet.reasoning(CHOICE, &text("thinking"));
                Block::Thinking { text: text("thinking"), signature: text("signature") }
            }
            Some("redacted_thinking") => {
                outlet.field(CHOICE, "thinking_blocks", json!([block]));
                Block::Other
            }
            Some("tool_use") => {
                let number = outlet.call(CHOICE, call(&text("id"), &text("name"), ""));
                let input = block.get("input").cloned().unwrap_or_default();
                Block::Call { number, input, any: false }
            }
            _ => Block::Other,
        };
        self.blocks.insert(index, begun);
    }

    fn delta(&mut self, index: u64, delta: &Value, outlet: &mut Outlet) {
        let piece = |key| text_of(delta, key).unwrap_or_default();
        match (text_of(delta, "type"), self.blocks.get_mut(&index)) {
            (Some("text_delta"), _) => outlet.content(CHOICE, piece("text")),
            (Some("thinking_delta"), Some(Block::Thinking { text, .. })) => {
                text.push_str(piece("thinking"));
                outlet.reasoning(CHOICE, piece("thinking"));
            }
            (Some("signature_delta"), Some(Block::Thinking { signature, .. })) => {
                signature.push_str(piece("signature"));
            }
            (Some("input_json_delta"), Some(Block::Call { number, any, .. })) => {
                let piece = piece("partial_json");
                if !piece.is_empty() {
                    *any = true;
                    outlet.field(CHOICE, "tool_calls", arguments(*number, piece));
                }
            }
            _ => {}
        }
    }

    fn stop(&mut self, index: u64, outlet: &mut Outlet) {
        match self.blocks.remove(&index) {
            Some(Block::Thinking { text, signature }) => {
                let block = json!({"type": "thinking", "thinking": text, "signature": signature});
                outlet.field(CHOICE, "thinking_blocks", json!([block]));
            }
            // Clients parse the arguments of a call without any, too.
            Some(Block::Call { number, input, any: false }) => {
                let input = if input.is_object() { input } else { json!({}) };
                outlet.field(CHOICE, "tool_calls", arguments(number, &input.to_string()));
            }
            _ => {}
        }
    }

    fn finish(&mut self, outlet: &mut Outlet) {
        outlet.finish(CHOICE, self.reason.as_deref().map_or("stop", finish_reason));
        if let Some(usage) = usage(&self.usage) {
            outlet.usage(usage);
        }
    }
}

/// An answer in one piece.
pub(in crate::backends::wire) fn whole(
    body: &Map<String, Value>,
    outlet: &mut Outlet,
) -> Result<(), BackendError> {
    let content = body.get("content").and_then(Value::as_array);
    let content = content.ok_or_else(|| BackendError::BadAnswer("an answer without content".into()))?;
    let mut reader = Reader::default();
    for block in content {
        reader.start(0, block, outlet);
        reader.stop(0, outlet);
    }
    reader.count(body.get("usage"));
    reader.reason = body.get("stop_reason").and_then(Value::as_str).map(str::to_owned);
    reader.finish(outlet);
    Ok(())
}

fn call(id: &str, name: &str, arguments: &str) -> Map<String, Value> {
    let function = json!({"name": name, "arguments": arguments});
    [("id", json!(id)), ("type", json!("function")), ("function", function)]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

fn arguments(number: u64, piece: &str) -> Value {
    json!([{"index": number, "function": {"arguments": piece}}])
}

fn finish_reason(reason: &str) -> &'static str {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

/// What the cache held is counted apart here, and among the prompt's tokens by everybody else.
fn usage(counts: &Map<String, Value>) -> Option<Usage> {
    let count = |name: &str| counts.get(name).and_then(Value::as_u64);
    let (written, read) = (count("cache_creation_input_tokens"), count("cache_read_input_tokens"));
    let caches = [("cache_creation_input_tokens", written), ("cache_read_input_tokens", read)];
    let raw: Map<String, Value> =
        caches.iter().filter_map(|(name, count)| Some(((*name).to_owned(), (*count)?.into()))).collect();
    Some(Usage {
        prompt_tokens: count("input_tokens")? + written.unwrap_or(0) + read.unwrap_or(0),
        completion_tokens: count("output_tokens")?,
        reasoning_tokens: counts
            .get("output_tokens_details")
            .and_then(|details| details.get("thinking_tokens")?.as_u64()),
        cached_tokens: read,
        raw: (!raw.is_empty()).then(|| raw.into()),
    })
}

/// An error in the middle of a stream; its type stands for the status it would have had before.
fn reported(event: &Value) -> BackendError {
    let error = event.get("error").unwrap_or(event);
    let status = text_of(error, "type").and_then(|kind| match kind {
        "invalid_request_error" => Some(400),
        "authentication_error" => Some(401),
        "permission_error" => Some(403),
        "not_found_error" => Some(404),
        "request_too_large" => Some(413),
        "rate_limit_error" => Some(429),
        "timeout_error" => Some(504),
        "overloaded_error" => Some(529),
        _ => None,
    });
    told(error, status)
}
