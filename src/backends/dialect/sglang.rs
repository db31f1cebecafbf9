//! SGLang and LMDeploy: the template's flags and an effort, no budget. An effort alone sets the flags' defaults on one of
//! them and is refused as `none` by the other, so the flags always go first.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    words::template_flags(body, plan, &plan.capability.keys);
    words::effort(body, plan, "reasoning_effort");
}
