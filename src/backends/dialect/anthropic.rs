//! Anthropic's messages, in three generations: a budget; a budget or an effort; an effort. The body is a messages body by now.

use serde_json::{Map, Value, json};

use super::plan::{Plan, Say};
use super::words;
use crate::backends::capability::Spelling;
use crate::policy::Effort;

/// Tokens left for the answer beside the thought, where the client set no cap.
pub(super) const ANSWER: u32 = 8192;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    spell_thinking(body, plan);
    leave_room(body, plan);
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

/// The wire demands a cap, which counts the thought. One that the client did not set leaves room for it; the client's own
/// is not touched, and the plan saw to it that it is above the budget.
fn leave_room(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    let thought = plan.budget.or(plan.effort.map(Effort::budget));
    if let Some(thought) = thought.filter(|_| !plan.capped) {
        body.insert("max_tokens".into(), thought.saturating_add(ANSWER).into());
    }
}
