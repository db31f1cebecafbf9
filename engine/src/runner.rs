//! How do requests become tokens, together?
//!
//! One thread owns the model and every cache. It takes commands, lets the [`crate::scheduler`] share out a step,
//! runs the model once, and delivers what each [`Sequence`] makes of its token. Nothing is locked, because nothing
//! is shared but three counters.
//!
//! - A reader that went away is noticed before the next step; its place and memory are free at once.
//! - A slow reader pauses its own sequence only: a sequence takes part in a step while its channel has room for
//!   all that a step can send, so sending never waits.
//! - A panic inside a step ends every generation with an error and leaves the engine refusing work. The matrix
//!   library's thread pool may hold a poisoned lock after it, so carrying on would be a guess.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as commands;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::cache::{BLOCK, BlockCount, block_bytes};
use crate::engine::{Load, Options, SubmitError};
use crate::model::{Decoder, Output, Span};
use crate::prefix::PrefixIndex;
use crate::request::{EngineError, Event, Generation};
use crate::scheduler::{STEP_TOKENS, plan};
use crate::sequence::Sequence;

/// Events that may wait for a reader before its sequence pauses.
const CHANNEL_EVENTS: usize = 64;
/// What one step can send at most: a token, reasoning, answer, a call between two more pieces of answer, the end. More
/// calls at once would have to be held back by a stop string that contains them.
const EVENTS_PER_STEP: usize = 8;

/// The engine thread as its owner sees it. Dropping it stops the thread and waits for the step in progress.
pub(crate) struct RunnerHandle {
    commands: commands::Sender<Command>,
    status: Arc<Status>,
    blocks: BlockCount,
    block_bytes: usize,
    capacity: usize,
    thread: Option<JoinHandle<()>>,
}

struct Status {
    in_flight: AtomicUsize,
    running: AtomicUsize,
    healthy: AtomicBool,
}

/// A place among the running or waiting; given back when dropped.
pub(crate) struct Permit(Arc<Status>);

enum Command {
    Submit(Box<Active>),
    /// A reader made room or went away.
    Wake,
    Stop,
}

/// A sequence and whoever reads it.
struct Active {
    sequence: Sequence,
    events: mpsc::Sender<Event>,
    /// Set while the sequence waits for its reader.
    paused: Arc<AtomicBool>,
    permit: Permit,
}

/// A reader's way to tell the engine that something changed.
pub(crate) struct Waker {
    commands: commands::Sender<Command>,
    paused: Arc<AtomicBool>,
}

impl Waker {
    /// Called after every event taken: wakes the engine if it was waiting for that.
    pub(crate) fn made_room(&self) {
        if self.paused.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        // An engine that is gone needs no waking.
        let _ = self.commands.send(Command::Wake);
    }
}

