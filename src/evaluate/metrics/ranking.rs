//! Does a higher score mean more of it?

use std::collections::BTreeMap;

use super::Ties;

/// Probability that a row of the upper side scores above one of the lower side, ties counted half. Rows of neither
/// side do not count. Not a number where a side is empty.
#[must_use]
pub fn auc(ties: &Ties, side: impl Fn(usize) -> Option<bool>, weights: &[f64]) -> f64 {
    let sums = sums(ties, &side, weights);
    sums.won / (sums.upper * sums.lower)
}

struct Sums {
    won: f64,
    upper: f64,
    lower: f64,
}

fn sums(ties: &Ties, side: &impl Fn(usize) -> Option<bool>, weights: &[f64]) -> Sums {
    let mut sums = Sums { won: 0.0, upper: 0.0, lower: 0.0 };
    for group in ties.ascending() {
        let (mut upper, mut lower) = (0.0, 0.0);
        for row in group {
            match side(*row) {
                Some(true) => upper += weights[*row],
                Some(false) => lower += weights[*row],
                None => {}
            }
        }
        sums.won += upper * (sums.lower + lower / 2.0);
        sums.upper += upper;
        sums.lower += lower;
    }
    sums
}

/// Rows in bins of like length, each sorted by score.
#[derive(Debug, Clone)]
pub struct LengthMatched {
    bins: Vec<Ties>,
}

impl LengthMatched {
    /// Bins a quarter of an octave wide: within one, the longest row is 1.2 times the shortest.
    #[must_use]
    pub fn of(scores: &[f64], lengths: &[f64]) -> Self {
        let mut bins: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (row, length) in lengths.iter().enumerate() {
            bins.entry((length.max(1.0).log2() * 4.0).floor() as i64).or_default().push(row);
        }
        LengthMatched { bins: bins.into_values().map(|rows| Ties::of_some(scores, rows)).collect() }
    }

    /// AUC among rows of like length: the mean over bins, each counting as the smaller of its sides, which is what
    /// drawing as many rows from either side gives.
    #[must_use]
    pub fn auc(&self, side: impl Fn(usize) -> Option<bool>, weights: &[f64]) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for bin in &self.bins {
            let sums = sums(bin, &side, weights);
            let matched = sums.upper.min(sums.lower);
            if matched > 0.0 {
                sum += matched * sums.won / (sums.upper * sums.lower);
                total += matched;
            }
        }
        sum / total
    }
}

/// Spearman's rank correlation, ties at their mean rank. 0 where one side is constant: it tells nothing.
#[must_use]
pub fn spearman(a: &Ties, b: &Ties, weights: &[f64]) -> f64 {
    let (a, b) = (ranks(a, weights), ranks(b, weights));
    let total: f64 = weights.iter().sum();
    let centre = total / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        weights.iter().enumerate().map(|(row, w)| w * (x[row] - centre) * (y[row] - centre)).sum()
    };
    let spread = product(&a, &a) * product(&b, &b);
    match () {
        () if total == 0.0 => f64::NAN,
        () if spread <= 0.0 => 0.0,
        () => product(&a, &b) / spread.sqrt(),
    }
}

/// Mean rank of each row, counted from 0 to the sum of weights, so that the mean of all is half of that sum.
fn ranks(ties: &Ties, weights: &[f64]) -> Vec<f64> {
    let mut ranks = vec![0.0; weights.len()];
    let mut below = 0.0;
    for group in ties.ascending() {
        let here: f64 = group.iter().map(|row| weights[*row]).sum();
        for row in group {
            ranks[*row] = below + here / 2.0;
        }
        below += here;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [Option<bool>; 6] = [Some(true), Some(false), Some(true), Some(false), None, Some(true)];

    fn auc_of(scores: &[f64]) -> f64 {
        auc(&Ties::of(scores), |row| SIDES[row], &[1.0; 6])
    }

    #[test]
    fn auc_counts_pairs_and_half_of_ties() {
        // Upper 0.9, 0.4, 0.2 against lower 0.4, 0.1: won 2 + 1.5 + 1 of 6.
        assert!((auc_of(&[0.9, 0.4, 0.4, 0.1, 5.0, 0.2]) - 4.5 / 6.0).abs() < 1e-12);
        assert_eq!(auc_of(&[0.3; 6]), 0.5);
        assert_eq!(auc_of(&[1.0, 0.0, 1.0, 0.0, 0.5, 1.0]), 1.0);
        assert!(auc(&Ties::of(&[1.0]), |_| Some(true), &[1.0]).is_nan());
    }

    #[test]
    fn auc_counts_a_row_as_often_as_it_was_drawn() {
        let ties = Ties::of(&[0.9, 0.5, 0.1]);
        let side = |row| Some(row != 1);
        assert_eq!(auc(&ties, side, &[1.0, 1.0, 1.0]), 0.5);
        assert_eq!(auc(&ties, side, &[3.0, 1.0, 1.0]), 0.75);
    }

    #[test]
    fn length_tells_nothing_among_rows_of_like_length() {
        // Bins of 10 and of 100 and 104; that of 1000 has one side only.
        let lengths = [10.0, 10.0, 100.0, 100.0, 104.0, 1000.0];
        let side = |row: usize| Some([true, false, true, false, false, true][row]);
        let by_length = LengthMatched::of(&lengths, &lengths).auc(side, &[1.0; 6]);
        // First bin a tie (0.5); second: 100 against 100 and 104 (0.25); each of matched size 1.
        assert!((by_length - 0.375).abs() < 1e-12, "{by_length}");
        let oracle = LengthMatched::of(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &lengths).auc(side, &[1.0; 6]);
        assert_eq!(oracle, 1.0);
    }

    #[test]
    fn spearman_is_that_of_the_textbook() {
        let rho = |a: &[f64], b: &[f64]| spearman(&Ties::of(a), &Ties::of(b), &vec![1.0; a.len()]);
        // Ranks differ by 1, 1, 1, 1, 0: 1 - 6 * 4 / (5 * 24) = 0.8.
        assert!((rho(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]) - 0.8).abs() < 1e-12);
        assert!((rho(&[1.0, 2.0, 3.0], &[9.0, 4.0, 1.0]) + 1.0).abs() < 1e-12);
        // Ranks 1.5 1.5 3 against 1 2 3: covariance 1.5, spreads 1.5 and 2.
        assert!((rho(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0]) - 1.5 / (1.5f64 * 2.0).sqrt()).abs() < 1e-12);
        assert_eq!(rho(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), 0.0);
    }

    #[test]
    fn weights_equal_repeated_rows() {
        let weighted = spearman(&Ties::of(&[1.0, 2.0, 3.0]), &Ties::of(&[2.0, 1.0, 3.0]), &[2.0, 1.0, 1.0]);
        let (a, b) = ([1.0, 1.0, 2.0, 3.0], [2.0, 2.0, 1.0, 3.0]);
        let repeated = spearman(&Ties::of(&a), &Ties::of(&b), &[1.0; 4]);
        assert!((weighted - repeated).abs() < 1e-12);
    }
}
