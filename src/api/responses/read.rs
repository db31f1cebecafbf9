//! From a responses body to a chat body.

use serde_json::{Map, Value, json};

use super::super::client::Form;
use super::super::request::{EXTENSIONS, check, check_sampling, omits_reasoning};
use super::envelope::echoed;
use super::tools::{choose, read_tools};
use super::{Responses, input};
use crate::config::HostedTools;
use crate::conversation::BadRequest;

/// Fields of the same name and meaning in either API.
const SHARED: [&str; 7] =
    ["model", "stream", "temperature", "top_p", "parallel_tool_calls", "user", "prompt_cache_key"];

pub(in super::super) fn read(body: Value, hosted: HostedTools) -> Result<(Value, Box<dyn Form>), BadRequest> {
    let Value::Object(mut fields) = body else {
        return Err(BadRequest {
            param: None,
            message: "the body must be a JSON object".into(),
            code: "invalid_value",
        });
    };
    check_fields(&fields)?;
    refuse_state(&fields)?;
    let echo = echoed().map(|(name, absent)| {
        let asked = fields.get(name).filter(|value| !value.is_null());
        (name.to_owned(), asked.cloned().unwrap_or(absent))
    });
    let summary = ["summary", "generate_summary"].iter().any(|name| {
        fields.get("reasoning").and_then(|reasoning| reasoning.get(*name)).is_some_and(Value::is_string)
    });
    let hides_reasoning = omits_reasoning(&fields);
    let mut chat = Map::new();
    for field in SHARED.iter().chain(EXTENSIONS) {
        let value = fields.shift_remove(*field).filter(|value| !value.is_null());
        chat.extend(value.map(|value| ((*field).to_owned(), value)));
    }
    if let Some(most) = fields.shift_remove("max_output_tokens").filter(|most| !most.is_null()) {
        chat.insert("max_tokens".into(), most);
    }
    let (functions, tools) = read_tools(fields.shift_remove("tools"), hosted)?;
    let asked =
        fields.shift_remove("input").ok_or_else(|| BadRequest::missing("input", "a string or items"))?;
    if asked.as_array().is_some_and(Vec::is_empty) {
        return Err(BadRequest::value("input", &asked, "a string or at least one item"));
    }
    chat.insert("messages".into(), input::messages(fields.shift_remove("instructions"), asked)?.into());
    choose(fields.shift_remove("tool_choice"), functions, &tools, &mut chat)?;
    read_reasoning(&fields, &mut chat)?;
    read_text(fields.shift_remove("text"), &mut chat)?;
    read_logprobs(&fields, &mut chat);
    let form = Responses { echo: echo.into_iter().collect(), tools, summary, hides_reasoning };
    Ok((chat.into(), Box::new(form)))
}

fn check_fields(fields: &Map<String, Value>) -> Result<(), BadRequest> {
    check_sampling(fields)?;
    let positive = |value: &Value| value.as_u64().is_some_and(|tokens| tokens > 0);
    check(fields, "max_output_tokens", positive, "a whole number above 0")?;
    check(fields, "store", Value::is_boolean, "true or false")?;
    check(fields, "metadata", Value::is_object, "an object")?;
    check(fields, "include", Value::is_array, "an array")?;
    check(fields, "include_reasoning", Value::is_boolean, "true or false")
}

/// What would need a memory of earlier requests. `store` is answered with false instead: nothing is kept either way.
fn refuse_state(fields: &Map<String, Value>) -> Result<(), BadRequest> {
    let refused = |param: &str, what: &str| {
        Err(BadRequest {
            param: Some(param.to_owned()),
            message: format!("{param}: {what}"),
            code: "unsupported_parameter",
        })
    };
    let present = |field: &str| fields.get(field).is_some_and(|value| !value.is_null());
    for field in ["previous_response_id", "conversation"] {
        if present(field) {
            return refused(
                field,
                "this gateway keeps no responses; send the earlier items in input instead",
            );
        }
    }
    if present("prompt") {
        return refused(
            "prompt",
            "this gateway keeps no prompt templates; send instructions and input instead",
        );
    }
    if fields.get("background") == Some(&Value::Bool(true)) {
        return refused(
            "background",
            "this gateway keeps no responses to fetch later; leave it out, or stream",
        );
    }
    Ok(())
}

