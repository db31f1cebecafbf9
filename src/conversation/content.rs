//! What a message's content holds: text, parts, and the blocks that Anthropic's clients put tool results in.

use std::borrow::Cow;

use serde_json::Value;

use super::parse::BadRequest;
use super::{Message, Role};
use crate::reading::is_all_machine;

/// Content parts in one message.
const MAX_PARTS: usize = 256;

/// What the content of a message holds.
#[derive(Default)]
pub(super) struct Content<'a> {
    text: Cow<'a, str>,
    /// What tools returned, as Anthropic puts it into the user's messages.
    results: Vec<&'a str>,
    calls_tools: bool,
    thought: bool,
    /// Images and other parts that are not text.
    pub(super) others: usize,
}

impl<'a> Content<'a> {
    /// A message in the user's name that a program alone wrote is a tool's, whatever its role says.
    pub(super) fn into_message(self, role: Role) -> Message<'a> {
        let programs = role == Role::User
            && self.others == 0
            && if self.text.trim().is_empty() {
                !self.results.is_empty()
            } else {
                is_all_machine(&self.text)
            };
        let (role, text) = match (programs, self.results.is_empty()) {
            (true, true) => (Role::Tool, self.text),
            (true, false) => (Role::Tool, joined(&self.results)),
            (false, _) => (role, self.text),
        };
        Message { role, text, calls_tools: self.calls_tools, thought: self.thought }
    }
}

fn joined<'a>(texts: &[&'a str]) -> Cow<'a, str> {
    match texts {
        [] => Cow::Borrowed(""),
        [one] => Cow::Borrowed(one),
        many => Cow::Owned(many.join("\n")),
    }
}

pub(super) fn read_content<'a>(
    path: &str,
    content: Option<&'a Value>,
    role: Role,
) -> Result<Content<'a>, BadRequest> {
    match content {
        Some(Value::String(text)) => Ok(Content { text: Cow::Borrowed(text), ..Content::default() }),
        Some(Value::Array(parts)) => read_parts(path, parts),
        None | Some(Value::Null) if role == Role::Assistant => Ok(Content::default()),
        other => Err(BadRequest::value(path, other.unwrap_or(&Value::Null), "a string or an array of parts")),
    }
}

fn read_parts<'a>(path: &str, parts: &'a [Value]) -> Result<Content<'a>, BadRequest> {
    if parts.len() > MAX_PARTS {
        return Err(BadRequest::new(path, format!("{path}: at most {MAX_PARTS} parts, got {}", parts.len())));
    }
    let mut content = Content::default();
    let mut texts: Vec<&str> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        match part.get("type").and_then(Value::as_str) {
            Some("text" | "input_text" | "output_text" | "refusal") => {
                let key = if part.get("text").is_some() { "text" } else { "refusal" };
                let text = part
                    .get(key)
                    .and_then(Value::as_str)
                    .ok_or_else(|| BadRequest::value(&format!("{path}[{index}].{key}"), part, "a string"))?;
                texts.push(text);
            }
            Some("tool_result") => read_result(part, &mut content),
            Some("tool_use" | "server_tool_use") => content.calls_tools = true,
            Some("thinking" | "redacted_thinking") => content.thought = true,
            Some(_) => content.others += 1,
            None => {
                return Err(BadRequest::value(&format!("{path}[{index}].type"), part, "a part with a type"));
            }
        }
    }
    content.text = joined(&texts);
    Ok(content)
}

/// A tool's answer; what it holds is the tool's business, so nothing in it is refused.
fn read_result<'a>(part: &'a Value, content: &mut Content<'a>) {
    if part.get("is_error").and_then(Value::as_bool) == Some(true) {
        content.results.push("Error:");
    }
    match part.get("content") {
        Some(Value::String(text)) => content.results.push(text),
        Some(Value::Array(parts)) => {
            let text = |part: &'a Value| part.get("text").and_then(Value::as_str);
            content.results.extend(parts.iter().filter_map(text));
            content.others += parts.iter().filter(|part| text(part).is_none()).count();
        }
        _ => content.results.push(""),
    }
}
