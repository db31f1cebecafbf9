//! "So what do we do?" One pure function: no I/O, no clock, no metrics.

mod decision;

pub use decision::*;

use crate::conversation::Conversation;
use crate::policy::Policy;
use crate::rules::RuleSet;

/// Everything deciding depends on besides the request. Immutable; a reload swaps the whole.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The hand-written judgements.
    pub rules: RuleSet,
    /// Models and presets.
    pub policy: Policy,
}

/// Decides one request.
#[must_use]
pub fn decide(_conversation: &Conversation<'_>, _snapshot: &Snapshot) -> Decision {
    unimplemented!("filled in by the next change")
}
