//! From a messages body to a chat body. What no chat server knows is carried in its extension fields or left out; what the
//! answer would lack without being told is refused.

use serde_json::{Map, Value, json};

use super::super::client::Form;
use super::super::request::{EXTENSIONS, OUTPUT_CONFIG, check, check_sampling, omits_reasoning};
use super::Messages;
use super::blocks;
use crate::config::HostedTools;
use crate::conversation::BadRequest;

/// Fields of the same name and meaning in either API.
const SHARED: [&str; 5] = ["model", "max_tokens", "stream", "temperature", "top_p"];
/// Longer user ids are refused by OpenAI; Claude Code's are longer.
const LONGEST_USER: usize = 64;

/// Whether a body with messages is of this API rather than chat completions.
pub(in super::super) fn is_one(body: &Value) -> bool {
    let own_field = ["system", "stop_sequences", OUTPUT_CONFIG].iter().any(|field| body.get(field).is_some());
    let list = |field: &str| body.get(field).and_then(Value::as_array).into_iter().flatten();
    own_field
        || list("tools").any(|tool| tool.get("input_schema").is_some())
        || list("messages").any(|message| {
            let parts = message.get("content").and_then(Value::as_array).into_iter().flatten();
            let kinds = parts.filter_map(|part| part.get("type")?.as_str());
            kinds.into_iter().any(|kind| {
                matches!(
                    kind,
                    "tool_use" | "tool_result" | "thinking" | "redacted_thinking" | "image" | "document"
                )
            })
        })
}

pub(in super::super) fn read(body: Value, hosted: HostedTools) -> Result<(Value, Box<dyn Form>), BadRequest> {
    let Value::Object(mut fields) = body else {
        return Err(BadRequest {
            param: None,
            message: "the body must be a JSON object".into(),
            code: "invalid_value",
        });
    };
    check_sampling(&fields)?;
    check(&fields, "stop_sequences", is_texts, "an array of strings")?;
    refuse_servers(&fields, hosted)?;
    let mut form = Messages {
        omits_thinking: omits_reasoning(&fields),
        stop_sequences: texts(fields.get("stop_sequences")),
        left_out: Vec::new(),
    };
    let mut chat = Map::new();
    for field in SHARED.iter().chain(EXTENSIONS) {
        let value = fields.shift_remove(*field).filter(|value| !value.is_null());
        chat.extend(value.map(|value| ((*field).to_owned(), value)));
    }
    let messages =
        fields.shift_remove("messages").ok_or_else(|| BadRequest::missing("messages", "an array"))?;
    chat.insert("messages".into(), blocks::messages(fields.shift_remove("system"), messages)?.into());
    if !form.stop_sequences.is_empty() {
        chat.insert("stop".into(), form.stop_sequences.clone().into());
    }
    let user = fields.get("metadata").and_then(|metadata| metadata.get("user_id")?.as_str());
    if let Some(user) = user.filter(|user| user.len() <= LONGEST_USER) {
        chat.insert("user".into(), user.into());
    }
    form.left_out = read_tools(&mut fields, &mut chat, hosted)?;
    read_output(&mut fields, &mut chat);
    Ok((chat.into(), Box::new(form)))
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// What only Anthropic's own servers do.
fn refuse_servers(fields: &Map<String, Value>, hosted: HostedTools) -> Result<(), BadRequest> {
    let filled = |field: &str| match fields.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    };
    for field in ["mcp_servers", "container"] {
        if filled(field) && hosted == HostedTools::Refuse {
            return Err(unsupported(
                field,
                "runs on Anthropic's servers only, and this gateway calls other models",
            ));
        }
    }
    Ok(())
}

fn unsupported(param: &str, what: &str) -> BadRequest {
    BadRequest {
        param: Some(param.to_owned()),
        message: format!("{param}: {what}"),
        code: "unsupported_parameter",
    }
}

/// Tools whose client runs them become functions. Returns the kinds of those left out.
fn read_tools(
    fields: &mut Map<String, Value>,
    chat: &mut Map<String, Value>,
    hosted: HostedTools,
) -> Result<Vec<String>, BadRequest> {
    let tools = match fields.shift_remove("tools") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(tools)) => tools,
        Some(other) => return Err(BadRequest::value("tools", &other, "an array of tools")),
    };
    let mut functions = Vec::new();
    let mut left_out = Vec::new();
    for (index, tool) in tools.into_iter().enumerate() {
        match tool.get("type").and_then(Value::as_str) {
            None | Some("custom") => functions.push(function(index, tool)?),
            Some(kind) if hosted == HostedTools::Drop => left_out.push(kind.to_owned()),
            Some(kind) => {
                let what = format!(
                    "{kind:?} is a tool of Anthropic's own models; send a tool with input_schema, or let the operator \
                     leave hosted_tools = \"drop\""
                );
                return Err(unsupported(&format!("tools[{index}].type"), &what));
            }
        }
    }
    if functions.is_empty() {
        return Ok(left_out);
    }
    chat.insert("tools".into(), functions.into());
    read_choice(fields.shift_remove("tool_choice"), chat)?;
    Ok(left_out)
}