impl RunnerHandle {
    /// Starts the thread, with a pool of its own for matrix products.
    pub(crate) fn spawn(
        model: impl Decoder,
        options: &Options,
        threads: usize,
    ) -> Result<RunnerHandle, io::Error> {
        let status = Arc::new(Status {
            in_flight: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            healthy: AtomicBool::new(true),
        });
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|number| format!("thinkgate-engine-{number}"))
            .build()
            .map_err(io::Error::other)?;
        let (sender, receiver) = commands::channel();
        let max_running = options.max_running.max(1);
        let blocks = BlockCount::default();
        let block_bytes = block_bytes(model.config());
        let memory = Memory::new(options.cache_bytes_for(model.config()), block_bytes, blocks.clone());
        let runner = Runner::new(model, receiver, Arc::clone(&status), max_running, memory);
        let thread = std::thread::Builder::new()
            .name("thinkgate-engine".to_owned())
            .spawn(move || pool.install(move || runner.run()))?;
        let capacity = max_running + options.max_waiting;
        Ok(RunnerHandle { commands: sender, status, blocks, block_bytes, capacity, thread: Some(thread) })
    }

    /// What the blocks of all sequences are counted by.
    pub(crate) fn blocks(&self) -> &BlockCount {
        &self.blocks
    }

    pub(crate) fn load(&self) -> Load {
        let running = self.status.running.load(Ordering::SeqCst);
        let in_flight = self.status.in_flight.load(Ordering::SeqCst);
        let healthy = self.status.healthy.load(Ordering::SeqCst);
        let cache_bytes = self.blocks.live() * self.block_bytes;
        Load { running, waiting: in_flight.saturating_sub(running), cache_bytes, healthy }
    }

    /// Takes a place, or says that there is none.
    pub(crate) fn reserve(&self) -> Result<Permit, SubmitError> {
        if !self.status.healthy.load(Ordering::SeqCst) {
            return Err(SubmitError::Stopped);
        }
        let take = |taken| (taken < self.capacity).then_some(taken + 1);
        match self.status.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(Permit(Arc::clone(&self.status))),
            Err(_) => Err(SubmitError::Busy),
        }
    }

    pub(crate) fn submit(&self, permit: Permit, sequence: Sequence) -> Result<Generation, SubmitError> {
        let (sender, receiver) = mpsc::channel(CHANNEL_EVENTS);
        let paused = Arc::new(AtomicBool::new(false));
        let prompt_tokens = sequence.prompt_tokens();
        let waker = Waker { commands: self.commands.clone(), paused: Arc::clone(&paused) };
        let active = Box::new(Active { sequence, events: sender, paused, permit });
        self.commands.send(Command::Submit(active)).map_err(|_| SubmitError::Stopped)?;
        Ok(Generation { events: receiver, waker, prompt_tokens })
    }
}

impl Drop for RunnerHandle {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // Steps are caught, so a panic here is in this file; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Active {
    /// Would a step's events fit? If not, the reader is asked to wake us; it may have read in the meantime, so
    /// the answer is looked at once more after asking.
    fn has_room(&self) -> bool {
        if self.events.capacity() >= EVENTS_PER_STEP {
            return true;
        }
        self.paused.store(true, Ordering::SeqCst);
        self.events.capacity() >= EVENTS_PER_STEP
    }

    fn cancelled(&self) -> bool {
        self.events.is_closed()
    }

    fn send(&self, event: Event) {
        // Room was checked before the step, so this fails only for a reader that has gone.
        let _ = self.events.try_send(event);
    }

    /// The end of a generation: its place is free before its reader learns of it, so that a caller who submits
    /// again at once is not turned away.
    fn retire(self, last: Event) {
        let Active { events, permit, sequence, .. } = self;
        drop((permit, sequence));
        let _ = events.try_send(last);
    }
}

/// Blocks for keys and values: how many there may be, how many there are, and which hold texts read before.
struct Memory {
    most: usize,
    live: BlockCount,
    known: PrefixIndex,
}

impl Memory {
    fn new(bytes: usize, block: usize, live: BlockCount) -> Memory {
        let most = bytes / block.max(1);
        Memory { most, live, known: PrefixIndex::new(most) }
    }

    /// Makes room for so many blocks more, at the cost of texts read before; or says that there is none.
    fn has_room(&mut self, blocks: usize) -> bool {
        self.known.forget((self.live.live() + blocks).saturating_sub(self.most))
    }
}

/// The engine thread's own state.
struct Runner<D> {
    model: D,
    commands: commands::Receiver<Command>,
    status: Arc<Status>,
    max_running: usize,
    waiting: VecDeque<Active>,
    running: Vec<Active>,
    /// Groups that were let in, longest ago first; as many as callers have keys.
    let_in: Vec<u64>,
    memory: Memory,
    /// How things stood when the first that waits found no room: blocks in memory, sequences running.
    found_full: Option<(usize, usize)>,
    /// Set by a panic; from then on nothing is run.
    broken: Option<EngineError>,
}

impl<D: Decoder> Runner<D> {
    fn new(
        model: D,
        commands: commands::Receiver<Command>,
        status: Arc<Status>,
        max_running: usize,
        memory: Memory,
    ) -> Runner<D> {
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Runner {
            model,
            commands,
            status,
            max_running,
            waiting,
            running,
            let_in: Vec::new(),
            memory,
            found_full: None,
            broken: None,
        }
    }

