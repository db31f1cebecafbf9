//! The words that several dialects share.

use serde_json::{Map, Value, json};

use super::plan::{Plan, Say};
use crate::policy::Effort;

/// Flags in `chat_template_kwargs`, beside those of the client that are not about the mode.
pub(super) fn template_flags(body: &mut Map<String, Value>, plan: &Plan<'_>, keys: &[String]) {
    if !plan.switchable {
        return;
    }
    let kwargs = object(body, "chat_template_kwargs");
    for key in keys {
        kwargs.insert(key.clone(), (plan.say == Say::On).into());
    }
}

/// A flag of its own.
pub(super) fn flag(body: &mut Map<String, Value>, plan: &Plan<'_>, field: &str) {
    if plan.switchable {
        body.insert(field.to_owned(), (plan.say == Say::On).into());
    }
}

/// `thinking: {type: enabled}`, or the maker's own word for on.
pub(super) fn typed(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    if !plan.switchable {
        return;
    }
    let on = plan.capability.on_word.as_deref().unwrap_or("enabled");
    let word = if plan.say == Say::On { on } else { "disabled" };
    object(body, "thinking").insert("type".into(), word.into());
}

/// The name of an effort, where there is one to name.
pub(super) fn effort(body: &mut Map<String, Value>, plan: &Plan<'_>, field: &str) {
    if let Some(effort) = plan.effort {
        body.insert(field.to_owned(), effort.as_str().into());
    }
}

/// The name of an effort that is the switch too: `none` for off.
pub(super) fn effort_or_none(body: &mut Map<String, Value>, plan: &Plan<'_>, field: &str) {
    match plan.say {
        Say::Off => {
            body.insert(field.to_owned(), Effort::None.as_str().into());
        }
        Say::On | Say::Least => match (plan.effort, &plan.capability.on_word) {
            (None, Some(word)) => {
                body.insert(field.to_owned(), word.clone().into());
            }
            _ => effort(body, plan, field),
        },
        Say::Nothing => {}
    }
}

/// A budget in tokens, where there is one to name.
pub(super) fn budget(body: &mut Map<String, Value>, plan: &Plan<'_>, field: &str) {
    if let Some(tokens) = plan.budget {
        body.insert(field.to_owned(), tokens.into());
    }
}

/// The object under `field`, made where it is not there.
pub(super) fn object<'b>(body: &'b mut Map<String, Value>, field: &str) -> &'b mut Map<String, Value> {
    let value = body.entry(field).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("just made one")
}
