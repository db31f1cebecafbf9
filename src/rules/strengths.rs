//! `strengths.toml`: what the names are worth. The only numbers in the rules folder.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Fault, Source};
use crate::decide::TaskLabel;

pub(super) const FILE: &str = "strengths.toml";

/// How much a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// A hint.
    Weak,
    /// Usually right.
    Moderate,
    /// Settles it unless something strong stands against.
    Strong,
    /// Settles it alone.
    Decisive,
}

/// The names' worth and the score's numbers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strengths {
    strengths: Worth,
    /// The score's numbers.
    pub score: ScoreNumbers,
    /// Expected tokens.
    pub tokens: TokenNumbers,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Worth {
    weak: f64,
    moderate: f64,
    strong: f64,
    decisive: f64,
}

/// How contributions become a score.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreNumbers {
    /// Log-odds of "thinking helps" where nothing is known.
    pub prior: f64,
    /// Log-odds of "a strong model is needed" where nothing is known.
    pub complexity_prior: f64,
    /// From this score on: think.
    pub on_from: f64,
    /// Below this score: answer at once.
    pub off_below: f64,
    /// Within one pack and direction, the k-th largest contribution counts `saturation^k`.
    pub saturation: f64,
    /// Share of an earlier turn's log-odds that a follow-up inherits, per turn.
    pub inherited: f64,
}

/// Expected generated tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenNumbers {
    /// Reasoning tokens at complexity log-odds 0; doubles with every unit of log-odds.
    pub thinking: f64,
    /// Budget granted, as a multiple of the expected reasoning.
    pub headroom: f64,
    /// Answer tokens by kind of work.
    pub answer: BTreeMap<TaskLabel, f64>,
}

impl Strengths {
    /// Log-odds of a named strength.
    #[must_use]
    pub fn worth(&self, strength: Strength) -> f64 {
        match strength {
            Strength::Weak => self.strengths.weak,
            Strength::Moderate => self.strengths.moderate,
            Strength::Strong => self.strengths.strong,
            Strength::Decisive => self.strengths.decisive,
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut out = Vec::new();
        let worth =
            [self.strengths.weak, self.strengths.moderate, self.strengths.strong, self.strengths.decisive];
        if worth[0] <= 0.0 || worth.windows(2).any(|pair| pair[0] >= pair[1]) {
            out.push(format!("[strengths] {worth:?}: expected 0 < weak < moderate < strong < decisive"));
        }
        let score = &self.score;
        if !(0.0 < score.off_below && score.off_below <= score.on_from && score.on_from < 1.0) {
            out.push(format!(
                "[score] off_below = {}, on_from = {}: expected 0 < off_below <= on_from < 1",
                score.off_below, score.on_from
            ));
        }
        for (name, value) in [("saturation", score.saturation), ("inherited", score.inherited)] {
            if !(0.0..=1.0).contains(&value) {
                out.push(format!("[score] {name} = {value}: expected 0 to 1"));
            }
        }
        out
    }
}

/// The worth used where the folder's own file is unusable, so that the packs' faults can still be told.
fn placeholder() -> Strengths {
    let score = ScoreNumbers {
        prior: 0.0,
        complexity_prior: 0.0,
        on_from: 0.55,
        off_below: 0.45,
        saturation: 0.5,
        inherited: 0.8,
    };
    let tokens = TokenNumbers { thinking: 600.0, headroom: 1.5, answer: BTreeMap::new() };
    Strengths { strengths: Worth { weak: 0.4, moderate: 0.9, strong: 1.8, decisive: 4.0 }, score, tokens }
}

pub(super) fn parse(sources: &[Source], faults: &mut Vec<Fault>) -> Strengths {
    let fault = |message: String| Fault { file: FILE.into(), line: None, rule: None, message };
    let Some(source) = sources.iter().find(|source| source.name == FILE) else {
        faults.push(fault("missing; every rules folder has one".into()));
        return placeholder();
    };
    match toml::from_str::<Strengths>(&source.text) {
        Ok(strengths) => {
            faults.extend(strengths.faults().into_iter().map(fault));
            strengths
        }
        Err(error) => {
            faults.push(fault(error.to_string().trim().to_owned()));
            placeholder()
        }
    }
}
