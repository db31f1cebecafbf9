//! What does a block do with each token by itself?
//!
//! A SwiGLU layer, or a gate that picks a few of many. This enum is the only place in the crate where dense and
//! mixture-of-experts models differ. In the sparse case tokens are grouped by expert, so that each expert's
//! weights are read once per step however many tokens chose it.

use crate::config::{ModelConfig, MoeConfig};
use crate::kernels::SiluTimes;
use crate::request::EngineError;
use crate::simd;
use crate::tensor::{Matrix, add_scaled, softmax};
use crate::weights::{LoadError, Weights};
use crate::workers;

pub(crate) enum Ffn {
    Dense(SwiGlu),
    Moe(Moe),
}

/// `down(silu(gate(x)) * up(x))`
pub(crate) struct SwiGlu {
    gate_up: Matrix, // (2 * intermediate, hidden)
    down: Matrix,    // (hidden, intermediate)
}

pub(crate) struct Moe {
    gate: Matrix, // (experts, hidden)
    experts: Vec<SwiGlu>,
    per_token: usize,
    renormalise: bool,
}

/// For every token, its experts and their weights, most weight first.
pub type Choices = Vec<Vec<(usize, f32)>>; // (tokens, experts per token)

/// The experts that one sparse layer chose for every token of a pack.
#[derive(Clone, Debug, PartialEq)]
pub struct GateRecord {
    /// The decoder layer.
    pub layer: usize,
    /// How many there were to choose from.
    pub experts: usize,
    /// Who worked on which token.
    pub choices: Choices,
}

impl Ffn {
    pub(crate) fn load(weights: &mut Weights, layer: usize, config: &ModelConfig) -> Result<Self, LoadError> {
        let name = format!("model.layers.{layer}.mlp");
        Ok(match config.experts_of_layer(layer) {
            None => Ffn::Dense(SwiGlu::load(weights, &name, config.hidden, config.intermediate)?),
            Some(moe) => Ffn::Moe(Moe::load(weights, &name, config.hidden, moe)?),
        })
    }

    /// (tokens, hidden) to the same shape, and which experts did it.
    pub(crate) fn forward(&self, hidden: &[f32]) -> Result<(Vec<f32>, Option<Choices>), EngineError> {
        match self {
            Ffn::Dense(swiglu) => Ok((swiglu.forward(hidden)?, None)),
            Ffn::Moe(moe) => moe.forward(hidden).map(|(hidden, choices)| (hidden, Some(choices))),
        }
    }
}

impl SwiGlu {
    fn load(weights: &mut Weights, name: &str, hidden: usize, width: usize) -> Result<Self, LoadError> {
        let part = |part: &str, rows| (format!("{name}.{part}_proj.weight"), rows);
        Ok(SwiGlu {
            gate_up: weights.matrix(&[part("gate", width), part("up", width)], hidden)?,
            down: weights.matrix(&[part("down", hidden)], width)?,
        })
    }

    /// (tokens, hidden) to the same shape.
    fn forward(&self, hidden: &[f32]) -> Result<Vec<f32>, EngineError> {
        let gate_up = self.gate_up.apply(hidden)?; // (tokens, 2 * intermediate)
        let width = self.gate_up.rows() / 2;
        let mut inner = vec![0.0; gate_up.len() / 2]; // (tokens, intermediate)
        workers::share_rows(&mut inner, width, gate_up.len(), |row, out| {
            simd::run(SiluTimes { gate_up: &gate_up[row * 2 * width..(row + 1) * 2 * width], out });
        });
        self.down.apply(&inner) // (tokens, hidden)
    }
}

impl Moe {
    fn load(weights: &mut Weights, name: &str, hidden: usize, config: &MoeConfig) -> Result<Self, LoadError> {
        let gate = weights.matrix(&[(format!("{name}.gate.weight"), config.experts)], hidden)?;
        let experts = (0..config.experts)
            .map(|expert| {
                SwiGlu::load(weights, &format!("{name}.experts.{expert}"), hidden, config.intermediate)
            })
            .collect::<Result<_, _>>()?;
        Ok(Moe { gate, experts, per_token: config.experts_per_token, renormalise: config.renormalise })
    }

