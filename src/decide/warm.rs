//! A conversation keeps its model while that model's memory of it is warm, unless the gain pays for reading it anew.

use super::Arm;
use crate::conversation::{Conversation, Mode};
use crate::policy::ModelProfile;

/// What a token read costs beside a token written: price lists say a quarter to a fifth.
const READING: f64 = 0.25;

/// The chosen model, or the one that has read the conversation already.
pub(super) fn keep<'p>(
    chosen: &'p ModelProfile,
    models: &[&'p ModelProfile],
    arms: &[Arm],
    mode: impl Fn(&ModelProfile) -> Mode,
    conversation: &Conversation<'_>,
    prompt_tokens: f64,
    notes: &mut Vec<String>,
) -> &'p ModelProfile {
    let warm = conversation.warm.as_deref().filter(|warm| *warm != chosen.name);
    let Some(warm) = warm.and_then(|warm| models.iter().copied().find(|model| model.name == warm)) else {
        return chosen;
    };
    let arm =
        |model: &ModelProfile| arms.iter().find(|arm| arm.model == model.name && arm.thinking == mode(model));
    let (Some(there), Some(here)) = (arm(chosen), arm(warm)) else { return chosen };
    let reading = 1.0 + READING * prompt_tokens / f64::from(there.tokens.max(1));
    let after_reading = there.utility - super::arms::PRICE_OF_DOUBLING * reading.log2();
    if after_reading > here.utility {
        return chosen;
    }
    notes.push(format!(
        "warm prefix: {} has read the conversation, and {} would not gain what reading it anew costs",
        warm.name, chosen.name
    ));
    warm
}
