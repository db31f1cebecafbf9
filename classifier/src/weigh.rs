//! How to weigh the vote beside the rules: logistic regression on what the heads say of rows they were not fitted on.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use linfa::prelude::*;
use linfa_logistic::LogisticRegression;
use ndarray::{Array1, Array2};
use thinkgate::classifier::{Blend, RULES_BOUND, Weighing};

use crate::examples::Example;
use crate::fit::{Leaving, LeftOut, balanced};

/// The vote's value that says nothing: halfway between its targets.
const THINKING_CENTRE: f64 = 0.5;
/// Log-odds per standard deviation of difficulty, of prompts that are all mathematics. Set by hand: fitted beside the head,
/// which knows the levels too, it would come out as noise.
const LEVEL: f64 = 0.6;
/// How much sources never seen count beside unseen prompts of known sources. Real traffic is neither.
const STRANGE_SOURCES: f64 = 0.25;
/// A row of average weight becomes this many rows: the library knows neither weights nor shares.
const COPIES: f64 = 10.0;

/// One row of the regression: inputs, the share that is true, its weight.
type Sample = (Vec<f64>, f64, f64);

/// The blend of each language.
///
/// # Errors
/// Too few rows of one language.
pub fn blends(examples: &[Example], left_out: &[LeftOut]) -> Result<BTreeMap<String, Blend>> {
    let mut blends = BTreeMap::new();
    for language in ["en", "zh"] {
        let of = |target: &dyn Fn(&Example) -> Option<f64>, inputs: &dyn Fn(usize, Leaving) -> Vec<f64>| {
            let found: Vec<(usize, f64)> = examples
                .iter()
                .enumerate()
                .filter(|(_, example)| example.language == language)
                .filter_map(|(row, example)| target(example).map(|target| (row, target)))
                .collect();
            let rows: Vec<usize> = found.iter().map(|(row, _)| *row).collect();
            let weights = balanced(examples, &rows);
            let samples = found.iter().zip(weights).flat_map(|((row, share), weight)| {
                [(Leaving::Items, 1.0 - STRANGE_SOURCES), (Leaving::Sources, STRANGE_SOURCES)]
                    .map(|(kind, part)| (inputs(*row, kind), *share, weight * part))
            });
            logistic(&samples.collect::<Vec<Sample>>()).with_context(|| format!("weighing {language}"))
        };
        let thinking = of(&measured_or_plain, &|row, kind| {
            let rules = examples[row].rules.clamp(-RULES_BOUND, RULES_BOUND);
            vec![rules, left_out[row].of(kind)[0] - THINKING_CENTRE]
        })?;
        // The rules are left out: beside measured outcomes their ranking of models is no better than length.
        let strong =
            of(&|example| strong_target(example), &|row, kind| vec![0.0, left_out[row].of(kind)[1]])?;
        let weighing = |fitted: &(Vec<f64>, f64), centre: f64, level: f64| Weighing {
            prior: fitted.1,
            rules: fitted.0[0],
            head: fitted.0[1],
            centre,
            level,
        };
        let blend = Blend {
            thinking: weighing(&thinking, THINKING_CENTRE, LEVEL),
            strong: weighing(&strong, 0.0, 0.0),
        };
        blends.insert(language.to_owned(), blend);
    }
    Ok(blends)
}

/// Shares of these files follow the source's levels, which rank but are no measured outcomes.
const GRADED: [&str; 2] = ["lb_cmath_zh", "lb_math500"];

fn measured_or_plain(example: &Example) -> Option<f64> {
    example.targets.thinking.filter(|_| !GRADED.contains(&example.file.as_str()))
}

/// Whether weaker models fail: as measured, else as the kind of prompt suggests.
fn strong_target(example: &Example) -> Option<f64> {
    example.targets.weak_fails.or_else(|| example.targets.thinking.map(|thinks| 0.1 + 0.5 * thinks))
}

/// Coefficients and intercept.
fn logistic(samples: &[Sample]) -> Result<(Vec<f64>, f64)> {
    let mut inputs = Vec::new();
    let mut labels = Vec::new();
    for (row, share, weight) in samples {
        for (label, part) in [(true, *share), (false, 1.0 - share)] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
            let copies = (COPIES * weight * part).round().max(0.0) as usize;
            for _ in 0..copies {
                inputs.extend(row);
                labels.push(label);
            }
        }
    }
    let width = samples.first().map_or(0, |(row, ..)| row.len());
    let inputs = Array2::from_shape_vec((labels.len(), width), inputs)?;
    let data = Dataset::new(inputs, Array1::from_vec(labels));
    let fitted = LogisticRegression::default().alpha(1.0).max_iterations(500).fit(&data)?;
    // The library calls either label positive.
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    // Six digits are more than the data tell, and are read back as they were written.
    let rounded = |value: f64| (sign * value * 1e6).round() / 1e6;
    Ok((fitted.params().iter().map(|weight| rounded(*weight)).collect(), rounded(fitted.intercept())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_odds_of_shares_are_recovered() {
        let samples: Vec<Sample> = (0..400)
            .map(|n| f64::from(n) / 100.0 - 2.0)
            .map(|x| (vec![x], 1.0 / (1.0 + (-1.5 * x - 0.5).exp()), 5.0))
            .collect();
        let (weights, intercept) = logistic(&samples).expect("fits");
        assert!((weights[0] - 1.5).abs() < 0.1 && (intercept - 0.5).abs() < 0.1, "{weights:?} {intercept}");
    }
}
