//! What a backend has no word for, said in words it has.

use serde_json::{Map, Value, json};

/// The instructions of a developer, as those of the system.
pub(super) fn developers(body: &mut Map<String, Value>) {
    let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) else { return };
    for message in messages.iter_mut().filter(|message| message["role"] == "developer") {
        message["role"] = "system".into();
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
    let demand =
        format!("Answer with one JSON value that fits this JSON schema, and with nothing else:\n{schema}");
    body.insert("response_format".into(), json!({"type": "json_object"}));
    let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) else { return };
    // Beside the instructions that are there, which stay the first thing a cached prefix has.
    let after = messages.iter().take_while(|message| message["role"] == "system").count();
    messages.insert(after, json!({"role": "system", "content": demand}));
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
    fn other_formats_stay() {
        for format in [json!({"type": "json_object"}), json!({"type": "text"})] {
            let mut body = object(json!({"messages": [], "response_format": format}));
            let before = body.clone();
            schema_in_text(&mut body);
            assert_eq!(body, before);
        }
    }
}
