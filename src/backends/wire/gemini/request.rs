use serde_json::{Map, Value, json};

use super::super::fields::{
    copy, functions, most_tokens, must_call, schema, stop_sequences, tool_names, wants_json,
};
use super::super::turns::{Call, Media, MediaKind, Said, Source, Speaker, ToolResult, Turns};
use super::reply::MINTED;

/// Fields that only Gemini's clients send and only Gemini reads.
const OWN_FIELDS: [&str; 3] = ["safetySettings", "cachedContent", "labels"];

const SAMPLING: [(&str, &str); 9] = [
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("n", "candidateCount"),
    ("logprobs", "responseLogprobs"),
    ("top_logprobs", "logprobs"),
];

/// The request in Gemini's words. What it says of thinking is the dialect's to add.
pub(in crate::backends) fn body(chat: &Map<String, Value>) -> Map<String, Value> {
    let turns = Turns::read(chat);
    let mut body = Map::new();
    if !turns.system.is_empty() {
        let parts: Vec<Value> = turns.system.iter().map(|text| json!({"text": text.text})).collect();
        body.insert("systemInstruction".into(), json!({ "parts": parts }));
    }
    body.insert("contents".into(), contents(&turns).into());
    add_tools(chat, &mut body);
    let config = config(chat);
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    copy(chat, &mut body, &OWN_FIELDS.map(|field| (field, field)));
    body
}

fn contents(turns: &Turns<'_>) -> Vec<Value> {
    turns
        .turns
        .iter()
        .map(|turn| {
            let role = match turn.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "model",
            };
            let parts: Vec<Value> = turn.said.iter().filter_map(part).collect();
            json!({"role": role, "parts": parts})
        })
        .filter(|turn| turn["parts"].as_array().is_some_and(|parts| !parts.is_empty()))
        .collect()
}

fn part(said: &Said<'_>) -> Option<Value> {
    match said {
        Said::Text(text) => Some(signed(json!({"text": text.text}), text.signature)),
        Said::Media(media) => media_part(media),
        // Thoughts are not sent back here; their signatures stand on the parts that came of them.
        Said::Thought(_) => None,
        Said::Call(call) => Some(call_part(call)),
        Said::Result(result) => Some(result_part(result)),
    }
}

fn signed(mut part: Value, signature: Option<&str>) -> Value {
    if let Some(signature) = signature {
        part["thoughtSignature"] = signature.into();
    }
    part
}

fn call_part(call: &Call<'_>) -> Value {
    let mut function = json!({"name": call.name, "args": call.arguments});
    name_call(&mut function, call.id);
    signed(json!({ "functionCall": function }), call.signature)
}

fn result_part(result: &ToolResult<'_>) -> Value {
    let text: String = result
        .said
        .iter()
        .filter_map(|said| match said {
            Said::Text(text) => Some(text.text),
            _ => None,
        })
        .collect();
    let response = match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) if !result.failed => Value::Object(fields),
        _ if result.failed => json!({ "error": text }),
        _ => json!({ "output": text }),
    };
    let mut function = json!({"name": result.name.unwrap_or("tool"), "response": response});
    name_call(&mut function, result.id);
    let media: Vec<Value> = result
        .said
        .iter()
        .filter_map(|said| match said {
            Said::Media(media) => media_part(media),
            _ => None,
        })
        .collect();
    if !media.is_empty() {
        function["parts"] = media.into();
    }
    json!({ "functionResponse": function })
}

/// An id that we made up, because the server gave none, means nothing to it.
fn name_call(function: &mut Value, id: &str) {
    if !id.is_empty() && !id.starts_with(MINTED) {
        function["id"] = id.into();
    }
}

/// Whether the wire has a place for it.
pub(in crate::backends::wire) fn takes(media: &Media<'_>) -> bool {
    media_part(media).is_some()
}

fn media_part(media: &Media<'_>) -> Option<Value> {
    if media.kind == MediaKind::Unknown {
        return None;
    }
    match media.source {
        Source::Data { media_type, base64 } => {
            Some(json!({"inlineData": {"mimeType": media_type, "data": base64}}))
        }
        Source::Link(uri) | Source::Id(uri) => {
            let mut file = json!({ "fileUri": uri });
            if let Some(kind) = media_type(uri) {
                file["mimeType"] = kind.into();
            }
            Some(json!({ "fileData": file }))
        }
        Source::Missing => None,
    }
}

/// What an address says of its content.
fn media_type(uri: &str) -> Option<&'static str> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let (_, extension) = path.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        _ => return None,
    })
}

fn config(chat: &Map<String, Value>) -> Map<String, Value> {
    let mut config = Map::new();
    copy(chat, &mut config, &SAMPLING);
    if let Some(tokens) = most_tokens(chat) {
        config.insert("maxOutputTokens".into(), tokens.into());
    }
    if let Some(stop) = stop_sequences(chat) {
        config.insert("stopSequences".into(), stop.into());
    }
    if let Some(schema) = schema(chat) {
        config.insert("responseMimeType".into(), "application/json".into());
        config.insert("responseJsonSchema".into(), schema.schema.clone());
    } else if wants_json(chat) {
        config.insert("responseMimeType".into(), "application/json".into());
    }
    if let Some(modalities) = chat.get("modalities").and_then(Value::as_array) {
        let names = modalities.iter().filter_map(Value::as_str).map(str::to_ascii_uppercase);
        config.insert("responseModalities".into(), names.collect::<Vec<String>>().into());
    }
    config
}

fn add_tools(chat: &Map<String, Value>, body: &mut Map<String, Value>) {
    let declarations: Vec<Value> = functions(chat).map(declaration).collect();
    let own = chat.get("tools").and_then(Value::as_array).into_iter().flatten();
    // Google's own tools, such as {"googleSearch": {}}.
    let mut tools: Vec<Value> = own.filter(|tool| tool.get("type").is_none()).cloned().collect();
    if !declarations.is_empty() {
        tools.push(json!({ "functionDeclarations": declarations }));
    }
    if tools.is_empty() {
        return;
    }
    body.insert("tools".into(), tools.into());
    let Some(choice) = chat.get("tool_choice").filter(|choice| !choice.is_null()) else { return };
    let names = tool_names(choice);
    let mode = match choice {
        choice if *choice == "none" => "NONE",
        choice if must_call(choice) => "ANY",
        _ => "AUTO",
    };
    let mut calling = json!({ "mode": mode });
    if mode == "ANY" && !names.is_empty() {
        calling["allowedFunctionNames"] = names.into();
    }
    body.insert("toolConfig".into(), json!({ "functionCallingConfig": calling }));
}

fn declaration(function: &Map<String, Value>) -> Value {
    let mut out = Map::new();
    // The other field, `parameters`, takes a dialect of JSON schema that refuses half of what clients send.
    let names = [("name", "name"), ("description", "description"), ("parameters", "parametersJsonSchema")];
    copy(function, &mut out, &names);
    out.into()
}
