//! The loop: take commands, schedule, forward, sample, deliver. One thread owns the model and all caches, so
//! nothing is locked while the model computes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use crate::cache::KvCache;
use crate::error::EngineError;
use crate::model::{Model, Span};
use crate::scheduler;
use crate::sequence::Sequence;
use crate::tokenizer::Tokenizer;

/// What the engine's handle and its thread both see.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) running: AtomicUsize,
    pub(crate) waiting: AtomicUsize,
    pub(crate) dead: AtomicBool,
}

pub(crate) struct Runner {
    model: Model,
    tokenizer: Arc<Tokenizer>,
    commands: Receiver<Sequence>,
    shared: Arc<Shared>,
    max_running: usize,
    waiting: std::collections::VecDeque<Sequence>,
    running: Vec<Sequence>,
}

/// How often a step looks whether slow readers have caught up when there is nothing else to do.
const SLOW_READER_POLL: Duration = Duration::from_millis(2);

impl Runner {
    pub(crate) fn new(
        model: Model,
        tokenizer: Arc<Tokenizer>,
        commands: Receiver<Sequence>,
        shared: Arc<Shared>,
        max_running: usize,
    ) -> Self {
        Runner {
            model,
            tokenizer,
            commands,
            shared,
            max_running,
            waiting: Default::default(),
            running: Vec::new(),
        }
    }

    /// Runs until every handle is gone and every sequence has ended.
    pub(crate) fn run(mut self) {
        loop {
            if !self.take_commands() {
                break;
            }
            self.retire();
            self.admit();
            if self.running.iter().any(Sequence::is_ready) {
                self.step_or_die();
                if self.shared.dead.load(Ordering::Acquire) {
                    break;
                }
            }
        }
        self.shared.dead.store(true, Ordering::Release);
    }

    /// False when no handle is left and nothing runs.
    fn take_commands(&mut self) -> bool {
        let busy = self.running.iter().any(Sequence::is_ready);
        let blocked = !self.running.is_empty();
        let first = match (busy, blocked) {
            (true, _) => None,
            (false, true) => self.wait_for_readers(),
            (false, false) => match self.commands.recv() {
                Ok(sequence) => Some(sequence),
                Err(_) => return false,
            },
        };
        self.waiting.extend(first);
        loop {
            match self.commands.try_recv() {
                Ok(sequence) => self.waiting.push_back(sequence),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Everything that runs waits for a slow reader: looks for new work meanwhile.
    fn wait_for_readers(&self) -> Option<Sequence> {
        match self.commands.recv_timeout(SLOW_READER_POLL) {
            Ok(sequence) => Some(sequence),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(SLOW_READER_POLL);
                None
            }
        }
    }

    /// Drops what has ended or lost its reader, and frees its cache with it.
    fn retire(&mut self) {
        for sequence in &mut self.running {
            sequence.deliver();
        }
        self.running.retain(|sequence| !sequence.is_done() && !sequence.is_cancelled());
        let before = self.waiting.len();
        self.waiting.retain(|sequence| !sequence.is_cancelled());
        self.shared.waiting.fetch_sub(before - self.waiting.len(), Ordering::AcqRel);
    }

    fn admit(&mut self) {
        while self.running.len() < self.max_running {
            let Some(sequence) = self.waiting.pop_front() else { break };
            self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
            self.running.push(sequence);
        }
        self.shared.running.store(self.running.len(), Ordering::Release);
    }

    /// A panic inside a step may have left the model's own state broken, so it ends the engine, and says so.
    fn step_or_die(&mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.step()));
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => EngineError(error.to_string()),
            Err(_) => EngineError("a step panicked; the engine has stopped".to_owned()),
        };
        tracing::error!(%error, "the engine stops");
        self.shared.dead.store(true, Ordering::Release);
        for sequence in self.running.iter_mut().chain(&mut self.waiting) {
            sequence.fail(error.clone());
        }
    }

    fn step(&mut self) -> candle_core::Result<()> {
        let ready: Vec<usize> = (0..self.running.len()).filter(|at| self.running[*at].is_ready()).collect();
        let waiting: Vec<usize> = ready.iter().map(|at| self.running[*at].feed.len()).collect();
        let shares = scheduler::share(&waiting);
        let rows = scheduler::rows(&shares);
        let mut tokens = Vec::new();
        let (mut spans, mut wanted, mut speakers) = (Vec::new(), Vec::new(), Vec::new());
        for (cache, (at, rows)) in ready.iter().zip(&rows).enumerate() {
            tokens.extend(self.running[*at].feed.drain(..rows.len()));
            spans.push(Span { rows: rows.clone(), cache });
            if self.running[*at].feed.is_empty() {
                wanted.push(rows.end - 1);
                speakers.push(*at);
            }
        }
        let mut sequences: Vec<&mut Sequence> =
            self.running.iter_mut().filter(|sequence| sequence.is_ready()).collect();
        let mut caches: Vec<&mut KvCache> =
            sequences.iter_mut().map(|sequence| &mut sequence.cache).collect();
        let pass = self.model.forward(&tokens, &spans, &wanted, &mut caches)?;
        if let Some(moe) = &self.model.config.moe {
            for (sequence, rows) in sequences.iter_mut().zip(&rows) {
                sequence.count_experts(&pass.gating, rows.clone(), tokens.len(), moe.experts);
            }
        }
        let vocab = self.model.config.vocab;
        for (at, logits) in speakers.into_iter().zip(pass.logits.chunks_exact(vocab)) {
            let sequence = &mut self.running[at];
            let banned = sequence.banned();
            match sequence.sampler.next(&mut logits.to_vec(), &sequence.generated, &banned) {
                Ok(token) => sequence.advance(token, &self.tokenizer),
                Err(error) => sequence.fail(error),
            }
        }
        Ok(())
    }
}
