//! One record: what a model behind a dialect can do about thinking.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::conversation::Mode;
use crate::policy::{Effort, ThinkingAbility};

/// What a model behind a dialect can do about thinking, and how it wants to be told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Whether thinking can be switched.
    pub thinking: ThinkingAbility,
    /// The mode where nothing is said; absent: differs, or not known.
    #[serde(default)]
    pub default: Option<Mode>,
    /// In which of its dialect's ways the mode is told.
    pub spelling: Spelling,
    /// Flags of the chat template that hold the mode.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The word for on, where the mode is a word.
    #[serde(default)]
    pub on_word: Option<String>,
    /// Efforts that the model knows; with `none` it can be turned off by one.
    #[serde(default)]
    pub efforts: Vec<Effort>,
    /// Efforts that the server takes at all; empty: all.
    #[serde(default)]
    pub server_efforts: Vec<Effort>,
    /// Where the maker's own table of efforts differs from the next higher one.
    #[serde(default)]
    pub effort_map: BTreeMap<Effort, Effort>,
    /// Limits in tokens that the backend enforces.
    #[serde(default)]
    pub budget: Option<BudgetRule>,
    /// Effort and budget exclude each other; this one is told unless the client asked for the other.
    #[serde(default)]
    pub either: Option<Depth>,
    /// Fields about thinking that only this dialect has; a client's own word in them is passed on.
    #[serde(default)]
    pub passes: Vec<String>,
    /// Fields beside the mode inside the dialect's own thinking object; a client's own word in them is passed on.
    #[serde(default)]
    pub keeps: Vec<String>,
    /// Fields that are always sent along.
    #[serde(default)]
    pub always: Map<String, Value>,
    /// Sampling fields that are refused while the model thinks.
    #[serde(default)]
    pub refuses_thinking: Vec<String>,
    /// Sampling fields that are always refused.
    #[serde(default)]
    pub refuses: Vec<String>,
    /// Sampling fields that the server takes, so that a family's sampling can be set by mode.
    #[serde(default)]
    pub sampling: Vec<String>,
    /// The name of the cap on tokens, where only one is taken.
    #[serde(default)]
    pub cap: Option<String>,
    /// What the cap on tokens counts.
    #[serde(default)]
    pub cap_counts: CapCounts,
    /// A forced tool call while thinking.
    #[serde(default)]
    pub forced_tools: Conflict,
    /// An answer in JSON while thinking.
    #[serde(default)]
    pub json: Conflict,
    /// An answer can be held to being JSON, not to a schema.
    #[serde(default)]
    pub json_objects_only: bool,
    /// Takes instructions in the role `developer`.
    #[serde(default)]
    pub developer_role: bool,
    /// Thinks only where the answer is a stream.
    #[serde(default)]
    pub thinks_in_streams_only: bool,
    /// The field that reasoning comes in.
    #[serde(default)]
    pub reasoning_out: Option<String>,
    /// The field that reasoning of earlier turns goes in.
    #[serde(default)]
    pub reasoning_in: Option<String>,
    /// What the backend wants with the reasoning of earlier turns.
    #[serde(default)]
    pub history: History,
    /// How reasoning tokens are counted.
    #[serde(default)]
    pub counts: Counts,
    /// What happens to fields that the backend does not know.
    #[serde(default)]
    pub unknown_fields: UnknownFields,
    /// The day these facts were last looked up.
    pub checked: String,
    /// Where.
    pub source: String,
    /// What else an operator should know.
    #[serde(default)]
    pub note: Option<String>,
}

