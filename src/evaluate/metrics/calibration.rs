//! Does "90 %" come true nine times in ten?

/// Bins of a reliability table, equally wide.
const BINS: usize = 10;

/// Rows whose probability lies in one tenth of 0..=1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// Weight of its rows.
    pub rows: f64,
    /// Their mean probability.
    pub probability: f64,
    /// What came true.
    pub share: f64,
}

/// The ten bins; empty ones hold zeros. 1 belongs to the last bin.
pub fn reliability(
    weights: &[f64],
    probability: impl Fn(usize) -> f64,
    truth: impl Fn(usize) -> f64,
) -> [Bin; BINS] {
    let mut bins = [Bin::default(); BINS];
    for (row, weight) in weights.iter().enumerate() {
        let probability = probability(row);
        let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        bin.rows += weight;
        bin.probability += weight * probability;
        bin.share += weight * truth(row);
    }
    for bin in bins.iter_mut().filter(|bin| bin.rows > 0.0) {
        bin.probability /= bin.rows;
        bin.share /= bin.rows;
    }
    bins
}

/// Expected calibration error: the mean distance between probability and share over the bins, by their rows.
#[must_use]
pub fn calibration_error(
    weights: &[f64],
    probability: impl Fn(usize) -> f64,
    truth: impl Fn(usize) -> f64,
) -> f64 {
    let bins = reliability(weights, probability, truth);
    let total: f64 = weights.iter().sum();
    bins.iter().map(|bin| bin.rows * (bin.probability - bin.share).abs()).sum::<f64>() / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_means_and_the_error_weighs_them() {
        let probability = [0.05, 0.15, 0.12, 1.0, 0.95];
        let truth = [0.0, 1.0, 0.0, 1.0, 1.0];
        let bins = reliability(&[1.0; 5], |row| probability[row], |row| truth[row]);
        assert_eq!((bins[0].rows, bins[1].rows, bins[9].rows), (1.0, 2.0, 2.0));
        assert!((bins[1].probability - 0.135).abs() < 1e-12 && bins[1].share == 0.5);
        // (0.05 + 2 * 0.365 + 2 * 0.025) / 5
        let error = calibration_error(&[1.0; 5], |row| probability[row], |row| truth[row]);
        assert!((error - 0.166).abs() < 1e-12, "{error}");
    }

    #[test]
    fn the_base_rate_is_calibrated_and_certainty_in_the_wrong_is_not() {
        let truth = |row: usize| f64::from(row < 3);
        assert!(calibration_error(&[1.0; 10], |_| 0.3, truth) < 1e-12);
        assert!((calibration_error(&[1.0; 10], |row| 1.0 - truth(row), truth) - 1.0).abs() < 1e-12);
    }
}
