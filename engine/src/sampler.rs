//! "Which token next?" Logits to one token: penalties, temperature, top-k, top-p, min-p, then a draw.
//!
//! Defaults follow the mode, as the Qwen3 report recommends (section 4.6). Greedy decoding makes a thinking
//! model repeat itself, so it happens only when a client asks for temperature 0.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::error::{EngineError, SubmitError};
use crate::layers::attention::softmax;

/// What the client set; absent fields take the mode's recommended value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; up to 2.
    pub temperature: Option<f32>,
    /// Nucleus: the likeliest tokens that together reach this share.
    pub top_p: Option<f32>,
    /// The k likeliest tokens; 0 for all.
    pub top_k: Option<usize>,
    /// Drops tokens below this share of the likeliest one's probability.
    pub min_p: Option<f32>,
    /// Subtracted from tokens that have occurred.
    pub presence_penalty: Option<f32>,
    /// Subtracted once per occurrence.
    pub frequency_penalty: Option<f32>,
    /// Divides (positive) or multiplies (negative) logits of tokens that have occurred.
    pub repetition_penalty: Option<f32>,
    /// Same seed, same request, same answer.
    pub seed: Option<u64>,
}

/// What a model's `generation_config.json` recommends for thinking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Recommended {
    temperature: f32,
    top_p: f32,
    top_k: usize,
}

/// Qwen3 report, section 4.6.
const THINKING: Recommended = Recommended { temperature: 0.6, top_p: 0.95, top_k: 20 };
const DIRECT: Recommended = Recommended { temperature: 0.7, top_p: 0.8, top_k: 20 };

impl Recommended {
    /// The file carries the thinking mode's values only.
    pub(crate) fn for_thinking(generation_config: &Value) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "probabilities and temperatures")]
        let number = |key: &str, default: f32| {
            generation_config.get(key).and_then(Value::as_f64).map_or(default, |value| value as f32)
        };
        let top_k =
            generation_config.get("top_k").and_then(Value::as_u64).and_then(|k| usize::try_from(k).ok());
        let temperature = number("temperature", THINKING.temperature);
        Recommended {
            // A file that says 0 would make greedy the default.
            temperature: if temperature > 0.0 { temperature } else { THINKING.temperature },
            top_p: number("top_p", THINKING.top_p),
            top_k: top_k.unwrap_or(THINKING.top_k),
        }
    }
}

impl Sampling {
    pub(crate) fn check(&self) -> Result<(), SubmitError> {
        let within = |field, value: Option<f32>, low: f32, high: f32, reason| match value {
            Some(value) if !(low..=high).contains(&value) => {
                Err(SubmitError::Invalid { field, value: value.to_string(), reason })
            }
            _ => Ok(()),
        };
        within("temperature", self.temperature, 0.0, 2.0, "expected 0 to 2")?;
        within("top_p", self.top_p, f32::MIN_POSITIVE, 1.0, "expected above 0, up to 1")?;
        within("min_p", self.min_p, 0.0, 1.0, "expected 0 to 1")?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0, "expected -2 to 2")?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0, "expected -2 to 2")?;
        within("repetition_penalty", self.repetition_penalty, 0.01, 10.0, "expected 0.01 to 10")
    }
}

/// Draws tokens for one request.
#[derive(Debug)]
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    min_p: f32,
    presence: f32,
    frequency: f32,
    repetition: f32,
    random: StdRng,
}

