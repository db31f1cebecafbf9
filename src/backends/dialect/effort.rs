//! OpenAI, Azure, Ollama's /v1, LM Studio, xAI and Groq: the effort is the switch.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    words::effort_or_none(body, plan, "reasoning_effort");
}
