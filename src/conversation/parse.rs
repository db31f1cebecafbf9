//! From an OpenAI chat body to a [`Conversation`], with errors that name the field.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::wishes_in_fields;
use super::{Asks, Conversation, Message, Mode, Origin, Role, Wish};
use crate::policy::Policy;

/// More messages than any honest client sends; above it, parsing costs more than the request is worth.
const MAX_MESSAGES: usize = 2048;
/// Content parts in one message.
const MAX_PARTS: usize = 256;

/// A request that cannot be understood, in the caller's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// The offending field, as a path.
    pub param: Option<String>,
    /// What is wrong, with the value and what would be accepted.
    pub message: String,
    /// A machine-readable reason.
    pub code: &'static str,
}

impl BadRequest {
    pub(crate) fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        BadRequest { param: Some(param.into()), message: message.into(), code: "invalid_value" }
    }

    pub(crate) fn unreadable_row() -> Self {
        BadRequest {
            param: None,
            message: "expected an object with messages, body or prompt".into(),
            code: "invalid_value",
        }
    }

    /// `param` has `value`, but `accepted` is what would do. Long values are cut.
    pub(crate) fn value(param: &str, value: &Value, accepted: &str) -> Self {
        let mut shown = value.to_string();
        if shown.chars().count() > 80 {
            shown = shown.chars().take(80).collect::<String>() + "…";
        }
        BadRequest::new(param, format!("{param}: expected {accepted}, got {shown}"))
    }
}

impl<'a> Conversation<'a> {
    /// Reads an OpenAI chat-completions body: messages, tools, answer format, thinking fields and model.
    ///
    /// # Errors
    /// The first field that is missing or has a value outside its documented set.
    pub fn from_body(body: &'a Value, policy: &Policy) -> Result<Self, BadRequest> {
        if !body.is_object() {
            return Err(BadRequest {
                param: None,
                message: "the body must be a JSON object".into(),
                code: "invalid_value",
            });
        }
        let messages = body
            .get("messages")
            .ok_or_else(|| BadRequest::new("messages", "messages: missing; expected an array of messages"))?;
        let mut conversation = Conversation::from_messages(messages)?;
        conversation.read_model(body.get("model"), policy)?;
        conversation.read_request_fields(body)?;
        Ok(conversation)
    }

    /// Reads everything of a body that is neither messages nor model.
    ///
    /// # Errors
    /// The first field with a value outside its documented set.
    pub fn read_request_fields(&mut self, body: &Value) -> Result<(), BadRequest> {
        let fields = wishes_in_fields(body)?;
        // Fields outrank the alias, so they come first.
        self.wishes.splice(0..0, fields.wishes);
        self.budget_cap = fields.budget_cap;
        self.max_tokens = max_tokens(body)?;
        self.tools = body.get("tools").and_then(Value::as_array).map_or(0, Vec::len);
        self.tool_forced = tool_forced(body.get("tool_choice"));
        self.json_answer = matches!(
            body.pointer("/response_format/type").and_then(Value::as_str),
            Some("json_object" | "json_schema")
        );
        Ok(())
    }

    /// Reads an array of OpenAI messages.
    ///
    /// # Errors
    /// The first message that is not one.
    pub fn from_messages(messages: &'a Value) -> Result<Self, BadRequest> {
        let list = messages
            .as_array()
            .ok_or_else(|| BadRequest::value("messages", messages, "an array of messages"))?;
        if list.is_empty() || list.len() > MAX_MESSAGES {
            let message = format!("messages: expected 1 to {MAX_MESSAGES} messages, got {}", list.len());
            return Err(BadRequest::new("messages", message));
        }
        let mut conversation = Conversation::default();
        for (index, value) in list.iter().enumerate() {
            let (message, images) = read_message(index, value)?;
            conversation.messages.push(message);
            conversation.images += images;
        }
        Ok(conversation)
    }

    /// `auto`, `auto:think`, `auto:fast`, `auto:PRESET`, `PRESET`, or a configured model.
    fn read_model(&mut self, model: Option<&'a Value>, policy: &Policy) -> Result<(), BadRequest> {
        let name = match model {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(name)) => name.as_str(),
            Some(other) => return Err(BadRequest::value("model", other, "a string")),
        };
        if name == "auto" || name.is_empty() {
            return Ok(());
        }
        if policy.models.iter().any(|model| model.name == name) {
            self.model = Some(Cow::Borrowed(name));
            return Ok(());
        }
        let alias = name.strip_prefix("auto:").unwrap_or(name);
        let asks = match (name.starts_with("auto:"), alias) {
            (true, "think") => Some(Mode::On),
            (true, "fast") => Some(Mode::Off),
            _ => None,
        };
        if let Some(mode) = asks {
            self.wishes.push(Wish::outside_text(Origin::Alias, name, Asks::Thinking(mode, None)));
            return Ok(());
        }
        if policy.presets.contains_key(alias) {
            self.preset = Some(Cow::Borrowed(alias));
            return Ok(());
        }
        Err(unknown_model(name, policy))
    }
}