    fn run(mut self) {
        while self.take_commands() {
            self.drop_cancelled();
            self.admit();
            let takes = self.plan_within_memory();
            if takes.iter().any(|take| *take > 0) {
                self.guarded_step(&takes);
            }
        }
        self.fail_all(EngineError::Stopped);
    }

    /// Takes all commands there are, waiting for one only if no sequence can move. False means stop.
    fn take_commands(&mut self) -> bool {
        let mut next =
            if self.can_move() { self.commands.try_recv().ok() } else { self.commands.recv().ok() };
        while let Some(command) = next {
            match command {
                Command::Submit(active) => self.accept(*active),
                Command::Wake => {}
                Command::Stop => return false,
            }
            next = self.commands.try_recv().ok();
        }
        true
    }

    fn can_move(&self) -> bool {
        let room_may_have_come = self.found_full != Some(self.fullness());
        let admits = self.running.len() < self.max_running && room_may_have_come && !self.waiting.is_empty();
        admits || self.running.iter().any(Active::has_room)
    }

    fn fullness(&self) -> (usize, usize) {
        (self.memory.live.live(), self.running.len())
    }

    fn accept(&mut self, active: Active) {
        match &self.broken {
            Some(error) => active.retire(Event::Failed(error.clone())),
            None => self.waiting.push_back(active),
        }
    }

    fn drop_cancelled(&mut self) {
        self.waiting.retain(|active| !active.cancelled());
        self.running.retain(|active| !active.cancelled());
        self.publish();
    }

    fn admit(&mut self) {
        self.found_full = None;
        while self.running.len() < self.max_running {
            let Some(mut active) = self.next_in_line().and_then(|at| self.waiting.remove(at)) else { break };
            active.sequence.reuse(&mut self.memory.known);
            // Room for all that is to be read, by those already let in too, and for the first block of the reply.
            let to_read = |active: &Active| active.sequence.blocks_for(active.sequence.pending() + BLOCK);
            let blocks = self.running.iter().map(to_read).sum::<usize>() + to_read(&active);
            // Who is alone is let in all the same: no text is longer than the memory.
            if self.memory.has_room(blocks) || self.running.is_empty() {
                active.sequence.begin();
                self.let_in.retain(|group| *group != active.sequence.group());
                self.let_in.push(active.sequence.group());
                self.running.push(active);
            } else {
                active.sequence.give_way();
                self.waiting.push_front(active);
                self.found_full = Some(self.fullness());
                break;
            }
        }
        self.publish();
    }

    /// Whose turn is it? That of the group with least running, and of these the one let in longest ago; of its requests
    /// the most urgent, then the one that came first.
    fn next_in_line(&self) -> Option<usize> {
        let running = |group| self.running.iter().filter(|active| active.sequence.group() == group).count();
        let place = |at: &usize| {
            let sequence = &self.waiting[*at].sequence;
            let group = sequence.group();
            (running(group), self.let_in.iter().position(|past| *past == group), sequence.priority())
        };
        (0..self.waiting.len()).min_by_key(place)
    }

    fn publish(&self) {
        self.status.running.store(self.running.len(), Ordering::SeqCst);
    }

    fn plan(&self) -> Vec<usize> {
        let pending = |active: &Active| if active.has_room() { active.sequence.pending() } else { 0 };
        plan(&self.running.iter().map(pending).collect::<Vec<_>>(), STEP_TOKENS)
    }

    /// The plan, once the memory for it is there. Who waits for its reader gives way first, then who came last.
    fn plan_within_memory(&mut self) -> Vec<usize> {
        loop {
            let takes = self.plan();
            let blocks = |(active, take): (&Active, &usize)| active.sequence.blocks_for(*take);
            let blocks = self.running.iter().zip(&takes).map(blocks).sum();
            if self.memory.has_room(blocks) || self.running.len() < 2 {
                return takes;
            }
            let paused = takes.iter().rposition(|take| *take == 0);
            let mut last = self.running.remove(paused.unwrap_or(self.running.len() - 1));
            last.sequence.give_way();
            self.waiting.push_front(last);
            self.publish();
        }
    }

