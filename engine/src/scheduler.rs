//! "Who runs next?" Fair by construction: every ready sequence advances in every step, decoding ones by a token,
//! fresh ones by a chunk of their prompt, so that a long prompt cannot starve the others.

use std::ops::Range;

/// Prompt tokens of one sequence that one step takes.
const CHUNK: usize = 256;
/// Rows of one step over all sequences, beyond one row each.
const STEP: usize = 512;

/// How many waiting tokens each sequence feeds in this step. `waiting`: tokens each ready sequence has to feed.
pub(crate) fn share(waiting: &[usize]) -> Vec<usize> {
    let mut left = STEP;
    waiting
        .iter()
        .map(|tokens| {
            let share = (*tokens).min(CHUNK).min(left.max(1));
            left = left.saturating_sub(share);
            share
        })
        .collect()
}

/// Row ranges of consecutive shares.
pub(crate) fn rows(shares: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    shares
        .iter()
        .map(|share| {
            let range = start..start + share;
            start = range.end;
            range
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_prompt_leaves_everyone_a_turn() {
        let shares = share(&[10_000, 1, 10_000, 10_000, 1]);
        assert!(shares.iter().all(|share| *share >= 1));
        assert_eq!(shares[1], 1);
        assert!(shares.iter().sum::<usize>() <= STEP + shares.len());
        assert_eq!(rows(&[2, 1, 3]), vec![0..2, 2..3, 3..6]);
    }
}
