//! Rows with what was decided for them.

use std::thread;

use super::rows::{Row, Split, expects_thinking, split};
use crate::calibration::Inputs;
use crate::conversation::{Conversation, Mode};
use crate::decide::{Decision, Snapshot, decide};

/// What the measures need of a decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judgement {
    pub(super) on: bool,
    pub(super) score: f64,
    /// Probability that thinking helps.
    pub(super) thinking: f64,
    /// Probability that the weaker models fail.
    pub(super) strong: f64,
    pub(super) abstained: bool,
    /// What a model's profile would look at.
    pub(super) inputs: Inputs,
    /// The models' context left no room for thinking, so the mode is off whatever the score.
    pub(super) cramped: bool,
}

/// A row with its decision.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) row: Row,
    pub(super) split: Split,
    /// The task-level expectation.
    pub(super) expected: Option<bool>,
    /// Characters of the last user message.
    pub(super) length: f64,
    pub(super) judgement: Judgement,
}

impl From<&Decision> for Judgement {
    fn from(decision: &Decision) -> Self {
        Judgement {
            on: decision.thinking.mode == Mode::On,
            score: decision.score,
            thinking: decision.thinking.probability,
            strong: decision.strong_probability,
            abstained: decision.abstained,
            inputs: Inputs::of(decision),
            cramped: decision.notes.iter().any(|note| note.starts_with("budget clamped: 0 tokens")),
        }
    }
}

/// Decides one conversation.
pub(super) fn judge(conversation: &Conversation<'_>, snapshot: &Snapshot) -> Judgement {
    Judgement::from(&decide(conversation, snapshot))
}

/// Decides every row, on all processors; the order stays.
pub(super) fn measure(rows: Vec<Row>, snapshot: &Snapshot) -> Vec<Measured> {
    in_parallel(rows, |row| {
        let judgement = judge(&row.conversation().unwrap_or_default(), snapshot);
        let length = row.text().chars().count() as f64;
        Measured { split: split(&row), expected: expects_thinking(&row), length, judgement, row }
    })
}

/// `work` for every item, in chunks over all processors; the order stays.
pub(super) fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let size = items.len().div_ceil(threads).max(1);
    let mut chunks: Vec<Vec<T>> = Vec::new();
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        chunks.push(items.by_ref().take(size).collect());
    }
    thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = chunks
            .into_iter()
            .map(|chunk| scope.spawn(move || chunk.into_iter().map(work).collect::<Vec<R>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("deciding does not panic")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_parallel_keeps_the_order() {
        let squares = in_parallel((0..101usize).collect(), |n| n * n);
        assert_eq!(squares, (0..101).map(|n| n * n).collect::<Vec<_>>());
        assert!(in_parallel(Vec::<usize>::new(), |n| n).is_empty());
    }
}