    fn guarded_step(&mut self, takes: &[usize]) {
        match catch_unwind(AssertUnwindSafe(|| self.step(takes))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail_planned(takes, &error),
            Err(panic) => self.give_up(EngineError::Panicked(panic_text(panic.as_ref()))),
        }
    }

    /// One pass through the model, and its consequences.
    fn step(&mut self, takes: &[usize]) -> Result<(), EngineError> {
        let moving = || takes.iter().copied().filter(|take| *take > 0);
        let sequences = self.running.iter_mut().map(|active| &mut active.sequence).zip(takes);
        let mut spans: Vec<Span<'_>> =
            sequences.filter(|(_, take)| **take > 0).map(|(sequence, take)| sequence.span(*take)).collect();
        debug_assert_eq!(spans.len(), moving().count());
        let output = self.model.forward(&mut spans)?;
        drop(spans);
        self.count_experts(takes, &output);
        self.share(takes);
        self.deliver(takes, output.logits);
        Ok(())
    }

    /// A prompt is others' to use as soon as it is read; the reply follows when it is whole.
    fn share(&mut self, takes: &[usize]) {
        for (active, take) in self.running.iter().zip(takes) {
            if *take > 0 && active.sequence.has_just_read_its_prompt() {
                active.sequence.share(&mut self.memory.known);
            }
        }
    }

    fn count_experts(&mut self, takes: &[usize], output: &Output) {
        let mut row = 0;
        for (active, take) in self.running.iter_mut().zip(takes) {
            active.sequence.count_experts(&output.gates, row..row + take);
            row += take;
        }
    }

    /// Gives each sequence that has read everything its row of `logits` (rows, vocab), and sends what comes of it.
    fn deliver(&mut self, takes: &[usize], mut logits: Vec<f32>) {
        let mut rows = logits.chunks_exact_mut(self.model.config().vocab);
        let mut ended = Vec::new();
        for (index, active) in self.running.iter_mut().enumerate() {
            if takes[index] == 0 || active.sequence.pending() > 0 {
                continue;
            }
            let row = rows.next().expect("every span that wants logits gets a row");
            if let Some(last) = advance(active, row) {
                ended.push((index, last));
            }
        }
        for (index, last) in ended.into_iter().rev() {
            self.end(index, last);
        }
    }

    fn end(&mut self, index: usize, last: Event) {
        let active = self.running.remove(index);
        if let Event::Finished(_) = last {
            active.sequence.share(&mut self.memory.known);
        }
        self.publish();
        active.retire(last);
    }

    /// After an error the caches of everyone in the step are unusable; the others can go on.
    fn fail_planned(&mut self, takes: &[usize], error: &EngineError) {
        for index in (0..takes.len()).rev().filter(|index| takes[*index] > 0) {
            self.end(index, Event::Failed(error.clone()));
        }
    }

    fn give_up(&mut self, error: EngineError) {
        self.status.healthy.store(false, Ordering::SeqCst);
        self.fail_all(error.clone());
        self.broken = Some(error);
    }

    fn fail_all(&mut self, error: EngineError) {
        // What was submitted while the engine stopped is in the channel still.
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Submit(active) = command {
                self.waiting.push_back(*active);
            }
        }
        let all: Vec<Active> = self.running.drain(..).chain(self.waiting.drain(..)).collect();
        self.publish();
        for active in all {
            active.retire(Event::Failed(error.clone()));
        }
    }
}

/// Draws a token and sends what comes of it; an event that ends the generation is returned instead.
fn advance(active: &mut Active, logits: &mut [f32]) -> Option<Event> {
    let events = match active.sequence.advance(logits) {
        Ok(events) => events,
        Err(error) => return Some(Event::Failed(error)),
    };
    for event in events {
        if matches!(event, Event::Finished(_)) {
            return Some(event);
        }
        active.send(event);
    }
    None
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
