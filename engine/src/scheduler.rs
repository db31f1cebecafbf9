//! Who runs next, and how far?
//!
//! Pure: lengths in, lengths out. Every sequence that can move gets one token per step, so nobody starves; what is
//! left of the step's tokens is shared by those still reading their prompts, so a long prompt takes several steps
//! instead of stopping everybody else.

/// Tokens that one step reads at most, unless more sequences run than that.
pub(crate) const STEP_TOKENS: usize = 256;

/// For each sequence, how many of its `pending` tokens this step reads. Zero pending means it cannot move.
pub(crate) fn plan(pending: &[usize], step_tokens: usize) -> Vec<usize> {
    let mut takes: Vec<usize> = pending.iter().map(|pending| (*pending).min(1)).collect();
    let mut left = step_tokens.saturating_sub(takes.iter().sum());
    loop {
        let hungry: Vec<usize> = (0..takes.len()).filter(|index| takes[*index] < pending[*index]).collect();
        // Less than one token each is given to the first ones rather than to nobody.
        let share = left.div_ceil(hungry.len().max(1));
        if hungry.is_empty() || left == 0 {
            return takes;
        }
        for index in hungry {
            let more = share.min(pending[index] - takes[index]).min(left);
            takes[index] += more;
            left -= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_get_their_token_and_readers_share_the_rest() {
        assert_eq!(plan(&[1, 1000, 1, 1000], 256), [1, 127, 1, 127]);
    }

    #[test]
    fn what_a_short_prompt_leaves_goes_to_the_long_one() {
        assert_eq!(plan(&[10, 1000], 256), [10, 246]);
        assert_eq!(plan(&[1000, 10], 256), [246, 10]);
    }

    #[test]
    fn paused_sequences_stay_where_they_are() {
        assert_eq!(plan(&[0, 5, 0], 256), [0, 5, 0]);
        assert_eq!(plan(&[0, 0], 256), [0, 0]);
        assert_eq!(plan(&[], 256), [0; 0]);
    }

    #[test]
    fn everybody_moves_even_when_there_are_more_sequences_than_tokens() {
        assert_eq!(plan(&[1, 9, 9, 9], 2), [1, 1, 1, 1]);
    }

    #[test]
    fn a_step_never_reads_more_than_it_may() {
        for readers in 1..40 {
            let takes = plan(&vec![300; readers], 64);
            assert_eq!(takes.iter().sum::<usize>(), 64.max(readers));
        }
    }
}
