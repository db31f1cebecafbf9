//! What thinking bought and cost, where both modes were measured.

use super::{Ties, share};

/// One prompt's measured result in both modes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModeOutcome {
    /// Share right with thinking.
    pub think: f64,
    /// Share right without.
    pub direct: f64,
    /// Tokens with thinking.
    pub think_tokens: f64,
    /// Tokens without.
    pub direct_tokens: f64,
}

impl ModeOutcome {
    /// Right without thinking.
    #[must_use]
    pub fn easy(&self) -> bool {
        self.direct >= 0.5
    }

    /// Right with thinking alone.
    #[must_use]
    pub fn needs(&self) -> bool {
        self.think >= 0.5 && !self.easy()
    }

    /// Right without thinking alone.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.easy() && self.think < 0.5
    }
}

/// Area between accuracy over tokens, thinking first where the score is highest, and the straight line from never
/// to always thinking. Tokens from never (0) to always (1), accuracy in units of the gain, of 0.01 at least.
/// 0 is switching at random, more is better.
pub fn area(ties: &Ties, outcome: impl Fn(usize) -> ModeOutcome, weights: &[f64]) -> f64 {
    let mut reached = vec![(0.0, 0.0)];
    let (mut tokens, mut right, mut total) = (0.0, 0.0, 0.0);
    for group in ties.ascending().rev() {
        for row in group {
            let (outcome, weight) = (outcome(*row), weights[*row]);
            tokens += weight * (outcome.think_tokens - outcome.direct_tokens);
            right += weight * (outcome.think - outcome.direct);
            total += weight;
        }
        reached.push((tokens, right));
    }
    let unit = right.abs().max(0.01 * total);
    let above_line = |(spent, gained): (f64, f64)| (gained - right * spent / tokens) / unit;
    let strip = |pair: &[(f64, f64)]| {
        (pair[1].0 - pair[0].0) / tokens * (above_line(pair[0]) + above_line(pair[1])) / 2.0
    };
    reached.windows(2).map(strip).sum()
}

/// Decisions on prompts measured in both modes.
pub struct Switching<'a> {
    /// The results.
    pub outcomes: &'a [ModeOutcome],
    /// Probability that the row is made to think: 0 or 1, or between for a coin.
    pub on: &'a [f64],
}

/// Decisions against needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Share of rows made to think.
    pub share: f64,
    /// Mean share right.
    pub accuracy: f64,
    /// Mean tokens.
    pub tokens: f64,
    /// Of the thinking rows that are easy or need it: share that needs it.
    pub precision: f64,
    /// Of the rows that need it: share made to think.
    pub recall: f64,
    /// Of the easy rows: share made to think.
    pub needless: f64,
    /// Share of all rows that thinking broke.
    pub broken: f64,
    /// Over/under-thinking F1.
    pub f1: f64,
}

impl Switching<'_> {
    /// All of it.
    #[must_use]
    pub fn view(&self, weights: &[f64]) -> View {
        let on = |row: usize| self.on[row];
        let all = |_| true;
        let needs = |row: usize| self.outcomes[row].needs();
        let easy = |row: usize| self.outcomes[row].easy();
        let recall = share(weights, needs, on);
        let mix = |row: usize, think: f64, direct: f64| on(row) * think + (1.0 - on(row)) * direct;
        let right = |row: usize| mix(row, self.outcomes[row].think, self.outcomes[row].direct);
        let tokens = |row: usize| mix(row, self.outcomes[row].think_tokens, self.outcomes[row].direct_tokens);
        let over = share(weights, easy, |row| self.spared(row));
        View {
            share: share(weights, all, on),
            accuracy: share(weights, all, right),
            tokens: share(weights, all, tokens),
            precision: self.precision(weights),
            recall,
            needless: share(weights, easy, on),
            broken: share(weights, all, |row| on(row) * f64::from(self.outcomes[row].broken())),
            f1: harmonic(over, recall),
        }
    }

    /// Right and brief: the share of 1,000 tokens left over where the answer is right.
    fn spared(&self, row: usize) -> f64 {
        let left = |right: f64, tokens: f64| right * (1000.0 - tokens).max(0.0) / 1000.0;
        let outcome = &self.outcomes[row];
        self.on[row] * left(outcome.think, outcome.think_tokens)
            + (1.0 - self.on[row]) * left(outcome.direct, outcome.direct_tokens)
    }

    /// Rows wrong in both modes say nothing about the decision.
    fn precision(&self, weights: &[f64]) -> f64 {
        let (mut needed, mut thought) = (0.0, 0.0);
        for (row, weight) in weights.iter().enumerate() {
            let outcome = &self.outcomes[row];
            needed += weight * self.on[row] * f64::from(outcome.needs());
            thought += weight * self.on[row] * f64::from(outcome.needs() || outcome.easy());
        }
        needed / thought
    }
}

