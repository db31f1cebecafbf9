//! Chat completions, as every server spells them: reasoning in one of four fields, in parts of the content, or inline.

use serde_json::{Map, Value};

use super::super::{BackendError, Usage, Whole, think};
use super::outlet::Outlet;
use super::turns::text_of;
use super::whole::{Gathered, Gathering};
use super::{message_of, parse, told};

/// One event of a stream; true when the server said it was the last.
pub(super) fn event(data: &str, outlet: &mut Outlet) -> Result<bool, BackendError> {
    if data.trim() == "[DONE]" {
        outlet.finish_all();
        return Ok(true);
    }
    let mut event = parse(data)?;
    if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
        // OpenRouter and vLLM give the status as the code.
        return Err(told(error, error.get("code").and_then(Value::as_u64)));
    }
    if let Some(usage) = event.get("usage").and_then(Usage::of_json) {
        outlet.usage(usage);
    }
    if let Some(Value::Array(choices)) = event.shift_remove("choices") {
        for choice in choices {
            if let Value::Object(choice) = choice {
                read_choice(choice, outlet);
            }
        }
    }
    Ok(false)
}

fn read_choice(mut fields: Map<String, Value>, outlet: &mut Outlet) {
    let index = fields.shift_remove("index").and_then(|index| index.as_u64()).unwrap_or(0);
    // Completions have their text where chats have a delta.
    let text = fields.shift_remove("text").map(|text| serde_json::json!({"content": text}));
    let delta = fields.shift_remove("delta").or(text);
    let reason = fields.shift_remove("finish_reason").filter(|reason| !reason.is_null());
    let beside = without_blanks(fields);
    if let Some(Value::Object(delta)) = delta {
        read_message(index, delta, beside, outlet);
    } else {
        outlet.other(index, Map::new(), beside);
    }
    if let Some(reason) = reason {
        outlet.finish(index, reason.as_str().map_or("stop", finish_reason));
    }
}

fn read_message(
    index: u64,
    mut message: Map<String, Value>,
    beside: Map<String, Value>,
    outlet: &mut Outlet,
) {
    message.shift_remove("role");
    if let Some(text) = take_reasoning(&mut message) {
        outlet.reasoning(index, &text);
    }
    let thought = message.get("extra_content").is_some_and(is_google_thought);
    match message.shift_remove("content") {
        Some(Value::String(text)) if thought => {
            message.shift_remove("extra_content");
            outlet.reasoning(index, text.trim_start_matches("<thought>").trim_end_matches("</thought>"));
        }
        Some(Value::String(text)) => outlet.content(index, &text),
        Some(Value::Array(parts)) => {
            if let Some(rest) = read_parts(index, parts, outlet) {
                message.insert("content".into(), rest);
            }
        }
        _ => {}
    }
    outlet.other(index, without_blanks(message), beside);
}

/// Gemini's compatible interface marks content that is thoughts, and puts tags of its own around them.
fn is_google_thought(extra: &Value) -> bool {
    extra.pointer("/google/thought").and_then(Value::as_bool).unwrap_or(false)
}

/// Mistral's content comes in parts, thoughts among them. What is neither text nor thought is handed back.
fn read_parts(index: u64, parts: Vec<Value>, outlet: &mut Outlet) -> Option<Value> {
    let mut rest = Vec::new();
    for part in parts {
        match (text_of(&part, "type"), part.get("thinking")) {
            (Some("thinking"), Some(thinking)) => outlet.reasoning(index, &thinking_text(thinking)),
            (Some("text"), _) => outlet.content(index, text_of(&part, "text").unwrap_or_default()),
            _ => rest.push(part),
        }
    }
    (!rest.is_empty()).then(|| rest.into())
}

fn thinking_text(thinking: &Value) -> String {
    match thinking {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| text_of(part, "text")).collect(),
        _ => String::new(),
    }
}

