//! Matches and the trained vote to score: contributions in log-odds, saturated per pack, with what earlier turns lend a
//! follow-up.

use std::collections::BTreeMap;

use super::trained::Trained;
use super::{Evidence, EvidenceKind, Readings, Snapshot, Source, Task, TaskLabel, Turn};
use crate::classifier::Platt;
use crate::conversation::{Conversation, Mode};
use crate::rules::{Effect, Match, Placed, Scene, ScoreNumbers, Stage, Strength, Strengths};
use crate::signals::{self, Signal};

/// What is thought of a request before wishes and policy.
#[derive(Debug, Clone)]
pub(crate) struct Assessment {
    /// How far thinking is called for, 0..=1; the thresholds are on this.
    pub(crate) score: f64,
    /// Log-odds of it.
    pub(crate) thinking: f64,
    /// Log-odds that a strong model is needed.
    pub(crate) complexity: f64,
    /// Largest contribution first.
    pub(crate) evidence: Vec<Evidence>,
    /// Reasoning tokens that training expects, log2.
    pub(crate) expected_tokens: Option<f64>,
    /// From log-odds to the probability that thinking helps; `None` where nothing was fitted.
    calibration: Option<Platt>,
    prior: f64,
    complexity_prior: f64,
    votes: BTreeMap<TaskLabel, f64>,
    decisive: Option<bool>,
    inherited: f64,
}

/// Judges the last user message, and lets a follow-up inherit from the turns before it.
pub(super) fn assess(
    conversation: &Conversation<'_>,
    readings: &Readings<'_>,
    snapshot: &Snapshot,
) -> Assessment {
    let mut assessed: Option<Assessment> = None;
    for at in (0..readings.turns.len()).rev() {
        assessed = Some(assess_turn(conversation, at, readings, snapshot, assessed.as_ref()));
    }
    assessed.expect("there is always a last turn")
}

/// Judges the turn at `at`; `before` is what was thought of the turn before it.
fn assess_turn(
    conversation: &Conversation<'_>,
    at: usize,
    readings: &Readings<'_>,
    snapshot: &Snapshot,
    before: Option<&Assessment>,
) -> Assessment {
    let rules = &snapshot.rules;
    let turn = &readings.turns[at];
    let signals = signals::extract(conversation, turn.index, &turn.reading);
    let system: Vec<Placed<'_>> = readings.system.iter().map(Turn::placed).collect();
    let history: Vec<Placed<'_>> = readings.turns[at + 1..].iter().map(Turn::placed).collect();
    let scene = Scene { last: turn.placed(), signals: &signals, system: &system, history: &history };
    let follows = before.filter(|_| signals.get(Signal::ConversationFollowUp) > 0.0);
    let matches = rules.evaluate(&scene);
    // Words that only point back say nothing of what they point to; then the rules speak alone, and in full.
    let points_back = follows.is_some() || matches.iter().any(about_the_conversation);
    let trained = snapshot.classifier.as_ref().filter(|_| !points_back);
    let trained = trained.map(|classifier| Trained::of(classifier, turn, &signals));
    let mut assessment = weigh(&matches, rules.strengths(), trained.as_ref());
    if let Some(before) = follows {
        assessment.inherit(before, history.first().map(|placed| placed.message), rules.strengths());
    }
    assessment
}

/// "That's wrong", "dig deeper": it asks for work on what was said.
fn about_the_conversation(found: &Match<'_>) -> bool {
    let raises = matches!(found.rule.effect, Effect::Judges { thinking: Some((true, _)), .. });
    raises && found.rule.stage == Stage::Enforce && found.rule.id.starts_with("conversation.")
}

fn weigh(matches: &[Match<'_>], strengths: &Strengths, trained: Option<&Trained<'_>>) -> Assessment {
    let numbers = &strengths.score;
    let mut evidence: Vec<Evidence> = matches.iter().filter_map(|found| of_match(found, strengths)).collect();
    saturate(&mut evidence, numbers, |evidence| &mut evidence.contribution);
    saturate(&mut evidence, numbers, |evidence| &mut evidence.complexity);
    let mut votes = votes(matches, strengths);
    let (mut prior, mut complexity_prior) = (numbers.prior, numbers.complexity_prior);
    if let Some(trained) = trained {
        (prior, complexity_prior) = trained.priors();
        let rules = trained.weigh_rules(&mut evidence, strengths.worth(Strength::Decisive));
        trained.add_evidence(rules, &mut evidence);
        trained.add_votes(&mut votes);
    }
    let sum = |pick: fn(&Evidence) -> f64| evidence.iter().filter(|e| !e.shadow).map(pick).sum::<f64>();
    let thinking = prior + sum(|evidence| evidence.contribution);
    let complexity = complexity_prior + sum(|evidence| evidence.complexity);
    evidence
        .sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()).then_with(|| a.id.cmp(&b.id)));
    Assessment {
        score: logistic(thinking),
        thinking,
        complexity,
        evidence,
        expected_tokens: trained.map(Trained::tokens),
        calibration: trained.map(Trained::calibration),
        prior,
        complexity_prior,
        votes,
        decisive: decisive(matches),
        inherited: 0.0,
    }
}

