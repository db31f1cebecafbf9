//! How to weigh the vote beside the rules: logistic regression on what the heads say of rows they were not fitted on.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use linfa::prelude::*;
use linfa_logistic::LogisticRegression;
use ndarray::{Array1, Array2};
use thinkgate::classifier::{Blend, Platt, RULES_BOUND, Weighing};

use crate::examples::{Example, log_odds};
use crate::fit::{Leaving, LeftOut, balanced};

/// Log-odds of rules that one log-odd of the vote stands against, by language. Fitted freely, prompts like those trained on
/// would make it more, and rules would say next to nothing of sources never seen. There the Chinese rules rank better than
/// the vote, the English ones, which take easy sums for problems, do not.
const VOTE_WORTH: [(&str, f64); 2] = [("en", 3.0), ("zh", 1.25)];
/// The same for strong models: beside measured outcomes the rules' ranking is no better than length, but they know what is
/// easy.
const STRONG_WORTH: f64 = 60.0;
/// Log-odds per standard deviation of difficulty, of prompts that are all mathematics. Set by hand: fitted beside the head,
/// which knows the levels too, it would come out as noise.
const LEVEL: f64 = 0.5;
/// How much sources never seen count beside unseen prompts of known sources. Real traffic is neither. Probabilities are
/// fitted on the latter alone: without a whole source of these few, training is further from what it meets than with all.
const STRANGE_SOURCES: f64 = 0.25;
/// A row of average weight becomes this many rows: the library knows neither weights nor shares.
const COPIES: f64 = 10.0;

/// One row of the regression: the input, the share that is true, its weight.
type Sample = (f64, f64, f64);

/// The blend of each language, where thinking is called for from this score on.
///
/// # Errors
/// Too few rows of one language.
pub fn blends(examples: &[Example], left_out: &[LeftOut], on_from: f64) -> Result<BTreeMap<String, Blend>> {
    let mut blends = BTreeMap::new();
    for (language, vote_worth) in VOTE_WORTH {
        let rows = Rows { examples, left_out, language, vote_worth };
        let blend = rows.blend(on_from).with_context(|| format!("weighing {language}"))?;
        blends.insert(language.to_owned(), blend);
    }
    Ok(blends)
}

/// The examples of one language, with what the heads say of those they have not seen.
struct Rows<'e> {
    examples: &'e [Example],
    left_out: &'e [LeftOut],
    language: &'e str,
    vote_worth: f64,
}

impl Rows<'_> {
    fn blend(&self, on_from: f64) -> Result<Blend> {
        let thinking = self.thinking(on_from)?;
        Ok(Blend { thinking, strong: self.strong()?, calibration: self.calibration(&thinking)? })
    }

    /// Rows with this target, twice: as left out by item and by source.
    fn samples(
        &self,
        target: impl Fn(&Example) -> Option<f64>,
        fair: bool,
        input: impl Fn(usize, Leaving) -> f64,
    ) -> Vec<Sample> {
        let of_language = |(_, example): &(usize, &Example)| example.language == self.language;
        let found: Vec<(usize, f64)> = (self.examples.iter().enumerate().filter(of_language))
            .filter_map(|(row, example)| target(example).map(|target| (row, target)))
            .collect();
        let rows: Vec<usize> = found.iter().map(|(row, _)| *row).collect();
        let weights = if fair { balanced(self.examples, &rows) } else { vec![1.0; rows.len()] };
        let strange = if fair { STRANGE_SOURCES } else { 0.0 };
        let both = [(Leaving::Items, 1.0 - strange), (Leaving::Sources, strange)];
        let weighed = found.iter().zip(weights);
        weighed
            .flat_map(|((row, share), weight)| {
                both.map(|(kind, part)| (input(*row, kind), *share, weight * part))
            })
            .collect()
    }

    fn thinking(&self, on_from: f64) -> Result<Weighing> {
        let rules = |row: usize| self.examples[row].rules.clamp(-RULES_BOUND, RULES_BOUND);
        let together =
            |row: usize, kind: Leaving| rules(row) + self.vote_worth * self.left_out[row].of(kind)[0];
        let (slope, _) = logistic(&self.samples(measured_or_plain, true, together))?;
        let weighing =
            Weighing { prior: 0.0, rules: slope, head: rounded(slope * self.vote_worth), level: LEVEL };
        let said = self.samples(measured_or_plain, true, |row, kind| self.said(&weighing, row, kind));
        Ok(Weighing { prior: rounded(log_odds(on_from) - even_errors(said)), ..weighing })
    }

    fn strong(&self) -> Result<Weighing> {
        let together = |row: usize, kind: Leaving| {
            let rules = self.examples[row].rules_strong.clamp(-RULES_BOUND, RULES_BOUND);
            rules + STRONG_WORTH * self.left_out[row].of(kind)[1]
        };
        let (slope, prior) = logistic(&self.samples(strong_target, true, together))?;
        Ok(Weighing { prior, rules: slope, head: rounded(slope * STRONG_WORTH), level: 0.0 })
    }

    /// Fitted on the rows of public sets whose design says plainly whether they call for thinking, as many as there are
    /// of each: probabilities depend on how often each kind is asked, and nothing comes closer to that than their own mix.
    fn calibration(&self, weighing: &Weighing) -> Result<Platt> {
        let plain = |example: &Example| example.plain.map(|plain| f64::from(u8::from(plain)));
        let (slope, offset) =
            logistic(&self.samples(plain, false, |row, kind| self.said(weighing, row, kind)))?;
        Ok(Platt { slope, offset })
    }

    /// Log-odds as serving would have them, without the level.
    fn said(&self, weighing: &Weighing, row: usize, kind: Leaving) -> f64 {
        let example = &self.examples[row];
        let rules = example.rules.clamp(-RULES_BOUND, RULES_BOUND);
        let vote = weighing.vote_beside(rules, self.left_out[row].of(kind)[0], example.features.tokens);
        weighing.prior + weighing.rules * rules + vote
    }
}