/// Takes the reasoning out of a message or delta: `reasoning` since vLLM 0.16 and from Ollama, Groq and OpenRouter,
/// `reasoning_content` elsewhere. `reasoning_details` stay, because the server wants them back as they are; their text is
/// shown where no other field holds it.
fn take_reasoning(fields: &mut Map<String, Value>) -> Option<String> {
    let mut found = None;
    for name in ["reasoning", "reasoning_content"] {
        if let Some(Value::String(text)) = fields.shift_remove(name)
            && !text.is_empty()
        {
            // Servers that send both send the same text twice.
            found.get_or_insert(text);
        }
    }
    found.or_else(|| {
        let details = fields.get("reasoning_details")?.as_array()?;
        let shown = |detail: &Value| {
            text_of(detail, "text").or_else(|| text_of(detail, "summary")).map(str::to_owned)
        };
        let text: String = details.iter().filter_map(shown).collect();
        (!text.is_empty()).then_some(text)
    })
}

/// Servers fill every field of their schema, with nothing in it.
fn without_blanks(fields: Map<String, Value>) -> Map<String, Value> {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    fields.into_iter().filter(|(_, value)| says(value)).collect()
}

/// Names that servers give the same ends.
fn finish_reason(reason: &str) -> &str {
    match reason {
        "eos" | "eos_token" | "end_turn" | "stop_sequence" | "" => "stop",
        "max_tokens" | "model_length" => "length",
        "tool_use" => "tool_calls",
        other => other,
    }
}

/// An answer in one piece, with reasoning where our clients look for it.
pub(super) fn whole(mut body: Map<String, Value>, outlet: &mut Outlet) -> Result<Whole, BackendError> {
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Err(BackendError::Reported(message_of(error)));
    }
    let usage = body.get("usage").and_then(Usage::of_json);
    let choices = match body.shift_remove("choices") {
        Some(Value::Array(choices)) if !choices.is_empty() => choices,
        _ => return Err(BackendError::BadAnswer("an answer without choices".into())),
    };
    let choices = choices.into_iter().enumerate().map(|(at, choice)| read_whole(at as u64, choice, outlet));
    Ok(Whole { choices: choices.collect(), usage, ..Whole::default() })
}

/// Reasoning goes through the same door as a stream's; every other field stays where it is.
fn read_whole(at: u64, mut choice: Value, outlet: &mut Outlet) -> Value {
    let reason = text_of(&choice, "finish_reason").map_or("stop", finish_reason).to_owned();
    if let Some(Value::Object(message)) = choice.get_mut("message") {
        let mut spoken = Map::new();
        for name in ["reasoning", "reasoning_content", "reasoning_details", "content", "extra_content"] {
            if let Some(value) = message.get(name) {
                spoken.insert(name.into(), value.clone());
            }
        }
        let spoken_is_thought = spoken.get("extra_content").is_some_and(is_google_thought);
        let text = take_reasoning(&mut spoken);
        spoken.shift_remove("reasoning_details");
        if let Some(text) = text {
            outlet.reasoning(at, &text);
        }
        if let Some(content) = spoken.get("content").and_then(Value::as_str)
            && think::closes_alone(content)
        {
            outlet.expect_closer(at);
        }
        let calls =
            message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
        read_message(at, spoken, Map::new(), outlet);
        outlet.finish(at, if calls { "tool_calls" } else { &reason });
        let mut gathering = Gathering::default();
        std::iter::from_fn(|| outlet.pop()).for_each(|step| gathering.take(step));
        if spoken_is_thought {
            message.shift_remove("extra_content");
        }
        put_back(message, gathering.choices.remove(&at).unwrap_or_default());
    }
    if choice.get("finish_reason").is_some_and(Value::is_string) {
        choice["finish_reason"] = reason.into();
    }
    choice
}

fn put_back(message: &mut Map<String, Value>, gathered: Gathered) {
    message.shift_remove("reasoning");
    message.shift_remove("reasoning_content");
    let left = gathered.fields.get("content").cloned();
    match (message.get("content"), left) {
        // Parts that are no text keep the content a list.
        (Some(Value::Array(_)), Some(Value::Array(mut rest))) => {
            if !gathered.content.is_empty() {
                rest.insert(0, serde_json::json!({"type": "text", "text": gathered.content}));
            }
            message.insert("content".into(), rest.into());
        }
        (Some(Value::String(_) | Value::Array(_)), _) => {
            message.insert("content".into(), gathered.content.into());
        }
        _ => {}
    }
    if !gathered.reasoning.is_empty() {
        message.insert("reasoning_content".into(), gathered.reasoning.into());
    }
}
