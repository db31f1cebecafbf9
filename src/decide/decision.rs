//! The one returned value. Everything that prints, logs, counts or tests a decision reads this.

use serde::{Serialize, Serializer};

use crate::backends::Applied;
use crate::conversation::{Mode, Wish};
use crate::policy::{Architecture, Effort};

/// What was decided for one request, and why. Serialises to the decision JSON of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// The row's id in offline use.
    pub id: Option<serde_json::Value>,
    /// Whether to think, and for how long.
    pub thinking: Thinking,
    /// The chosen model's configured name.
    pub model: String,
    /// The chosen model's architecture.
    pub architecture: Architecture,
    /// How much the request gains from thinking, 0..=1, from rules and classifier.
    #[serde(serialize_with = "rounded")]
    pub score: f64,
    /// Probability that the weaker models fail here.
    #[serde(serialize_with = "rounded")]
    pub strong_probability: f64,
    /// What kind of work it is.
    pub task: Task,
    /// Language of the ask: an ISO 639-1 code, or `und` where the text tells none.
    pub language: &'static str,
    /// Whose words were judged: what a client program put around them is left out.
    pub ask: Ask,
    /// The score lay between the thresholds, so the preset's default applied.
    pub abstained: bool,
    /// Every explicit request about thinking or model, honoured or not.
    pub wishes: Vec<Wish>,
    /// The contributions that make up the score, largest first.
    pub evidence: Vec<Evidence>,
    /// Every arm that fits, best first.
    pub arms: Vec<Arm>,
    /// What would turn the thinking mode around.
    pub flip: Option<Flip>,
    /// What a reader should know besides: conflicts, clamps, missing parts. `code: sentence`.
    pub notes: Vec<String>,
    /// What the backend is told of it, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// What decided.
    pub versions: Versions,
    /// Time the decision took; absent where output must be reproducible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
}

/// The words that were judged.
#[derive(Debug, Clone, Serialize)]
pub struct Ask {
    /// Index of the message they stand in.
    pub message: usize,
    /// `[start, end)` in bytes of that message's text, in order.
    pub spans: Vec<[usize; 2]>,
}

/// The thinking mode with its budget.
#[derive(Debug, Clone, Serialize)]
pub struct Thinking {
    /// Off or on.
    pub mode: Mode,
    /// Most reasoning tokens; absent when off.
    pub budget_tokens: Option<u32>,
    /// The same as a name, for backends that only know names; `none` when off.
    pub effort: Effort,
    /// Probability that thinking helps, whatever the mode.
    #[serde(serialize_with = "rounded")]
    pub probability: f64,
    /// What settled the mode.
    pub source: Source,
}

/// What settled the thinking mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A gateway header.
    Header,
    /// A native request field.
    Field,
    /// A model alias.
    Alias,
    /// A directive in the text.
    Text,
    /// A preset that fixes the mode.
    Preset,
    /// One decisive rule.
    Rule,
    /// The score.
    Score,
    /// The task of an earlier turn.
    Inherited,
    /// The preset's default for an undecided score.
    Default,
}

impl Source {
    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Header => "header",
            Source::Field => "field",
            Source::Alias => "alias",
            Source::Text => "text",
            Source::Preset => "preset",
            Source::Rule => "rule",
            Source::Score => "score",
            Source::Inherited => "inherited",
            Source::Default => "default",
        }
    }
}

/// Kinds of work, the closed set of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskLabel {
    /// Calculation, equations, proofs.
    Math,
    /// Writing, reading, repairing programs.
    Code,
    /// Deduction and puzzles in words.
    Logic,
    /// Physics, chemistry, biology, medicine, engineering.
    Science,
    /// Explanations and exam-style knowledge.
    Knowledge,
    /// One short fact.
    Fact,
    /// From one language to another.
    Translate,
    /// Take from, reformat or summarise given text.
    Extract,
    /// Prose, poems, mails.
    Write,
    /// Small talk.
    Chat,
    /// A step of a tool-using program.
    Agent,
    /// None of these.
    Other,
}

/// The likeliest kind of work.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Task {
    /// Its name.
    pub label: TaskLabel,
    /// How sure, 0..=1.
    #[serde(serialize_with = "rounded")]
    pub probability: f64,
}

/// One contribution to the score.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// Which part of the decider speaks.
    pub kind: EvidenceKind,
    /// The rule's id, or the part's name.
    pub id: String,
    /// Index of the message that gave rise to it.
    pub message: Option<usize>,
    /// `[start, end)` in bytes of that message's text.
    pub span: Option<[usize; 2]>,
    /// Log-odds added to thinking, after saturation.
    #[serde(serialize_with = "rounded")]
    pub contribution: f64,
    /// Log-odds added to "a strong model is needed", after saturation.
    #[serde(serialize_with = "rounded")]
    pub complexity: f64,
    /// Evaluated and shown, not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// Which part of the decider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceKind {
    /// A hand-written rule.
    Rule,
    /// The trained classifier.
    Classifier,
    /// Earlier turns.
    Context,
}

/// A pair (model, thinking) with what is expected of it.
#[derive(Debug, Clone, Serialize)]
pub struct Arm {
    /// Configured model name.
    pub model: String,
    /// Thinking mode.
    pub thinking: Mode,
    /// Expected share of such requests answered well.
    #[serde(serialize_with = "rounded")]
    pub p_success: f64,
    /// Expected generated tokens.
    pub tokens: u32,
    /// Relative cost: active parameters (or price) × tokens, cheapest arm = 1.
    #[serde(serialize_with = "rounded")]
    pub cost: f64,
    /// What the policy maximises.
    #[serde(serialize_with = "rounded")]
    pub utility: f64,
}

/// The nearest change that turns the thinking mode around.
#[derive(Debug, Clone, Serialize)]
pub struct Flip {
    /// The mode it would turn to.
    pub to: Mode,
    /// The condition in numbers.
    pub needs: String,
    /// One way to get there.
    pub by: String,
}

/// What decided, so that a decision can be repeated.
#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    /// Hash of the rule packs and strengths.
    pub rules: String,
    /// Hash of the classifier artefact.
    pub classifier: Option<String>,
    /// Hash of the calibration.
    pub calibration: Option<String>,
}

impl Decision {
    /// Notes what the backend is told, in place of what another backend would have been.
    pub fn note_applied(&mut self, applied: Applied) {
        if let Some(earlier) = self.applied.take() {
            let stale: Vec<String> = earlier.notes().collect();
            self.notes.retain(|note| !stale.contains(note));
        }
        self.notes.extend(applied.notes());
        self.applied = Some(applied);
    }

    /// The compact form of the `x-thinkgate-decision` header.
    #[must_use]
    pub fn compact(&self) -> String {
        let thinking = &self.thinking;
        let mut out = format!("thinking={}", thinking.mode.as_str());
        if let Some(budget) = thinking.budget_tokens {
            out.push_str(&format!(";budget={budget}"));
        }
        out.push_str(&format!(
            ";model={};p={:.2};source={}",
            self.model,
            thinking.probability,
            thinking.source.as_str()
        ));
        let rules: Vec<&str> = self
            .evidence
            .iter()
            .filter(|evidence| evidence.kind == EvidenceKind::Rule && !evidence.shadow)
            .take(5)
            .map(|evidence| evidence.id.as_str())
            .collect();
        if !rules.is_empty() {
            out.push_str(";rules=");
            out.push_str(&rules.join(","));
        }
        out
    }
}

/// Four decimals: enough to compare, few enough to read.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e4).round() / 1e4)
}
