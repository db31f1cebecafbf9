//! What does a token look at?
//!
//! Grouped-query attention, in Qwen3 with normalised queries and keys: each group of query heads shares one key and
//! value head. Tokens of all sequences go through the projections together; then each token looks at its own
//! sequence's cache, up to and including itself.

use super::norm::RmsNorm;
use super::rope::{Angles, rotate};
use crate::cache::{HeadBlocks, KvCache};
use crate::config::ModelConfig;
use crate::kernels::Attend;
use crate::model::Span;
use crate::request::EngineError;
use crate::tensor::Matrix;
use crate::weights::{LoadError, Weights};
use crate::workers;

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

/// Neighbouring tokens of one sequence.
struct Tile {
    span: usize,
    /// In the pack.
    first_row: usize,
    /// Of its first token.
    position: usize,
    tokens: usize,
}

/// Query heads that share one pass over keys and values: enough that reading them costs little beside the arithmetic.
const TILE_ROWS: usize = 32;

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
        angles: &[Angles],
    ) -> Result<Vec<f32>, EngineError> {
        let mut qkv = self.qkv.apply(hidden)?; // (tokens, query_dim + 2 * kv_dim)
        let mut rows = qkv.chunks_exact_mut(self.qkv.rows()).zip(angles);
        for span in spans.iter_mut() {
            for position in span.cache.positions()..span.cache.positions() + span.tokens.len() {
                let (row, angles) = rows.next().expect("one row for every token");
                self.place(row, angles, position, span.cache);
            }
        }
        let mixed = self.attend(&qkv, spans); // (tokens, query_dim)
        self.output.apply(&mixed) // (tokens, hidden)
    }

    /// Prepares one token's queries and keys in place: bias, norm, rotation, scale. Files keys and values in the cache.
    fn place(&self, row: &mut [f32], angles: &Angles, position: usize, cache: &mut KvCache) {
        let (query_dim, kv_dim) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        for (value, bias) in row.iter_mut().zip(self.bias.iter().flatten()) {
            *value += bias;
        }
        let (queries, keys_values) = row.split_at_mut(query_dim); // (heads, head_dim), (2, kv_heads, head_dim)
        let (keys, values) = keys_values.split_at_mut(kv_dim); // (kv_heads, head_dim) each
        if let Some(norms) = &self.norms {
            norms.query.apply_in_place(queries);
            norms.key.apply_in_place(keys);
        }
        rotate(queries, angles);
        rotate(keys, angles);
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        queries.iter_mut().for_each(|query| *query *= scale);
        cache.write(self.layer, position, keys, values);
    }

    /// One mixed row (query_dim) per token of `qkv` (tokens, query_dim + 2 * kv_dim).
    fn attend(&self, qkv: &[f32], spans: &[Span<'_>]) -> Vec<f32> {
        let tiles = self.tiles(spans);
        let items = tiles.len() * self.kv_heads;
        let seen: usize = tiles.iter().map(|tile| tile.tokens * (tile.position + tile.tokens)).sum();
        let results = workers::share(items, seen * self.heads * self.head_dim, |item| {
            let (tile, kv_head) = (&tiles[item / self.kv_heads], item % self.kv_heads);
            self.attend_tile(qkv, tile, spans[tile.span].cache, kv_head)
        }); // (tile tokens, group, head_dim) each
        let (query_dim, group_dim) = (self.heads * self.head_dim, self.heads / self.kv_heads * self.head_dim);
        let tokens: usize = spans.iter().map(|span| span.tokens.len()).sum();
        let mut mixed = vec![0.0; tokens * query_dim]; // (tokens, query_dim)
        for (item, result) in results.iter().enumerate() {
            let (tile, kv_head) = (&tiles[item / self.kv_heads], item % self.kv_heads);
            let rows = mixed[tile.first_row * query_dim..].chunks_exact_mut(query_dim);
            for (row, result) in rows.zip(result.chunks_exact(group_dim)) {
                row[kv_head * group_dim..(kv_head + 1) * group_dim].copy_from_slice(result);
            }
        }
        mixed
    }

    /// Cuts the spans into pieces of neighbouring tokens, whose heads read the cache together.
    fn tiles(&self, spans: &[Span<'_>]) -> Vec<Tile> {
        let most = (TILE_ROWS / (self.heads / self.kv_heads)).max(1);
        let mut tiles = Vec::new();
        let mut first_row = 0;
        for (number, span) in spans.iter().enumerate() {
            for first in (0..span.tokens.len()).step_by(most) {
                let tokens = most.min(span.tokens.len() - first);
                let position = span.cache.positions() + first;
                tiles.push(Tile { span: number, first_row: first_row + first, position, tokens });
            }
            first_row += span.tokens.len();
        }
        tiles
    }

    /// (tile tokens, group, head_dim)
    fn attend_tile(&self, qkv: &[f32], tile: &Tile, cache: &KvCache, kv_head: usize) -> Vec<f32> {
        let (group, head_dim) = (self.heads / self.kv_heads, self.head_dim);
        let rows = qkv.chunks_exact(self.qkv.rows()).skip(tile.first_row).take(tile.tokens);
        let heads = kv_head * group * head_dim..(kv_head + 1) * group * head_dim;
        let queries: Vec<f32> = rows.flat_map(|row| &row[heads.clone()]).copied().collect(); // (tokens, group, head_dim)
        let (queries, position) = (&queries, tile.position);
        match cache.head(self.layer, kv_head, position + tile.tokens) {
            HeadBlocks::Half(blocks) => Attend { queries, group, head_dim, position, blocks: &blocks }.mix(),
            HeadBlocks::Full(blocks) => Attend { queries, group, head_dim, position, blocks: &blocks }.mix(),
        }
    }
}
