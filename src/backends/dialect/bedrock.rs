//! Bedrock's Converse: each maker's own words, in a field for what Converse has no word for. The body is a Converse body by
//! now.

use serde_json::{Map, Value, json};

use super::plan::{Plan, Say};
use super::{anthropic, words};
use crate::backends::capability::Spelling;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    if plan.say == Say::Nothing {
        return;
    }
    let mut fields = Map::new();
    match plan.capability.spelling {
        Spelling::Enabled | Spelling::EnabledOrAdaptive | Spelling::Adaptive => {
            anthropic::spell_thinking(&mut fields, plan);
        }
        Spelling::Object => words::effort_or_none(words::object(&mut fields, "reasoning"), plan, "effort"),
        // Off is the default, and has no word.
        Spelling::Effort if plan.say != Say::Off => words::effort(&mut fields, plan, "reasoning_effort"),
        Spelling::Nova if plan.say == Say::On => {
            let effort = plan.effort.map(|effort| effort.as_str());
            fields.insert("reasoningConfig".into(), json!({"type": "enabled", "maxReasoningEffort": effort}));
        }
        _ => {}
    }
    if !fields.is_empty() {
        words::object(body, "additionalModelRequestFields").extend(fields);
    }
    // A budget must be below the cap, and what the cap is unless stated differs by model.
    if let Some(budget) = plan.budget.filter(|_| !plan.capped) {
        let cap = budget.saturating_add(anthropic::ANSWER);
        words::object(body, "inferenceConfig").insert("maxTokens".into(), cap.into());
    }
}
