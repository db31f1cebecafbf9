//! Which token comes next?
//!
//! Penalties, temperature, then the filters top-k, top-p and min-p, in the order of transformers; then a draw from
//! a seeded generator. What the caller leaves open follows the thinking mode: the model's makers advise different
//! settings for both, and warn that taking the most likely token while thinking leads to endless repetition. So
//! temperature zero happens only where the caller asks for it.

use std::collections::HashMap;

use llguidance::toktrie::SimpleVob;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::config::ConfigFile;
use crate::engine::SubmitError;
use crate::request::{EngineError, Sampling};
use crate::weights::LoadError;

/// The caller's wishes and the mode's defaults, settled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recipe {
    temperature: f32,
    top_p: f32,
    /// Zero keeps all.
    top_k: usize,
    min_p: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    repetition_penalty: f32,
    seed: Option<u64>,
}

/// What a model's makers advise for thinking; absent values fall back to Qwen3's advice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ModeDefaults {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
}

/// What to sample with when the caller does not say.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    thinking: Recipe,
    direct: Recipe,
}

const NEUTRAL: Recipe = Recipe {
    temperature: 1.0,
    top_p: 1.0,
    top_k: 0,
    min_p: 0.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    repetition_penalty: 1.0,
    seed: None,
};

impl ModeDefaults {
    /// Reads `generation_config.json`. A value that makes no sense as a default is left out: this file tunes,
    /// it does not decide whether the model can run.
    pub(crate) fn parse(file: &ConfigFile) -> Result<ModeDefaults, LoadError> {
        let fraction = |key| {
            let value = file.number(key, 0.0, 1e9, Some(0.0))? as f32;
            Ok::<_, LoadError>((value > 0.0).then_some(value))
        };
        Ok(ModeDefaults {
            temperature: fraction("temperature")?,
            top_p: fraction("top_p")?.filter(|value| *value <= 1.0),
            top_k: fraction("top_k")?.map(|value| value as usize),
            min_p: fraction("min_p")?.filter(|value| *value <= 1.0),
        })
    }
}

impl Defaults {
    /// Qwen3's advice for both modes. The model's own file speaks of thinking only, so only that mode follows it.
    pub(crate) fn new(model: ModeDefaults) -> Defaults {
        Defaults {
            thinking: Recipe {
                temperature: model.temperature.unwrap_or(0.6),
                top_p: model.top_p.unwrap_or(0.95),
                top_k: model.top_k.unwrap_or(20),
                min_p: model.min_p.unwrap_or(0.0),
                ..NEUTRAL
            },
            direct: Recipe { temperature: 0.7, top_p: 0.8, top_k: 20, ..NEUTRAL },
        }
    }

    /// The caller's explicit values win, after a check.
    pub(crate) fn resolve(&self, wishes: &Sampling, thinking: bool) -> Result<Recipe, SubmitError> {
        let mode = if thinking { &self.thinking } else { &self.direct };
        let set = |field, value: Option<f32>, default, low, high, range| match value {
            None => Ok(default),
            Some(value) if (low..=high).contains(&value) => Ok(value),
            Some(value) => Err(SubmitError::Invalid { field, value: value.to_string(), reason: range }),
        };
        let penalty = |field, value| set(field, value, 0.0, -2.0, 2.0, "from -2 to 2");
        Ok(Recipe {
            temperature: set("temperature", wishes.temperature, mode.temperature, 0.0, 2.0, "from 0 to 2")?,
            top_p: set("top_p", wishes.top_p, mode.top_p, f32::MIN_POSITIVE, 1.0, "above 0, at most 1")?,
            top_k: wishes.top_k.unwrap_or(mode.top_k),
            min_p: set("min_p", wishes.min_p, mode.min_p, 0.0, 1.0, "from 0 to 1")?,
            presence_penalty: penalty("presence_penalty", wishes.presence_penalty)?,
            frequency_penalty: penalty("frequency_penalty", wishes.frequency_penalty)?,
            repetition_penalty: set(
                "repetition_penalty",
                wishes.repetition_penalty,
                1.0,
                0.01,
                10.0,
                "from 0.01 to 10",
            )?,
            seed: wishes.seed,
        })
    }
}