fn function(index: usize, tool: Value) -> Result<Value, BadRequest> {
    let Value::Object(mut tool) = tool else {
        return Err(BadRequest::value(
            &format!("tools[{index}]"),
            &tool,
            "an object with name and input_schema",
        ));
    };
    let name = match tool.shift_remove("name") {
        Some(name @ Value::String(_)) => name,
        other => {
            let param = format!("tools[{index}].name");
            return Err(BadRequest::value(&param, &other.unwrap_or_default(), "a string"));
        }
    };
    let mut function = Map::from_iter([("name".to_owned(), name)]);
    for (from, to) in [("description", "description"), ("input_schema", "parameters"), ("strict", "strict")] {
        let value = tool.shift_remove(from).filter(|value| !value.is_null());
        function.extend(value.map(|value| (to.to_owned(), value)));
    }
    let mut out = json!({"type": "function", "function": function});
    if let Some(mark) = tool.shift_remove("cache_control").filter(|mark| !mark.is_null()) {
        out["cache_control"] = mark;
    }
    Ok(out)
}

fn read_choice(choice: Option<Value>, chat: &mut Map<String, Value>) -> Result<(), BadRequest> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else { return Ok(()) };
    let wanted = match (choice.get("type").and_then(Value::as_str), choice.get("name")) {
        (Some("auto"), _) => json!("auto"),
        (Some("any"), _) => json!("required"),
        (Some("none"), _) => json!("none"),
        // A tool that was left out cannot be called.
        (Some("tool"), Some(name)) if !is_offered(chat, name) => json!("auto"),
        (Some("tool"), Some(name)) => json!({"type": "function", "function": {"name": name}}),
        _ => {
            return Err(BadRequest::value(
                "tool_choice",
                &choice,
                "a type of auto, any, tool (with name) or none",
            ));
        }
    };
    chat.insert("tool_choice".into(), wanted);
    if choice.get("disable_parallel_tool_use") == Some(&Value::Bool(true)) {
        chat.insert("parallel_tool_calls".into(), false.into());
    }
    Ok(())
}

fn is_offered(chat: &Map<String, Value>, name: &Value) -> bool {
    let tools = chat.get("tools").and_then(Value::as_array).into_iter().flatten();
    tools.into_iter().any(|tool| tool["function"]["name"] == *name)
}

/// The schema an answer is held to, and the effort, which deciding reads where it stands.
fn read_output(fields: &mut Map<String, Value>, chat: &mut Map<String, Value>) {
    let mut config = match fields.shift_remove(OUTPUT_CONFIG) {
        Some(Value::Object(config)) => config,
        _ => Map::new(),
    };
    let format = config.shift_remove("format").or_else(|| fields.shift_remove("output_format"));
    if let Some(schema) = format.as_ref().and_then(|format| format.get("schema")) {
        let held = json!({"name": "answer", "schema": schema, "strict": true});
        chat.insert("response_format".into(), json!({"type": "json_schema", "json_schema": held}));
    }
    if let Some(effort) = config.shift_remove("effort").filter(|effort| !effort.is_null()) {
        chat.insert(OUTPUT_CONFIG.into(), json!({"effort": effort}));
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
            "model": "auto", "max_tokens": 900, "stream": true, "temperature": 0.5, "top_k": 5,
            "system": "Be brief.", "stop_sequences": ["END"], "metadata": {"user_id": "u1"},
            "thinking": {"type": "adaptive"}, "output_config": {"effort": "low", "format": {
                "type": "json_schema", "schema": {"type": "object"}}},
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"},
                       "cache_control": {"type": "ephemeral"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "service_tier": "auto", "context_management": {"edits": []},
            "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(
            chat(body),
            json!({
                "model": "auto", "max_tokens": 900, "stream": true, "temperature": 0.5, "top_k": 5,
                "thinking": {"type": "adaptive"},
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
                "stop": ["END"], "user": "u1",
                "tools": [{"type": "function", "function": {
                    "name": "f", "description": "d", "parameters": {"type": "object"}},
                    "cache_control": {"type": "ephemeral"}}],
                "tool_choice": "required", "parallel_tool_calls": false,
                "response_format": {"type": "json_schema", "json_schema": {
                    "name": "answer", "schema": {"type": "object"}, "strict": true}},
                "output_config": {"effort": "low"}})
        );
    }

    #[test]
    fn tool_choices_are_translated() {
        for (choice, expected) in [
            (json!({"type": "auto"}), json!("auto")),
            (json!({"type": "none"}), json!("none")),
            (json!({"type": "tool", "name": "f"}), json!({"type": "function", "function": {"name": "f"}})),
            (json!({"type": "tool", "name": "left_out"}), json!("auto")),
        ] {
            let body =
                json!({"tool_choice": choice, "tools": [{"name": "f", "input_schema": {}}], "messages": []});
            assert_eq!(chat(body)["tool_choice"], expected);
        }
    }

    #[test]
    fn what_only_anthropics_servers_do_is_refused_by_name() {
        for (body, param) in [
            (
                json!({"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
                "tools[0].type",
            ),
            (json!({"messages": [], "mcp_servers": [{"url": "x"}]}), "mcp_servers"),
            (
                json!({"messages": [], "tool_choice": {"type": "perhaps"}, "tools": [{"name": "f"}]}),
                "tool_choice",
            ),
            (json!({"messages": [], "tools": [{"input_schema": {}}]}), "tools[0].name"),
            (json!({}), "messages"),
        ] {
            let refused = read(body.clone(), HostedTools::Refuse).err().expect("refused");
            assert_eq!(refused.param.as_deref(), Some(param), "{body}");
        }
        let body = json!({"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}],
                          "tool_choice": {"type": "auto"}});
        let (chat, form) = read(body, HostedTools::Drop).expect("left out");
        assert_eq!(form.left_out(), ["web_search_20250305"]);
        assert_eq!(chat, json!({"messages": []}), "a choice among no tools is no field either");
    }
}