fn of_match(found: &Match<'_>, strengths: &Strengths) -> Option<Evidence> {
    let Effect::Judges { thinking, complexity, .. } = found.rule.effect else { return None };
    let worth = |side: Option<(bool, Strength)>| {
        side.map_or(
            0.0,
            |(up, strength)| if up { strengths.worth(strength) } else { -strengths.worth(strength) },
        )
    };
    Some(Evidence {
        kind: EvidenceKind::Rule,
        id: found.rule.id.clone(),
        message: Some(found.message),
        span: found.span,
        contribution: worth(thinking),
        complexity: worth(complexity),
        shadow: found.rule.stage == Stage::Shadow,
    })
}

/// Within one pack and direction the k-th largest contribution counts `saturation^k`: ten words for one idea
/// are not ten ideas, and stuffing a prompt with them must not pay.
fn saturate(evidence: &mut [Evidence], numbers: &ScoreNumbers, pick: fn(&mut Evidence) -> &mut f64) {
    let mut order: Vec<usize> = (0..evidence.len()).filter(|at| !evidence[*at].shadow).collect();
    order.sort_by(|a, b| {
        let (a, b) = (*pick(&mut evidence[*a].clone()), *pick(&mut evidence[*b].clone()));
        b.abs().total_cmp(&a.abs())
    });
    let mut seen: BTreeMap<(String, bool), i32> = BTreeMap::new();
    for at in order {
        let pack = evidence[at].id.split('.').next().unwrap_or_default().to_owned();
        let value = pick(&mut evidence[at]);
        if *value != 0.0 {
            let rank = seen.entry((pack, *value > 0.0)).or_default();
            *value *= numbers.saturation.powi(*rank);
            *rank += 1;
        }
    }
}

fn votes(matches: &[Match<'_>], strengths: &Strengths) -> BTreeMap<TaskLabel, f64> {
    let mut votes = BTreeMap::new();
    for found in matches.iter().filter(|found| found.rule.stage == Stage::Enforce) {
        if let Effect::Judges { task: Some((label, strength)), .. } = found.rule.effect {
            *votes.entry(label).or_insert(0.0) += strengths.worth(strength);
        }
    }
    votes
}

/// The direction all decisive rules agree on; none where they disagree.
fn decisive(matches: &[Match<'_>]) -> Option<bool> {
    let mut directions =
        matches.iter().filter(|found| found.rule.stage == Stage::Enforce).filter_map(|found| {
            match found.rule.effect {
                Effect::Judges { thinking: Some((up, Strength::Decisive)), .. } => Some(up),
                _ => None,
            }
        });
    let first = directions.next()?;
    directions.all(|up| up == first).then_some(first)
}

impl Assessment {
    /// A follow-up is about what the earlier turn was about, which lends it no more than one strong rule would say. What
    /// the new words say themselves still counts, so an easy new topic falls back.
    fn inherit(&mut self, before: &Assessment, message: Option<usize>, strengths: &Strengths) {
        let share = strengths.score.inherited;
        let most = strengths.worth(Strength::Strong);
        let lent = (before.thinking - before.prior).clamp(-most, most) * share;
        let complexity = (before.complexity - before.complexity_prior).clamp(-most, most) * share;
        if lent.abs() < 0.05 && complexity.abs() < 0.05 {
            return;
        }
        self.thinking += lent;
        self.complexity += complexity;
        self.score = logistic(self.thinking);
        self.inherited = lent;
        self.expected_tokens = self.expected_tokens.or(before.expected_tokens);
        for (label, weight) in &before.votes {
            *self.votes.entry(*label).or_insert(0.0) += weight * share;
        }
        self.evidence.push(Evidence {
            kind: EvidenceKind::Context,
            id: "context.inherited".to_owned(),
            message,
            span: None,
            contribution: lent,
            complexity,
            shadow: false,
        });
        self.evidence.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
    }

    /// What settled `mode`, where no wish did.
    pub(super) fn source(&self, mode: Mode, numbers: &ScoreNumbers) -> Source {
        let without = logistic(self.thinking - self.inherited);
        let alone = if mode == Mode::On { without >= numbers.on_from } else { without < numbers.off_below };
        if self.inherited != 0.0 && !alone {
            return Source::Inherited;
        }
        match self.decisive {
            Some(up) if up == (mode == Mode::On) => Source::Rule,
            _ => Source::Score,
        }
    }

    /// Whether [`Assessment::probability`] was fitted.
    pub(super) fn calibrated(&self) -> bool {
        self.calibration.is_some()
    }

    /// Probability that thinking helps; the score itself where the rules spoke alone.
    pub(super) fn probability(&self) -> f64 {
        logistic(self.calibration.map_or(self.thinking, |platt| platt.of(self.thinking)))
    }

    /// Probability that the weaker models fail here.
    pub(super) fn strong_probability(&self) -> f64 {
        logistic(self.complexity)
    }

    /// The likeliest kind of work, by softmax over the votes with one for "none of these".
    pub(super) fn task(&self) -> Task {
        let total = 1.0 + self.votes.values().map(|weight| weight.exp()).sum::<f64>();
        let best = self.votes.iter().max_by(|a, b| a.1.total_cmp(b.1));
        match best {
            Some((label, weight)) => Task { label: *label, probability: weight.exp() / total },
            None => Task { label: TaskLabel::Other, probability: 1.0 },
        }
    }
}

/// 1 / (1 + e^-x).
pub(super) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