impl Recipe {
    /// A sampler for one sequence; without a seed each gets its own.
    pub(crate) fn sampler(self) -> Sampler {
        let seed = self.seed.unwrap_or_else(rand::random);
        Sampler { recipe: self, random: SmallRng::seed_from_u64(seed), written: HashMap::new() }
    }

    #[cfg(test)]
    pub(crate) fn greedy() -> Recipe {
        Recipe { temperature: 0.0, ..NEUTRAL }
    }
}

/// Draws the tokens of one sequence.
pub(crate) struct Sampler {
    recipe: Recipe,
    random: SmallRng,
    /// How often each token was drawn, for the penalties.
    written: HashMap<u32, u32>,
}

/// What may not be drawn.
#[derive(Clone, Copy, Default)]
pub(crate) struct Veto<'a> {
    /// Never these.
    pub(crate) banned: &'a [u32],
    /// Only these, and those of [`Veto::beside`].
    pub(crate) only: Option<&'a SimpleVob>,
    /// Allowed whatever `only` says.
    pub(crate) beside: Option<u32>,
}

impl Veto<'_> {
    fn apply(&self, logits: &mut [f32]) {
        if let Some(only) = self.only {
            let beside = self.beside.and_then(|token| Some((token, *logits.get(token as usize)?)));
            // Ids beyond the mask have no text, so no format admits them.
            for (token, logit) in (0..).zip(logits.iter_mut()) {
                if token as usize >= only.len() || !only.is_allowed(token) {
                    *logit = f32::NEG_INFINITY;
                }
            }
            if let Some((token, logit)) = beside {
                logits[token as usize] = logit;
            }
        }
        for token in self.banned {
            logits[*token as usize] = f32::NEG_INFINITY;
        }
    }
}

impl Sampler {
    /// Draws one token from `logits` (vocab). `prompt` counts for the repetition penalty.
    pub(crate) fn draw(
        &mut self,
        logits: &mut [f32],
        prompt: &[u32],
        veto: Veto<'_>,
    ) -> Result<u32, EngineError> {
        if logits.is_empty() || !logits.iter().all(|logit| logit.is_finite()) {
            return Err(EngineError::NotFinite);
        }
        self.penalise(logits, prompt);
        veto.apply(logits);
        let token = if self.recipe.temperature == 0.0 { most_likely(logits) } else { self.pick(logits) };
        *self.written.entry(token).or_default() += 1;
        Ok(token)
    }

    /// From here on draws by another recipe; what was drawn counts on.
    pub(crate) fn follow(&mut self, recipe: Recipe) {
        self.recipe = recipe;
    }

    fn penalise(&self, logits: &mut [f32], prompt: &[u32]) {
        if self.recipe.repetition_penalty != 1.0 {
            let mut seen: Vec<u32> = prompt.iter().chain(self.written.keys()).copied().collect();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                let Some(logit) = logits.get_mut(token as usize) else { continue };
                let factor = self.recipe.repetition_penalty;
                *logit = if *logit > 0.0 { *logit / factor } else { *logit * factor };
            }
        }
        for (token, count) in &self.written {
            logits[*token as usize] -=
                self.recipe.presence_penalty + self.recipe.frequency_penalty * *count as f32;
        }
    }

    fn pick(&mut self, logits: &[f32]) -> u32 {
        let mut candidates = top(logits, self.recipe.top_k); // most likely first
        to_probabilities(&mut candidates, self.recipe.temperature);
        cut_tail(&mut candidates, self.recipe.top_p, self.recipe.min_p);
        let total: f32 = candidates.iter().map(|(_, probability)| probability).sum();
        let mut point = self.random.random::<f32>() * total;
        for (token, probability) in &candidates {
            point -= probability;
            if point < 0.0 {
                return *token;
            }
        }
        candidates[candidates.len() - 1].0 // rounding left a hair of the mass over
    }
}

/// The logarithms of softmax: each logit less the logarithm of their exponentials' sum.
pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    let shift = highest + sum.ln() as f32;
    logits.iter().map(|logit| logit - shift).collect()
}

