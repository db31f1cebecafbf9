//! What has a sequence already read?
//!
//! The keys and values of every position, in blocks of sixteen. A full block never changes again, so sequences whose
//! texts begin alike share it (see [`crate::prefix`]); only the block being filled is a sequence's own. The
//! reference count is `Arc`'s, so nothing is freed too early and nothing is kept by mistake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::ModelConfig;

/// Positions in a block.
pub(crate) const BLOCK: usize = 16;

/// Counts the blocks in memory, whoever holds them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockCount(Arc<AtomicUsize>);

impl BlockCount {
    pub(crate) fn live(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Keys and values of [`BLOCK`] positions in all layers.
#[derive(Debug)]
pub(crate) struct Block {
    values: Vec<f32>, // (layers, keys and values, kv_heads, BLOCK, head_dim)
    count: BlockCount,
}

impl Block {
    fn new(size: usize, count: &BlockCount) -> Block {
        count.0.fetch_add(1, Ordering::Relaxed);
        Block { values: vec![0.0; size], count: count.clone() }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.count.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keys and values of one sequence.
#[derive(Debug)]
pub struct KvCache {
    blocks: Vec<Arc<Block>>,
    positions: usize,
    limit: usize,
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
    count: BlockCount,
}

/// Keys or values of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Keys,
    Values,
}

impl KvCache {
    /// An empty cache that may grow to the model's context length.
    pub fn new(config: &ModelConfig) -> KvCache {
        KvCache::counted(config, &BlockCount::default())
    }

    /// One whose blocks are counted with others'.
    pub(crate) fn counted(config: &ModelConfig, count: &BlockCount) -> KvCache {
        KvCache {
            blocks: Vec::new(),
            positions: 0,
            limit: config.context_length,
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            count: count.clone(),
        }
    }

    /// Positions read so far; the next token gets this position.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Positions that may still be added.
    pub fn room(&self) -> usize {
        self.limit - self.positions
    }

    /// Blocks that reading `tokens` more would add.
    pub(crate) fn blocks_for(&self, tokens: usize) -> usize {
        (self.positions + tokens).div_ceil(BLOCK).saturating_sub(self.blocks.len())
    }

    /// Called before the layers write.
    pub(crate) fn make_room(&mut self, tokens: usize) {
        for _ in 0..self.blocks_for(tokens) {
            self.blocks.push(Arc::new(Block::new(
                self.layers * 2 * self.kv_heads * BLOCK * self.head_dim,
                &self.count,
            )));
        }
    }

    /// Files one position's `keys` and `values`: (kv_heads, head_dim) each.
    pub(crate) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (heads, width) = (self.kv_heads, self.head_dim);
        let block = Arc::get_mut(&mut self.blocks[position / BLOCK])
            .expect("a block not yet full is its sequence's own");
        for (side, rows) in [(Side::Keys, keys), (Side::Values, values)] {
            for (head, row) in rows.chunks_exact(width).enumerate() {
                let start = slab(layer, side, head, heads, width) + position % BLOCK * width;
                block.values[start..start + width].copy_from_slice(row);
            }
        }
    }

    /// One head's rows of the first `positions`, block by block: (up to BLOCK, head_dim).
    pub(crate) fn rows(
        &self,
        layer: usize,
        side: Side,
        kv_head: usize,
        positions: usize,
    ) -> impl Iterator<Item = &[f32]> {
        let start = slab(layer, side, kv_head, self.kv_heads, self.head_dim);
        let width = self.head_dim;
        self.blocks.iter().take(positions.div_ceil(BLOCK)).enumerate().map(move |(at, block)| {
            let rows = (positions - at * BLOCK).min(BLOCK);
            &block.values[start..start + rows * width]
        })
    }

    /// Called once every layer has written its rows.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.positions += tokens;
    }

    /// The blocks that will not change again.
    pub(crate) fn full_blocks(&self) -> &[Arc<Block>] {
        &self.blocks[..(self.positions / BLOCK).min(self.blocks.len())]
    }

    /// Starts with what another sequence has read.
    pub(crate) fn begin_with(&mut self, blocks: Vec<Arc<Block>>) {
        self.positions = blocks.len() * BLOCK;
        self.blocks = blocks;
    }

    /// Forgets everything; it can be read again.
    pub(crate) fn clear(&mut self) {
        self.begin_with(Vec::new());
    }
}

/// Bytes of one block of such a model.
pub(crate) fn block_bytes(config: &ModelConfig) -> usize {
    config.layers * 2 * config.kv_dim() * BLOCK * size_of::<f32>()
}

/// Where a head's rows begin in a block.
fn slab(layer: usize, side: Side, head: usize, heads: usize, width: usize) -> usize {
    let side = if side == Side::Keys { 0 } else { 1 };
    ((layer * 2 + side) * heads + head) * BLOCK * width
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tiny() -> ModelConfig {
        let json = serde_json::json!({
            "model_type": "qwen3", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 2, "intermediate_size": 16, "max_position_embeddings": 64
        });
        ModelConfig::parse(json.to_string().as_bytes()).unwrap()
    }

    /// Writes rows that tell where they belong, as a step of `tokens` would.
    pub(crate) fn read(cache: &mut KvCache, tokens: usize) {
        cache.make_room(tokens);
        for position in cache.positions()..cache.positions() + tokens {
            for layer in 0..2 {
                let value = (100 * layer + position) as f32;
                cache.write(layer, position, &[value; 4], &[-value; 4]);
            }
        }
        cache.advance(tokens);
    }

    #[test]
    fn rows_come_back_in_order_across_blocks() {
        let mut cache = KvCache::new(&tiny());
        for tokens in [3, 20, 1, 12] {
            read(&mut cache, tokens);
        }
        assert_eq!((cache.positions(), cache.room()), (36, 28));
        let rows: Vec<f32> = cache.rows(1, Side::Values, 1, 35).flatten().copied().collect();
        let expected: Vec<f32> = (0..35).flat_map(|position| [-(100 + position) as f32; 2]).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn shared_blocks_stay_while_anyone_holds_them_and_no_longer() {
        let count = BlockCount::default();
        let mut first = KvCache::counted(&tiny(), &count);
        read(&mut first, 40);
        assert_eq!((count.live(), first.full_blocks().len()), (3, 2));
        let mut second = KvCache::counted(&tiny(), &count);
        second.begin_with(first.full_blocks().to_vec());
        read(&mut second, 5);
        assert_eq!((second.positions(), count.live()), (37, 4));
        drop(first);
        assert_eq!(count.live(), 3, "the two that are shared, and the second's own");
        second.clear();
        assert_eq!((second.positions(), count.live()), (0, 0));
    }
}
