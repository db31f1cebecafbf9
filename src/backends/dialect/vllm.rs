//! vLLM: the chat template's flags switch thinking; a token budget works only where the server was started with a
//! reasoning config, and is refused with 400 elsewhere.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    // Templates read one or the other (Qwen3 the first, DeepSeek-V3.1 and Granite the second) and are not shown what they do
    // not know.
    words::template_flags(body, plan, &plan.capability.keys);
    words::effort(body, plan, "reasoning_effort");
    words::budget(body, plan, "thinking_token_budget");
}
