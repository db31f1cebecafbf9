//! From rows to a profile: penalised maximum likelihood, so few rows say little and none say nothing.

use std::collections::BTreeMap;

use super::{Inputs, Line, Profile, Sample, logistic};
use crate::decide::TaskLabel;

/// Fewer rows than this tell a model's habits from chance too badly to be written down.
pub const LEAST_ROWS: usize = 20;
/// A kind of work or language needs this many rows for an offset of its own.
const LABEL_ROWS: usize = 10;
/// A unit of input in which slopes are penalised, in log-odds.
const UNIT: f64 = 2.0;

/// How strongly the numbers of one line are held to what is believed before any row is seen: one over the variance of that
/// belief.
struct Hold {
    base: f64,
    slope: f64,
    offset: f64,
}

/// How often the model is right differs widely between models and data sets.
const WITHOUT: Hold = Hold { base: 0.1, slope: 1.0, offset: 4.0 };
/// Thinking is believed to make no difference where the score is undecided, until rows say otherwise.
const GAIN: Hold = Hold { base: 1.0, slope: 8.0, offset: 8.0 };
/// Log-odds that thinking is believed to add for each unit of the score's log-odds: who gains more than others is the
/// score's to say until rows say otherwise. Held to 0 instead, profiles of 150 rows ranked prompts worse than the score.
const GAIN_PER_THINKING: f64 = 0.5;
const TOKENS: Hold = Hold { base: 1e-6, slope: 4.0, offset: 4.0 };

/// Fits a model's profile; the same rows give the same numbers. `None` for fewer rows than [`LEAST_ROWS`].
#[must_use]
pub fn fit(samples: &[&Sample]) -> Option<Profile> {
    if samples.len() < LEAST_ROWS {
        return None;
    }
    let columns = Columns::of(samples);
    let rows: Vec<Vec<f64>> = samples.iter().map(|sample| columns.row(&sample.inputs)).collect();
    let success = fit_success(&rows, samples, &columns);
    let (without, gain) = success.split_at(columns.count());
    let tokens = |pick: fn(&Sample) -> f64| {
        let measured: Vec<f64> = samples.iter().map(|sample| pick(sample).max(1.0)).collect();
        columns.line(&fit_tokens(&rows, &measured, &columns))
    };
    let range = |pick: fn(&Inputs) -> f64| {
        let values = || samples.iter().map(|sample| pick(&sample.inputs));
        [values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max)].map(rounded)
    };
    Some(Profile {
        rows: samples.len(),
        thinking: range(|inputs| inputs.thinking),
        complexity: range(|inputs| inputs.complexity),
        without: columns.line(without),
        gain: columns.line(gain),
        tokens_without: tokens(|sample| sample.outcome.direct_tokens),
        tokens_with: tokens(|sample| sample.outcome.think_tokens),
    })
}

/// The numbers of a line as a vector: base, two slopes, then the offsets of what has rows enough.
struct Columns {
    tasks: Vec<TaskLabel>,
    languages: Vec<&'static str>,
}

impl Columns {
    fn of(samples: &[&Sample]) -> Columns {
        Columns {
            tasks: frequent(samples.iter().map(|sample| sample.inputs.task)),
            languages: frequent(samples.iter().map(|sample| sample.inputs.language)),
        }
    }

    fn count(&self) -> usize {
        3 + self.tasks.len() + self.languages.len()
    }

    fn row(&self, inputs: &Inputs) -> Vec<f64> {
        let mut row = vec![1.0, inputs.thinking / UNIT, inputs.complexity / UNIT];
        row.extend(self.tasks.iter().map(|task| f64::from(*task == inputs.task)));
        row.extend(self.languages.iter().map(|language| f64::from(*language == inputs.language)));
        row
    }

    fn penalties(&self, hold: &Hold) -> Vec<f64> {
        let mut penalties = vec![hold.base, hold.slope, hold.slope];
        penalties.resize(self.count(), hold.offset);
        penalties
    }

    fn line(&self, numbers: &[f64]) -> Line {
        let (tasks, languages) = numbers[3..].split_at(self.tasks.len());
        Line {
            base: rounded(numbers[0]),
            per_thinking: rounded(numbers[1] / UNIT),
            per_complexity: rounded(numbers[2] / UNIT),
            task: self.tasks.iter().copied().zip(tasks.iter().copied().map(rounded)).collect(),
            language: self
                .languages
                .iter()
                .map(|language| (*language).to_owned())
                .zip(languages.iter().copied().map(rounded))
                .collect(),
        }
    }
}

/// Labels with rows enough, none where all rows have the same: it is what the base stands for.
fn frequent<T: Ord + Copy>(labels: impl Iterator<Item = T>) -> Vec<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    labels.for_each(|label| *counts.entry(label).or_default() += 1);
    if counts.len() < 2 {
        return Vec::new();
    }
    counts.into_iter().filter(|(_, count)| *count >= LABEL_ROWS).map(|(label, _)| label).collect()
}