impl Sampler {
    pub(crate) fn new(asked: &Sampling, thinking: bool, recommended: Recommended) -> Self {
        let mode = if thinking { recommended } else { DIRECT };
        Sampler {
            temperature: asked.temperature.unwrap_or(mode.temperature),
            top_p: asked.top_p.unwrap_or(mode.top_p),
            top_k: asked.top_k.unwrap_or(mode.top_k),
            min_p: asked.min_p.unwrap_or(0.0),
            presence: asked.presence_penalty.unwrap_or(0.0),
            frequency: asked.frequency_penalty.unwrap_or(0.0),
            repetition: asked.repetition_penalty.unwrap_or(1.0),
            random: asked.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64),
        }
    }

    /// `logits`: (vocab); `generated`: the tokens so far; `banned`: tokens that must not come.
    pub(crate) fn next(
        &mut self,
        logits: &mut [f32],
        generated: &[u32],
        banned: &[u32],
    ) -> Result<u32, EngineError> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(EngineError("the model gave NaN logits".to_owned()));
        }
        self.penalise(logits, generated);
        for token in banned {
            logits[*token as usize] = f32::NEG_INFINITY;
        }
        let likeliest = |logits: &[f32]| {
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at);
            u32::try_from(best).expect("a vocabulary fits in u32")
        };
        if self.temperature == 0.0 {
            return Ok(likeliest(logits));
        }
        let mut candidates = self.candidates(logits); // likeliest first
        let mut shares: Vec<f32> = candidates.iter().map(|(_, logit)| logit / self.temperature).collect();
        softmax(&mut shares);
        let kept = self.kept(&shares);
        candidates.truncate(kept);
        let total: f32 = shares[..kept].iter().sum();
        let mut point = self.random.random::<f32>() * total;
        for ((token, _), share) in candidates.iter().zip(&shares) {
            point -= share;
            if point <= 0.0 {
                return Ok(*token);
            }
        }
        Ok(candidates[0].0)
    }

    fn penalise(&self, logits: &mut [f32], generated: &[u32]) {
        if self.presence == 0.0 && self.frequency == 0.0 && (self.repetition - 1.0).abs() < f32::EPSILON {
            return;
        }
        let mut counts = std::collections::BTreeMap::new();
        for token in generated {
            *counts.entry(*token).or_insert(0.0_f32) += 1.0;
        }
        for (token, count) in counts {
            let logit = &mut logits[token as usize];
            *logit = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
            *logit -= self.presence + self.frequency * count;
        }
    }

    /// The k likeliest tokens with their logits, likeliest first.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f32)> {
        let mut all: Vec<(u32, f32)> = (0_u32..).zip(logits.iter().copied()).collect();
        let descending = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top_k > 0 && self.top_k < all.len() {
            all.select_nth_unstable_by(self.top_k - 1, descending);
            all.truncate(self.top_k);
        }
        all.sort_unstable_by(descending);
        all
    }

    /// How many of the sorted shares top-p and min-p keep; at least one.
    fn kept(&self, shares: &[f32]) -> usize {
        let mut sum = 0.0;
        let nucleus = shares.iter().take_while(|share| {
            let below = sum < self.top_p;
            sum += **share;
            below
        });
        let floor = shares[0] * self.min_p;
        nucleus.take_while(|share| **share >= floor).count().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(asked: &Sampling, thinking: bool, logits: &[f32]) -> Vec<u32> {
        let mut sampler = Sampler::new(asked, thinking, THINKING);
        (0..200).map(|_| sampler.next(&mut logits.to_vec(), &[], &[]).expect("finite")).collect()
    }

    #[test]
    fn thinking_is_not_greedy_unless_asked() {
        let logits = [1.0, 1.0, 0.9, -5.0];
        let seeded = Sampling { seed: Some(1), ..Sampling::default() };
        assert!(draw(&seeded, true, &logits).iter().collect::<std::collections::BTreeSet<_>>().len() > 1);
        let greedy = Sampling { temperature: Some(0.0), ..Sampling::default() };
        assert!(draw(&greedy, true, &[0.0, 3.0, 2.9]).iter().all(|token| *token == 1));
    }

    #[test]
    fn a_seed_repeats_itself() {
        let seeded = Sampling { seed: Some(7), ..Sampling::default() };
        let logits = [0.5, 0.4, 0.3, 0.2];
        assert_eq!(draw(&seeded, false, &logits), draw(&seeded, false, &logits));
    }

    #[test]
    fn cuts_leave_out_what_they_should() {
        let logits = [2.0, 1.0, 0.0, -1.0];
        let seed = Some(3);
        let top_k = Sampling {
            top_k: Some(2),
            top_p: Some(1.0),
            temperature: Some(2.0),
            seed,
            ..Sampling::default()
        };
        assert!(draw(&top_k, false, &logits).iter().all(|token| *token < 2));
        let min_p = Sampling { min_p: Some(0.9), top_p: Some(1.0), seed, ..Sampling::default() };
        assert!(draw(&min_p, false, &logits).iter().all(|token| *token == 0));
    }

    #[test]
    fn penalties_and_bans_hold() {
        let asked = Sampling { temperature: Some(0.0), presence_penalty: Some(2.0), ..Sampling::default() };
        let mut sampler = Sampler::new(&asked, false, THINKING);
        assert_eq!(sampler.next(&mut [1.0, 0.5], &[0], &[]).expect("finite"), 1);
        assert_eq!(sampler.next(&mut [1.0, 5.0], &[], &[1]).expect("finite"), 0);
        assert!(sampler.next(&mut [f32::NAN, 1.0], &[], &[]).is_err());
    }

    #[test]
    fn ranges_are_checked() {
        for asked in [
            Sampling { temperature: Some(-0.1), ..Sampling::default() },
            Sampling { temperature: Some(f32::NAN), ..Sampling::default() },
            Sampling { top_p: Some(0.0), ..Sampling::default() },
            Sampling { min_p: Some(1.5), ..Sampling::default() },
        ] {
            assert!(asked.check().is_err(), "{asked:?}");
        }
    }
}
