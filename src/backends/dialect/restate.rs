//! What a backend has no word for, said in words it has.

use serde_json::{Map, Value, json};

/// The instructions of a developer, as those of the system.
pub(super) fn developers(body: &mut Map<String, Value>) {
    let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) else { return };
    for message in messages.iter_mut().filter(|message| message["role"] == "developer") {
        message["role"] = "system".into();
    }
}

/// That a tool failed stands in its words already; chat completions have no field for it.
pub(super) fn without_failures(body: &mut Map<String, Value>) {
    let messages = body.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten();
    for message in messages.filter_map(Value::as_object_mut) {
        message.shift_remove("is_error");
    }
}

/// Anthropic's marks of what to cache, which cost the request where unknown fields do. They are hints and change no answer.
pub(super) fn without_cache_marks(body: &mut Map<String, Value>) {
    for list in ["messages", "tools"] {
        for item in body.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let parts = item.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten();
            parts.for_each(unmark);
            unmark(item);
        }
    }
}

fn unmark(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("cache_control");
    }
}

/// The schema that the answer must fit, where the client gives one.
pub(super) fn schema_of(body: &Map<String, Value>) -> Option<&Value> {
    let format = body.get("response_format")?;
    (format["type"] == "json_schema").then_some(&format["json_schema"]["schema"])
}

/// Puts the schema of the answer into the text; that the answer is JSON at all stays demanded.
pub(super) fn schema_in_text(body: &mut Map<String, Value>) {
    let Some(schema) = schema_of(body) else { return };
    let text =
        format!("Answer with one JSON value that fits this JSON schema, and with nothing else:\n{schema}");
    body.insert("response_format".into(), json!({"type": "json_object"}));
    demand(body, text);
}

/// Puts into the text that the answer is to be JSON, where nothing else can say so.
pub(super) fn json_in_text(body: &mut Map<String, Value>) {
    body.shift_remove("response_format");
    demand(body, "Answer with one JSON object and with nothing else.".to_owned());
}

/// Beside the instructions that are there, which stay the first thing a cached prefix has.
fn demand(body: &mut Map<String, Value>, text: String) {
    let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) else { return };
    let after = messages.iter().take_while(|message| message["role"] == "system").count();
    messages.insert(after, json!({"role": "system", "content": text}));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_schema_follows_the_instructions() {
        let mut body = object(json!({
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who?"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}}));
        schema_in_text(&mut body);
        assert_eq!(body["response_format"], json!({"type": "json_object"}));
        assert_eq!(body["messages"][0]["content"], "Be kind.");
        let said = body["messages"][1]["content"].as_str().expect("text");
        assert!(said.contains("JSON") && said.ends_with(r#"{"type":"object"}"#), "{said}");
        assert_eq!(body["messages"][2]["role"], "user");
    }

    #[test]
    fn marks_of_what_to_cache_are_left_out() {
        let mark = json!({"type": "ephemeral"});
        let mut body = object(json!({
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": mark}]}],
            "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": mark}]}));
        without_cache_marks(&mut body);
        let expected = json!({
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "tools": [{"type": "function", "function": {"name": "f"}}]});
        assert_eq!(Value::from(body), expected);
    }

    #[test]
    fn other_formats_stay() {
        for format in [json!({"type": "json_object"}), json!({"type": "text"})] {
            let mut body = object(json!({"messages": [], "response_format": format}));
            let before = body.clone();
            schema_in_text(&mut body);
            assert_eq!(body, before);
        }
    }
}