/// The ways in which the mode is told. A dialect's file says which of them it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spelling {
    /// Nothing is said.
    Silent,
    /// Flags in `chat_template_kwargs`.
    Kwargs,
    /// A flag of its own, such as `enable_thinking`.
    Flag,
    /// `thinking: {type}`.
    Typed,
    /// The name of an effort, `none` for off.
    Effort,
    /// `reasoning: {…}`.
    Object,
    /// A budget, 0 for off.
    Budget,
    /// A level.
    Level,
    /// Anthropic's first way: a budget.
    Enabled,
    /// Anthropic's second way: a budget, or an effort.
    EnabledOrAdaptive,
    /// Anthropic's third way: an effort.
    Adaptive,
    /// Nova's `reasoningConfig`.
    Nova,
    /// `/think` and `/no_think` in the text.
    SoftSwitch,
}

/// How deep thinking is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// By name.
    Effort,
    /// In tokens.
    Budget,
}

/// A budget that the backend enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetRule {
    /// Fewer are refused.
    #[serde(default = "one")]
    pub min: u32,
    /// More are refused.
    #[serde(default = "no_limit")]
    pub max: u32,
    /// Only where the server was started for it, which the operator must say with `budget = true`.
    #[serde(default)]
    pub started_for_it: bool,
}

fn one() -> u32 {
    1
}

fn no_limit() -> u32 {
    u32::MAX
}

/// What the cap on tokens counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapCounts {
    /// Thinking and answer.
    #[default]
    All,
    /// The answer alone.
    Answer,
}

/// How thinking gets on with something else that the request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conflict {
    /// Well.
    #[default]
    None,
    /// It is refused, or one of the two is dropped in silence, so thinking is turned off.
    TurnsOff,
    /// The model thinks whatever it is told.
    TurnsOn,
    /// The other is refused in either mode, so it is left out.
    Yields,
}

/// What a backend wants with the reasoning of earlier turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// It does not matter.
    #[default]
    Ignored,
    /// It must not be sent.
    Forbidden,
    /// It should come back in the tool loop that is under way.
    CurrentLoop,
    /// It must come back with every answer that called tools.
    Required,
    /// It must come back as it was, signature included.
    Signed,
}

/// How reasoning tokens are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// Not told.
    #[default]
    Untold,
    /// Within the generated tokens.
    Within,
    /// Beside them.
    Beside,
}

/// What happens to fields that a backend does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// Nothing.
    #[default]
    Ignored,
    /// They cost the request.
    Refused,
}

/// The sampling that a model's makers name, by mode.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Patterns of model ids.
    pub ids: Vec<String>,
    /// Fields while it thinks.
    pub thinking: Map<String, Value>,
    /// Fields while it does not.
    pub direct: Map<String, Value>,
    /// The day this was last looked up.
    pub checked: String,
    /// Where.
    pub source: String,
}

impl Capability {
    /// Leaves out efforts that the server does not take.
    pub(super) fn keep_to_server(&mut self) {
        if !self.server_efforts.is_empty() {
            let taken = self.server_efforts.clone();
            self.efforts.retain(|effort| taken.contains(effort));
        }
    }

    /// Whether both modes can be told, or at least "as little as you can".
    #[must_use]
    pub fn ability(&self) -> ThinkingAbility {
        match self.thinking {
            ThinkingAbility::Always if self.lowest().is_some() || self.budget.is_some() => {
                ThinkingAbility::Hybrid
            }
            other => other,
        }
    }

    /// The lowest effort that thinks.
    #[must_use]
    pub fn lowest(&self) -> Option<Effort> {
        self.efforts.iter().copied().filter(|effort| *effort != Effort::None).min()
    }

    /// The known effort that comes next to `wanted`: the maker's word, or the next higher, or the highest.
    #[must_use]
    pub fn nearest(&self, wanted: Effort) -> Option<Effort> {
        if let Some(mapped) = self.effort_map.get(&wanted).filter(|mapped| self.efforts.contains(mapped)) {
            return Some(*mapped);
        }
        let thinking = || self.efforts.iter().copied().filter(|effort| *effort != Effort::None);
        thinking().filter(|effort| *effort >= wanted).min().or_else(|| thinking().max())
    }
}
