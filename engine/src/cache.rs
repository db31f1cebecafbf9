//! What has a sequence already read?
//!
//! The keys and values of every position, in blocks of sixteen. A full block never changes again, so sequences whose
//! texts begin alike share it (see [`crate::prefix`]); only the block being filled is a sequence's own. The
//! reference count is `Arc`'s, so nothing is freed too early and nothing is kept by mistake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::f16;

use crate::config::ModelConfig;
use crate::kernels::HeadBlock;

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

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Half the memory, and half the reading while attending; eleven significant bits.
    Half,
    /// As computed, to compare with a reference.
    #[default]
    Full,
}

impl Precision {
    fn bytes(self) -> usize {
        match self {
            Precision::Half => size_of::<f16>(),
            Precision::Full => size_of::<f32>(),
        }
    }
}

/// Keys and values of [`BLOCK`] positions in all layers.
#[derive(Debug)]
pub(crate) struct Block {
    numbers: Numbers,
    count: BlockCount,
}

/// (layers, kv_heads, keys and values, BLOCK * head_dim). Keys lie across, (head_dim, BLOCK); values (BLOCK, head_dim).
#[derive(Debug)]
enum Numbers {
    Half(Vec<f16>),
    Full(Vec<f32>),
}

impl Block {
    fn new(size: usize, precision: Precision, count: &BlockCount) -> Block {
        count.0.fetch_add(1, Ordering::Relaxed);
        let numbers = match precision {
            Precision::Half => Numbers::Half(vec![f16::ZERO; size]),
            Precision::Full => Numbers::Full(vec![0.0; size]),
        };
        Block { numbers, count: count.clone() }
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
    precision: Precision,
    count: BlockCount,
}

/// One head's keys and values, block by block.
pub(crate) enum HeadBlocks<'a> {
    Half(Vec<HeadBlock<'a, f16>>),
    Full(Vec<HeadBlock<'a, f32>>),
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
            precision: config.cache_precision,
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
        let size = self.layers * 2 * self.kv_heads * BLOCK * self.head_dim;
        for _ in 0..self.blocks_for(tokens) {
            self.blocks.push(Arc::new(Block::new(size, self.precision, &self.count)));
        }
    }

    /// Files one position's `keys` and `values`: (kv_heads, head_dim) each.
    pub(crate) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let start = self.head_start(layer, 0);
        let block = Arc::get_mut(&mut self.blocks[position / BLOCK])
            .expect("a block not yet full is its sequence's own");
        let (at, width) = (position % BLOCK, self.head_dim);
        match &mut block.numbers {
            Numbers::Half(numbers) => write(&mut numbers[start..], at, width, keys, values, f16::from_f32),
            Numbers::Full(numbers) => write(&mut numbers[start..], at, width, keys, values, |value| value),
        }
    }

    /// What one head has of the first `positions`, whole blocks of it; what has not been written is zero.
    pub(crate) fn head(&self, layer: usize, kv_head: usize, positions: usize) -> HeadBlocks<'_> {
        let start = self.head_start(layer, kv_head);
        let blocks = &self.blocks[..positions.div_ceil(BLOCK)];
        let side = BLOCK * self.head_dim;
        match self.precision {
            Precision::Half => HeadBlocks::Half(blocks.iter().map(|it| it.half(start, side)).collect()),
            Precision::Full => HeadBlocks::Full(blocks.iter().map(|it| it.full(start, side)).collect()),
        }
    }

    /// Where a head's keys begin in a block; its values follow.
    fn head_start(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.kv_heads + kv_head) * 2 * BLOCK * self.head_dim
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

impl Block {
    fn half(&self, start: usize, side: usize) -> HeadBlock<'_, f16> {
        match &self.numbers {
            Numbers::Half(numbers) => numbers[start..start + 2 * side].split_at(side),
            Numbers::Full(_) => unreachable!("sequences share blocks of one precision"),
        }
    }

    fn full(&self, start: usize, side: usize) -> HeadBlock<'_, f32> {
        match &self.numbers {
            Numbers::Full(numbers) => numbers[start..start + 2 * side].split_at(side),
            Numbers::Half(_) => unreachable!("sequences share blocks of one precision"),
        }
    }
}

/// Puts every head's row where it belongs: `into` begins with the layer's first head.
fn write<T>(into: &mut [T], at: usize, width: usize, keys: &[f32], values: &[f32], keep: impl Fn(f32) -> T) {
    let heads = into.chunks_exact_mut(2 * BLOCK * width); // (keys and values, BLOCK * head_dim) each
    for (head, (keys, values)) in heads.zip(keys.chunks_exact(width).zip(values.chunks_exact(width))) {
        let (head_keys, head_values) = head.split_at_mut(BLOCK * width);
        for (column, key) in head_keys.chunks_exact_mut(BLOCK).zip(keys) {
            column[at] = keep(*key);
        }
        for (into, value) in head_values[at * width..].iter_mut().zip(values) {
            *into = keep(*value);
        }
    }
}

/// Bytes of one block of such a model.
pub(crate) fn block_bytes(config: &ModelConfig) -> usize {
    config.layers * 2 * config.kv_dim() * BLOCK * config.cache_precision.bytes()
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
        let HeadBlocks::Full(blocks) = cache.head(1, 1, 35) else { panic!("full precision is the default") };
        for position in 0..35 {
            let (keys, values) = blocks[position / BLOCK];
            let value = (100 + position) as f32;
            let at = position % BLOCK;
            assert_eq!([keys[at], keys[BLOCK + at]], [value; 2]);
            assert_eq!(values[2 * at..2 * at + 2], [-value; 2]);
        }
        assert_eq!(blocks[2].0[4], 0.0, "not written yet");
    }

    #[test]
    fn half_precision_rounds_and_takes_half_the_memory() {
        let full = tiny();
        let half = ModelConfig { cache_precision: Precision::Half, ..tiny() };
        assert_eq!(block_bytes(&full), 2 * block_bytes(&half));
        let mut cache = KvCache::new(&half);
        cache.make_room(1);
        cache.write(0, 0, &[0.1; 4], &[1.0; 4]);
        let HeadBlocks::Half(blocks) = cache.head(0, 1, 1) else { panic!("half was asked for") };
        assert_eq!((blocks[0].0[0], blocks[0].1[0]), (f16::from_f32(0.1), f16::ONE));
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