/// The effort is a wish; how reasoning is to be shown is ours to see to.
fn read_reasoning(fields: &Map<String, Value>, chat: &mut Map<String, Value>) -> Result<(), BadRequest> {
    let Some(reasoning) = fields.get("reasoning").filter(|reasoning| !reasoning.is_null()) else {
        return Ok(());
    };
    let Value::Object(reasoning) = reasoning else {
        return Err(BadRequest::value("reasoning", reasoning, "an object with effort or summary"));
    };
    let asked: Map<String, Value> = ["effort", "enabled", "max_tokens"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), reasoning.get(*name)?.clone())))
        .filter(|(_, value)| !value.is_null())
        .collect();
    if !asked.is_empty() {
        chat.insert("reasoning".into(), asked.into());
    }
    Ok(())
}

fn read_text(text: Option<Value>, chat: &mut Map<String, Value>) -> Result<(), BadRequest> {
    let Some(Value::Object(mut text)) = text else { return Ok(()) };
    if let Some(verbosity) = text.shift_remove("verbosity").filter(|verbosity| !verbosity.is_null()) {
        chat.insert("verbosity".into(), verbosity);
    }
    let Some(Value::Object(mut format)) = text.shift_remove("format") else { return Ok(()) };
    match format.shift_remove("type").as_ref().and_then(Value::as_str) {
        None | Some("text") => {}
        Some("json_schema") => {
            chat.insert("response_format".into(), json!({"type": "json_schema", "json_schema": format}));
        }
        // The built-in engine's grammars, and whatever a server invents.
        Some(kind) => {
            format.shift_insert(0, "type".into(), kind.into());
            chat.insert("response_format".into(), format.into());
        }
    }
    Ok(())
}

fn read_logprobs(fields: &Map<String, Value>, chat: &mut Map<String, Value>) {
    let top = fields.get("top_logprobs").filter(|top| top.as_u64() > Some(0));
    let included = fields.get("include").and_then(Value::as_array).into_iter().flatten();
    if top.is_some() || included.into_iter().any(|what| what == "message.output_text.logprobs") {
        chat.insert("logprobs".into(), true.into());
        chat.extend(top.map(|top| ("top_logprobs".to_owned(), top.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: Value) -> Value {
        read(body, HostedTools::Refuse).expect("accepted").0
    }

    #[test]
    fn every_field_has_its_place() {
        let body = json!({
            "model": "auto", "input": "hi", "instructions": "Be brief.", "max_output_tokens": 90, "stream": true,
            "store": true, "include": ["reasoning.encrypted_content"], "parallel_tool_calls": false,
            "reasoning": {"effort": "low", "summary": "auto"}, "metadata": {"a": "b"}, "truncation": "auto",
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
            "tool_choice": {"type": "function", "name": "f"}, "top_k": 4, "service_tier": "auto"});
        assert_eq!(
            chat(body),
            json!({
                "model": "auto", "stream": true, "parallel_tool_calls": false, "top_k": 4, "max_tokens": 90,
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
                "tools": [{"type": "function", "function": {
                    "name": "f", "parameters": {"type": "object"}, "strict": true}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "reasoning": {"effort": "low"},
                "response_format": {"type": "json_schema", "json_schema": {
                    "name": "n", "schema": {"type": "object"}, "strict": true}}})
        );
    }

    #[test]
    fn what_needs_a_memory_is_refused_with_what_to_do_instead() {
        for (field, value) in [
            ("previous_response_id", json!("resp_1")),
            ("conversation", json!("conv_1")),
            ("background", json!(true)),
            ("prompt", json!({"id": "p"})),
        ] {
            let refused =
                read(json!({"input": "x", field: value}), HostedTools::Refuse).err().expect("refused");
            assert_eq!(refused.param.as_deref(), Some(field));
            assert!(refused.message.contains("send") || refused.message.contains("leave it out"));
        }
        let refused = read(json!({"model": "auto"}), HostedTools::Refuse).err().expect("refused");
        assert_eq!(refused.param.as_deref(), Some("input"));
    }
}