/// The answer to a model name nobody configured.
pub(crate) fn unknown_model(name: &str, policy: &Policy) -> BadRequest {
    let mut known: Vec<&str> = vec!["auto", "auto:think", "auto:fast"];
    known.extend(policy.presets.keys().map(String::as_str));
    known.extend(policy.models.iter().map(|model| model.name.as_str()));
    let shown: String = name.chars().take(120).collect();
    BadRequest {
        param: Some("model".into()),
        message: format!("the model {shown:?} does not exist; known are {}", known.join(", ")),
        code: "model_not_found",
    }
}

fn read_message(index: usize, value: &Value) -> Result<(Message<'_>, usize), BadRequest> {
    let at = |key: &str| format!("messages[{index}].{key}");
    if !value.is_object() {
        return Err(BadRequest::value(
            &format!("messages[{index}]"),
            value,
            "an object with role and content",
        ));
    }
    let role = match value.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        _ => {
            let found = value.get("role").unwrap_or(&Value::Null);
            return Err(BadRequest::value(
                &at("role"),
                found,
                "one of system, developer, user, assistant, tool",
            ));
        }
    };
    let (text, images) = read_content(&at("content"), value.get("content"), role)?;
    let filled = |key: &str| match value.get(key) {
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Object(_)) => true,
        _ => false,
    };
    let message = Message {
        role,
        calls_tools: filled("tool_calls") || filled("function_call"),
        thought: filled("reasoning_content")
            || filled("reasoning")
            || filled("reasoning_details")
            || (role == Role::Assistant && text.contains("</think>")),
        text,
    };
    Ok((message, images))
}

fn read_content<'a>(
    path: &str,
    content: Option<&'a Value>,
    role: Role,
) -> Result<(Cow<'a, str>, usize), BadRequest> {
    match content {
        Some(Value::String(text)) => Ok((Cow::Borrowed(text), 0)),
        Some(Value::Array(parts)) => read_parts(path, parts),
        None | Some(Value::Null) if role == Role::Assistant => Ok((Cow::Borrowed(""), 0)),
        other => Err(BadRequest::value(path, other.unwrap_or(&Value::Null), "a string or an array of parts")),
    }
}

fn read_parts<'a>(path: &str, parts: &'a [Value]) -> Result<(Cow<'a, str>, usize), BadRequest> {
    if parts.len() > MAX_PARTS {
        return Err(BadRequest::new(path, format!("{path}: at most {MAX_PARTS} parts, got {}", parts.len())));
    }
    let mut texts: Vec<&str> = Vec::new();
    let mut others = 0;
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
            Some(_) => others += 1,
            None => {
                return Err(BadRequest::value(&format!("{path}[{index}].type"), part, "a part with a type"));
            }
        }
    }
    let text = match texts.as_slice() {
        [] => Cow::Borrowed(""),
        [one] => Cow::Borrowed(*one),
        many => Cow::Owned(many.join("\n")),
    };
    Ok((text, others))
}

fn max_tokens(body: &Value) -> Result<Option<u64>, BadRequest> {
    for key in ["max_completion_tokens", "max_tokens"] {
        match body.get(key) {
            None | Some(Value::Null) => {}
            Some(value) => {
                return match value.as_u64() {
                    Some(tokens) if tokens > 0 => Ok(Some(tokens)),
                    _ => Err(BadRequest::value(key, value, "a whole number above 0")),
                };
            }
        }
    }
    Ok(None)
}

fn tool_forced(choice: Option<&Value>) -> bool {
    match choice {
        Some(Value::String(name)) => name == "required" || name == "any",
        Some(Value::Object(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy() -> Policy {
        Policy { models: Vec::new(), presets: Policy::builtin_presets(), preset: "api".into() }
    }

    #[test]
    fn parts_are_joined_and_images_counted() {
        let body = json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "one"},
            {"type": "image_url", "image_url": {"url": "data:…"}},
            {"type": "text", "text": "two"}]}]});
        let conversation = Conversation::from_body(&body, &policy()).expect("valid");
        assert_eq!(conversation.messages[0].text, "one\ntwo");
        assert_eq!(conversation.images, 1);
    }

    #[test]
    fn aliases_and_presets() {
        let read = |model: &str| {
            let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
            let policy = policy();
            Conversation::from_body(&body, &policy)
                .map(|c| (c.wishes.first().map(|w| w.asks.clone()), c.preset.map(|p| p.into_owned())))
        };
        assert_eq!(read("auto").expect("valid"), (None, None));
        assert_eq!(read("auto:think").expect("valid").0, Some(Asks::Thinking(Mode::On, None)));
        assert_eq!(read("auto:fast").expect("valid").0, Some(Asks::Thinking(Mode::Off, None)));
        assert_eq!(read("debug").expect("valid").1.as_deref(), Some("debug"));
        assert_eq!(read("auto:api").expect("valid").1.as_deref(), Some("api"));
        assert_eq!(read("gpt-9").expect_err("unknown").code, "model_not_found");
    }

    #[test]
    fn refusals_name_the_field() {
        for (body, param) in [
            (json!({}), "messages"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (json!({"messages": [{"role": "user", "content": 3}]}), "messages[0].content"),
            (json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}), "max_tokens"),
            (json!({"messages": [{"role": "user", "content": "x"}], "model": 3}), "model"),
        ] {
            let refused = Conversation::from_body(&body, &policy()).expect_err("refused");
            assert_eq!(refused.param.as_deref(), Some(param), "{body}");
        }
    }
}
