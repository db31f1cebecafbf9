//! The items of an answer, and the answer in one piece.

use serde_json::{Value, json};

use super::super::calls::signed;
use super::super::client::Head;
use super::super::seal::{Sealed, unseen};
use super::Responses;
use super::envelope::{Status, envelope};
use super::tools::{ToolName, input_of};
use crate::backends::Whole;
use crate::id::unique;

pub(super) fn response(form: &Responses, head: &Head, whole: Whole) -> Value {
    let notes = head.notes_of(&whole);
    let choice = whole.choices.into_iter().next().unwrap_or_default();
    let status = Status::of(choice.get("finish_reason").and_then(Value::as_str).unwrap_or("stop"));
    let output = items(form, head, &choice, &status);
    let mut response = envelope(form, head, &status, output, whole.usage.as_ref());
    if !notes.is_empty() {
        response.insert("thinkgate".into(), notes.into());
    }
    response.into()
}

fn items(form: &Responses, head: &Head, choice: &Value, status: &Status) -> Vec<Value> {
    let said = &choice["message"];
    let list = |field: &str| said.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |field: &str| said.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let id = |kind: &str, index: usize| id_of(head, kind, index);
    let mut items = Vec::new();
    let mut sealed = Sealed::default();
    sealed.add_blocks(unseen(head, list("thinking_blocks")));
    sealed.add_details(unseen(head, list("reasoning_details")));
    let reasoning = text("reasoning_content").filter(|_| head.reasoning.is_some());
    if reasoning.is_some() || !sealed.is_empty() {
        let content = reasoning.unwrap_or_default();
        items.push(reasoning_item(&id("rs", 0), content, form.summary, &sealed, "completed"));
    }
    let parts: Vec<Value> = [
        text("content").map(|text| text_part(text, logprobs_of(choice))),
        text("refusal").map(|refusal| json!({"type": "refusal", "refusal": refusal})),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !parts.is_empty() {
        items.push(message_item(&id("msg", items.len()), parts, end_of(status)));
    }
    for call in list("tool_calls") {
        let text =
            |pointer: &str| call.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let call_id = text("/id").map_or_else(|| format!("call_{}", unique()), str::to_owned);
        let call_id = signed(&call_id, call.get("extra_content"));
        let name = form.tools.of_chat(text("/function/name").unwrap_or_default());
        let arguments = text("/function/arguments").unwrap_or("{}");
        let item = id(kind_of(&name), items.len());
        items.push(call_item(&item, &call_id, &name, arguments, "completed"));
    }
    items
}

/// Unique within the answer, and the same in every event of it.
pub(super) fn id_of(head: &Head, kind: &str, index: usize) -> String {
    format!("{kind}_{}_{index}", head.request_id)
}

/// How the last item of an answer stands that ended like this.
pub(super) fn end_of(status: &Status) -> &'static str {
    if matches!(status, Status::Incomplete(_)) { "incomplete" } else { "completed" }
}

pub(super) fn logprobs_of(beside: &Value) -> Vec<Value> {
    beside.pointer("/logprobs/content").and_then(Value::as_array).cloned().unwrap_or_default()
}

pub(super) fn text_part(text: &str, logprobs: Vec<Value>) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
}

pub(super) fn message_item(id: &str, parts: Vec<Value>, status: &str) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": parts})
}

/// Reasoning in the summary where the client asked for one, else in the content.
pub(super) fn reasoning_item(id: &str, text: &str, summary: bool, sealed: &Sealed, status: &str) -> Value {
    let mut item = json!({"id": id, "type": "reasoning", "status": status, "summary": []});
    if !text.is_empty() {
        let (field, part) = match summary {
            true => ("summary", summary_part(text)),
            false => ("content", reasoning_part(text)),
        };
        item[field] = json!([part]);
    }
    if let Some(content) = sealed.content() {
        item["encrypted_content"] = content.into();
    }
    item
}

pub(super) fn summary_part(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

pub(super) fn reasoning_part(text: &str) -> Value {
    json!({"type": "reasoning_text", "text": text})
}

/// The start of the ids of such calls.
pub(super) fn kind_of(name: &ToolName) -> &'static str {
    if name.custom { "ctc" } else { "fc" }
}

/// A call as the client knows its tool.
pub(super) fn call_item(id: &str, call_id: &str, name: &ToolName, arguments: &str, status: &str) -> Value {
    let (kind, field, value) = match name.custom {
        true if arguments.is_empty() => ("custom_tool_call", "input", String::new()),
        true => ("custom_tool_call", "input", input_of(arguments)),
        false => ("function_call", "arguments", arguments.to_owned()),
    };
    let mut item = json!({
        "id": id, "type": kind, "status": status, "call_id": call_id, "name": name.name, field: value,
    });
    if let Some(namespace) = &name.namespace {
        item["namespace"] = namespace.as_str().into();
    }
    item
}
