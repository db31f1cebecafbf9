//! "What becomes of the reasoning of earlier turns?" Backends forbid it, forget it, want it back while a tool loop lasts,
//! or insist on it, signed or not; clients send it in any field, or as think tags in the content.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::super::capability::{Capability, History, Spelling};
use super::super::{BackendError, Lossy, think};
use super::turns::text_of;
use crate::config::{Dialect, Wire};

/// Google's word for a call whose signature is not at hand, because another model made it.
const UNSIGNED: &str = "skip_thought_signature_validator";
/// Stands for reasoning that a backend insists on and nobody has; an empty text is taken for none.
const UNKNOWN: &str = " ";

/// What a backend wants with it.
pub(in crate::backends) struct Rule<'a> {
    pub(in crate::backends) capability: &'a Capability,
    pub(in crate::backends) dialect: Dialect,
    pub(in crate::backends) wire: Wire,
    /// Whether this answer is thought about.
    pub(in crate::backends) thinking: bool,
}

/// Makes the reasoning in `messages` what the backend wants, and tells what was lost or filled in.
pub(in crate::backends) fn settle(chat: &mut Map<String, Value>, rule: &Rule<'_>) -> Vec<Lossy> {
    let tools = chat.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    let Some(Value::Array(messages)) = chat.get_mut("messages") else { return Vec::new() };
    let role = |message: &Value, role: &str| text_of(message, "role") == Some(role);
    let last_user = messages.iter().rposition(|message| role(message, "user"));
    let mut lost = Lost::default();
    for (at, message) in messages.iter_mut().enumerate().filter(|(_, message)| role(message, "assistant")) {
        if let Value::Object(fields) = message {
            let turn = Turn { in_loop: last_user.is_none_or(|user| at > user), tools };
            rule.settle(fields, &turn, &mut lost);
        }
    }
    let codes = [(lost.stripped, Lossy::HistoryStripped), (lost.filled, Lossy::HistoryBackfilled)];
    codes.into_iter().filter(|(happened, _)| *happened).map(|(_, code)| code).collect()
}

#[derive(Default)]
struct Lost {
    stripped: bool,
    filled: bool,
}

/// Where a message stands.
struct Turn {
    /// Behind the last thing the person said.
    in_loop: bool,
    /// The request has tools.
    tools: bool,
}

impl Rule<'_> {
    fn settle(&self, fields: &mut Map<String, Value>, turn: &Turn, lost: &mut Lost) {
        let text = take_text(fields);
        let text = text.or_else(|| text_of_opaque(fields));
        self.settle_opaque(fields, turn, lost);
        let keeps = match self.capability.history {
            History::Ignored | History::Forbidden => false,
            History::CurrentLoop => turn.in_loop,
            History::Required => true,
            // The signed form says it all; where there is none, OpenRouter takes the text.
            History::Signed => self.dialect == Dialect::Openrouter && !is_opaque(fields),
        };
        match text {
            Some(text) if keeps => self.put(fields, text),
            Some(_) => {
                lost.stripped |= match self.capability.history {
                    History::Forbidden => true,
                    History::Signed => turn.in_loop && !is_opaque(fields) && !self.is_google(),
                    _ => false,
                };
            }
            None if self.must_fill(fields, turn) => {
                self.put(fields, UNKNOWN.to_owned());
                lost.filled = true;
            }
            None => {}
        }
    }

    /// DeepSeek wants it with every answer once there are tools, Kimi with every answer that called one.
    fn must_fill(&self, fields: &Map<String, Value>, turn: &Turn) -> bool {
        let called =
            fields.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
        self.capability.history == History::Required
            && self.thinking
            && !fields.contains_key("reasoning_details")
            && (called || (turn.tools && self.dialect == Dialect::Deepseek))
    }

    fn put(&self, fields: &mut Map<String, Value>, text: String) {
        if self.dialect == Dialect::Minimax && self.wire == Wire::Chat {
            if !fields.contains_key("reasoning_details") && text != UNKNOWN {
                put_inline(fields, &text);
            }
            return;
        }
        let by_name = self.capability.reasoning_in.as_deref() == Some("reasoning");
        let name = match self.wire {
            Wire::Chat if by_name || self.dialect == Dialect::Openrouter => "reasoning",
            _ => "reasoning_content",
        };
        if matches!(self.dialect, Dialect::Vllm | Dialect::MlxLm) {
            // vLLM before 0.16 reads only the one, up to 0.21 only the other; with MLX-LM the template decides.
            fields.insert("reasoning_content".into(), text.clone().into());
        }
        fields.insert(name.into(), text.into());
    }

    fn is_google(&self) -> bool {
        self.wire == Wire::Gemini || self.dialect == Dialect::Gemini
    }

    /// What only the backend that made it can read: kept for that one, and never shown to another.
    fn settle_opaque(&self, fields: &mut Map<String, Value>, turn: &Turn, lost: &mut Lost) {
        let anthropic = matches!(self.wire, Wire::Anthropic | Wire::Bedrock);
        let open = matches!(self.dialect, Dialect::Openrouter | Dialect::Generic);
        if let Some(details) = fields.get("reasoning_details")
            && !(open || self.dialect == Dialect::Minimax)
        {
            if anthropic && !fields.contains_key("thinking_blocks") {
                let blocks = blocks_of(details);
                if !blocks.is_empty() {
                    fields.insert("thinking_blocks".into(), blocks.into());
                }
            }
            fields.shift_remove("reasoning_details");
        }
        if anthropic {
            keep_signed(fields);
        } else if let Some(blocks) =
            fields.get("thinking_blocks").filter(|_| self.dialect != Dialect::Generic)
        {
            lost.stripped |= turn.in_loop && is_any_signed(blocks);
            fields.shift_remove("thinking_blocks");
        }
        if !self.is_google() && !open {
            lost.stripped |= drop_google(fields) && turn.in_loop;
        }
        // Those that take levels insist on it, those that take budgets do not know the word.
        if self.is_google() && self.capability.spelling == Spelling::Level && turn.in_loop {
            lost.filled |= fill_google(fields);
        }
    }
}

