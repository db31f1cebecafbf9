//! The trained vote beside the rules: how much each may say, and what it adds to the evidence.

use std::collections::BTreeMap;

use super::{Evidence, EvidenceKind, TaskLabel, Turn};
use crate::classifier::{Blend, Classifier, Features, Platt, RULES_BOUND, Vote, Weighing};
use crate::signals::{Signals, language_of};

/// Standard deviations of difficulty within a kind that count.
const LEVEL_BOUND: f64 = 2.0;
/// Log-odds of a kind of work that training is sure of.
const TASK_WORTH: f64 = 4.0;
/// Doublings of the expected reasoning per standard deviation of difficulty.
const LEVEL_TOKENS: f64 = 0.5;

/// The vote on one turn.
pub(super) struct Trained<'c> {
    blend: &'c Blend,
    vote: Vote,
    /// Of the ask.
    tokens: usize,
    message: usize,
}

impl<'c> Trained<'c> {
    pub(super) fn of(classifier: &'c Classifier, turn: &Turn<'_>, signals: &Signals) -> Self {
        let features = Features::of(&turn.reading, signals);
        let vote = classifier.judge(&features);
        let blend = classifier.blend(language_of(turn.reading.ask()));
        Trained { blend, vote, tokens: features.tokens, message: turn.index }
    }

    /// Log-odds where nothing is known: thinking, complexity.
    pub(super) fn priors(&self) -> (f64, f64) {
        (self.blend.thinking.prior, self.blend.strong.prior)
    }

    /// From the score's log-odds to a probability.
    pub(super) fn calibration(&self) -> Platt {
        self.blend.calibration
    }

    /// log2 of the expected reasoning tokens.
    pub(super) fn tokens(&self) -> f64 {
        self.vote.tokens() + LEVEL_TOKENS * level(&self.vote) * mathematics(&self.vote)
    }

    /// Bounds what the rules say together and turns it into the common measure. A decisive rule is left as it is: it was
    /// written to settle the matter. Returns what they say together for thinking, bounded and not yet weighed.
    pub(super) fn weigh_rules(&self, evidence: &mut [Evidence], decisive: f64) -> f64 {
        weigh_side(evidence, &self.blend.strong, decisive, |evidence| &mut evidence.complexity);
        weigh_side(evidence, &self.blend.thinking, decisive, |evidence| &mut evidence.contribution)
    }

    /// Adds the vote beside rules that say so much together.
    pub(super) fn add_evidence(&self, rules: f64, evidence: &mut Vec<Evidence>) {
        let vote = &self.vote;
        let item = |id: &str, contribution: f64, complexity: f64| Evidence {
            kind: EvidenceKind::Classifier,
            id: id.to_owned(),
            message: Some(self.message),
            span: None,
            contribution,
            complexity,
            shadow: false,
        };
        let thinking = self.blend.thinking.vote_beside(rules, vote.thinking(), self.tokens);
        let strong = self.blend.strong.vote(vote.strong());
        evidence.push(item("classifier.words", thinking, strong));
        evidence.push(item(
            "classifier.level",
            self.blend.thinking.level * level(vote) * mathematics(vote),
            0.0,
        ));
    }

    pub(super) fn add_votes(&self, votes: &mut BTreeMap<TaskLabel, f64>) {
        for (label, share) in self.vote.tasks() {
            *votes.entry(label).or_insert(0.0) += TASK_WORTH * share.clamp(0.0, 1.0);
        }
    }
}

fn level(vote: &Vote) -> f64 {
    vote.level().clamp(-LEVEL_BOUND, LEVEL_BOUND)
}

/// Levels were learned from mathematics alone.
fn mathematics(vote: &Vote) -> f64 {
    let share = vote.tasks().find(|(label, _)| *label == TaskLabel::Math).map_or(0.0, |(_, share)| share);
    share.clamp(0.0, 1.0)
}

fn weigh_side(
    evidence: &mut [Evidence],
    weighing: &Weighing,
    decisive: f64,
    pick: fn(&mut Evidence) -> &mut f64,
) -> f64 {
    let counts = |value: f64| value.abs() < decisive;
    let together: f64 = evidence
        .iter_mut()
        .filter(|evidence| !evidence.shadow)
        .map(|evidence| *pick(evidence))
        .filter(|value| counts(*value))
        .sum();
    let share = if together.abs() > RULES_BOUND { RULES_BOUND / together.abs() } else { 1.0 };
    for value in evidence.iter_mut().map(pick).filter(|value| counts(**value)) {
        *value *= share * weighing.rules;
    }
    share * together
}
