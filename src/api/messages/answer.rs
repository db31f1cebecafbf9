//! An answer in one piece as a message.

use serde_json::{Map, Value, json};

use super::super::calls::signed;
use super::super::client::Head;
use super::super::seal::{Sealed, unseen};
use super::{opening, stop, usage};
use crate::backends::Whole;
use crate::id::unique;

pub(super) fn message(head: &Head, sequences: &[String], whole: Whole) -> Value {
    let notes = head.notes_of(&whole);
    let counts = usage(whole.usage.as_ref());
    let mut choice = whole.choices.into_iter().next().unwrap_or_default();
    let mut said = match choice.get_mut("message").map(Value::take) {
        Some(Value::Object(said)) => said,
        _ => Map::new(),
    };
    let mut content = thinking(head, &mut said);
    content.extend(text(&mut said).map(|text| json!({"type": "text", "text": text})));
    let calls: Vec<Value> = said
        .get("tool_calls")
        .and_then(Value::as_array)
        .map_or(Vec::new(), |calls| calls.iter().map(tool_use).collect());
    let reason = choice.get("finish_reason").and_then(Value::as_str).unwrap_or("stop");
    let (reason, sequence) = stop(reason, choice.get("stop_reason"), sequences, !calls.is_empty());
    content.extend(calls);
    let mut message = opening(head);
    message["content"] = content.into();
    message["stop_reason"] = reason;
    message["stop_sequence"] = sequence;
    message["usage"] = counts;
    if !notes.is_empty() {
        message["thinkgate"] = notes.into();
    }
    message
}

/// Thinking as its backend signed it, or unsigned where it does not sign. Signatures are never made up, and a block with
/// neither text nor signature would say nothing.
fn thinking(head: &Head, said: &mut Map<String, Value>) -> Vec<Value> {
    let shown = head.reasoning.is_some();
    let mut sealed = Sealed::default();
    if let Some(Value::Array(details)) = said.shift_remove("reasoning_details") {
        sealed.add_details(unseen(head, details));
    }
    if let Some(Value::Array(blocks)) = said.shift_remove("thinking_blocks")
        && !blocks.is_empty()
    {
        return blocks.into_iter().filter_map(|block| as_shown(shown, block)).collect();
    }
    let text = said.get("reasoning_content").and_then(Value::as_str).filter(|text| shown && !text.is_empty());
    let signature = sealed.signature();
    let block = json!({
        "type": "thinking", "thinking": text.unwrap_or_default(), "signature": signature.unwrap_or_default(),
    });
    let block = (text.is_some() || signature.is_some()).then_some(block);
    block.into_iter().chain(sealed.block()).collect()
}

/// The block as the client sees it; none where nothing of it may be seen.
pub(super) fn as_shown(shown: bool, mut block: Value) -> Option<Value> {
    if block["type"] != "thinking" || shown {
        return Some(block);
    }
    let signed =
        block.get("signature").and_then(Value::as_str).is_some_and(|signature| !signature.is_empty());
    block["thinking"] = "".into();
    signed.then_some(block)
}

fn text(said: &mut Map<String, Value>) -> Option<String> {
    let text = match said.shift_remove("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<&str>>().concat()
        }
        _ => String::new(),
    };
    let refusal = said.get("refusal").and_then(Value::as_str).map(str::to_owned);
    Some(text).filter(|text| !text.is_empty()).or(refusal).filter(|text| !text.is_empty())
}

fn tool_use(call: &Value) -> Value {
    let text = |pointer: &str| call.pointer(pointer).and_then(Value::as_str);
    let id =
        text("/id").filter(|id| !id.is_empty()).map_or_else(|| format!("call_{}", unique()), str::to_owned);
    let input = match call.pointer("/function/arguments") {
        Some(object @ Value::Object(_)) => object.clone(),
        Some(Value::String(arguments)) => input(arguments),
        _ => json!({}),
    };
    json!({
        "type": "tool_use",
        "id": signed(&id, call.get("extra_content")),
        "name": text("/function/name").unwrap_or_default(),
        "input": input,
    })
}

/// Arguments that are no object were never valid, and are shown as they came.
fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    }
}
