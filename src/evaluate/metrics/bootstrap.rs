//! How sure a figure is: percentiles of resampled rows.

use std::thread;

/// A figure with the interval that 95 of 100 resamples fall into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The figure on the rows as they are.
    pub value: f64,
    /// 2.5th percentile of the resamples.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// SplitMix64: small, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub struct Generator(u64);

impl Generator {
    /// The stream number `stream` of a seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut generator = Generator(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        generator.next();
        generator
    }

    /// 64 random bits.
    #[expect(clippy::should_implement_trait, reason = "an endless stream is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which must not be 0. The bias of the multiplication is below 2^-32 for any row count.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// True once in `1 / share` draws.
    pub fn chance(&mut self, share: f64) -> bool {
        ((self.next() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    /// Puts values in random order.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for at in (1..values.len()).rev() {
            values.swap(at, self.below(at + 1));
        }
    }
}

/// The figure on `rows` rows and its interval from `resamples` draws. Draws for which the figure does not exist,
/// such as those without a row of one class, are left out. The result does not depend on the number of threads.
pub fn estimate(rows: usize, resamples: usize, seed: u64, metric: impl Fn(&[f64]) -> f64 + Sync) -> Estimate {
    let value = metric(&vec![1.0; rows]);
    if rows == 0 || value.is_nan() {
        return Estimate { value, low: f64::NAN, high: f64::NAN };
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let draw = |first: usize| -> Vec<f64> {
        (first..resamples).step_by(threads).map(|stream| metric(&drawn(rows, seed, stream as u64))).collect()
    };
    let mut drawn: Vec<f64> = thread::scope(|scope| {
        let draw = &draw;
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || draw(first))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("measures do not panic")).collect()
    });
    drawn.retain(|value| !value.is_nan());
    drawn.sort_by(f64::total_cmp);
    Estimate { value, low: percentile(&drawn, 0.025), high: percentile(&drawn, 0.975) }
}

fn drawn(rows: usize, seed: u64, stream: u64) -> Vec<f64> {
    let mut generator = Generator::new(seed, stream);
    let mut weights = vec![0.0; rows];
    for _ in 0..rows {
        weights[generator.below(rows)] += 1.0;
    }
    weights
}

/// Linear between the two nearest ranks.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::super::mean;
    use super::*;

    #[test]
    fn percentiles_lie_between_ranks() {
        let sorted: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 0.025), 2.5);
        assert_eq!(percentile(&[7.0], 0.975), 7.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_theory() {
        // 400 coin flips: standard error sqrt(0.25 / 400) = 0.025, so about 0.5 ± 0.049.
        let estimate = estimate(400, 2000, 1, |weights| mean(weights, |row| (row % 2) as f64));
        assert_eq!(estimate.value, 0.5);
        assert!((estimate.low - 0.451).abs() < 0.008, "{estimate:?}");
        assert!((estimate.high - 0.549).abs() < 0.008, "{estimate:?}");
    }

    #[test]
    fn one_seed_gives_one_interval() {
        let run = |seed| estimate(50, 100, seed, |weights| mean(weights, |row| (row * row) as f64));
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn shuffling_keeps_every_value() {
        let mut values: Vec<usize> = (0..50).collect();
        Generator::new(9, 0).shuffle(&mut values);
        assert_ne!(values, (0..50).collect::<Vec<_>>());
        values.sort_unstable();
        assert_eq!(values, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn chances_come_as_often_as_they_say() {
        let mut generator = Generator::new(5, 0);
        let hits = (0..10_000).filter(|_| generator.chance(0.2)).count();
        assert!((1850..2150).contains(&hits), "{hits}");
    }
}
