use serde_json::{Map, Value, json};

use super::super::fields::{copy, most_tokens, schema, stop_sequences, wants_json};
use super::super::turns::{Call, Media, MediaKind, Said, Source, Turns, text_of};

const SAMPLING: [(&str, &str); 9] = [
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("min_p", "min_p"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("repeat_penalty", "repeat_penalty"),
    ("repetition_penalty", "repeat_penalty"),
];

/// Fields that stand beside the options.
const BESIDE: [&str; 4] = ["keep_alive", "logprobs", "top_logprobs", "stream"];

/// The request in Ollama's words. What it says of thinking is the dialect's to add.
pub(in crate::backends) fn body(chat: &Map<String, Value>) -> Map<String, Value> {
    let mut body = Map::new();
    copy(chat, &mut body, &[("model", "model")]);
    body.insert("messages".into(), messages(chat).into());
    let forbidden = chat.get("tool_choice").is_some_and(|choice| choice == "none");
    if let Some(tools) = chat.get("tools").filter(|_| !forbidden) {
        body.insert("tools".into(), tools.clone());
    }
    if let Some(schema) = schema(chat) {
        body.insert("format".into(), schema.schema.clone());
    } else if wants_json(chat) {
        body.insert("format".into(), "json".into());
    }
    let options = options(chat);
    if !options.is_empty() {
        body.insert("options".into(), options.into());
    }
    copy(chat, &mut body, &BESIDE.map(|field| (field, field)));
    body
}

fn options(chat: &Map<String, Value>) -> Map<String, Value> {
    let mut options = Map::new();
    copy(chat, &mut options, &SAMPLING);
    if let Some(tokens) = most_tokens(chat) {
        options.insert("num_predict".into(), tokens.into());
    }
    if let Some(stop) = stop_sequences(chat) {
        options.insert("stop".into(), stop.into());
    }
    // A client that knows Ollama's own names means them.
    if let Some(Value::Object(own)) = chat.get("options") {
        options.extend(own.clone());
    }
    options
}

/// Roles stay as they are, system messages in their places; only what is said is read anew.
fn messages(chat: &Map<String, Value>) -> Vec<Value> {
    let all = chat.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|message| Some(self::message(message, message.as_object()?, all))).collect()
}

fn message(message: &Value, fields: &Map<String, Value>, all: &[Value]) -> Value {
    let role = match text_of(message, "role") {
        Some("developer" | "system") => "system",
        Some("function" | "tool") => "tool",
        Some("assistant") => "assistant",
        _ => "user",
    };
    let (mut text, mut images, mut calls) = (String::new(), Vec::new(), Vec::new());
    for said in Turns::said_by(fields, all) {
        match said {
            Said::Text(piece) => text.push_str(piece.text),
            Said::Media(media) => images.extend(image(&media)),
            Said::Call(call) => calls.push(call_of(&call)),
            _ => {}
        }
    }
    let mut out = json!({"role": role, "content": text});
    if !images.is_empty() {
        out["images"] = images.into();
    }
    if !calls.is_empty() {
        out["tool_calls"] = calls.into();
    }
    if let Some(thoughts) = text_of(message, "reasoning_content").filter(|text| !text.is_empty()) {
        out["thinking"] = thoughts.into();
    }
    if role == "tool" {
        let id = text_of(message, "tool_call_id").unwrap_or_default();
        if let Some(name) = text_of(message, "name").or_else(|| super::super::turns::name_of_call(id, all)) {
            out["tool_name"] = name.into();
        }
        if !id.is_empty() {
            out["tool_call_id"] = id.into();
        }
    }
    out
}

fn call_of(call: &Call<'_>) -> Value {
    json!({"id": call.id, "function": {"name": call.name, "arguments": call.arguments}})
}

/// Whether the wire has a place for it.
pub(in crate::backends::wire) fn takes(media: &Media<'_>) -> bool {
    image(media).is_some()
}

/// Images alone, and none that would have to be fetched.
fn image<'a>(media: &Media<'a>) -> Option<&'a str> {
    match (media.kind, media.source) {
        (MediaKind::Image, Source::Data { base64, .. }) => Some(base64),
        _ => None,
    }
}