/// Takes the text of a message's reasoning from wherever a client put it.
fn take_text(fields: &mut Map<String, Value>) -> Option<String> {
    let mut found = None;
    for name in ["reasoning_content", "reasoning"] {
        if let Some(Value::String(text)) = fields.shift_remove(name)
            && !text.is_empty()
        {
            found.get_or_insert(text);
        }
    }
    lift_parts(fields);
    // Some clients show it as tags and send back what they show.
    if let Some(content) = fields.get("content").and_then(Value::as_str)
        && content.trim_start().starts_with("<think>")
    {
        let (text, answer) = think::split(content);
        fields.insert("content".into(), answer.into());
        if !text.trim().is_empty() {
            found.get_or_insert(text);
        }
    }
    found
}

/// Thinking blocks among the parts of the content go where they are looked for.
fn lift_parts(fields: &mut Map<String, Value>) {
    let Some(Value::Array(parts)) = fields.get_mut("content") else { return };
    let is_thought = |part: &Value| matches!(text_of(part, "type"), Some("thinking" | "redacted_thinking"));
    if !parts.iter().any(is_thought) {
        return;
    }
    let thoughts: Vec<Value> = parts.extract_if(.., |part| is_thought(part)).collect();
    fields.entry("thinking_blocks").or_insert_with(|| thoughts.into());
}

/// Whether the tool loop under way began without a thought that Anthropic would know again by its signature. Thinking by a
/// budget, it refuses to go on with one: a turn must begin with a thought, whoever dropped it.
pub(in crate::backends) fn begins_unthought(chat: &Map<String, Value>) -> bool {
    let Some(messages) = chat.get("messages").and_then(Value::as_array) else { return false };
    let role = |message: &Value, role: &str| text_of(message, "role") == Some(role);
    let start = messages.iter().rposition(|message| role(message, "user")).map_or(0, |user| user + 1);
    let turn = messages[start..].iter().find(|message| role(message, "assistant"));
    let Some(Value::Object(fields)) = turn else { return false };
    let mut fields = fields.clone();
    lift_parts(&mut fields);
    let details = fields.get("reasoning_details").map(blocks_of).unwrap_or_default();
    let signed = fields.get("thinking_blocks").is_some_and(is_any_signed) || details.iter().any(is_signed);
    !signed
}

fn is_opaque(fields: &Map<String, Value>) -> bool {
    fields.contains_key("thinking_blocks") || fields.contains_key("reasoning_details")
}

