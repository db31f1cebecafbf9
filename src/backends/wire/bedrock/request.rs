use serde_json::{Map, Value, json};

use super::super::fields::{
    copy, functions, most_tokens, must_call, plain_id, schema, stop_sequences, tool_names,
};
use super::super::turns::{Media, MediaKind, Said, Source, Speaker, Text, ToolResult, Turns, text_of};

/// Fields that only Bedrock's clients send and only Bedrock reads.
const OWN_FIELDS: [&str; 4] = ["guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables"];

/// The request in Bedrock's words. What it says of thinking is the dialect's to add.
pub(in crate::backends) fn body(chat: &Map<String, Value>) -> Map<String, Value> {
    let turns = Turns::read(chat);
    let mut body = Map::new();
    if !turns.system.is_empty() {
        let system: Vec<Value> = turns.system.iter().flat_map(text_blocks).collect();
        body.insert("system".into(), system.into());
    }
    let messages: Vec<Value> = turns
        .turns
        .iter()
        .map(|turn| {
            let role = match turn.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
            };
            let content: Vec<Value> = turn.said.iter().flat_map(blocks).collect();
            json!({"role": role, "content": content})
        })
        .collect();
    body.insert("messages".into(), messages.into());
    let config = inference(chat);
    if !config.is_empty() {
        body.insert("inferenceConfig".into(), config.into());
    }
    add_tools(chat, &turns, &mut body);
    if let Some(schema) = schema(chat) {
        // The schema travels as text.
        let format = json!({"schema": schema.schema.to_string(), "name": schema.name.unwrap_or("answer")});
        let format = json!({"type": "json_schema", "structure": {"jsonSchema": format}});
        body.insert("outputConfig".into(), json!({ "textFormat": format }));
    }
    if let Some(top_k) = chat.get("top_k").filter(|top_k| !top_k.is_null()) {
        body.insert("additionalModelRequestFields".into(), json!({ "top_k": top_k }));
    }
    copy(chat, &mut body, &OWN_FIELDS.map(|field| (field, field)));
    body
}

fn inference(chat: &Map<String, Value>) -> Map<String, Value> {
    let mut config = Map::new();
    if let Some(tokens) = most_tokens(chat) {
        config.insert("maxTokens".into(), tokens.into());
    }
    copy(chat, &mut config, &[("temperature", "temperature"), ("top_p", "topP")]);
    if let Some(stop) = stop_sequences(chat) {
        config.insert("stopSequences".into(), stop.into());
    }
    config
}

fn text_blocks(text: &Text<'_>) -> Vec<Value> {
    with_cache(json!({"text": text.text}), text.cache)
}

/// A cached prefix ends with a block of its own here.
fn with_cache(block: Value, cache: Option<&Value>) -> Vec<Value> {
    let Some(cache) = cache else { return vec![block] };
    let mut point = json!({"type": "default"});
    if let Some(ttl) = cache.get("ttl") {
        point["ttl"] = ttl.clone();
    }
    vec![block, json!({ "cachePoint": point })]
}

fn blocks(said: &Said<'_>) -> Vec<Value> {
    match said {
        // White space alone is refused.
        Said::Text(text) if text.text.trim().is_empty() => Vec::new(),
        Said::Text(text) => text_blocks(text),
        Said::Media(media) => {
            media_block(media).map(|block| with_cache(block, media.cache)).unwrap_or_default()
        }
        Said::Thought(block) => thought(block).into_iter().collect(),
        Said::Call(call) => {
            vec![
                json!({"toolUse": {"toolUseId": plain_id(call.id), "name": call.name, "input": call.arguments}}),
            ]
        }
        Said::Result(result) => with_cache(result_block(result), result.cache),
    }
}

fn thought(block: &Value) -> Option<Value> {
    let content = match text_of(block, "type")? {
        "thinking" => {
            let text = text_of(block, "thinking").unwrap_or_default();
            json!({"reasoningText": {"text": text, "signature": text_of(block, "signature")?}})
        }
        _ => json!({"redactedContent": text_of(block, "data")?}),
    };
    Some(json!({ "reasoningContent": content }))
}

fn result_block(result: &ToolResult<'_>) -> Value {
    let content = result.said.iter().filter_map(|said| match said {
        Said::Text(text) => Some(json!({"text": text.text})),
        Said::Media(media) => media_block(media),
        _ => None,
    });
    let content: Vec<Value> = content.collect();
    let mut block = json!({"toolUseId": plain_id(result.id), "content": content});
    if result.failed {
        block["status"] = "error".into();
    }
    json!({ "toolResult": block })
}

/// Whether the wire has a place for it.
pub(in crate::backends::wire) fn takes(media: &Media<'_>) -> bool {
    media_block(media).is_some()
}

fn media_block(media: &Media<'_>) -> Option<Value> {
    let Source::Data { media_type, base64 } = media.source else { return None };
    let source = json!({ "bytes": base64 });
    match (media.kind, media_type) {
        (MediaKind::Image, "image/png" | "image/jpeg" | "image/gif" | "image/webp") => {
            Some(json!({"image": {"format": &media_type["image/".len()..], "source": source}}))
        }
        (MediaKind::File, kind) => {
            let format = match kind {
                "application/pdf" => "pdf",
                "text/csv" => "csv",
                "text/html" => "html",
                "text/plain" => "txt",
                "text/markdown" => "md",
                _ => return None,
            };
            Some(json!({"document": {"format": format, "name": document_name(media.name), "source": source}}))
        }
        _ => None,
    }
}

/// Names may hold letters, digits, white space, hyphens and brackets, and no dot.
fn document_name(name: Option<&str>) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { '-' };
    let name: String = name.unwrap_or("document").chars().take(200).map(kept).collect();
    if name.is_empty() { "document".into() } else { name }
}

fn add_tools(chat: &Map<String, Value>, turns: &Turns<'_>, body: &mut Map<String, Value>) {
    let forbidden = chat.get("tool_choice").is_some_and(|choice| choice == "none");
    let tools: Vec<Value> = functions(chat).map(tool).collect();
    // Forbidding calls has no word here but silence, which is refused where the conversation holds calls already.
    if tools.is_empty() || (forbidden && !turns.mentions_tools()) {
        return;
    }
    let mut config = json!({ "tools": tools });
    if let Some(choice) = chat.get("tool_choice").filter(|choice| must_call(choice)) {
        config["toolChoice"] = match tool_names(choice).as_slice() {
            [name] => json!({"tool": {"name": name}}),
            _ => json!({"any": {}}),
        };
    }
    body.insert("toolConfig".into(), config);
}

fn tool(function: &Map<String, Value>) -> Value {
    let mut spec = Map::new();
    copy(function, &mut spec, &[("name", "name")]);
    if let Some(description) =
        function.get("description").filter(|text| text.as_str().is_some_and(|text| !text.is_empty()))
    {
        spec.insert("description".into(), description.clone());
    }
    let schema = function.get("parameters").filter(|schema| schema.is_object());
    let schema = schema.cloned().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    spec.insert("inputSchema".into(), json!({ "json": schema }));
    json!({ "toolSpec": spec })
}
