//! DashScope, SiliconFlow and mistral.rs: a flag at the top of the body, a budget or an effort beside it.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    words::flag(body, plan, "enable_thinking");
    words::effort(body, plan, "reasoning_effort");
    words::budget(body, plan, "thinking_budget");
}
