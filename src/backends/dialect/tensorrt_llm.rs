//! trtllm-serve: exactly one flag, because a flag that the template does not read is refused.

use serde_json::{Map, Value};

use super::plan::{Plan, Say};
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    let first = plan.capability.keys.len().min(1);
    words::template_flags(body, plan, &plan.capability.keys[..first]);
    if plan.say != Say::Off {
        words::effort(body, plan, "reasoning_effort");
        words::budget(body, plan, "thinking_token_budget");
    }
}
