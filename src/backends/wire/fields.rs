//! Fields of a chat-completions body that several wires spell otherwise.

use serde_json::{Map, Value};

/// Copies the fields that are there and say something: (name here, name there).
pub(super) fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, names: &[(&str, &str)]) {
    for (here, there) in names {
        if let Some(value) = from.get(*here).filter(|value| !value.is_null()) {
            to.insert((*there).into(), value.clone());
        }
    }
}

/// Most tokens of the answer, by its newer name or the older one; of two the lower.
pub(super) fn most_tokens(chat: &Map<String, Value>) -> Option<u64> {
    ["max_completion_tokens", "max_tokens"].iter().filter_map(|name| chat.get(*name)?.as_u64()).min()
}

/// Where to stop, as a list.
pub(super) fn stop_sequences(chat: &Map<String, Value>) -> Option<Vec<&str>> {
    match chat.get("stop")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => Some(several.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

/// The JSON schema that the answer is held to.
pub(super) struct Schema<'a> {
    pub(super) schema: &'a Value,
    pub(super) name: Option<&'a str>,
}

pub(super) fn schema(chat: &Map<String, Value>) -> Option<Schema<'_>> {
    let format = chat.get("response_format")?.get("json_schema")?;
    Some(Schema { schema: format.get("schema")?, name: format.get("name").and_then(Value::as_str) })
}

/// Whether the answer is to be JSON of any shape.
pub(super) fn wants_json(chat: &Map<String, Value>) -> bool {
    chat.get("response_format")
        .and_then(|format| format.get("type"))
        .is_some_and(|kind| kind == "json_object")
}

/// The tools that a `tool_choice` object names.
pub(super) fn tool_names(choice: &Value) -> Vec<&str> {
    if let Some(name) =
        choice.pointer("/function/name").or_else(|| choice.get("name")).and_then(Value::as_str)
    {
        return vec![name];
    }
    let allowed = choice.pointer("/allowed_tools/tools").or_else(|| choice.get("tools"));
    let names = allowed.and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|tool| tool.pointer("/function/name").or_else(|| tool.get("name"))?.as_str()).collect()
}

/// Whether a `tool_choice` demands a call.
pub(super) fn must_call(choice: &Value) -> bool {
    choice == "required"
        || choice.pointer("/function/name").is_some()
        || choice.pointer("/allowed_tools/mode").is_some_and(|mode| mode == "required")
}

/// The functions among the tools.
pub(super) fn functions(chat: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let tools = chat.get("tools").and_then(Value::as_array);
    tools.into_iter().flatten().filter_map(|tool| tool.get("function")?.as_object())
}

/// An id that wires which take only letters, digits, hyphens and underscores accept; other makers' ids hold more. The same id
/// becomes the same one, so that a call and its result still belong together.
pub(super) fn plain_id(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    id.chars().take(64).map(plain).collect()
}
