//! "What does thinking buy, and cost, on this model?" Fitted from measured outcomes, one profile a model.
//!
//! Whether thinking pays depends on the model as much as on the prompt, so what the score says of the prompt is put
//! through a curve of the model's own. Predicting is pure; fitting and files are the business of `thinkgate calibrate`.

mod file;
mod fit;
mod outcomes;
mod trial;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use file::{CalibrationError, Profiles, Provenance, write};
pub use fit::{LEAST_ROWS, fit};
pub use outcomes::{Measurement, fold_of, read_outcomes};
pub use trial::{HeldOut, held_out};

use crate::decide::{Decision, TaskLabel};
use crate::evaluate::metrics::ModeOutcome;

/// Success that 1,000 tokens of thinking must buy where `gain_per_1000_tokens` is not stated: one right answer in
/// twenty.
pub const GAIN_PER_1000_TOKENS: f64 = 0.05;
/// Log-odds beyond which a score says no more.
const FURTHEST: f64 = 8.0;

/// What a profile looks at: the parts of a decision that are known before a model is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inputs {
    /// Log-odds that thinking helps: the score.
    pub thinking: f64,
    /// Log-odds that a strong model is needed.
    pub complexity: f64,
    /// Kind of work.
    pub task: TaskLabel,
    /// Language of the ask, ISO 639-1 or `und`.
    pub language: &'static str,
}

impl Inputs {
    /// From log-odds.
    #[must_use]
    pub fn new(thinking: f64, complexity: f64, task: TaskLabel, language: &'static str) -> Inputs {
        let near = |value: f64| value.clamp(-FURTHEST, FURTHEST);
        Inputs { thinking: near(thinking), complexity: near(complexity), task, language }
    }

    /// From a finished decision.
    #[must_use]
    pub fn of(decision: &Decision) -> Inputs {
        let log_odds = |share: f64| (share / (1.0 - share)).ln();
        let (thinking, complexity) = (log_odds(decision.score), log_odds(decision.strong_probability));
        Inputs::new(thinking, complexity, decision.task.label, decision.language)
    }
}

/// One prompt with what one model made of it.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What was known before.
    pub inputs: Inputs,
    /// What came of it.
    pub outcome: ModeOutcome,
    /// Part of the rows it belongs to; the same text is always in the same part.
    pub fold: usize,
    /// The score alone makes it think.
    pub on: bool,
}

/// A sum of a base, slopes and offsets. What the sum means is said where it is held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Where both log-odds are 0 and neither task nor language has an offset.
    pub base: f64,
    /// For each unit of log-odds that thinking helps.
    pub per_thinking: f64,
    /// For each unit of log-odds that a strong model is needed.
    pub per_complexity: f64,
    /// By kind of work; one without an offset keeps to the common line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub task: BTreeMap<TaskLabel, f64>,
    /// By language; the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub language: BTreeMap<String, f64>,
}

impl Line {
    fn at(&self, inputs: &Inputs) -> f64 {
        self.base
            + self.per_thinking * inputs.thinking
            + self.per_complexity * inputs.complexity
            + self.task.get(&inputs.task).unwrap_or(&0.0)
            + self.language.get(inputs.language).unwrap_or(&0.0)
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let three = [self.base, self.per_thinking, self.per_complexity];
        three.into_iter().chain(self.task.values().copied()).chain(self.language.values().copied())
    }
}

/// What is known of one model: two success curves and two of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Rows it was fitted on.
    pub rows: usize,
    /// Least and greatest log-odds among them that thinking helps; beyond, the curves stay level.
    pub thinking: [f64; 2],
    /// The same of the log-odds that a strong model is needed.
    pub complexity: [f64; 2],
    /// Log-odds of a right answer without thinking.
    pub without: Line,
    /// Log-odds that thinking adds to that.
    pub gain: Line,
    /// log2 of the tokens put out without thinking.
    pub tokens_without: Line,
    /// log2 of the tokens put out with thinking, thinking included.
    pub tokens_with: Line,
}