fn text_of_opaque(fields: &Map<String, Value>) -> Option<String> {
    let list = |name: &str| fields.get(name).and_then(Value::as_array).into_iter().flatten();
    let of_blocks: String = list("thinking_blocks").filter_map(|block| text_of(block, "thinking")).collect();
    if !of_blocks.is_empty() {
        return Some(of_blocks);
    }
    let of_details: String = list("reasoning_details").filter_map(|detail| text_of(detail, "text")).collect();
    (!of_details.is_empty()).then_some(of_details)
}

/// OpenRouter's form of Anthropic's blocks.
fn blocks_of(details: &Value) -> Vec<Value> {
    let of_anthropic =
        |detail: &&Value| text_of(detail, "format").is_none_or(|format| format.starts_with("anthropic"));
    let details = details.as_array().into_iter().flatten().filter(of_anthropic);
    let block = |detail: &Value| match text_of(detail, "type")? {
        "reasoning.text" => Some(json!({
            "type": "thinking",
            "thinking": text_of(detail, "text").unwrap_or_default(),
            "signature": text_of(detail, "signature")?,
        })),
        "reasoning.encrypted" => Some(json!({"type": "redacted_thinking", "data": text_of(detail, "data")?})),
        _ => None,
    };
    details.filter_map(block).collect()
}

fn is_signed(block: &Value) -> bool {
    ["signature", "data"].iter().any(|key| text_of(block, key).is_some_and(|text| !text.is_empty()))
}

fn is_any_signed(blocks: &Value) -> bool {
    blocks.as_array().is_some_and(|blocks| blocks.iter().any(is_signed))
}

/// A block without its signature is refused, and so is the request.
fn keep_signed(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(blocks)) = fields.get_mut("thinking_blocks") {
        blocks.retain(is_signed);
        // Its number in the stream that it came in.
        blocks
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|block| drop(block.shift_remove("index")));
        if blocks.is_empty() {
            fields.shift_remove("thinking_blocks");
        }
    }
}

fn drop_google(fields: &mut Map<String, Value>) -> bool {
    let mut dropped = fields.shift_remove("extra_content").is_some();
    for call in fields.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(call) = call {
            dropped |= call.shift_remove("extra_content").is_some();
        }
    }
    dropped
}

/// Of the calls that a message makes at once, the first carries the signature.
fn fill_google(fields: &mut Map<String, Value>) -> bool {
    let Some(calls) = fields.get_mut("tool_calls").and_then(Value::as_array_mut) else { return false };
    let signed = |call: &Value| call.pointer("/extra_content/google/thought_signature").is_some();
    if calls.iter().any(signed) {
        return false;
    }
    let Some(first) = calls.first_mut().filter(|call| call.is_object()) else { return false };
    first["extra_content"] = json!({"google": {"thought_signature": UNSIGNED}});
    true
}

fn put_inline(fields: &mut Map<String, Value>, text: &str) {
    let content = fields.get("content").and_then(Value::as_str).unwrap_or_default();
    let content = format!("<think>\n{text}\n</think>\n\n{content}");
    fields.insert("content".into(), content.into());
}

/// Whether the server refused the request for the thoughts in it.
pub(in crate::backends) fn is_refused(error: &BackendError) -> bool {
    let BackendError::Status { status: 400, body: Some(body), .. } = error else { return false };
    let message = body.pointer("/error/message").or_else(|| body.get("message")).and_then(Value::as_str);
    let message = message.unwrap_or_default().to_ascii_lowercase();
    let names_thoughts = message.contains("thinking") || message.contains("reasoning");
    message.contains("signature") || (names_thoughts && message.contains("cannot be modified"))
}

/// Takes every thought out of a framed body; true where there was one.
pub(in crate::backends) fn strip_thoughts(wire: Wire, body: &mut Map<String, Value>) -> bool {
    let is_thought: fn(&Value) -> bool = match wire {
        Wire::Anthropic => |block| matches!(text_of(block, "type"), Some("thinking" | "redacted_thinking")),
        Wire::Bedrock => |block| block.get("reasoningContent").is_some(),
        _ => return false,
    };
    let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) else { return false };
    let mut found = false;
    for content in messages.iter_mut().filter_map(|message| message.get_mut("content")?.as_array_mut()) {
        let before = content.len();
        content.retain(|block| !is_thought(block));
        found |= content.len() < before;
    }
    messages.retain(|message| message["content"].as_array().is_none_or(|content| !content.is_empty()));
    found
}
