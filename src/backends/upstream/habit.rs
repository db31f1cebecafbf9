//! "Does this server's reasoning begin without an opening tag?" Nobody says so; its answers show.

use std::sync::atomic::{AtomicU8, Ordering};

use super::super::dialect::Outgoing;
use super::super::think::{Expects, Shape};
use crate::config::{Dialect, Upstream, Wire};
use crate::conversation::Mode;

/// What a server's answers looked like so far. Only cases that an answer alone leaves open are settled by it.
#[derive(Debug, Default)]
pub(super) struct Habit(AtomicU8);

const CLOSER_ALONE: u8 = 1;
const NO_TAGS: u8 = 2;

impl Habit {
    /// How reasoning may stand inline in the content of the answer; None: it does not.
    pub(super) fn expects(&self, upstream: &Upstream, outgoing: &Outgoing) -> Option<Expects> {
        if !upstream.inline_reasoning || keeps_apart(upstream) {
            return None;
        }
        // Waiting for a closing tag holds the answer back, so only where the prompt may hold the opening one.
        let templated = outgoing.wire == Wire::Chat && is_own_server(upstream.dialect);
        Some(match (self.0.load(Ordering::Relaxed), outgoing.applied.mode) {
            (CLOSER_ALONE, Mode::On) if templated => Expects::Closer,
            (NO_TAGS, _) => Expects::Opener,
            (_, Mode::On) if templated => Expects::PerhapsCloser,
            _ => Expects::Opener,
        })
    }

    /// Takes note of an answer.
    pub(super) fn learn(&self, shape: Option<Shape>) {
        match shape {
            Some(Shape::CloserAlone) => self.0.store(CLOSER_ALONE, Ordering::Relaxed),
            // One answer without thoughts does not outweigh one with them.
            Some(Shape::NoTags) => {
                let _ = self.0.compare_exchange(0, NO_TAGS, Ordering::Relaxed, Ordering::Relaxed);
            }
            None => {}
        }
    }
}

/// Services that have a place of its own for reasoning; a tag in their answers is a word of it.
fn keeps_apart(upstream: &Upstream) -> bool {
    matches!(upstream.wire, Wire::Anthropic | Wire::Gemini)
        || matches!(upstream.dialect, Dialect::Openai | Dialect::Azure)
}

/// Servers that people run themselves, whose chat templates are as they were made.
fn is_own_server(dialect: Dialect) -> bool {
    matches!(
        dialect,
        Dialect::Vllm
            | Dialect::Sglang
            | Dialect::LlamaCpp
            | Dialect::LmStudio
            | Dialect::MistralRs
            | Dialect::TensorrtLlm
            | Dialect::Lmdeploy
            | Dialect::MlxLm
            | Dialect::Generic
    )
}
