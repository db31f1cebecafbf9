//! Which beginnings of texts are still in memory?
//!
//! A tree of full cache blocks: each entry is found by the entry before it and its own sixteen tokens, compared in
//! full, so that no collision can give one request another's text. What was not used for longest goes first, ends of
//! texts before their beginnings.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::{BLOCK, Block};

/// Blocks of texts read before.
pub(crate) struct PrefixIndex {
    entries: HashMap<Key, Entry>,
    /// Blocks to keep.
    capacity: usize,
    clock: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    parent: Parent,
    tokens: [u32; BLOCK],
}

/// What stands before a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Parent {
    /// Nothing; the number is the group whose texts may be told from each other's time and count.
    Beginning(u64),
    /// The entry with this id.
    Entry(u64),
}

struct Entry {
    id: u64,
    block: Arc<Block>,
    depth: usize,
    used: u64,
}

impl Entry {
    /// Nobody else holds the block, so dropping the entry frees memory.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.block) == 1
    }

    fn age(&self) -> (u64, Reverse<usize>) {
        (self.used, Reverse(self.depth))
    }
}

impl PrefixIndex {
    pub(crate) fn new(capacity: usize) -> PrefixIndex {
        PrefixIndex { entries: HashMap::new(), capacity, clock: 0 }
    }

    /// The blocks of the longest beginning of `tokens` known in the group, never all of them: one token must be left to
    /// read.
    pub(crate) fn find(&mut self, group: u64, tokens: &[u32]) -> Vec<Arc<Block>> {
        self.clock += 1;
        let (mut parent, mut found) = (Parent::Beginning(group), Vec::new());
        let (chunks, rest) = tokens.as_chunks::<BLOCK>();
        let most = if rest.is_empty() { chunks.len().saturating_sub(1) } else { chunks.len() };
        for tokens in &chunks[..most] {
            let Some(entry) = self.entries.get_mut(&Key { parent, tokens: *tokens }) else { break };
            entry.used = self.clock;
            parent = Parent::Entry(entry.id);
            found.push(Arc::clone(&entry.block));
        }
        found
    }

    /// Keeps the full `blocks` of a text. Where a block with the same beginning is known, the known one stays.
    pub(crate) fn insert(&mut self, group: u64, tokens: &[u32], blocks: &[Arc<Block>]) {
        self.clock += 1;
        let mut parent = Parent::Beginning(group);
        for (depth, (tokens, block)) in tokens.as_chunks::<BLOCK>().0.iter().zip(blocks).enumerate() {
            let id = self.clock << 20 | depth as u64; // unlike any other: one text is inserted per tick
            let entry = self.entries.entry(Key { parent, tokens: *tokens }).or_insert_with(|| Entry {
                id,
                block: Arc::clone(block),
                depth,
                used: 0,
            });
            entry.used = self.clock;
            parent = Parent::Entry(entry.id);
        }
        let over = self.entries.len().saturating_sub(self.capacity);
        if over > 0 {
            self.forget(over);
        }
    }

    /// Frees the memory of so many `blocks`, least recently used first and ends before beginnings. False, and nothing is
    /// lost, if fewer are idle.
    pub(crate) fn forget(&mut self, blocks: usize) -> bool {
        let mut ages: Vec<(u64, Reverse<usize>)> =
            self.entries.values().filter(|entry| entry.is_idle()).map(Entry::age).collect();
        if blocks == 0 || ages.len() < blocks {
            return blocks == 0;
        }
        let (_, last, _) = ages.select_nth_unstable(blocks - 1);
        let last = *last;
        self.entries.retain(|_, entry| !entry.is_idle() || entry.age() > last);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{read, tiny};
    use crate::cache::{BlockCount, KvCache};

    fn text(seed: u32, length: usize) -> Vec<u32> {
        (0..length as u32).map(|at| at * 7 + seed).collect()
    }

    fn read_all(tokens: &[u32], count: &BlockCount) -> KvCache {
        let mut cache = KvCache::counted(&tiny(), count);
        read(&mut cache, tokens.len());
        cache
    }

    #[test]
    fn the_longest_known_beginning_is_found_and_one_token_is_left() {
        let mut index = PrefixIndex::new(100);
        let known = text(1, 48);
        index.insert(7, &known, read_all(&known, &BlockCount::default()).full_blocks());
        let found = |index: &mut PrefixIndex, tokens: &[u32]| index.find(7, tokens).len();
        assert_eq!(found(&mut index, &[known.as_slice(), &[9]].concat()), 3);
        assert_eq!(found(&mut index, &known), 2, "the last token must be read for its logits");
        assert_eq!(found(&mut index, &known[..40]), 2);
        let mut other = known.clone();
        other[20] = 0;
        assert_eq!(found(&mut index, &other), 1);
        assert_eq!(found(&mut index, &known[16..]), 0, "the same tokens at another place are another text");
        assert_eq!(found(&mut index, &[]), 0);
        assert_eq!(index.find(8, &known).len(), 0, "another group has not read it");
    }

    #[test]
    fn texts_that_begin_alike_share_blocks() {
        let count = BlockCount::default();
        let mut index = PrefixIndex::new(100);
        let (first, mut second) = (text(1, 33), text(1, 33));
        second[18] = 0;
        for tokens in [&first, &second] {
            index.insert(7, tokens, read_all(tokens, &count).full_blocks());
        }
        assert_eq!(count.live(), 3, "one beginning and two ends");
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_ends_before_beginnings() {
        let count = BlockCount::default();
        let mut index = PrefixIndex::new(4);
        let texts: Vec<Vec<u32>> = (0..3).map(|seed| text(seed, 33)).collect();
        for tokens in &texts[..2] {
            index.insert(7, tokens, read_all(tokens, &count).full_blocks());
        }
        assert_eq!(index.find(7, &texts[0]).len(), 2);
        index.insert(7, &texts[2], read_all(&texts[2], &count).full_blocks());
        assert!(count.live() <= 4);
        assert_eq!(index.find(7, &texts[1]).len(), 0, "the oldest");
        assert_eq!(index.find(7, &texts[2]).len(), 2);
        assert!(index.forget(1));
        assert_eq!(index.find(7, &texts[0]).len(), 1, "its end");
        assert!(!index.forget(100), "there are only three");
        assert_eq!(count.live(), 3);
    }

    #[test]
    fn what_a_sequence_holds_is_not_forgotten_for_its_memory() {
        let count = BlockCount::default();
        let mut index = PrefixIndex::new(10);
        let held = read_all(&text(1, 33), &count);
        index.insert(7, &text(1, 33), held.full_blocks());
        index.insert(7, &text(2, 33), read_all(&text(2, 33), &count).full_blocks());
        assert!(!index.forget(3));
        assert!(index.forget(2));
        assert_eq!((index.find(7, &text(1, 33)).len(), index.find(7, &text(2, 33)).len()), (2, 0));
        drop(held);
        assert!(index.forget(2));
        assert_eq!(count.live(), 0);
    }
}
