//! The feed-forward half of a layer: the only place where dense and MoE models differ.

use candle_core::Result;

use super::attention::softmax;
use super::linear::Linear;
use crate::config::{ModelConfig, MoeConfig};
use crate::error::LoadError;
use crate::weights::Weights;

/// Dense: one network for all tokens. Moe: a gate picks a few of many per token.
#[derive(Debug)]
pub(crate) enum Ffn {
    Dense(SwiGlu),
    Moe(Moe),
}

/// Which experts worked on each row, and how much each counted; empty for dense layers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gating {
    /// (rows, experts_per_token).
    pub experts: Vec<u32>,
    /// (rows, experts_per_token).
    pub weights: Vec<f32>,
}

impl Ffn {
    pub(crate) fn load(
        weights: &Weights<'_>,
        prefix: &str,
        layer: usize,
        config: &ModelConfig,
    ) -> std::result::Result<Self, LoadError> {
        match &config.moe {
            Some(moe) if config.is_sparse(layer) => {
                Moe::load(weights, prefix, config.hidden, moe).map(Ffn::Moe)
            }
            _ => SwiGlu::load(weights, prefix, config.hidden, config.intermediate).map(Ffn::Dense),
        }
    }

    /// `x`: (rows, hidden) → (rows, hidden).
    pub(crate) fn forward(&self, x: &[f32]) -> Result<(Vec<f32>, Gating)> {
        match self {
            Ffn::Dense(network) => Ok((network.forward(x)?, Gating::default())),
            Ffn::Moe(moe) => moe.forward(x),
        }
    }
}

/// down(silu(gate(x)) · up(x)).
#[derive(Debug)]
pub(crate) struct SwiGlu {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl SwiGlu {
    fn load(
        weights: &Weights<'_>,
        prefix: &str,
        hidden: usize,
        intermediate: usize,
    ) -> std::result::Result<Self, LoadError> {
        let linear = |name: &str, outputs, inputs| {
            Linear::load(weights, &format!("{prefix}.{name}.weight"), outputs, inputs)
        };
        Ok(SwiGlu {
            gate: linear("gate_proj", intermediate, hidden)?,
            up: linear("up_proj", intermediate, hidden)?,
            down: linear("down_proj", hidden, intermediate)?,
        })
    }

    fn forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        let mut inner = self.gate.forward(x)?; // (rows, intermediate)
        for (gate, up) in inner.iter_mut().zip(self.up.forward(x)?) {
            *gate = *gate / (1.0 + (-*gate).exp()) * up;
        }
        self.down.forward(&inner) // (rows, hidden)
    }
}

#[derive(Debug)]
pub(crate) struct Moe {
    gate: Linear,
    experts: Vec<SwiGlu>,
    per_token: usize,
    renormalise: bool,
    hidden: usize,
}

impl Moe {
    fn load(
        weights: &Weights<'_>,
        prefix: &str,
        hidden: usize,
        config: &MoeConfig,
    ) -> std::result::Result<Self, LoadError> {
        let experts = (0..config.experts)
            .map(|expert| {
                SwiGlu::load(weights, &format!("{prefix}.experts.{expert}"), hidden, config.intermediate)
            })
            .collect::<std::result::Result<_, _>>()?;
        Ok(Moe {
            gate: Linear::load(weights, &format!("{prefix}.gate.weight"), config.experts, hidden)?,
            experts,
            per_token: config.experts_per_token,
            renormalise: config.renormalise,
            hidden,
        })
    }

    /// Rows are gathered by expert, so that each expert runs once over all its rows.
    fn forward(&self, x: &[f32]) -> Result<(Vec<f32>, Gating)> {
        let gating = self.choose(self.gate.forward(x)?);
        let mut out = vec![0.0; x.len()]; // (rows, hidden)
        for (expert, network) in self.experts.iter().enumerate() {
            let picks: Vec<(usize, f32)> = gating
                .experts
                .iter()
                .zip(&gating.weights)
                .enumerate()
                .filter(|(_, (chosen, _))| **chosen as usize == expert)
                .map(|(at, (_, weight))| (at / self.per_token, *weight))
                .collect();
            if picks.is_empty() {
                continue;
            }
            let rows: Vec<f32> =
                picks.iter().flat_map(|(row, _)| &x[row * self.hidden..][..self.hidden]).copied().collect();
            let answers = network.forward(&rows)?; // (picks, hidden)
            for ((row, weight), answer) in picks.iter().zip(answers.chunks_exact(self.hidden)) {
                for (out, answer) in out[row * self.hidden..][..self.hidden].iter_mut().zip(answer) {
                    *out += weight * answer;
                }
            }
        }
        Ok((out, gating))
    }

    /// Softmax over all experts, then the best few per row. `logits`: (rows, experts).
    fn choose(&self, mut logits: Vec<f32>) -> Gating {
        let mut gating = Gating::default();
        for row in logits.chunks_exact_mut(self.experts.len()) {
            softmax(row);
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            order.truncate(self.per_token);
            let sum: f32 = if self.renormalise { order.iter().map(|at| row[*at]).sum() } else { 1.0 };
            for at in order {
                gating.experts.push(u32::try_from(at).expect("at most 4096 experts"));
                gating.weights.push(row[at] / sum);
            }
        }
        gating
    }
}