    /// (tokens, hidden) to the same shape, and each token's choices.
    fn forward(&self, hidden: &[f32]) -> Result<(Vec<f32>, Choices), EngineError> {
        let mut scores = self.gate.apply(hidden)?; // (tokens, experts)
        let choices: Choices =
            scores.chunks_exact_mut(self.experts.len()).map(|scores| self.choose(scores)).collect();
        let width = hidden.len() / choices.len().max(1);
        let mut output = vec![0.0; hidden.len()]; // (tokens, hidden)
        for (expert, members) in group_by_expert(&choices, self.experts.len()).into_iter().enumerate() {
            self.run_expert(expert, &members, hidden, width, &mut output)?;
        }
        Ok((output, choices))
    }

    /// The most probable experts of one token; the lower number wins a tie, so that runs repeat.
    fn choose(&self, scores: &mut [f32]) -> Vec<(usize, f32)> {
        softmax(scores); // (experts)
        let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
        ranked.sort_by(|left, right| right.1.total_cmp(&left.1));
        ranked.truncate(self.per_token);
        if self.renormalise {
            let sum: f32 = ranked.iter().map(|(_, weight)| weight).sum();
            ranked.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
        ranked
    }

    /// Adds one expert's share to the rows of `output` that chose it.
    fn run_expert(
        &self,
        expert: usize,
        members: &[(usize, f32)],
        hidden: &[f32],
        width: usize,
        output: &mut [f32],
    ) -> Result<(), EngineError> {
        if members.is_empty() {
            return Ok(());
        }
        let row = |token: usize| token * width..(token + 1) * width;
        let gathered: Vec<f32> =
            members.iter().flat_map(|(token, _)| &hidden[row(*token)]).copied().collect(); // (members, hidden)
        let results = self.experts[expert].forward(&gathered)?; // (members, hidden)
        for ((token, weight), result) in members.iter().zip(results.chunks_exact(width)) {
            add_scaled(&mut output[row(*token)], result, *weight);
        }
        Ok(())
    }
}

/// For every expert the tokens that chose it, and how much.
fn group_by_expert(choices: &Choices, experts: usize) -> Vec<Vec<(usize, f32)>> {
    let mut groups = vec![Vec::new(); experts];
    for (token, chosen) in choices.iter().enumerate() {
        for (expert, weight) in chosen {
            groups[*expert].push((token, *weight));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moe(per_token: usize, renormalise: bool) -> Moe {
        Moe { gate: Matrix::new(vec![0.0; 3], 3, 1), experts: Vec::new(), per_token, renormalise }
    }

    #[test]
    fn the_gate_keeps_the_best_and_renormalises_them() {
        let chosen = moe(2, true).choose(&mut [0.0, 2.0_f32.ln(), 5.0_f32.ln()]);
        assert_eq!([chosen[0].0, chosen[1].0], [2, 1]);
        // Probabilities 1/8, 2/8, 5/8; the two best renormalise to 5/7 and 2/7, within a rounding of exp and ln.
        assert!((chosen[0].1 - 5.0 / 7.0).abs() < 1e-6 && (chosen[1].1 - 2.0 / 7.0).abs() < 1e-6);
        let raw = moe(2, false).choose(&mut [0.0, 2.0_f32.ln(), 5.0_f32.ln()]);
        assert!((raw[0].1 - 5.0 / 8.0).abs() < 1e-6);
    }

    #[test]
    fn ties_go_to_the_lower_expert() {
        assert_eq!(moe(1, true).choose(&mut [0.5, 0.5, 0.5]), [(0, 1.0)]);
    }

    #[test]
    fn tokens_are_grouped_under_every_expert_they_chose() {
        let choices = vec![vec![(2, 0.75), (0, 0.25)], vec![(2, 1.0)]];
        assert_eq!(group_by_expert(&choices, 3), [vec![(0, 0.25)], vec![], vec![(0, 0.75), (1, 1.0)]]);
    }
}
