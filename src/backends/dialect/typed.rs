//! DeepSeek, GLM, Kimi, Doubao, MiniMax and Hunyuan: `thinking: {type}`, an effort beside it where the model knows efforts.
//! Their later models leave the object for an effort alone, Hunyuan's open weights for a flag.

use serde_json::{Map, Value};

use super::plan::Plan;
use super::words;
use crate::backends::capability::Spelling;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    match plan.capability.spelling {
        Spelling::Typed => {
            words::typed(body, plan);
            words::effort(body, plan, "reasoning_effort");
        }
        Spelling::Effort => words::effort_or_none(body, plan, "reasoning_effort"),
        Spelling::Flag => words::flag(body, plan, "enable_thinking"),
        _ => {}
    }
}
