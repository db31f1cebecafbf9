//! Keys and values of one sequence, and who owns them: the sequence itself, which drops them when it ends.

/// One layer's keys and values, oldest position first.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerCache {
    pub(crate) keys: Vec<f32>,   // (positions, kv_heads, head_dim)
    pub(crate) values: Vec<f32>, // (positions, kv_heads, head_dim)
}

/// The cache of one sequence over all layers.
#[derive(Debug, Clone)]
pub(crate) struct KvCache {
    pub(crate) layers: Vec<LayerCache>,
    pub(crate) positions: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize) -> Self {
        KvCache { layers: vec![LayerCache::default(); layers], positions: 0 }
    }
}
