//! What does a token look at?
//!
//! Grouped-query attention, in Qwen3 with normalised queries and keys: each group of query heads shares one key and
//! value head. Tokens of all sequences go through the projections together; then each token looks at its own
//! sequence's cache, up to and including itself.

use rayon::prelude::*;

use super::norm::RmsNorm;
use super::rope::Rope;
use crate::cache::{BLOCK, Side};
use crate::config::ModelConfig;
use crate::model::Span;
use crate::request::EngineError;
use crate::tensor::{Matrix, add_scaled, dot, softmax};
use crate::weights::{LoadError, Weights};

/// One block's attention.
pub(crate) struct Attention {
    qkv: Matrix,            // (query_dim + 2 * kv_dim, hidden)
    output: Matrix,         // (hidden, query_dim)
    bias: Option<Vec<f32>>, // (query_dim + 2 * kv_dim)
    norms: Option<HeadNorms>,
    layer: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// Brings queries and keys to a common scale, head by head.
struct HeadNorms {
    query: RmsNorm,
    key: RmsNorm,
}

/// Below this many multiplications, waking another thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 20;

impl Attention {
    pub(crate) fn load(weights: &mut Weights, layer: usize, config: &ModelConfig) -> Result<Self, LoadError> {
        let name = format!("model.layers.{layer}.self_attn");
        let (queries, keys) = (config.query_dim(), config.kv_dim());
        // One product instead of three: the rows are stacked in the order they are split again.
        let parts = [("q", queries), ("k", keys), ("v", keys)];
        let of_parts = |kind: &str| parts.map(|(part, rows)| (format!("{name}.{part}_proj.{kind}"), rows));
        let qkv = weights.matrix(&of_parts("weight"), config.hidden)?;
        let output = weights.matrix(&[(format!("{name}.o_proj.weight"), config.hidden)], queries)?;
        let mut bias = None;
        if config.qkv_bias {
            let values = of_parts("bias").map(|(tensor, rows)| weights.take(&tensor, &[rows]));
            bias = Some(values.into_iter().collect::<Result<Vec<_>, _>>()?.concat());
        }
        let norm = |weights: &mut Weights, part: &str| {
            RmsNorm::load(weights, &format!("{name}.{part}"), config.head_dim, config.norm_eps)
        };
        Ok(Attention {
            qkv,
            output,
            bias,
            norms: match config.qk_norm {
                true => Some(HeadNorms { query: norm(weights, "q_norm")?, key: norm(weights, "k_norm")? }),
                false => None,
            },
            layer,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        })
    }

    /// `hidden` (tokens, hidden) to the same shape; appends each span's keys and values to its cache.
    pub(crate) fn forward(
        &self,
        hidden: &[f32],
        spans: &mut [Span<'_>],
        rope: &Rope,
    ) -> Result<Vec<f32>, EngineError> {
        let mut qkv = self.qkv.apply(hidden)?; // (tokens, query_dim + 2 * kv_dim)
        let width = self.qkv.rows();
        let mut rest = qkv.as_mut_slice();
        let mut mixed = Vec::with_capacity(hidden.len()); // (tokens, query_dim)
        for span in spans {
            let rows;
            (rows, rest) = rest.split_at_mut(span.tokens.len() * width);
            self.place(rows, span, rope); // rows: (span tokens, query_dim + 2 * kv_dim)
            self.attend(rows, span, &mut mixed);
        }
        self.output.apply(&mixed) // (tokens, hidden)
    }

    /// Prepares queries and keys in place: bias, norm, rotation. Files keys and values in the cache.
    fn place(&self, rows: &mut [f32], span: &mut Span<'_>, rope: &Rope) {
        let (query_dim, kv_dim) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let first = span.cache.positions();
        for (offset, row) in rows.chunks_exact_mut(query_dim + 2 * kv_dim).enumerate() {
            let angles = rope.angles(first + offset);
            for (value, bias) in row.iter_mut().zip(self.bias.iter().flatten()) {
                *value += bias;
            }
            let (queries, keys_values) = row.split_at_mut(query_dim); // (heads, head_dim), (2, kv_heads, head_dim)
            let (keys, values) = keys_values.split_at_mut(kv_dim); // (kv_heads, head_dim) each
            if let Some(norms) = &self.norms {
                norms.query.apply_in_place(queries);
                norms.key.apply_in_place(keys);
            }
            rope.rotate(queries, &angles);
            rope.rotate(keys, &angles);
            span.cache.write(self.layer, first + offset, keys, values);
        }
    }

    /// Appends one mixed row (query_dim) per token of the span to `mixed`.
    fn attend(&self, rows: &[f32], span: &Span<'_>, mixed: &mut Vec<f32>) {
        let query_dim = self.heads * self.head_dim;
        let width = self.qkv.rows();
        let first = span.cache.positions();
        let start = mixed.len();
        mixed.resize(start + span.tokens.len() * query_dim, 0.0);
        let token = |(offset, (row, out)): (usize, (&[f32], &mut [f32]))| {
            self.attend_token(&row[..query_dim], first + offset, span, out);
        };
        let out = &mut mixed[start..]; // (span tokens, query_dim)
        let work = span.tokens.len() * (first + span.tokens.len()) * query_dim;
        if work < PARALLEL_WORK {
            rows.chunks_exact(width).zip(out.chunks_exact_mut(query_dim)).enumerate().for_each(token);
        } else {
            rows.par_chunks_exact(width).zip(out.par_chunks_exact_mut(query_dim)).enumerate().for_each(token);
        }
    }

    /// One token: `queries` (heads, head_dim) to `out` (heads, head_dim).
    fn attend_token(&self, queries: &[f32], position: usize, span: &Span<'_>, out: &mut [f32]) {
        let (width, seen) = (self.head_dim, position + 1);
        let group = self.heads / self.kv_heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut scores = vec![0.0; group * seen]; // (group, positions)
        let groups = queries.chunks_exact(group * width).zip(out.chunks_exact_mut(group * width));
        for (kv_head, (queries, out)) in groups.enumerate() {
            // A block's rows serve the whole group while they are near.
            for (block, keys) in span.cache.rows(self.layer, Side::Keys, kv_head, seen).enumerate() {
                for (query, scores) in queries.chunks_exact(width).zip(scores.chunks_exact_mut(seen)) {
                    for (score, key) in scores[block * BLOCK..].iter_mut().zip(keys.chunks_exact(width)) {
                        *score = dot(query, key) * scale;
                    }
                }
            }
            scores.chunks_exact_mut(seen).for_each(softmax);
            for (block, values) in span.cache.rows(self.layer, Side::Values, kv_head, seen).enumerate() {
                for (out, scores) in out.chunks_exact_mut(width).zip(scores.chunks_exact(seen)) {
                    for (score, value) in scores[block * BLOCK..].iter().zip(values.chunks_exact(width)) {
                        add_scaled(out, value, *score); // (head_dim)
                    }
                }
            }
        }
    }
}
