//! OpenRouter: one object, with an effort or a budget in it, never both.

use serde_json::{Map, Value};

use super::plan::{Plan, Say};
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    if plan.say == Say::Nothing {
        return;
    }
    let reasoning = words::object(body, "reasoning");
    words::effort_or_none(reasoning, plan, "effort");
    words::budget(reasoning, plan, "max_tokens");
    if plan.say == Say::On && plan.effort.is_none() && plan.budget.is_none() {
        reasoning.insert("enabled".into(), true.into());
    }
}
