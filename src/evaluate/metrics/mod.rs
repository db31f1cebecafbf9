//! The measures, each a function of rows and their weights.
//!
//! A weight says how often a row was drawn: ones give the figure itself, the counts of a resample one draw of its
//! bootstrap. So rows are sorted once and resampled a thousand times.

mod bootstrap;
mod calibration;
mod ranking;
mod routing;
mod switching;

pub use bootstrap::{Estimate, Generator, estimate};
pub use calibration::{Bin, calibration_error, reliability};
pub use ranking::{LengthMatched, auc, spearman};
pub use routing::{Curve, Pair, share_threshold};
pub use switching::{ModeOutcome, Switching, View, area};

/// Rows sorted by a score, those of equal score together. Ties are never cut: what follows from half a tie follows
/// from the order of a file.
#[derive(Debug, Clone)]
pub struct Ties {
    order: Vec<usize>,
    ends: Vec<usize>,
}

impl Ties {
    /// Sorts all rows by their scores.
    #[must_use]
    pub fn of(scores: &[f64]) -> Self {
        Ties::of_some(scores, (0..scores.len()).collect())
    }

    /// Sorts the rows `order` by their scores.
    #[must_use]
    pub fn of_some(scores: &[f64], mut order: Vec<usize>) -> Self {
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let differs = |at: &usize| *at == order.len() || scores[order[*at - 1]] != scores[order[*at]];
        let ends = (1..=order.len()).filter(differs).collect();
        Ties { order, ends }
    }

    /// The rows of each score, lowest first.
    pub fn ascending(&self) -> impl DoubleEndedIterator<Item = &[usize]> {
        (0..self.ends.len()).map(|at| {
            let start = if at == 0 { 0 } else { self.ends[at - 1] };
            &self.order[start..self.ends[at]]
        })
    }
}

/// Weighted mean of a value per row; not a number without rows.
#[must_use]
pub fn mean(weights: &[f64], value: impl Fn(usize) -> f64) -> f64 {
    share(weights, |_| true, value)
}

/// Weighted mean of a value over the rows that `counts` picks.
#[must_use]
pub fn share(weights: &[f64], counts: impl Fn(usize) -> bool, value: impl Fn(usize) -> f64) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (row, weight) in weights.iter().enumerate() {
        if *weight > 0.0 && counts(row) {
            sum += weight * value(row);
            total += weight;
        }
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_stay_together() {
        let ties = Ties::of(&[0.5, 0.1, 0.5, 0.9]);
        let groups: Vec<&[usize]> = ties.ascending().collect();
        assert_eq!(groups, [&[1][..], &[0, 2], &[3]]);
        assert_eq!(Ties::of(&[]).ascending().count(), 0);
    }

    #[test]
    fn weights_count_rows_as_often_as_they_were_drawn() {
        assert_eq!(mean(&[2.0, 0.0, 1.0], |row| row as f64), 2.0 / 3.0);
        assert_eq!(share(&[2.0, 5.0, 1.0], |row| row != 1, |row| row as f64), 2.0 / 3.0);
        assert!(mean(&[0.0], |_| 1.0).is_nan());
    }
}
