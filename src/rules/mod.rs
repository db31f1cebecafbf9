//! "Which hand-written judgements apply?"

/// The loaded packs.
#[derive(Debug, Clone, Default)]
pub struct RuleSet;
