//! Grouped-query attention with normalised queries and keys.

use candle_core::Result;

use super::linear::Linear;
use super::norm::RmsNorm;
use super::rope::Rope;
use crate::cache::{KvCache, LayerCache};
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::model::Span;
use crate::weights::Weights;

#[derive(Debug)]
pub(crate) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    pub(crate) fn load(
        weights: &Weights<'_>,
        prefix: &str,
        config: &ModelConfig,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, head_dim) = (config.hidden, config.head_dim);
        let linear = |name: &str, outputs, inputs| {
            Linear::load(weights, &format!("{prefix}.{name}.weight"), outputs, inputs)
        };
        let norm = |name: &str| {
            weights
                .numbers(&format!("{prefix}.{name}.weight"), head_dim)
                .map(|gain| RmsNorm::new(gain, config.norm_eps))
        };
        Ok(Attention {
            query: linear("q_proj", config.heads * head_dim, hidden)?,
            key: linear("k_proj", config.kv_heads * head_dim, hidden)?,
            value: linear("v_proj", config.kv_heads * head_dim, hidden)?,
            output: linear("o_proj", hidden, config.heads * head_dim)?,
            query_norm: norm("q_norm")?,
            key_norm: norm("k_norm")?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim,
        })
    }

    /// `x`: (rows, hidden) → (rows, hidden). Each span's rows attend to their own cache, which grows by them.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        layer: usize,
        rope: &Rope,
        spans: &[Span],
        caches: &mut [&mut KvCache],
    ) -> Result<Vec<f32>> {
        let mut queries = self.query.forward(x)?; // (rows, heads, head_dim)
        let mut keys = self.key.forward(x)?; // (rows, kv_heads, head_dim)
        let values = self.value.forward(x)?; // (rows, kv_heads, head_dim)
        self.query_norm.apply(&mut queries);
        self.key_norm.apply(&mut keys);
        let (q_width, kv_width) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut mixed = vec![0.0; queries.len()]; // (rows, heads, head_dim)
        for span in spans {
            let cache = &mut *caches[span.cache];
            let past = cache.positions;
            let layer = &mut cache.layers[layer];
            for (offset, row) in span.rows.clone().enumerate() {
                let position = past + offset;
                rope.turn(&mut queries[row * q_width..][..q_width], position);
                rope.turn(&mut keys[row * kv_width..][..kv_width], position);
                layer.keys.extend_from_slice(&keys[row * kv_width..][..kv_width]);
                layer.values.extend_from_slice(&values[row * kv_width..][..kv_width]);
                let (query, out) =
                    (&queries[row * q_width..][..q_width], &mut mixed[row * q_width..][..q_width]);
                self.attend(query, layer, position + 1, out);
            }
        }
        self.output.forward(&mixed)
    }

    /// One row's heads over the first `positions` of the cache; `out`: (heads, head_dim).
    fn attend(&self, query: &[f32], cache: &LayerCache, positions: usize, out: &mut [f32]) {
        let width = self.kv_heads * self.head_dim;
        let group = self.heads / self.kv_heads;
        #[expect(clippy::cast_precision_loss, reason = "a width")]
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let mut scores = vec![0.0_f32; positions];
        for (head, (query, out)) in
            query.chunks_exact(self.head_dim).zip(out.chunks_exact_mut(self.head_dim)).enumerate()
        {
            let at = head / group * self.head_dim;
            for (score, key) in scores.iter_mut().zip(cache.keys.chunks_exact(width)) {
                *score = dot(query, &key[at..at + self.head_dim]) * scale;
            }
            softmax(&mut scores);
            for (score, value) in scores.iter().zip(cache.values.chunks_exact(width)) {
                for (out, value) in out.iter_mut().zip(&value[at..at + self.head_dim]) {
                    *out += score * value;
                }
            }
        }
    }
}

/// Eight running sums, so that the compiler can use vector registers.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// In place, the largest subtracted first.
pub(crate) fn softmax(x: &mut [f32]) {
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in x.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    for value in x {
        *value /= sum;
    }
}
