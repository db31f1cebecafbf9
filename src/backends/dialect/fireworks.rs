//! Fireworks: the effort is the switch, and a number in its place is a budget.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    words::effort_or_none(body, plan, "reasoning_effort");
    words::budget(body, plan, "reasoning_effort");
}
