use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::frames::Event;
use super::super::outlet::Outlet;
use super::super::turns::text_of;
use super::super::{parse, told};
use crate::backends::{BackendError, Usage};

/// Converse's answers have one choice.
const CHOICE: u64 = 0;

/// A stream being read.
#[derive(Debug, Default)]
pub(in crate::backends) struct Reader {
    /// Blocks begun and not ended, by their index.
    blocks: BTreeMap<u64, Block>,
    reason: Option<String>,
}

#[derive(Debug)]
enum Block {
    /// Collected whole, because it has to go back whole.
    Thinking {
        text: String,
        signature: Option<String>,
    },
    Call {
        number: u64,
        any: bool,
    },
}

impl Reader {
    /// One event; true when it was the last.
    pub(in crate::backends::wire) fn event(
        &mut self,
        event: &Event,
        outlet: &mut Outlet,
    ) -> Result<bool, BackendError> {
        let kind = event.kind.as_deref().unwrap_or_default();
        if event.failed {
            let error = parse(&event.data).map(Value::from).unwrap_or_default();
            return Err(told(&error, status_of(kind)));
        }
        let fields = Value::Object(parse(&event.data)?);
        let index = fields.get("contentBlockIndex").and_then(Value::as_u64).unwrap_or(0);
        match kind {
            "contentBlockStart" => {
                if let Some(call) = fields.pointer("/start/toolUse") {
                    self.start_call(index, call, "", outlet);
                }
            }
            "contentBlockDelta" => {
                if let Some(delta) = fields.get("delta") {
                    self.delta(index, delta, outlet);
                }
            }
            "contentBlockStop" => self.stop(index, outlet),
            "messageStop" => {
                self.reason = text_of(&fields, "stopReason").map(str::to_owned);
                outlet.finish(CHOICE, self.reason.as_deref().map_or("stop", finish_reason));
            }
            "metadata" => {
                if let Some(usage) = fields.get("usage").and_then(usage) {
                    outlet.usage(usage);
                }
                return Ok(self.reason.is_some());
            }
            _ => {}
        }
        Ok(false)
    }

    fn start_call(&mut self, index: u64, call: &Value, arguments: &str, outlet: &mut Outlet) {
        let mut out = Map::new();
        out.insert("id".into(), text_of(call, "toolUseId").into());
        out.insert("type".into(), "function".into());
        out.insert("function".into(), json!({"name": text_of(call, "name"), "arguments": arguments}));
        let number = outlet.call(CHOICE, out);
        self.blocks.insert(index, Block::Call { number, any: !arguments.is_empty() });
    }

    fn delta(&mut self, index: u64, delta: &Value, outlet: &mut Outlet) {
        if let Some(text) = text_of(delta, "text") {
            outlet.content(CHOICE, text);
        } else if let Some(piece) = delta.pointer("/toolUse/input").and_then(Value::as_str) {
            if let (Some(Block::Call { number, any }), false) =
                (self.blocks.get_mut(&index), piece.is_empty())
            {
                *any = true;
                outlet.field(CHOICE, "tool_calls", arguments(*number, piece));
            }
        } else if let Some(reasoning) = delta.get("reasoningContent") {
            self.think(index, reasoning, outlet);
        }
    }

    fn think(&mut self, index: u64, piece: &Value, outlet: &mut Outlet) {
        if let Some(data) = text_of(piece, "redactedContent") {
            outlet.field(CHOICE, "thinking_blocks", json!([{"type": "redacted_thinking", "data": data}]));
            return;
        }
        let block = self.blocks.entry(index);
        let block = block.or_insert_with(|| Block::Thinking { text: String::new(), signature: None });
        let Block::Thinking { text, signature } = block else { return };
        if let Some(piece) = text_of(piece, "text") {
            text.push_str(piece);
            outlet.reasoning(CHOICE, piece);
        }
        if let Some(piece) = text_of(piece, "signature") {
            signature.get_or_insert_default().push_str(piece);
        }
    }

    fn stop(&mut self, index: u64, outlet: &mut Outlet) {
        match self.blocks.remove(&index) {
            // Models of other vendors do not sign; there is nothing to send back.
            Some(Block::Thinking { text, signature: Some(signature) }) => {
                let block = json!({"type": "thinking", "thinking": text, "signature": signature});
                outlet.field(CHOICE, "thinking_blocks", json!([block]));
            }
            Some(Block::Call { number, any: false }) => {
                outlet.field(CHOICE, "tool_calls", arguments(number, "{}"));
            }
            _ => {}
        }
    }
}

/// An answer in one piece.
pub(in crate::backends::wire) fn whole(
    body: &Map<String, Value>,
    outlet: &mut Outlet,
) -> Result<(), BackendError> {
    let content = body.get("output").and_then(|output| output.pointer("/message/content")?.as_array());
    let content = content.ok_or_else(|| BackendError::BadAnswer("an answer without content".into()))?;
    let mut reader = Reader::default();
    for block in content {
        if let Some(text) = text_of(block, "text") {
            outlet.content(CHOICE, text);
        } else if let Some(call) = block.get("toolUse") {
            let input = call.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
            reader.start_call(0, call, &input, outlet);
        } else if let Some(reasoning) = block.get("reasoningContent") {
            reader.think(0, reasoning.get("reasoningText").unwrap_or(reasoning), outlet);
        }
        reader.stop(0, outlet);
    }
    let reason = body.get("stopReason").and_then(Value::as_str);
    outlet.finish(CHOICE, reason.map_or("stop", finish_reason));
    if let Some(usage) = body.get("usage").and_then(usage) {
        outlet.usage(usage);
    }
    Ok(())
}

/// The status that an exception would have had before the stream.
fn status_of(exception: &str) -> Option<u64> {
    match exception {
        "validationException" => Some(400),
        "modelStreamErrorException" => Some(424),
        "throttlingException" => Some(429),
        "internalServerException" => Some(500),
        "serviceUnavailableException" => Some(503),
        _ => None,
    }
}

fn arguments(number: u64, piece: &str) -> Value {
    json!([{"index": number, "function": {"arguments": piece}}])
}

fn finish_reason(reason: &str) -> &'static str {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "guardrail_intervened" | "content_filtered" => "content_filter",
        _ => "stop",
    }
}

/// What the cache held is counted apart here, and among the prompt's tokens by everybody else.
fn usage(usage: &Value) -> Option<Usage> {
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let (written, read) = (count("cacheWriteInputTokens"), count("cacheReadInputTokens"));
    Some(Usage {
        prompt_tokens: count("inputTokens")? + written.unwrap_or(0) + read.unwrap_or(0),
        completion_tokens: count("outputTokens")?,
        reasoning_tokens: None,
        cached_tokens: read,
        raw: written.map(|written| json!({ "cache_creation_input_tokens": written })),
    })
}