/// Both success curves at once, for what thinking adds is counted from the curve without. Newton's method, with steps
/// halved until they lead down.
fn fit_success(rows: &[Vec<f64>], samples: &[&Sample], columns: &Columns) -> Vec<f64> {
    let held = Held::of(columns);
    let mut numbers = held.to.clone();
    let mut loss = success_loss(&numbers, rows, samples, &held);
    for _ in 0..100 {
        let (slope, curvature) = success_slope(&numbers, rows, samples, &held);
        let step = solve(curvature, slope);
        let mut share = 1.0;
        let moved = loop {
            let tried: Vec<f64> =
                numbers.iter().zip(&step).map(|(number, step)| number - share * step).collect();
            let tried_loss = success_loss(&tried, rows, samples, &held);
            if tried_loss <= loss || share < 1e-6 {
                break (tried, tried_loss);
            }
            share /= 2.0;
        };
        let gained = loss - moved.1;
        if gained <= 0.0 {
            break;
        }
        (numbers, loss) = moved;
        if gained < 1e-10 {
            break;
        }
    }
    numbers
}

/// What the numbers of both curves are believed to be, and how strongly.
struct Held {
    to: Vec<f64>,
    by: Vec<f64>,
}

impl Held {
    fn of(columns: &Columns) -> Held {
        let by = [columns.penalties(&WITHOUT), columns.penalties(&GAIN)].concat();
        let mut to = vec![0.0; by.len()];
        to[columns.count() + 1] = GAIN_PER_THINKING * UNIT;
        Held { to, by }
    }

    /// How strongly each number is held, and how far it is from where.
    fn pulls<'a>(&'a self, numbers: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
        self.by.iter().zip(numbers.iter().zip(&self.to)).map(|(by, (number, to))| (*by, number - to))
    }
}

fn success_loss(numbers: &[f64], rows: &[Vec<f64>], samples: &[&Sample], held: &Held) -> f64 {
    let (without, gain) = numbers.split_at(numbers.len() / 2);
    // -ln of the likelihood of a share `right` at log-odds `x`, without overflow.
    let surprise = |x: f64, right: f64| x.max(0.0) + (-x.abs()).exp().ln_1p() - right * x;
    let of_rows: f64 = rows
        .iter()
        .zip(samples)
        .map(|(row, sample)| {
            let x = dot(row, without);
            surprise(x, sample.outcome.direct) + surprise(x + dot(row, gain), sample.outcome.think)
        })
        .sum();
    of_rows + held.pulls(numbers).map(|(by, away)| by * away * away / 2.0).sum::<f64>()
}

/// Gradient and Hessian of the loss.
fn success_slope(
    numbers: &[f64],
    rows: &[Vec<f64>],
    samples: &[&Sample],
    held: &Held,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let half = numbers.len() / 2;
    let (without, gain) = numbers.split_at(half);
    let mut slope: Vec<f64> = held.pulls(numbers).map(|(by, away)| by * away).collect();
    let mut curvature = diagonal(&held.by);
    for (row, sample) in rows.iter().zip(samples) {
        let x = dot(row, without);
        let (p, q) = (logistic(x), logistic(x + dot(row, gain)));
        let (off, on) = (p - sample.outcome.direct, q - sample.outcome.think);
        let (bend_off, bend_on) = (p * (1.0 - p), q * (1.0 - q));
        for (i, a) in row.iter().enumerate() {
            slope[i] += (off + on) * a;
            slope[half + i] += on * a;
            for (j, b) in row.iter().enumerate() {
                let product = a * b;
                curvature[i][j] += (bend_off + bend_on) * product;
                curvature[i][half + j] += bend_on * product;
                curvature[half + i][j] += bend_on * product;
                curvature[half + i][half + j] += bend_on * product;
            }
        }
    }
    (slope, curvature)
}

/// Least squares of log2, then raised so that the expected tokens of all rows sum up to those measured: a mean of
/// logarithms forgets the long ones.
fn fit_tokens(rows: &[Vec<f64>], measured: &[f64], columns: &Columns) -> Vec<f64> {
    let held = columns.penalties(&TOKENS);
    let mut matrix = diagonal(&held);
    let mut right = vec![0.0; held.len()];
    for (row, tokens) in rows.iter().zip(measured) {
        for (i, a) in row.iter().enumerate() {
            right[i] += a * tokens.log2();
            for (j, b) in row.iter().enumerate() {
                matrix[i][j] += a * b;
            }
        }
    }
    let mut numbers = solve(matrix, right);
    let expected: f64 = rows.iter().map(|row| dot(row, &numbers).exp2()).sum();
    numbers[0] += (measured.iter().sum::<f64>() / expected).log2();
    numbers
}

fn dot(row: &[f64], numbers: &[f64]) -> f64 {
    row.iter().zip(numbers).map(|(a, b)| a * b).sum()
}

