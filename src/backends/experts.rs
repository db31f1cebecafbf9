//! "Which experts worked on this answer?" as clients are told.

use serde::Serialize;
use thinkgate_engine::{ExpertUse, LayerUse};

/// How much of a MoE's gate a client wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertDetail {
    /// Each expert's share of the work, by layer.
    Summary,
    /// That, and the experts of each of the first [`TRACED`] tokens.
    Tokens,
}

/// Tokens told of one by one. A 30B-A3B has 384 choices for each, so that a trace of more is nobody's reading.
pub const TRACED: usize = 256;

impl ExpertDetail {
    /// Reads the value of the `x-thinkgate-experts` header.
    #[must_use]
    pub fn parse(text: &str) -> Option<ExpertDetail> {
        match text {
            "summary" => Some(ExpertDetail::Summary),
            "tokens" => Some(ExpertDetail::Tokens),
            _ => None,
        }
    }

    pub(super) fn traced(self) -> usize {
        if self == ExpertDetail::Tokens { TRACED } else { 0 }
    }
}

/// The experts that worked on prompt and answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExpertReport {
    /// Tokens that passed the gates.
    pub tokens: u64,
    /// Experts awake for each of them.
    pub experts_per_token: usize,
    /// One entry per layer that has experts.
    pub layers: Vec<LayerReport>,
    /// The first tokens one by one, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<TokenReport>,
}

/// How the work of one layer fell on its experts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    /// The decoder layer.
    pub layer: usize,
    /// Each expert's share of the choices; they sum to one.
    pub share: Vec<f64>,
    /// Each expert's share of the gate's weight; they sum to one.
    pub weight: Vec<f64>,
    /// Of `share`, in bits.
    pub entropy: f64,
    /// The even share over the largest: 1 where all work alike.
    pub balance: f64,
}

/// One token and its experts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenReport {
    /// Its text.
    pub text: String,
    /// For each layer of the report, its experts and their weights, most weight first.
    pub experts: Vec<Vec<(usize, f64)>>,
}

impl ExpertReport {
    /// What the engine counted; `text` spells a token.
    pub(super) fn new(used: &ExpertUse, experts_per_token: usize, text: impl Fn(u32) -> String) -> Self {
        let choices: u64 =
            used.layers.first().map_or(0, |layer| layer.chosen.iter().copied().map(u64::from).sum());
        ExpertReport {
            tokens: choices / experts_per_token.max(1) as u64,
            experts_per_token,
            layers: used.layers.iter().map(LayerReport::new).collect(),
            trace: used
                .tokens
                .iter()
                .map(|token| TokenReport {
                    text: text(token.token),
                    experts: token.choices.iter().map(|layer| layer.iter().map(weighed).collect()).collect(),
                })
                .collect(),
        }
    }
}

impl LayerReport {
    fn new(used: &LayerUse) -> Self {
        let all = used.weight.iter().copied().map(f64::from).sum::<f64>();
        let of_all = |weight: &f32| if all > 0.0 { round(f64::from(*weight) / all) } else { 0.0 };
        LayerReport {
            layer: used.layer,
            share: used.shares().into_iter().map(round).collect(),
            weight: used.weight.iter().map(of_all).collect(),
            entropy: round(used.entropy()),
            balance: round(used.balance()),
        }
    }
}

fn weighed((expert, weight): &(usize, f32)) -> (usize, f64) {
    (*expert, round(f64::from(*weight)))
}

/// Four decimals: more would be noise.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
