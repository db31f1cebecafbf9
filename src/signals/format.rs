//! The form of answer the request itself demands: schema, tools, a cap on tokens.

use super::{Signal, Signals};
use crate::conversation::Conversation;

pub(super) fn extract(conversation: &Conversation<'_>, signals: &mut Signals) {
    signals.set(Signal::FormatJson, conversation.json_answer);
    signals.set(Signal::FormatTools, conversation.tools);
    #[expect(clippy::cast_precision_loss, reason = "a cap, compared with round numbers")]
    let cap = conversation.max_tokens.map_or(0.0, |tokens| tokens as f32);
    signals.set(Signal::FormatMaxTokens, cap);
}
