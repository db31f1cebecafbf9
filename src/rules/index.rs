//! Finds many literals in one pass. A literal is known by its first few bytes, so one look into a table tells
//! whether any may start at a place; what is found so is a candidate, for its pattern to confirm.

use super::demands::{Bytes, Edge, Literals};

/// Bytes looked at together.
const WINDOW: usize = 8;
/// Literals are cut to one of these lengths: a few letters, or one or two Chinese characters.
const LENGTHS: [usize; 4] = [2, 3, 4, 6];
/// Places in the tables that two bytes, or 16 bits of a hash, lead to.
const PLACES: usize = 1 << 16;

/// Who looks for a literal, and behind which edge.
#[derive(Debug, Clone, Copy)]
struct Owner<T> {
    edge: Edge,
    whose: T,
}

/// Literals with their owners.
#[derive(Debug, Clone)]
pub(super) struct Index<T> {
    /// Sorted by key.
    owners: Vec<(u64, Owner<T>)>,
    /// Which lengths there are of literals with these first bytes, a bit each: the high half for those behind
    /// any edge, the low half for those that need none. Short literals by their first two bytes …
    short: Box<[u8; PLACES]>,
    /// … and longer ones by a hash of their first four.
    long: Box<[u8; PLACES]>,
    /// By hashed key: whether there is any such literal.
    filter: Box<[bool; PLACES]>,
    /// By hashed key: the key, and where its owners start.
    table: Vec<Option<(u64, u32)>>,
}

impl<T: Copy> Index<T> {
    pub(super) fn new(entries: impl Iterator<Item = (T, Literals)>) -> Self {
        let mut owners = Vec::new();
        for (whose, literals) in entries {
            let owner = Owner { edge: literals.edge, whose };
            let mut keys: Vec<u64> = literals.any_of.iter().map(|literal| key_of(literal)).collect();
            keys.sort_unstable();
            keys.dedup();
            owners.extend(keys.into_iter().map(|key| (key, owner)));
        }
        owners.sort_by_key(|(key, _)| *key);
        let slots = (owners.len() * 2).next_power_of_two().max(2);
        let mut out = Index {
            owners,
            short: Box::new([0; PLACES]),
            long: Box::new([0; PLACES]),
            filter: Box::new([false; PLACES]),
            table: vec![None; slots],
        };
        (0..out.owners.len()).for_each(|at| out.enter(at));
        out
    }

    fn enter(&mut self, at: usize) {
        let (key, owner) = self.owners[at];
        let length = LENGTHS.iter().position(|length| *length == length_of(key)).expect("one of them");
        let behind_any = 1 << (length + LENGTHS.len());
        let lengths = if LENGTHS[length] < 4 {
            &mut self.short[first_two(key)]
        } else {
            &mut self.long[first_four(key)]
        };
        *lengths |= if owner.edge == Edge::Open { behind_any | 1 << length } else { behind_any };
        self.filter[filter_place(key)] = true;
        let slot = self.slot(key);
        self.table[slot].get_or_insert((key, u32::try_from(at).expect("some thousand literals")));
    }

    /// Where `key` is in the table, or would be.
    fn slot(&self, key: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = hash(key) & mask;
        while self.table[slot].is_some_and(|(other, _)| other != key) {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Calls `found` for every literal that may stand in `text`, in order; returns the bytes of the text.
    pub(super) fn scan(&self, text: &str, mut found: impl FnMut(usize, T)) -> Bytes {
        let mut seen = [false; 256];
        let padded = [text.as_bytes(), &[0; WINDOW]].concat();
        let mut before = LINE;
        for (at, window) in padded.windows(WINDOW).enumerate().take(text.len()) {
            let window = u64::from_le_bytes(window.try_into().expect("as long as asked for"));
            let byte = usize::from(window.to_le_bytes()[0]);
            seen[byte] = true;
            let kind = KINDS[byte];
            let (line, word) = (before == LINE, (before == WORD) != (kind == WORD));
            before = kind;
            let lengths = self.short[first_two(window)] | self.long[first_four(window)];
            let mut lengths = if line | word { lengths >> LENGTHS.len() } else { lengths & 0xf };
            while lengths != 0 {
                let key = cut(window, LENGTHS[lengths.trailing_zeros() as usize]);
                lengths &= lengths - 1;
                let holds = |edge| match edge {
                    Edge::Open => true,
                    Edge::Word => word,
                    Edge::Line => line,
                    Edge::Text => at == 0,
                };
                let owners = self.owners_of(key).filter(|owner| holds(owner.edge));
                owners.for_each(|owner| found(at, owner.whose));
            }
        }
        (0..=u8::MAX).filter(|byte| seen[usize::from(*byte)]).collect()
    }

    fn owners_of(&self, key: u64) -> impl Iterator<Item = Owner<T>> {
        let held = self.filter[filter_place(key)];
        let first = if held { self.table[self.slot(key)].map(|(_, first)| first as usize) } else { None };
        let owners = &self.owners[first.unwrap_or(self.owners.len())..];
        owners.iter().take_while(move |(other, _)| *other == key).map(|(_, owner)| *owner)
    }
}

const WORD: u8 = 1;
const LINE: u8 = 2;

/// What a byte does to the place behind it.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_' {
            kinds[byte] = WORD;
        }
        byte += 1;
    }
    kinds[b'\n' as usize] = LINE;
    kinds
};

/// The first bytes of a window with their number, which is never a literal's byte there.
fn cut(window: u64, length: usize) -> u64 {
    (window & ((1 << (8 * length)) - 1)) | (length as u64) << 56
}

fn length_of(key: u64) -> usize {
    usize::from(key.to_le_bytes()[7])
}

fn first_two(window: u64) -> usize {
    usize::from(u16::from_le_bytes([window.to_le_bytes()[0], window.to_le_bytes()[1]]))
}

fn first_four(window: u64) -> usize {
    filter_place(window & 0xffff_ffff)
}

fn key_of(literal: &[u8]) -> u64 {
    let length = LENGTHS.iter().rev().find(|length| **length <= literal.len());
    let length = *length.expect("literals have two bytes or more");
    let mut window = [0; WINDOW];
    window[..length].copy_from_slice(&literal[..length]);
    cut(u64::from_le_bytes(window), length)
}

/// The upper bits mix best.
fn hash(key: u64) -> usize {
    usize::try_from(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).expect("32 bits")
}

fn filter_place(key: u64) -> usize {
    hash(key) >> 16
}
