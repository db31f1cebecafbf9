//! llama.cpp: the template's flag, an effort, and a budget that recent builds enforce. `reasoning_effort: "none"` would do for
//! off too, but early builds of 2026 pass over it, and none passes over the flag.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    words::template_flags(body, plan, &plan.capability.keys);
    words::effort(body, plan, "reasoning_effort");
    words::budget(body, plan, "thinking_budget_tokens");
}
