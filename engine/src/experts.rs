//! Which experts worked on a request?
//!
//! A gate's choices are known anyway; keeping them costs two additions for every chosen expert. The record token by
//! token grows with the text, so it is kept on request only, and only for the first tokens.

use std::ops::Range;

use crate::model::GateRecord;

/// The experts that worked on the tokens that were read for one request: all of them, unless its beginning was known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpertUse {
    /// One entry per layer that has experts, in order.
    pub layers: Vec<LayerUse>,
    /// The choices for each of the first tokens, as many as the request asked for.
    pub tokens: Vec<TokenUse>,
}

/// How the work of one layer fell on its experts.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerUse {
    /// The decoder layer.
    pub layer: usize,
    /// How many tokens chose each expert.
    pub chosen: Vec<u32>, // (experts)
    /// The weights that each expert's results were added with, summed.
    pub weight: Vec<f32>, // (experts)
}

/// One token and the experts that worked on it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenUse {
    /// Its id.
    pub token: u32,
    /// Experts and their weights, most weight first, for each of [`ExpertUse::layers`].
    pub choices: Vec<Vec<(usize, f32)>>,
}

impl ExpertUse {
    /// Adds what the gates chose for `rows` of a pack, which hold `tokens`; the choices are kept one by one until there
    /// are those of `traced` tokens.
    pub fn record(&mut self, gates: &[GateRecord], rows: Range<usize>, tokens: &[u32], traced: usize) {
        if self.layers.is_empty() {
            self.layers = gates.iter().map(LayerUse::unused).collect();
        }
        for (layer, gate) in self.layers.iter_mut().zip(gates) {
            for (expert, weight) in gate.choices[rows.clone()].iter().flatten() {
                layer.chosen[*expert] += 1;
                layer.weight[*expert] += weight;
            }
        }
        let room = traced.saturating_sub(self.tokens.len());
        self.tokens.extend(rows.zip(tokens).take(room).map(|(row, token)| TokenUse {
            token: *token,
            choices: gates.iter().map(|gate| gate.choices[row].clone()).collect(),
        }));
    }
}

impl LayerUse {
    fn unused(gate: &GateRecord) -> LayerUse {
        LayerUse { layer: gate.layer, chosen: vec![0; gate.experts], weight: vec![0.0; gate.experts] }
    }

    /// The share of all choices that fell on each expert; they sum to one.
    pub fn shares(&self) -> Vec<f64> {
        let all: u32 = self.chosen.iter().sum();
        self.chosen.iter().map(|chosen| f64::from(*chosen) / f64::from(all.max(1))).collect()
    }

    /// Entropy of the shares, in bits: log2 of the number of experts where all work alike, zero where one does it all.
    pub fn entropy(&self) -> f64 {
        self.shares().iter().filter(|share| **share > 0.0).map(|share| -share * share.log2()).sum()
    }

    /// The even share over the largest: 1 where all work alike, 1 / experts where one does it all.
    pub fn balance(&self) -> f64 {
        let largest = self.shares().into_iter().fold(0.0, f64::max);
        if largest > 0.0 { 1.0 / (self.chosen.len() as f64 * largest) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(layer: usize, choices: &[&[(usize, f32)]]) -> GateRecord {
        GateRecord { layer, experts: 4, choices: choices.iter().map(|token| token.to_vec()).collect() }
    }

    #[test]
    fn choices_are_counted_by_layer_for_the_rows_of_this_request_only() {
        let gates = [
            gate(1, &[&[(3, 1.0)], &[(0, 0.75), (2, 0.25)], &[(0, 0.5), (1, 0.5)]]),
            gate(3, &[&[(3, 1.0)], &[(2, 0.6), (1, 0.4)], &[(2, 0.9), (3, 0.1)]]),
        ];
        let mut used = ExpertUse::default();
        used.record(&gates, 1..3, &[70, 71], 1);
        assert_eq!(used.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(used.layers[0].chosen, [2, 1, 1, 0]);
        assert_eq!(used.layers[0].weight, [1.25, 0.5, 0.25, 0.0]);
        assert_eq!(used.layers[1].chosen, [0, 1, 2, 1]);
        let traced =
            TokenUse { token: 70, choices: vec![vec![(0, 0.75), (2, 0.25)], vec![(2, 0.6), (1, 0.4)]] };
        assert_eq!(used.tokens, [traced]);

        used.record(&gates, 0..1, &[72], 1);
        assert_eq!(used.layers[0].chosen, [2, 1, 1, 1]);
        assert_eq!(used.tokens.len(), 1, "no more than asked for");
    }

    #[test]
    fn entropy_and_balance_run_from_one_expert_to_all() {
        let layer = |chosen: &[u32]| LayerUse { layer: 0, chosen: chosen.to_vec(), weight: Vec::new() };
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        close(layer(&[5, 5, 5, 5]).entropy(), 2.0);
        close(layer(&[5, 5, 5, 5]).balance(), 1.0);
        close(layer(&[0, 7, 0, 0]).entropy(), 0.0);
        close(layer(&[0, 7, 0, 0]).balance(), 0.25);
        close(layer(&[2, 1, 1, 0]).entropy(), 1.5);
        close(layer(&[2, 1, 1, 0]).balance(), 0.5);
    }
}
