//! What a score buys when the prompts it ranks highest go to the strong model.

use super::Ties;

/// Quality of one prompt with either model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// With the strong model.
    pub strong: f64,
    /// With the weak one.
    pub weak: f64,
}

/// Quality over the share of prompts that go to the strong model.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// (share to the strong model, share of the quality gap recovered), from (0, 0) to (1, 1).
    points: Vec<(f64, f64)>,
    /// Mean quality of the weak model.
    pub weak: f64,
    /// Mean quality of the strong model.
    pub strong: f64,
}

impl Curve {
    /// Sends the rows of highest score first. Ties go together, so points between are joined by straight lines:
    /// what breaking ties at random gives.
    pub fn of(ties: &Ties, pair: impl Fn(usize) -> Pair, weights: &[f64]) -> Self {
        let (mut strong, mut weak, mut total) = (0.0, 0.0, 0.0);
        let (mut sent, mut gained) = (0.0, 0.0);
        let mut reached = vec![(0.0, 0.0)];
        for group in ties.ascending().rev() {
            for row in group {
                let (pair, weight) = (pair(*row), weights[*row]);
                total += weight;
                strong += weight * pair.strong;
                weak += weight * pair.weak;
                sent += weight;
                gained += weight * (pair.strong - pair.weak);
            }
            reached.push((sent, gained));
        }
        let gap = strong - weak;
        let points = reached.into_iter().map(|(sent, gained)| (sent / total, gained / gap)).collect();
        Curve { points, weak: weak / total, strong: strong / total }
    }

    /// Average performance gap recovered: the area under the curve. 0.5 is random.
    #[must_use]
    pub fn apgr(&self) -> f64 {
        self.points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum()
    }

    /// Call-performance threshold: the smallest share of strong calls that recovers `gap` of the gap.
    #[must_use]
    pub fn cpt(&self, gap: f64) -> f64 {
        for pair in self.points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            if y1 >= gap {
                return x0 + (x1 - x0) * ((gap - y0) / (y1 - y0)).clamp(0.0, 1.0);
            }
        }
        f64::NAN
    }
}

/// The threshold (score ≥ threshold goes to the strong model) whose share comes nearest to `share`.
#[must_use]
pub fn share_threshold(scores: &[f64], share: f64) -> f64 {
    let ties = Ties::of(scores);
    let total = scores.len() as f64;
    let (mut best, mut nearest, mut sent) = (f64::INFINITY, share, 0.0);
    for group in ties.ascending().rev() {
        sent += group.len() as f64 / total;
        if (sent - share).abs() < nearest {
            nearest = (sent - share).abs();
            best = scores[group[0]];
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [Pair; 4] = [
        Pair { strong: 1.0, weak: 0.0 },
        Pair { strong: 1.0, weak: 1.0 },
        Pair { strong: 1.0, weak: 0.0 },
        Pair { strong: 0.0, weak: 0.0 },
    ];

    fn curve(scores: &[f64]) -> Curve {
        Curve::of(&Ties::of(scores), |row| PAIRS[row], &[1.0; 4])
    }

    #[test]
    fn a_constant_score_is_random_whatever_the_order() {
        let curve = curve(&[0.3; 4]);
        assert_eq!((curve.weak, curve.strong), (0.25, 0.75));
        assert_eq!((curve.apgr(), curve.cpt(0.5), curve.cpt(0.8)), (0.5, 0.5, 0.8));
    }

    #[test]
    fn the_oracle_recovers_the_gap_with_the_prompts_that_have_it() {
        // Gap on 2 of 4: the curve rises to 1 at one half, then stays: 0.25 + 0.5.
        let curve = curve(&[2.0, 0.0, 2.0, 0.0]);
        assert_eq!((curve.apgr(), curve.cpt(0.5), curve.cpt(0.8)), (0.75, 0.25, 0.4));
    }

    #[test]
    fn the_anti_oracle_mirrors_it() {
        let curve = curve(&[0.0, 2.0, 0.0, 2.0]);
        assert_eq!((curve.apgr(), curve.cpt(0.5)), (0.25, 0.75));
    }

    #[test]
    fn weights_move_the_curve() {
        // Row 0 drawn three times, the others once, ranked first: gap 4 of 6, of which 3 after half of the calls.
        let curve = Curve::of(&Ties::of(&[9.0, 2.0, 1.0, 0.0]), |row| PAIRS[row], &[3.0, 1.0, 1.0, 1.0]);
        let expected = 0.5 * 0.375 + 1.0 / 6.0 * (0.75 + 0.875 + 1.0);
        assert!((curve.apgr() - expected).abs() < 1e-12, "{curve:?}");
    }

    #[test]
    fn a_threshold_sends_the_share_it_was_asked_for() {
        let threshold = share_threshold(&[0.1, 0.2, 0.3, 0.4], 0.5);
        assert_eq!(threshold, 0.3);
        // One tie of three cannot be cut: a quarter is nearer to a half than all.
        assert_eq!(share_threshold(&[0.1, 0.1, 0.1, 0.4], 0.5), 0.4);
        assert_eq!(share_threshold(&[0.2; 4], 0.3), f64::INFINITY);
    }
}
