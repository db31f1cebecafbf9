//! "What does training add to the rules?"
//!
//! A linear model over hashed words and measured shape, with one output per question. It is an independent vote:
//! [`crate::decide`] weighs it beside the rules by the [`Blend`] that was fitted with it, and does without where it
//! is absent.

mod artefact;
mod builtin;
mod courtesy;
pub mod features;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use artefact::{ArtefactError, read, write};
pub use features::Features;

use crate::decide::TaskLabel;

/// The questions answered, in the order of the weights.
pub const HEADS: [&str; 16] = [
    "thinking",
    "strong",
    "level",
    "tokens",
    "math",
    "code",
    "logic",
    "science",
    "knowledge",
    "fact",
    "translate",
    "extract",
    "write",
    "chat",
    "agent",
    "other",
];

/// The kinds of work, in the order of their heads.
pub const TASKS: [TaskLabel; 12] = [
    TaskLabel::Math,
    TaskLabel::Code,
    TaskLabel::Logic,
    TaskLabel::Science,
    TaskLabel::Knowledge,
    TaskLabel::Fact,
    TaskLabel::Translate,
    TaskLabel::Extract,
    TaskLabel::Write,
    TaskLabel::Chat,
    TaskLabel::Agent,
    TaskLabel::Other,
];

const FIRST_TASK: usize = HEADS.len() - TASKS.len();

/// What training says of one ask, as fitted: not yet probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vote(pub [f32; HEADS.len()]);

impl Vote {
    /// Log-odds that thinking helps, of prompts like those trained on.
    #[must_use]
    pub fn thinking(&self) -> f64 {
        f64::from(self.0[0])
    }

    /// Expected gain of a strong model over a weak one, as a difference of success rates.
    #[must_use]
    pub fn strong(&self) -> f64 {
        f64::from(self.0[1])
    }

    /// How hard of its kind, in standard deviations.
    #[must_use]
    pub fn level(&self) -> f64 {
        f64::from(self.0[2])
    }

    /// Reasoning tokens expected of a Qwen3 of 8 to 14 billion parameters, log2.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        f64::from(self.0[3])
    }

    /// Every kind of work with its share: about 1 for the one it is.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskLabel, f64)> {
        TASKS.into_iter().zip(self.0[FIRST_TASK..].iter().map(|share| f64::from(*share)))
    }
}

/// Log-odds that rules may say together before they are weighed; fitted and served with the same.
pub const RULES_BOUND: f64 = 4.0;

/// Log-odds that the vote may say: less than one decisive rule.
pub const VOTE_BOUND: f64 = 3.5;
/// Log-odds that it may say against what rules found in an ask of more than [`LONG_ASK`] tokens: a hard question in many
/// easy words is still hard, and the words around it are most of what the vote sees.
const LONG_AGAINST: f64 = 0.5;
/// Tokens up to which an ask is one question.
const LONG_ASK: usize = 60;
/// Log-odds of rules, together, that have found something.
const FOUND: f64 = 1.0;

/// How the vote and the rules are weighed for one language: log-odds of "thinking helps" and "a strong model is
/// needed" as sums, and what the first is worth as a probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blend {
    /// Thinking.
    pub thinking: Weighing,
    /// Strong model.
    pub strong: Weighing,
    /// From the score's log-odds to the probability that thinking helps.
    pub calibration: Platt,
}

/// A straight line through log-odds (Platt scaling).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platt {
    /// Per log-odd.
    pub slope: f64,
    /// At log-odds of 0.
    pub offset: f64,
}

impl Platt {
    /// The calibrated log-odds.
    #[must_use]
    pub fn of(&self, log_odds: f64) -> f64 {
        self.slope * log_odds + self.offset
    }
}

/// One sum of log-odds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighing {
    /// Where nothing is known.
    pub prior: f64,
    /// Per log-odd of the rules, prior left out.
    pub rules: f64,
    /// Per unit of the head, whose 0 says nothing.
    pub head: f64,
    /// Per standard deviation of the level.
    pub level: f64,
}

impl Weighing {
    /// Log-odds that a head's value adds.
    #[must_use]
    pub fn vote(&self, value: f64) -> f64 {
        (self.head * value).clamp(-VOTE_BOUND, VOTE_BOUND)
    }

    /// The same beside rules that say so much together, unweighed, of an ask of so many tokens.
    #[must_use]
    pub fn vote_beside(&self, rules: f64, value: f64, tokens: usize) -> f64 {
        let vote = self.vote(value);
        if tokens > LONG_ASK && rules >= FOUND { vote.max(-LONG_AGAINST) } else { vote }
    }
}

/// A prompt whose outputs are known: a classifier that gives others was damaged or reads features otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The prompt.
    pub text: String,
    /// Every head's output.
    pub outputs: Vec<f32>,
}

/// What the classifier was trained on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// SHA-256 over the rows, in hexadecimal.
    pub sha256: String,
    /// Rows by file.
    pub files: BTreeMap<String, usize>,
}

/// A trained classifier. Immutable.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// What it was trained on.
    pub data: Data,
    /// Subtracted from every measured number.
    pub centre: Vec<f32>,
    /// Multiplies every measured number after that.
    pub scale: Vec<f32>,
    /// Weights of the measured numbers: `[HEADS][dense]`.
    pub dense: Vec<Vec<f32>>,
    /// Output where nothing was seen, by head.
    pub bias: Vec<f32>,
    /// Worth of one unit of `weights`, by head.
    pub step: Vec<f32>,
    /// Worth of one unit of `rarity`.
    pub rarity_step: f32,
    /// Inverse document frequency by bucket, in `rarity_step`s; 0 where training saw too little to tell.
    pub rarity: Vec<u8>,
    /// `[BUCKETS][HEADS]`, in `step`s.
    pub weights: Vec<i8>,
    /// How to weigh the vote, by language; `en` also serves every other.
    pub blend: BTreeMap<String, Blend>,
    /// Checked when it is read.
    pub canaries: Vec<Canary>,
    /// The start of its checksum; empty until it is read.
    pub version: String,
}

impl Classifier {
    /// The vote on one ask.
    #[must_use]
    pub fn judge(&self, features: &Features) -> Vote {
        let mut sums = [0.0_f32; HEADS.len()];
        let mut square = 0.0_f32;
        for (bucket, count) in &features.words {
            let bucket = *bucket as usize;
            let value = count * f32::from(self.rarity[bucket]) * self.rarity_step;
            square += value * value;
            let row = &self.weights[bucket * HEADS.len()..][..HEADS.len()];
            for (sum, weight) in sums.iter_mut().zip(row) {
                *sum += value * f32::from(*weight);
            }
        }
        // Unit length, so that a long ask does not outweigh a short one.
        let norm = if square > 0.0 { square.sqrt().recip() } else { 0.0 };
        let measured: Vec<f32> = features
            .dense
            .iter()
            .zip(self.centre.iter().zip(&self.scale))
            .map(|(value, (centre, scale))| (value - centre) * scale)
            .collect();
        Vote(std::array::from_fn(|head| {
            let dense: f32 =
                self.dense[head].iter().zip(&measured).map(|(weight, value)| weight * value).sum();
            self.bias[head] + dense + sums[head] * self.step[head] * norm
        }))
    }

    /// How to weigh the vote on an ask of this language.
    #[must_use]
    pub fn blend(&self, language: &str) -> &Blend {
        self.blend.get(language).unwrap_or_else(|| &self.blend["en"])
    }
}