/// Harmonic mean; 0 where both are, not a number where either is not.
fn harmonic(a: f64, b: f64) -> f64 {
    if a + b == 0.0 { 0.0 } else { 2.0 * a * b / (a + b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn outcome(think: f64, direct: f64) -> ModeOutcome {
        ModeOutcome { think, direct, think_tokens: 500.0, direct_tokens: 100.0 }
    }

    /// Needs it, easy, broken by it, wrong both ways.
    const ROWS: [ModeOutcome; 4] =
        [outcome(1.0, 0.0), outcome(1.0, 1.0), outcome(0.0, 1.0), outcome(0.0, 0.0)];

    fn view(on: &[f64]) -> View {
        Switching { outcomes: &ROWS, on }.view(&[1.0; 4])
    }

    #[test]
    fn decisions_are_held_against_needs() {
        let some = view(&[1.0, 1.0, 0.0, 1.0]);
        assert_eq!((some.share, some.accuracy, some.tokens), (0.75, 0.75, 400.0));
        assert_eq!((some.precision, some.recall, some.needless, some.broken), (0.5, 1.0, 0.5, 0.0));
        // Easy rows: right after 500 tokens (0.5) and right after 100 (0.9), so over = 0.7, under = 1.
        assert!((some.f1 - 2.0 * 0.7 / 1.7).abs() < 1e-12, "{some:?}");
    }

    #[test]
    fn controls_score_as_known() {
        assert_eq!((view(&[0.0; 4]).f1, view(&[0.0; 4]).recall), (0.0, 0.0));
        let on = view(&[1.0; 4]);
        // Over: 0.5 for the easy row, 0 for the broken one.
        assert!((on.f1 - 2.0 * 0.25 / 1.25).abs() < 1e-12 && on.broken == 0.25, "{on:?}");
        let oracle = view(&[1.0, 0.0, 0.0, 0.0]);
        assert!((oracle.f1 - 2.0 * 0.9 / 1.9).abs() < 1e-12 && oracle.accuracy == 0.75, "{oracle:?}");
        let coin = view(&[0.5; 4]);
        assert_eq!((coin.share, coin.recall, coin.accuracy), (0.5, 0.5, 0.5));
    }

    #[test]
    fn area_is_zero_for_a_constant_and_known_for_the_oracle() {
        let rows = [outcome(1.0, 0.0), outcome(0.0, 0.0), outcome(0.0, 0.0), outcome(1.0, 1.0)];
        let of = |scores: &[f64]| area(&Ties::of(scores), |row| rows[row], &[1.0; 4]);
        assert!(of(&[0.5; 4]).abs() < 1e-12);
        // All of the gain after a quarter of the tokens: area under the curve 0.125 + 0.75, minus 0.5.
        assert!((of(&[1.0, 0.0, 0.0, 0.0]) - 0.375).abs() < 1e-12);
        assert!((of(&[0.0, 1.0, 1.0, 1.0]) + 0.375).abs() < 1e-12);
    }

    #[test]
    fn a_gain_of_nothing_is_measured_in_hundredths() {
        let rows = [outcome(1.0, 0.0), outcome(0.0, 1.0)];
        let of = |scores: &[f64]| area(&Ties::of(scores), |row| rows[row], &[1.0; 2]);
        // Accuracy rises by 1 of 2 rows at half of the tokens, then falls back: 0.5 * 0.5 / 0.01.
        assert!((of(&[1.0, 0.0]) - 25.0).abs() < 1e-9);
    }
}
