use serde_json::{Map, Value, json};

use super::super::fields::{copy, most_tokens, plain_id, schema, stop_sequences, tool_names};
use super::super::turns::{Call, Media, MediaKind, Said, Source, Speaker, Text, ToolResult, Turns};

/// The wire demands a limit; this is what every model still sold can give.
const DEFAULT_MAX_TOKENS: u64 = 8192;

/// Fields that only Anthropic's clients send and only Anthropic reads; every other unknown one is refused there.
const OWN_FIELDS: [&str; 5] =
    ["container", "context_management", "mcp_servers", "inference_geo", "cache_control"];

/// The request in Anthropic's words. What it says of thinking is the dialect's to add.
pub(in crate::backends) fn body(chat: &Map<String, Value>) -> Map<String, Value> {
    let turns = Turns::read(chat);
    let mut body = Map::new();
    copy(chat, &mut body, &[("model", "model")]);
    body.insert("max_tokens".into(), most_tokens(chat).unwrap_or(DEFAULT_MAX_TOKENS).into());
    if !turns.system.is_empty() {
        let system: Vec<Value> = turns.system.iter().map(text_block).collect();
        body.insert("system".into(), system.into());
    }
    body.insert("messages".into(), messages(&turns).into());
    copy(chat, &mut body, &[("temperature", "temperature"), ("top_p", "top_p"), ("top_k", "top_k")]);
    if let Some(temperature) = body.get_mut("temperature")
        && temperature.as_f64().is_some_and(|number| number > 1.0)
    {
        // OpenAI's scale goes to 2.
        *temperature = json!(1.0);
    }
    if let Some(stop) = stop_sequences(chat) {
        // Sequences of white space alone are refused.
        let stop: Vec<&str> = stop.into_iter().filter(|text| !text.trim().is_empty()).collect();
        if !stop.is_empty() {
            body.insert("stop_sequences".into(), stop.into());
        }
    }
    add_tools(chat, &mut body);
    if let Some(schema) = schema(chat) {
        let format = json!({"type": "json_schema", "schema": schema.schema});
        body.insert("output_config".into(), json!({ "format": format }));
    }
    if let Some(user) = user(chat) {
        body.insert("metadata".into(), json!({ "user_id": user }));
    }
    if let Some(tier @ ("auto" | "standard_only")) = chat.get("service_tier").and_then(Value::as_str) {
        body.insert("service_tier".into(), tier.into());
    }
    copy(chat, &mut body, &OWN_FIELDS.map(|field| (field, field)));
    copy(chat, &mut body, &[("stream", "stream")]);
    body
}

fn user(chat: &Map<String, Value>) -> Option<&str> {
    let of_metadata = chat.get("metadata").and_then(|metadata| metadata.get("user_id"));
    of_metadata.or_else(|| chat.get("safety_identifier")).or_else(|| chat.get("user"))?.as_str()
}

fn messages(turns: &Turns<'_>) -> Vec<Value> {
    let last = turns.turns.len().saturating_sub(1);
    turns
        .turns
        .iter()
        .enumerate()
        .map(|(index, turn)| {
            let mut said: Vec<&Said<'_>> = turn.said.iter().collect();
            // A tool's answers must come before anything else the user's turn says.
            said.sort_by_key(|said| !matches!(said, Said::Result(_)));
            let role = match turn.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
            };
            let mut blocks: Vec<Value> = said.into_iter().filter_map(block).collect();
            if index == last && turn.speaker == Speaker::Assistant {
                trim_prefill(&mut blocks);
            }
            json!({"role": role, "content": blocks})
        })
        .collect()
}

/// What the assistant is to go on from must not end in white space.
fn trim_prefill(blocks: &mut Vec<Value>) {
    let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text")) else { return };
    text.truncate(text.trim_end().len());
    if text.is_empty() {
        blocks.pop();
    }
}

fn block(said: &Said<'_>) -> Option<Value> {
    match said {
        // White space alone is refused.
        Said::Text(text) => (!text.text.trim().is_empty()).then(|| text_block(text)),
        Said::Media(media) => media_block(media),
        Said::Thought(block) => Some((*block).clone()),
        Said::Call(call) => Some(call_block(call)),
        Said::Result(result) => Some(result_block(result)),
    }
}

