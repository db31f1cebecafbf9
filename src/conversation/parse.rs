//! From an OpenAI chat body to a [`Conversation`], with errors that name the field.

use std::borrow::Cow;

use serde_json::Value;

use super::content::read_content;
use super::fields::wishes_in_fields;
use super::{Asks, Conversation, Message, Mode, Origin, Role, Wish};
use crate::policy::Policy;

/// More messages than any honest client sends; above it, parsing costs more than the request is worth.
const MAX_MESSAGES: usize = 2048;

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

    /// `param` is not there.
    pub(crate) fn missing(param: &str, accepted: &str) -> Self {
        BadRequest::new(param, format!("{param}: missing; expected {accepted}"))
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
    /// Reads an OpenAI chat-completions or an Anthropic messages body: messages, tools, answer format, thinking
    /// fields and model. A system prompt beside the messages counts as the first of them; the `prompt` of a completions
    /// body counts as one message of the user.
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
        let mut conversation = match (body.get("messages"), body.get("prompt")) {
            (Some(messages), _) => Conversation::from_messages(messages)?,
            (None, Some(prompt)) => Conversation::from_prompt(prompt)?,
            (None, None) => return Err(BadRequest::missing("messages", "an array of messages")),
        };
        conversation.read_system(body.get("system"))?;
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

    /// A text, or the first of several; token ids hold no words to judge.
    fn from_prompt(prompt: &'a Value) -> Result<Self, BadRequest> {
        let text = match prompt {
            Value::String(text) => text.as_str(),
            Value::Array(several) => several.first().and_then(Value::as_str).unwrap_or(""),
            other => return Err(BadRequest::value("prompt", other, "a string or an array")),
        };
        Ok(Conversation::of_prompt(text))
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
            let (mut message, images) = read_message(index, value)?;
            if message.role == Role::User && is_observation(conversation.messages.last(), &message.text) {
                message.role = Role::Tool;
            }
            conversation.messages.push(message);
            conversation.images += images;
        }
        Ok(conversation)
    }

    fn read_system(&mut self, system: Option<&'a Value>) -> Result<(), BadRequest> {
        let Some(system) = system.filter(|value| !value.is_null()) else { return Ok(()) };
        let content = read_content("system", Some(system), Role::System)?;
        self.messages.insert(0, Message { role: Role::System, ..content.into_message(Role::System) });
        Ok(())
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

/// Whether a client may name this as its model.
pub(crate) fn is_known(name: &str, policy: &Policy) -> bool {
    let alias = name.strip_prefix("auto:").unwrap_or(name);
    matches!(name, "" | "auto" | "auto:think" | "auto:fast")
        || policy.presets.contains_key(alias)
        || policy.models.iter().any(|model| model.name == name)
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
    let content = read_content(&at("content"), value.get("content"), role)?;
    let images = content.others;
    let filled = |key: &str| match value.get(key) {
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Object(_)) => true,
        _ => false,
    };
    let mut message = content.into_message(role);
    message.calls_tools |= filled("tool_calls") || filled("function_call");
    message.thought |= filled("reasoning_content")
        || filled("reasoning")
        || filled("reasoning_details")
        || filled("thinking_blocks")
        || (role == Role::Assistant && message.text.contains("</think>"));
    Ok((message, images))
}

/// Agents without tool roles hand results back in the user's name, after an answer that asked for an action.
fn is_observation(before: Option<&Message<'_>>, text: &str) -> bool {
    const OPENINGS: &[&str] =
        &["observation", "tool result", "tool output", "tool response", "工具返回", "工具结果", "观察结果"];
    const ACTIONS: &[&str] = &["Action", "action", "<tool", "\"name\"", "动作", "行动", "调用"];
    let asked = before.is_some_and(|message| {
        message.role == Role::Assistant && ACTIONS.iter().any(|action| message.text.contains(action))
    });
    let start: String = text.trim_start().chars().take(16).flat_map(char::to_lowercase).collect();
    asked
        && OPENINGS.iter().any(|opening| {
            start.strip_prefix(opening).is_some_and(|rest| rest.trim_start().starts_with([':', '：']))
        })
}

/// Of two caps the lower.
fn max_tokens(body: &Value) -> Result<Option<u64>, BadRequest> {
    let mut least = None;
    for key in ["max_completion_tokens", "max_tokens"] {
        let Some(value) = body.get(key).filter(|value| !value.is_null()) else { continue };
        let tokens = value.as_u64().filter(|tokens| *tokens > 0);
        let tokens = tokens.ok_or_else(|| BadRequest::value(key, value, "a whole number above 0"))?;
        least = Some(least.map_or(tokens, |least: u64| least.min(tokens)));
    }
    Ok(least)
}

fn tool_forced(choice: Option<&Value>) -> bool {
    match choice {
        Some(Value::String(name)) => name == "required" || name == "any",
        Some(Value::Object(choice)) => {
            !matches!(choice.get("type").and_then(Value::as_str), Some("auto" | "none"))
        }
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
    fn anthropic_blocks_are_told_apart() {
        let body = json!({
            "system": [{"type": "text", "text": "Be brief."}],
            "tool_choice": {"type": "auto"},
            "messages": [
                {"role": "user", "content": "List the files."},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "…"}, {"type": "tool_use", "id": "1", "name": "ls"}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "1", "is_error": true, "content": "no such folder"},
                    {"type": "text", "text": "<system-reminder>Be good.</system-reminder>"}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "a b"}]},
                    {"type": "text", "text": "Now delete them."}]}]});
        let conversation = Conversation::from_body(&body, &policy()).expect("valid");
        let read: Vec<(Role, &str)> =
            conversation.messages.iter().map(|message| (message.role, &*message.text)).collect();
        let expected = [
            (Role::System, "Be brief."),
            (Role::User, "List the files."),
            (Role::Assistant, ""),
            (Role::Tool, "Error:\nno such folder"),
            (Role::User, "Now delete them."),
        ];
        assert_eq!(read, expected);
        assert!(conversation.messages[2].calls_tools && conversation.messages[2].thought);
        assert_eq!((conversation.images, conversation.tool_forced), (0, false));
    }

    #[test]
    fn what_a_program_says_in_the_users_name_is_no_word_of_the_user() {
        let turns = |before: &'static str, text: &'static str| json!([{"role": "assistant", "content": before}, {"role": "user", "content": text}]);
        for (messages, role) in [
            (turns("", "[read_file for 'a.py'] Result:\nprove()"), Role::Tool),
            (turns("", "<environment_context>\n<cwd>/a</cwd>\n</environment_context>"), Role::Tool),
            (turns("", "<user_query>why?</user_query>"), Role::User),
            (turns("Action: look", "Observation: 42"), Role::Tool),
            (turns("Hello.", "Observation: the sky is blue."), Role::User),
        ] {
            let conversation = Conversation::from_messages(&messages).expect("valid");
            assert_eq!(conversation.messages[1].role, role, "{messages}");
        }
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