/// The lowest id wins a tie, so that runs repeat.
fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

/// The `keep` most likely tokens, most likely first; all of them for zero.
pub(crate) fn top(logits: &[f32], keep: usize) -> Vec<(u32, f32)> {
    let mut candidates: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    // Ties go to the lower id, so that the same logits always give the same candidates.
    let order = |left: &(u32, f32), right: &(u32, f32)| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0));
    if (1..candidates.len()).contains(&keep) {
        candidates.select_nth_unstable_by(keep - 1, order);
        candidates.truncate(keep);
    }
    candidates.sort_unstable_by(order);
    candidates
}

/// Softmax at a temperature. The most likely comes first, so nothing overflows.
fn to_probabilities(candidates: &mut [(u32, f32)], temperature: f32) {
    let highest = candidates[0].1;
    let mut sum = 0.0;
    for (_, value) in candidates.iter_mut() {
        *value = ((*value - highest) / temperature).exp();
        sum += *value;
    }
    candidates.iter_mut().for_each(|(_, value)| *value /= sum);
}

/// Keeps the fewest tokens that reach `top_p`, and of these the ones not far below the best.
fn cut_tail(candidates: &mut Vec<(u32, f32)>, top_p: f32, min_p: f32) {
    let floor = min_p * candidates[0].1;
    let mut mass = 0.0;
    let kept = candidates.iter().take_while(|(_, probability)| {
        let wanted = mass < top_p && *probability >= floor;
        mass += probability;
        wanted
    });
    let kept = kept.count().max(1);
    candidates.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(recipe: Recipe) -> Sampler {
        Recipe { seed: Some(1), ..recipe }.sampler()
    }

    fn draws(recipe: Recipe, logits: &[f32], count: usize) -> Vec<u32> {
        (0..count as u64)
            .map(|seed| {
                let mut sampler = Recipe { seed: Some(seed), ..recipe.clone() }.sampler();
                sampler.draw(&mut logits.to_vec(), &[], Veto::default()).unwrap()
            })
            .collect()
    }

    #[test]
    fn the_modes_have_their_own_defaults_and_explicit_values_win() {
        let defaults = Defaults::new(ModeDefaults { temperature: Some(0.5), ..ModeDefaults::default() });
        let open = Sampling::default();
        let thinking = defaults.resolve(&open, true).unwrap();
        let direct = defaults.resolve(&open, false).unwrap();
        assert_eq!((thinking.temperature, thinking.top_p, thinking.top_k), (0.5, 0.95, 20));
        assert_eq!((direct.temperature, direct.top_p, direct.top_k), (0.7, 0.8, 20));
        let wish = Sampling { temperature: Some(0.0), top_k: Some(3), ..open };
        let explicit = defaults.resolve(&wish, true).unwrap();
        assert_eq!((explicit.temperature, explicit.top_p, explicit.top_k), (0.0, 0.95, 3));
    }

    #[test]
    fn a_greedy_generation_config_does_not_make_thinking_greedy() {
        let file =
            ConfigFile::parse("generation_config.json", br#"{"temperature": 0.0, "do_sample": false}"#)
                .unwrap();
        let defaults = Defaults::new(ModeDefaults::parse(&file).unwrap());
        assert_eq!(defaults.resolve(&Sampling::default(), true).unwrap().temperature, 0.6);
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let defaults = Defaults::new(ModeDefaults::default());
        let cases = [
            ("temperature", Sampling { temperature: Some(-0.1), ..Sampling::default() }),
            ("temperature", Sampling { temperature: Some(f32::NAN), ..Sampling::default() }),
            ("top_p", Sampling { top_p: Some(0.0), ..Sampling::default() }),
            ("min_p", Sampling { min_p: Some(1.5), ..Sampling::default() }),
            ("presence_penalty", Sampling { presence_penalty: Some(3.0), ..Sampling::default() }),
            ("frequency_penalty", Sampling { frequency_penalty: Some(-3.0), ..Sampling::default() }),
            ("repetition_penalty", Sampling { repetition_penalty: Some(0.0), ..Sampling::default() }),
        ];
        for (name, wishes) in cases {
            let refused = defaults.resolve(&wishes, true);
            assert!(matches!(refused, Err(SubmitError::Invalid { field, .. }) if field == name), "{name}");
        }
    }

    #[test]
    fn temperature_zero_takes_the_most_likely_and_the_lower_of_equals() {
        assert_eq!(sampler(Recipe::greedy()).draw(&mut [1.0, 3.0, 3.0], &[], Veto::default()).unwrap(), 1);
    }

    #[test]
    fn what_is_vetoed_is_never_drawn() {
        let draw = |veto| sampler(Recipe::greedy()).draw(&mut [1.0, 3.0, 2.0, 0.5], &[], veto).unwrap();
        assert_eq!(draw(Veto { banned: &[1], ..Veto::default() }), 2);
        let mut only = SimpleVob::alloc(3);
        only.allow_token(0);
        assert_eq!(draw(Veto { only: Some(&only), ..Veto::default() }), 0);
        assert_eq!(draw(Veto { only: Some(&only), beside: Some(2), ..Veto::default() }), 2);
        assert_eq!(draw(Veto { only: Some(&only), beside: Some(3), ..Veto::default() }), 0, "less likely");
    }

    #[test]
    fn probabilities_of_a_row_sum_to_one() {
        let logprobs = log_softmax(&[100.0, 99.0, -100.0]);
        let sum: f32 = logprobs.iter().map(|logprob| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}"); // a logit of 100 carries an error of 4e-6
        assert!((logprobs[0] - logprobs[1] - 1.0).abs() < 1e-5);
    }

    #[test]
    fn filters_keep_what_they_promise() {
        let logits = [4.0_f32.ln(), 3.0_f32.ln(), 2.0_f32.ln(), 1.0_f32.ln()]; // probabilities 0.4, 0.3, 0.2, 0.1
        let drawn = |recipe| {
            let mut tokens = draws(recipe, &logits, 300);
            tokens.sort_unstable();
            tokens.dedup();
            tokens
        };
        assert_eq!(drawn(NEUTRAL), [0, 1, 2, 3]);
        assert_eq!(drawn(Recipe { top_k: 2, ..NEUTRAL }), [0, 1]);
        assert_eq!(drawn(Recipe { top_p: 0.75, ..NEUTRAL }), [0, 1, 2]);
        assert_eq!(drawn(Recipe { min_p: 0.6, ..NEUTRAL }), [0, 1]);
        assert_eq!(drawn(Recipe { top_p: 1e-6, ..NEUTRAL }), [0]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let zeros = draws(NEUTRAL, &[3.0_f32.ln(), 0.0], 4000).iter().filter(|token| **token == 0).count();
        // Mean 3000, standard deviation 27; the seeds are fixed, so this either always holds or never.
        assert!((2900..3100).contains(&zeros), "{zeros}");
    }

    #[test]
    fn penalties_push_repeated_tokens_down() {
        let recipe = Recipe { frequency_penalty: 0.6, ..Recipe::greedy() };
        let mut sampler = sampler(recipe);
        let drawn: Vec<u32> =
            (0..3).map(|_| sampler.draw(&mut [1.0, 0.5], &[], Veto::default()).unwrap()).collect();
        assert_eq!(drawn, [0, 1, 0]);
        let recipe = Recipe { repetition_penalty: 4.0, ..Recipe::greedy() };
        assert_eq!(recipe.sampler().draw(&mut [1.0, 0.5], &[0], Veto::default()).unwrap(), 1);
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let run = |seed| {
            let mut sampler = Recipe { seed: Some(seed), ..NEUTRAL }.sampler();
            (0..20).map(|_| sampler.draw(&mut [0.0; 50], &[], Veto::default()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn broken_logits_are_an_error() {
        for broken in [f32::NAN, f32::INFINITY] {
            let drawn = sampler(NEUTRAL).draw(&mut [0.0, broken], &[], Veto::default());
            assert_eq!(drawn, Err(EngineError::NotFinite));
        }
    }
}