fn text_block(text: &Text<'_>) -> Value {
    cached(json!({"type": "text", "text": text.text}), text.cache)
}

fn call_block(call: &Call<'_>) -> Value {
    json!({"type": "tool_use", "id": plain_id(call.id), "name": call.name, "input": call.arguments})
}

fn result_block(result: &ToolResult<'_>) -> Value {
    let content: Vec<Value> = result
        .said
        .iter()
        .filter_map(|said| match said {
            // The mark belongs to the result as a whole.
            Said::Text(text) => Some(json!({"type": "text", "text": text.text})),
            other => block(other),
        })
        .collect();
    let mut block = json!({"type": "tool_result", "tool_use_id": plain_id(result.id), "content": content});
    if result.failed {
        block["is_error"] = true.into();
    }
    cached(block, result.cache)
}

/// Whether the wire has a place for it.
pub(in crate::backends::wire) fn takes(media: &Media<'_>) -> bool {
    media_block(media).is_some()
}

fn media_block(media: &Media<'_>) -> Option<Value> {
    let (kind, source) = match (media.kind, media.source) {
        (MediaKind::Image, Source::Data { media_type, base64 }) if media_type.starts_with("image/") => {
            ("image", json!({"type": "base64", "media_type": media_type, "data": base64}))
        }
        (MediaKind::File, Source::Data { media_type: media_type @ "application/pdf", base64 }) => {
            ("document", json!({"type": "base64", "media_type": media_type, "data": base64}))
        }
        (MediaKind::Image, Source::Link(url)) => ("image", json!({"type": "url", "url": url})),
        (MediaKind::File, Source::Link(url)) => ("document", json!({"type": "url", "url": url})),
        (MediaKind::File, Source::Id(id)) => ("document", json!({"type": "file", "file_id": id})),
        _ => return None,
    };
    let mut block = json!({"type": kind, "source": source});
    if let (Some(name), "document") = (media.name, kind) {
        block["title"] = name.into();
    }
    Some(cached(block, media.cache))
}

fn cached(mut block: Value, cache: Option<&Value>) -> Value {
    if let Some(cache) = cache {
        block["cache_control"] = cache.clone();
    }
    block
}

fn add_tools(chat: &Map<String, Value>, body: &mut Map<String, Value>) {
    let Some(tools) = chat.get("tools").and_then(Value::as_array).filter(|tools| !tools.is_empty()) else {
        return;
    };
    let tools: Vec<Value> = tools.iter().map(tool).collect();
    body.insert("tools".into(), tools.into());
    let mut choice = match chat.get("tool_choice") {
        Some(Value::String(mode)) => match mode.as_str() {
            "required" => json!({"type": "any"}),
            "none" => json!({"type": "none"}),
            _ => json!({"type": "auto"}),
        },
        Some(choice) => match tool_names(choice).as_slice() {
            [name] => json!({"type": "tool", "name": name}),
            _ => json!({"type": "auto"}),
        },
        None => json!({"type": "auto"}),
    };
    let serial = chat.get("parallel_tool_calls").and_then(Value::as_bool) == Some(false);
    if serial && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    if serial || chat.get("tool_choice").is_some_and(|choice| !choice.is_null()) {
        body.insert("tool_choice".into(), choice);
    }
}

fn tool(tool: &Value) -> Value {
    let Some(function) = tool.get("function") else {
        // A tool of Anthropic's own.
        return tool.clone();
    };
    let mut out = Map::new();
    if let Some(function) = function.as_object() {
        copy(function, &mut out, &[("name", "name"), ("description", "description")]);
    }
    let mut schema = json!({"type": "object", "properties": {}});
    if let Some(parameters) =
        function.get("parameters").and_then(Value::as_object).filter(|own| !own.is_empty())
    {
        schema = json!({"type": "object"});
        let object = schema.as_object_mut().expect("just made");
        object.extend(parameters.clone());
    }
    out.insert("input_schema".into(), schema);
    if let Some(cache) = tool.get("cache_control").or_else(|| function.get("cache_control")) {
        out.insert("cache_control".into(), cache.clone());
    }
    out.into()
}
