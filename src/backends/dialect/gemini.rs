//! Gemini: a budget up to 2.5, a level from 3 on, never both. The body is a `generateContent` body by now, or that of its
//! chat completions.

use serde_json::{Map, Value};

use super::plan::{Plan, Say};
use super::words;
use crate::backends::capability::Spelling;
use crate::config::Wire;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    if plan.say == Say::Nothing {
        return;
    }
    if plan.upstream.wire == Wire::Chat {
        return spell_compatible(body, plan);
    }
    let config = words::object(words::object(body, "generationConfig"), "thinkingConfig");
    config.insert("includeThoughts".into(), (plan.say == Say::On).into());
    match plan.capability.spelling {
        Spelling::Budget => config.insert("thinkingBudget".into(), budget(plan)),
        _ => level(plan).and_then(|level| config.insert("thinkingLevel".into(), level)),
    };
}

/// Its chat completions are the one interface where a literal `extra_body` is real.
fn spell_compatible(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    if plan.capability.spelling != Spelling::Budget {
        return words::effort_or_none(body, plan, "reasoning_effort");
    }
    let google = words::object(words::object(body, "extra_body"), "google");
    let config = words::object(google, "thinking_config");
    config.insert("thinking_budget".into(), budget(plan));
    config.insert("include_thoughts".into(), (plan.say == Say::On).into());
}

/// 0 is off, -1 leaves it to the model.
fn budget(plan: &Plan<'_>) -> Value {
    match (plan.say, plan.budget) {
        (Say::Off, _) => 0.into(),
        (_, Some(tokens)) => tokens.into(),
        (_, None) => (-1).into(),
    }
}

fn level(plan: &Plan<'_>) -> Option<Value> {
    plan.effort.map(|effort| effort.as_str().into())
}
