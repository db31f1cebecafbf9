//! mlx_lm.server: it reads nothing about thinking itself, so the effort goes to the template too.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    words::template_flags(body, plan, &plan.capability.keys);
    if plan.effort.is_some() {
        words::effort(words::object(body, "chat_template_kwargs"), plan, "reasoning_effort");
    }
}
