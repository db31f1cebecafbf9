//! What profiles are worth on rows that they were not fitted on.

use super::{Outlook, Sample, fit};

/// Parts the rows are cut into; each is predicted from the others.
pub(super) const FOLDS: usize = 5;

/// What a profile that never saw the row says of it.
#[derive(Debug, Clone, Copy)]
pub struct HeldOut {
    /// What it expects.
    pub outlook: Outlook,
    /// The row's place among all rows, by what that same profile says thinking gains per token; 0 gains least.
    ///
    /// Profiles fitted on different parts differ in their bases, and a part that gained much makes the base for its own
    /// rows low: gains of different profiles are not to be ranked with each other.
    pub rank: f64,
}

/// Predicts every row from the rows of the other folds. `None` where some fold leaves too few rows to fit.
#[must_use]
pub fn held_out(samples: &[Sample]) -> Option<Vec<HeldOut>> {
    let mut told: Vec<Option<HeldOut>> = vec![None; samples.len()];
    for fold in 0..FOLDS {
        let others: Vec<&Sample> = samples.iter().filter(|sample| sample.fold != fold).collect();
        if others.len() == samples.len() {
            continue;
        }
        let profile = fit(&others)?;
        let outlooks: Vec<Outlook> = samples.iter().map(|sample| profile.outlook(&sample.inputs)).collect();
        let gains: Vec<f64> = outlooks.iter().map(Outlook::gain_per_1000_tokens).collect();
        let mut sorted = gains.clone();
        sorted.sort_by(f64::total_cmp);
        for at in (0..samples.len()).filter(|at| samples[*at].fold == fold) {
            let below = sorted.partition_point(|gain| *gain < gains[at]);
            let not_above = sorted.partition_point(|gain| *gain <= gains[at]);
            told[at] = Some(HeldOut { outlook: outlooks[at], rank: (below + not_above) as f64 / 2.0 });
        }
    }
    told.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::{Inputs, LEAST_ROWS};
    use crate::decide::TaskLabel;
    use crate::evaluate::metrics::ModeOutcome;

    /// Thinking is what makes the rows with a positive score right.
    fn samples(count: usize) -> Vec<Sample> {
        (0..count)
            .map(|at| {
                let thinking = if at % 2 == 0 { 2.0 } else { -2.0 };
                let think = f64::from(thinking > 0.0);
                Sample {
                    inputs: Inputs::new(thinking, 0.0, TaskLabel::Other, "en"),
                    outcome: ModeOutcome { think, direct: 0.0, think_tokens: 500.0, direct_tokens: 20.0 },
                    fold: at / 2 % FOLDS,
                    on: thinking > 0.0,
                }
            })
            .collect()
    }

    #[test]
    fn rows_are_told_by_the_other_rows() {
        let rows = samples(200);
        let told = held_out(&rows).expect("rows enough");
        for (sample, told) in rows.iter().zip(&told) {
            assert_eq!(told.outlook.gain() > 0.3, sample.on, "{told:?}");
            assert_eq!(told.rank > 100.0, sample.on, "{told:?}");
        }
    }

    #[test]
    fn a_row_has_no_say_in_what_is_told_of_it() {
        let rows = samples(200);
        let before = held_out(&rows).expect("rows enough");
        let mut changed = rows.clone();
        for sample in changed.iter_mut().filter(|sample| sample.fold == 3) {
            sample.outcome.think = 1.0 - sample.outcome.think;
            sample.outcome.direct = 1.0;
            sample.outcome.think_tokens = 9000.0;
        }
        let after = held_out(&changed).expect("rows enough");
        for at in (0..rows.len()).filter(|at| rows[*at].fold == 3) {
            assert_eq!(before[at].outlook, after[at].outlook);
            assert_eq!(before[at].rank.to_bits(), after[at].rank.to_bits());
        }
        assert!((0..rows.len()).any(|at| rows[at].fold != 3 && before[at].outlook != after[at].outlook));
    }

    #[test]
    fn too_few_rows_tell_nothing() {
        assert!(held_out(&samples(LEAST_ROWS)).is_none());
    }
}
