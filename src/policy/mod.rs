//! "Which models and presets are there to choose from, and what do they cost?"
//!
//! The facts the last step of deciding needs; choosing itself is [`crate::decide`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::calibration::Calibrated;
use crate::conversation::Mode;

/// Dense: every parameter works on every token. MoE: a gate wakes a few experts per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Every parameter works on every token.
    Dense,
    /// Mixture of experts.
    Moe,
}

impl Architecture {
    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::Dense => "dense",
            Architecture::Moe => "moe",
        }
    }
}

/// Names for thinking budgets, for backends that only know names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// No thinking.
    None,
    /// Up to 512 tokens.
    Minimal,
    /// Up to 1,024 tokens.
    Low,
    /// Up to 2,048 tokens.
    Medium,
    /// Up to 4,096 tokens.
    High,
    /// Up to 8,192 tokens.
    Xhigh,
    /// Up to 16,384 tokens.
    Max,
}

impl Effort {
    /// Every effort that thinks, smallest first, with its budget in tokens. The one table; the figures from
    /// `low` up are those LiteLLM uses, so that a name means the same budget behind either gateway.
    pub const BUDGETS: [(Effort, u32); 6] = [
        (Effort::Minimal, 512),
        (Effort::Low, 1024),
        (Effort::Medium, 2048),
        (Effort::High, 4096),
        (Effort::Xhigh, 8192),
        (Effort::Max, 16384),
    ];

    /// The name as clients write it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Effort> {
        match name.to_ascii_lowercase().as_str() {
            "none" | "off" => Some(Effort::None),
            "minimal" => Some(Effort::Minimal),
            "low" => Some(Effort::Low),
            "medium" => Some(Effort::Medium),
            "high" => Some(Effort::High),
            "xhigh" => Some(Effort::Xhigh),
            "max" | "ultra" => Some(Effort::Max),
            _ => None,
        }
    }

    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Xhigh => "xhigh",
            Effort::Max => "max",
        }
    }

    /// Reasoning tokens this name stands for; zero for [`Effort::None`].
    #[must_use]
    pub fn budget(self) -> u32 {
        Effort::BUDGETS.iter().find(|(effort, _)| *effort == self).map_or(0, |(_, budget)| *budget)
    }

    /// The smallest name whose budget holds `tokens`.
    #[must_use]
    pub fn holding(tokens: u32) -> Effort {
        if tokens == 0 {
            return Effort::None;
        }
        Effort::BUDGETS
            .iter()
            .find(|(_, budget)| tokens <= *budget)
            .map_or(Effort::Max, |(effort, _)| *effort)
    }
}

/// Whether a model's thinking can be switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThinkingAbility {
    /// Both modes.
    #[default]
    Hybrid,
    /// Thinks always.
    Always,
    /// Never thinks.
    Never,
}

/// Measured mean accuracy, 0..=1, on the model's reference suite, by mode.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skill {
    /// Answering at once.
    pub direct: f64,
    /// Thinking first.
    pub thinking: f64,
    /// Measured on a narrow domain of the model's own, so not to be compared with skills measured elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub narrow: bool,
}

/// What the policy knows of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelProfile {
    /// Configured name.
    pub name: String,
    /// Dense or MoE.
    pub architecture: Architecture,
    /// All parameters.
    pub total_params: Option<u64>,
    /// Parameters that work on one token.
    pub active_params: Option<u64>,
    /// Tokens the model can hold.
    pub context_length: Option<u32>,
    /// Whether thinking can be switched.
    pub thinking: ThinkingAbility,
    /// Takes tools.
    pub tools: bool,
    /// Takes images.
    pub vision: bool,
    /// Measured accuracy by mode; absent: estimated from the size.
    pub skill: Option<Skill>,
    /// Money per million output tokens, where cost should be counted in money.
    pub price: Option<f64>,
    /// What thinking buys and costs on it, where that was measured; absent: as the score says.
    #[serde(skip)]
    pub calibrated: Option<Arc<Calibrated>>,
    /// A calibration is configured and cannot be used, so whether it was measured is not known.
    #[serde(skip)]
    pub calibration_absent: bool,
}

/// How a kind of traffic wants undecided prompts treated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preset {
    /// Fixes the mode below every explicit wish; absent: the score decides.
    pub thinking: Option<Mode>,
    /// What applies when the score is between the thresholds.
    pub unsure: Mode,
    /// Whether `/think`, 简答 and the like in the text are obeyed.
    pub text_directives: bool,
    /// Most reasoning tokens this preset ever grants.
    pub max_budget_tokens: u32,
}

impl Default for Preset {
    fn default() -> Self {
        Preset { thinking: None, unsure: Mode::Off, text_directives: true, max_budget_tokens: 8192 }
    }
}

/// Everything the last step of deciding chooses from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// The models, in configured order.
    pub models: Vec<ModelProfile>,
    /// `api`, `debug` and the operator's own.
    pub presets: BTreeMap<String, Preset>,
    /// The preset that applies when the client names none.
    pub preset: String,
}

impl Policy {
    /// The built-in presets: `api` is fast when unsure, `debug` is deep when unsure.
    #[must_use]
    pub fn builtin_presets() -> BTreeMap<String, Preset> {
        let debug = Preset { unsure: Mode::On, ..Preset::default() };
        BTreeMap::from([("api".to_owned(), Preset::default()), ("debug".to_owned(), debug)])
    }
}
