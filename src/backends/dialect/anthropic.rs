//! Anthropic's messages, in three generations: a budget; a budget or an effort; an effort. The body is a messages body by now.

use serde_json::{Map, Value, json};

use super::plan::{Plan, Say};
use super::words;
use crate::backends::capability::Spelling;
use crate::policy::Effort;

/// Tokens left for the answer beside a budget, where the client set no cap: a request must name one.
const ANSWER: u32 = 8192;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    spell_thinking(body, plan);
    leave_room(body, plan, "max_tokens");
}

/// The fields about thinking, which Bedrock takes elsewhere in its body.
pub(super) fn spell_thinking(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    match plan.say {
        Say::Nothing => {}
        Say::Off => {
            body.insert("thinking".into(), json!({"type": "disabled"}));
        }
        // What always thinks refuses to be told not to; its own word for little is an effort.
        Say::Least => {
            body.shift_remove("thinking");
            name_effort(body, plan);
        }
        Say::On => {
            let by_budget = plan.budget.is_some() || plan.capability.spelling == Spelling::Enabled;
            let thinking = words::object(body, "thinking");
            if by_budget {
                let tokens = plan.budget.unwrap_or(Effort::Medium.budget());
                thinking.insert("type".into(), "enabled".into());
                thinking.insert("budget_tokens".into(), tokens.into());
            } else {
                thinking.insert("type".into(), "adaptive".into());
                // The later models leave it out otherwise.
                thinking.entry("display").or_insert_with(|| "summarized".into());
            }
            name_effort(body, plan);
        }
    }
}

fn name_effort(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    if plan.effort.is_some() {
        words::effort(words::object(body, "output_config"), plan, "effort");
    }
}

/// A budget must be below the cap. A client's own cap is (see the plan); one that was made up for it makes room.
pub(super) fn leave_room(body: &mut Map<String, Value>, plan: &Plan<'_>, field: &str) {
    let Some(budget) = plan.budget else { return };
    let cap = body.get(field).and_then(Value::as_u64);
    if cap.is_none_or(|cap| cap <= u64::from(budget)) {
        body.insert(field.to_owned(), budget.saturating_add(ANSWER).into());
    }
}
