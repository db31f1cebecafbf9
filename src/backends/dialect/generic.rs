//! Any server that speaks chat completions. A field that an unknown server refuses would cost the request, so the mode is
//! told in the text, to models that were taught to read it there, and to others not at all.

use serde_json::{Map, Value, json};

use super::plan::{Plan, Say};
use crate::backends::capability::Spelling;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    if plan.capability.spelling != Spelling::SoftSwitch || !plan.switchable {
        return;
    }
    let switch = if plan.say == Say::On { "/think" } else { "/no_think" };
    let messages = body.get_mut("messages").and_then(Value::as_array_mut);
    let last = messages.and_then(|messages| messages.iter_mut().rfind(|message| message["role"] == "user"));
    match last.and_then(|message| message.get_mut("content")) {
        Some(Value::String(text)) => text.push_str(&format!(" {switch}")),
        Some(Value::Array(parts)) => parts.push(json!({"type": "text", "text": switch})),
        _ => {}
    }
}
