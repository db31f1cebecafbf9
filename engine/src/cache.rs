//! What has a sequence already read?
//!
//! The keys and values of every position, per layer. Each sequence owns its cache, so that retiring one frees
//! its memory and no other sequence can see it. Rows are contiguous and grow with the text; the attention loop
//! reads them through `LayerCache` only, which is where paging would go.

use crate::config::ModelConfig;

/// Keys and values of one sequence.
pub struct KvCache {
    layers: Vec<LayerCache>,
    positions: usize,
    limit: usize,
}

/// Keys and values of one layer of one sequence.
#[derive(Default)]
pub(crate) struct LayerCache {
    keys: Vec<f32>,   // (positions, kv_heads * head_dim)
    values: Vec<f32>, // (positions, kv_heads * head_dim)
}

impl KvCache {
    /// An empty cache that may grow to the model's context length.
    pub fn new(config: &ModelConfig) -> KvCache {
        let layers = (0..config.layers).map(|_| LayerCache::default()).collect();
        KvCache { layers, positions: 0, limit: config.context_length }
    }

    /// Positions read so far; the next token gets this position.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Positions that may still be added.
    pub fn room(&self) -> usize {
        self.limit - self.positions
    }

    pub(crate) fn layer(&self, layer: usize) -> &LayerCache {
        &self.layers[layer]
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut LayerCache {
        &mut self.layers[layer]
    }

    /// Called once every layer has appended its rows.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.positions += tokens;
    }
}

impl LayerCache {
    /// Appends rows: (tokens, kv_heads * head_dim) each.
    pub(crate) fn append(&mut self, keys: &[f32], values: &[f32]) {
        self.keys.extend_from_slice(keys);
        self.values.extend_from_slice(values);
    }

    pub(crate) fn keys(&self) -> &[f32] {
        &self.keys
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }
}
