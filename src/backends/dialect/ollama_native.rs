//! Ollama's /api/chat: `think`, a flag or the name of an effort. True on a model that cannot think is a 400, false never is.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    words::flag(body, plan, "think");
    words::effort(body, plan, "think");
}