/// Where as large a share of the rows that call for thinking lies below as lies above of those that do not.
fn even_errors(mut samples: Vec<Sample>) -> f64 {
    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = |part: fn(&Sample) -> f64| samples.iter().map(part).sum::<f64>();
    let (thinking, other) =
        (total(|(_, share, weight)| share * weight), total(|(_, share, weight)| (1.0 - share) * weight));
    let (mut missed, mut needless) = (0.0, 1.0);
    for (said, share, weight) in &samples {
        if missed >= needless {
            return *said;
        }
        missed += share * weight / thinking;
        needless -= (1.0 - share) * weight / other;
    }
    0.0
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

/// Slope and intercept.
fn logistic(samples: &[Sample]) -> Result<(f64, f64)> {
    let mut inputs = Vec::new();
    let mut labels = Vec::new();
    for (input, share, weight) in samples {
        for (label, part) in [(true, *share), (false, 1.0 - share)] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
            let copies = (COPIES * weight * part).round().max(0.0) as usize;
            for _ in 0..copies {
                inputs.push(*input);
                labels.push(label);
            }
        }
    }
    let inputs = Array2::from_shape_vec((labels.len(), 1), inputs)?;
    let data = Dataset::new(inputs, Array1::from_vec(labels));
    let fitted = LogisticRegression::default().alpha(1.0).max_iterations(500).fit(&data)?;
    // The library calls either label positive.
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    Ok((rounded(sign * fitted.params()[0]), rounded(sign * fitted.intercept())))
}

/// Six digits are more than the data tell, and are read back as they were written.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_odds_of_shares_are_recovered() {
        let samples: Vec<Sample> = (0..400)
            .map(|n| f64::from(n) / 100.0 - 2.0)
            .map(|x| (x, 1.0 / (1.0 + (-1.5 * x - 0.5).exp()), 5.0))
            .collect();
        let (slope, intercept) = logistic(&samples).expect("fits");
        assert!((slope - 1.5).abs() < 0.1 && (intercept - 0.5).abs() < 0.1, "{slope} {intercept}");
    }

    #[test]
    fn errors_are_even_where_the_kinds_cross() {
        // Thinking at 1..=10, none at -5..=4: at 3 two of ten lie below, and two of ten from there on.
        let samples = (1..=10).map(|n| (f64::from(n), 1.0, 1.0));
        let others = (-5..=4).map(|n| (f64::from(n), 0.0, 2.0));
        let at = even_errors(samples.chain(others).collect());
        assert!((2.0..=4.0).contains(&at), "{at}");
    }
}