/// What a profile expects of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Probability of a right answer without thinking.
    pub without: f64,
    /// With thinking.
    pub with: f64,
    /// Tokens put out without thinking.
    pub tokens_without: f64,
    /// With thinking, thinking included.
    pub tokens_with: f64,
}

impl Profile {
    /// What to expect.
    #[must_use]
    pub fn outlook(&self, inputs: &Inputs) -> Outlook {
        let within = |value: f64, [least, greatest]: [f64; 2]| value.max(least).min(greatest);
        let inputs = Inputs {
            thinking: within(inputs.thinking, self.thinking),
            complexity: within(inputs.complexity, self.complexity),
            ..*inputs
        };
        let without = self.without.at(&inputs);
        let tokens = |line: &Line| line.at(&inputs).clamp(0.0, 20.0).exp2();
        Outlook {
            without: logistic(without),
            with: logistic(without + self.gain.at(&inputs)),
            tokens_without: tokens(&self.tokens_without),
            tokens_with: tokens(&self.tokens_with),
        }
    }
}

impl Outlook {
    /// Right answers that thinking adds, -1..=1.
    #[must_use]
    pub fn gain(&self) -> f64 {
        self.with - self.without
    }

    /// Tokens that it costs, at least one.
    #[must_use]
    pub fn thinking_tokens(&self) -> f64 {
        (self.tokens_with - self.tokens_without).max(1.0)
    }

    /// Right answers added for each 1,000 of them.
    #[must_use]
    pub fn gain_per_1000_tokens(&self) -> f64 {
        1000.0 * self.gain() / self.thinking_tokens()
    }
}

/// A model's profile with what the policy asks of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// What was fitted.
    pub profile: Profile,
    /// Success that 1,000 tokens of thinking must buy.
    pub least_gain: f64,
    /// Hash of the calibration file.
    pub version: String,
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let line = |base: f64, per_thinking: f64| Line { base, per_thinking, ..Line::default() };
        let mut gain = line(0.5, 0.5);
        gain.task.insert(TaskLabel::Math, 1.0);
        Profile {
            rows: 100,
            thinking: [-2.0, 2.0],
            complexity: [0.0, 0.0],
            without: line(-1.0, 0.0),
            gain,
            tokens_without: line(5.0, 0.0),
            tokens_with: line(9.0, 0.0),
        }
    }

    fn at(thinking: f64, task: TaskLabel) -> Outlook {
        profile().outlook(&Inputs::new(thinking, 3.0, task, "en"))
    }

    #[test]
    fn curves_stay_level_beyond_what_was_measured() {
        assert_eq!(at(2.0, TaskLabel::Fact), at(7.0, TaskLabel::Fact));
        assert_eq!(at(-2.0, TaskLabel::Fact), at(-7.0, TaskLabel::Fact));
        assert!(at(2.0, TaskLabel::Fact).gain() > at(1.0, TaskLabel::Fact).gain());
    }

    #[test]
    fn a_task_without_rows_keeps_to_the_common_curve() {
        let mut common = profile();
        common.gain.task.clear();
        let inputs = Inputs::new(0.0, 0.0, TaskLabel::Write, "zh");
        assert_eq!(profile().outlook(&inputs), common.outlook(&inputs));
        assert!(at(0.0, TaskLabel::Math).with > at(0.0, TaskLabel::Write).with);
    }

    #[test]
    fn gain_is_counted_against_the_tokens_of_thinking() {
        let outlook = at(1.0, TaskLabel::Fact);
        assert_eq!((outlook.tokens_without, outlook.thinking_tokens()), (32.0, 480.0));
        let expected = (0.5 - logistic(-1.0)) / 0.48;
        assert!((outlook.gain_per_1000_tokens() - expected).abs() < 1e-12);
    }
}