fn diagonal(values: &[f64]) -> Vec<Vec<f64>> {
    let count = values.len();
    let row = |at: usize| (0..count).map(|column| if column == at { values[at] } else { 0.0 }).collect();
    (0..count).map(row).collect()
}

/// Solves a positive definite system by elimination; the penalties see to it that it is one.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let count = right.len();
    for pivot in 0..count {
        let (done, rest) = matrix.split_at_mut(pivot + 1);
        let top = &done[pivot];
        for (below, row) in rest.iter_mut().enumerate() {
            let factor = row[pivot] / top[pivot];
            row.iter_mut().zip(top).skip(pivot).for_each(|(value, top)| *value -= factor * top);
            right[pivot + 1 + below] -= factor * right[pivot];
        }
    }
    for pivot in (0..count).rev() {
        let known: f64 = (pivot + 1..count).map(|at| matrix[pivot][at] * right[at]).sum();
        right[pivot] = (right[pivot] - known) / matrix[pivot][pivot];
    }
    right
}

/// Four decimals: what is written down is what is used.
fn rounded(value: f64) -> f64 {
    let rounded = (value * 1e4).round() / 1e4;
    if rounded == 0.0 { 0.0 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::metrics::{Generator, ModeOutcome};

    /// Rows of a model that is right on 40 % and gains `gain` log-odds by thinking, more where the score says so.
    fn samples(count: usize, gain: f64, seed: u64) -> Vec<Sample> {
        let mut draws = Generator::new(seed, 0);
        (0..count)
            .map(|at| {
                let thinking = (at % 9) as f64 / 2.0 - 2.0;
                let direct = f64::from(draws.chance(0.4));
                let think = f64::from(draws.chance(logistic(-0.4 + gain * (1.0 + thinking / 2.0))));
                let task = if at % 2 == 0 { TaskLabel::Math } else { TaskLabel::Fact };
                Sample {
                    inputs: Inputs::new(thinking, 0.0, task, "en"),
                    outcome: ModeOutcome { think, direct, think_tokens: 800.0, direct_tokens: 50.0 },
                    fold: at % 5,
                    on: thinking > 0.0,
                }
            })
            .collect()
    }

    fn fitted(samples: &[Sample]) -> Profile {
        fit(&samples.iter().collect::<Vec<_>>()).expect("rows enough")
    }

    #[test]
    fn what_thinking_buys_is_found_again() {
        let profile = fitted(&samples(2000, 1.0, 7));
        // True values 1 and 0.5; three standard errors of 2,000 rows are about 0.3 and 0.2.
        assert!((profile.gain.base - 1.0).abs() < 0.3, "{profile:?}");
        assert!((profile.gain.per_thinking - 0.5).abs() < 0.2, "{profile:?}");
        let outlook = profile.outlook(&Inputs::new(0.0, 0.0, TaskLabel::Math, "en"));
        assert!((outlook.without - 0.4).abs() < 0.06, "{outlook:?}");
        assert!((outlook.tokens_with - 800.0).abs() < 1.0 && (outlook.tokens_without - 50.0).abs() < 0.1);
    }

    #[test]
    fn few_rows_are_held_nearer_to_no_difference_than_many() {
        let gain = |count: usize| {
            let means = (0..20).map(|seed| fitted(&samples(count, 1.0, seed)).gain.base).sum::<f64>() / 20.0;
            assert!(means > 0.0);
            means
        };
        assert!(gain(30) < gain(1000) - 0.05, "{} {}", gain(30), gain(1000));
    }

    #[test]
    fn the_same_rows_give_the_same_numbers_and_too_few_give_none() {
        let rows = samples(200, 0.5, 3);
        assert_eq!(fitted(&rows), fitted(&rows));
        assert!(fit(&rows[..LEAST_ROWS - 1].iter().collect::<Vec<_>>()).is_none());
    }

    #[test]
    fn a_model_that_is_always_right_has_finite_numbers() {
        let mut rows = samples(100, 0.0, 1);
        for row in &mut rows {
            (row.outcome.think, row.outcome.direct) = (1.0, 1.0);
        }
        let profile = fitted(&rows);
        let outlook = profile.outlook(&rows[0].inputs);
        assert!(outlook.without > 0.9 && outlook.with > 0.9 && outlook.gain().abs() < 0.1, "{outlook:?}");
    }

    #[test]
    fn offsets_stand_only_for_what_has_rows_and_varies() {
        let mut rows = samples(200, 0.5, 3);
        rows[0].inputs.task = TaskLabel::Write;
        let profile = fitted(&rows);
        let tasks: Vec<TaskLabel> = profile.gain.task.keys().copied().collect();
        assert_eq!(tasks, [TaskLabel::Math, TaskLabel::Fact]);
        assert!(profile.gain.language.is_empty());
        rows.iter_mut().step_by(2).for_each(|row| row.inputs.language = "zh");
        let profile = fitted(&rows);
        assert_eq!(profile.gain.language.keys().collect::<Vec<_>>(), ["en", "zh"]);
    }
}
