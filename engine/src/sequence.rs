//! What does a token mean for the request it belongs to?
//!
//! One request in flight: what it has read, whether it is reasoning or answering, what it may still spend. The
//! border between reasoning and answer is the *id* of `<think>` and `</think>`, never their text, so a model that
//! writes about the tags does not move it. Thinking happens once and first: where it is switched off, over, or
//! was not begun with the first token, both markers are banned from sampling. That makes the switch a promise
//! instead of a hint.
//!
//! A spent budget ends the reasoning as Qwen's own code does: a closing sentence and `</think>` are appended as if
//! the model had written them, and it goes on with the answer. They count as completion, since the caller's limit
//! holds for all that it gets, but not as reasoning.

use std::ops::Range;
use std::sync::Arc;

use llguidance::toktrie::SimpleVob;

use crate::cache::KvCache;
use crate::constraint::Constraint;
use crate::experts::ExpertUse;
use crate::model::{GateRecord, Span, Wanted};
use crate::prefix::PrefixIndex;
use crate::repetition::{self, Repetition};
use crate::request::{EngineError, Event, Finish, FinishReason, Request, TokenLogprob, TokenLogprobs};
use crate::sampler::{Recipe, Sampler, Veto, log_softmax, top};
use crate::stream::{StopMatcher, Trimmer, Utf8Stream};
use crate::tokenizer::Tokenizer;
use crate::tools::{CallFinder, Piece};

/// Qwen's closing sentence, with the line breaks around it that its code adds.
const CLOSING: &str = "\n\nConsidering the limited time by the user, I have to give the solution based on the \
                       thinking directly now.\n";

/// How a model marks its thinking.
#[derive(Clone, Debug)]
pub(crate) struct Thinking {
    open: u32,
    close: u32,
    /// Closing sentence, `</think>` and the line break before the answer.
    closing: Arc<[u32]>,
    /// The same without the sentence, for when it would not fit.
    bare_closing: Arc<[u32]>,
}

impl Thinking {
    /// `None` for a vocabulary without both markers: then everything is answer.
    pub(crate) fn find(tokenizer: &Tokenizer) -> Option<Thinking> {
        let open = tokenizer.marker_id("<think>")?;
        let close = tokenizer.marker_id("</think>")?;
        let sentence = tokenizer.encode_text(CLOSING).ok()?;
        let bare_closing = [vec![close], tokenizer.encode_text("\n\n").ok()?].concat();
        let closing = [sentence.as_slice(), &bare_closing].concat();
        Some(Thinking { open, close, closing: closing.into(), bare_closing: bare_closing.into() })
    }
}

/// Where a sequence is between its prompt and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first token decides whether there is a thinking block.
    Opening,
    Reasoning,
    Answer,
}

impl Phase {
    /// Where a generation begins. Some templates open the block themselves; the last marker of the prompt tells.
    pub(crate) fn after(prompt: &[u32], thinking: bool, markers: Option<&Thinking>) -> Phase {
        let Some(markers) = markers.filter(|_| thinking) else { return Phase::Answer };
        let last = prompt.iter().rev().find(|token| [markers.open, markers.close].contains(token));
        match last {
            Some(token) if *token == markers.open => Phase::Reasoning,
            _ => Phase::Opening,
        }
    }
}

/// What a sequence may spend.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    max_tokens: usize,
    context: usize,
    budget: Option<usize>,
    reserve_answer: usize,
    group: u64,
    priority: i64,
    read_all: bool,
    trace_experts: usize,
    stop: Vec<String>,
    logprobs: Option<usize>,
    calls_tools: bool,
    one_call: bool,
    cut_loops: bool,
}

impl Limits {
    /// Loops are cut, if at all, where the request sets no limit of its own.
    pub(crate) fn new(request: &Request, context: usize, cut_loops: bool) -> Limits {
        Limits {
            max_tokens: request.max_tokens.unwrap_or(usize::MAX),
            context,
            budget: request.thinking_budget,
            reserve_answer: request.reserve_answer,
            group: request.group,
            priority: request.priority,
            read_all: request.read_all,
            trace_experts: request.trace_experts,
            stop: request.stop.clone(),
            logprobs: request.logprobs,
            calls_tools: request.chat.tools.is_some(),
            one_call: request.one_call,
            cut_loops: cut_loops && request.max_tokens.is_none(),
        }
    }
}

/// How a sequence's tokens are drawn.
pub(crate) struct Drawing {
    pub(crate) sampler: Sampler,
    /// Takes over where an answer begins after thinking.
    pub(crate) answer: Option<Recipe>,
    /// What the answer is held to.
    pub(crate) constraint: Option<Constraint>,
}

/// What belongs to the model rather than to the request.
#[derive(Clone)]
pub(crate) struct Vocabulary {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) thinking: Option<Thinking>,
    pub(crate) end_tokens: Arc<[u32]>,
}

/// One request in flight.
pub(crate) struct Sequence {
    /// Prompt and everything after it; what the cache does not hold yet is still to be read.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    /// Tokens of the prompt that others had read.
    cached_tokens: Option<usize>,
    cache: KvCache,
    drawing: Drawing,
    limits: Limits,
    vocabulary: Vocabulary,
    phase: Phase,
    /// Tokens after the prompt, the end token included.
    completed: usize,
    reasoning_tokens: usize,
    budget_exhausted: bool,
    closed_thinking: bool,
    repetition: repetition::Watch,
    cut_loop: Option<Repetition>,
    experts: ExpertUse,
    /// Positions whose experts are counted.
    counted: usize,
    text: Text,
    finished: Option<(FinishReason, Option<String>)>,
}

/// The filters between tokens and events.
struct Text {
    bytes: Utf8Stream,
    reasoning: Trimmer,
    stops: StopMatcher,
    /// Looks for calls where the chat has tools.
    calls: Option<CallFinder>,
    /// A call was found.
    called: bool,
    /// An answer after a thinking block begins with line breaks that belong to the block.
    answer_begun: bool,
}

impl Sequence {
    pub(crate) fn new(
        prompt: Vec<u32>,
        phase: Phase,
        cache: KvCache,
        drawing: Drawing,
        limits: Limits,
        vocabulary: Vocabulary,
    ) -> Sequence {
        let text = Text {
            bytes: Utf8Stream::default(),
            reasoning: Trimmer::default(),
            stops: StopMatcher::new(limits.stop.clone()),
            calls: limits.calls_tools.then(CallFinder::default),
            called: false,
            answer_begun: vocabulary.thinking.is_none(),
        };
        Sequence {
            prompt_tokens: prompt.len(),
            cached_tokens: None,
            tokens: prompt,
            cache,
            drawing,
            limits,
            vocabulary,
            phase,
            completed: 0,
            reasoning_tokens: 0,
            budget_exhausted: false,
            closed_thinking: false,
            repetition: repetition::Watch::default(),
            cut_loop: None,
            experts: ExpertUse::default(),
            counted: 0,
            text,
            finished: None,
        }
    }

    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    pub(crate) fn group(&self) -> u64 {
        self.limits.group
    }

    pub(crate) fn priority(&self) -> i64 {
        self.limits.priority
    }

    /// Takes over what others have read of the same text.
    pub(crate) fn reuse(&mut self, known: &mut PrefixIndex) {
        if !self.limits.read_all {
            self.cache.begin_with(known.find(self.limits.group, &self.tokens));
        }
    }

    /// Called when it begins to run. What it finds again after giving way was perhaps its own.
    pub(crate) fn begin(&mut self) {
        self.cached_tokens.get_or_insert(self.cache.positions());
    }

    /// Is everything read, and nothing written yet?
    pub(crate) fn has_just_read_its_prompt(&self) -> bool {
        self.completed == 0 && self.pending() == 0
    }

    /// Leaves what was read to others.
    pub(crate) fn share(&self, known: &mut PrefixIndex) {
        known.insert(self.limits.group, &self.tokens, self.cache.full_blocks());
    }

    /// Gives its memory back; what it holds will be read again.
    pub(crate) fn give_way(&mut self) {
        self.cache.clear();
    }

    /// Blocks that reading `take` tokens would add.
    pub(crate) fn blocks_for(&self, take: usize) -> usize {
        self.cache.blocks_for(take)
    }

    /// Tokens that the model has not read yet.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.cache.positions()
    }

    /// The next `take` pending tokens, as part of a step. Logits are wanted once nothing is left to read.
    pub(crate) fn span(&mut self, take: usize) -> Span<'_> {
        let wanted = if take == self.pending() { Wanted::Last } else { Wanted::Nothing };
        let start = self.cache.positions();
        Span { tokens: &self.tokens[start..start + take], cache: &mut self.cache, wanted }
    }

    /// Notes which experts worked on this sequence's rows of a pack.
    pub(crate) fn count_experts(&mut self, gates: &[GateRecord], rows: Range<usize>) {
        if gates.is_empty() {
            return;
        }
        let end = self.cache.positions(); // the step has already put these rows in the cache
        // What is read again, after giving way, was counted the first time.
        let start = (end - rows.len()).max(self.counted);
        if start < end {
            let rows = rows.end - (end - start)..rows.end;
            self.experts.record(gates, rows, &self.tokens[start..end], self.limits.trace_experts);
            self.counted = end;
        }
    }

    /// Draws the next token and says what it amounts to: at most one event of each kind, `Finished` last.
    pub(crate) fn advance(&mut self, logits: &mut [f32]) -> Result<Vec<Event>, EngineError> {
        // The embedding may be padded beyond the vocabulary; those rows stand for nothing.
        let known = self.vocabulary.tokenizer.size().min(logits.len());
        let logits = &mut logits[..known];
        let wants_logprobs = self.limits.logprobs.is_some() && self.phase != Phase::Reasoning;
        let logprobs = wants_logprobs.then(|| log_softmax(logits));
        let token = self.draw(logits)?;
        self.completed += 1;
        let mut events = Vec::new();
        self.accept(token, &mut events)?;
        if let Some(logprobs) = logprobs.filter(|_| self.phase == Phase::Answer) {
            self.show_token(token, &logprobs, &mut events);
        }
        self.enforce_limits(&mut events);
        if let Some((reason, stop)) = self.finished.clone() {
            events.push(Event::Finished(self.finish(reason, stop)));
        }
        Ok(events)
    }

    fn draw(&mut self, logits: &mut [f32]) -> Result<u32, EngineError> {
        let banned = self.banned();
        let only = self.allowed_by_format()?;
        let opens = self.vocabulary.thinking.as_ref().filter(|_| self.phase == Phase::Opening);
        let veto = Veto { banned: &banned, only: only.as_ref(), beside: opens.map(|thinking| thinking.open) };
        self.drawing.sampler.draw(logits, &self.tokens[..self.prompt_tokens], veto)
    }

    /// The tokens that the answer's format admits now; `None` for all.
    fn allowed_by_format(&mut self) -> Result<Option<SimpleVob>, EngineError> {
        let constraint = self.drawing.constraint.as_mut().filter(|_| self.phase != Phase::Reasoning);
        constraint.map(Constraint::allowed).transpose()
    }

    /// The markers that may not be drawn now.
    fn banned(&self) -> Vec<u32> {
        let Some(thinking) = &self.vocabulary.thinking else { return Vec::new() };
        match self.phase {
            Phase::Opening => vec![thinking.close],
            Phase::Reasoning => vec![thinking.open],
            Phase::Answer => vec![thinking.open, thinking.close],
        }
    }

    /// Moves between phases, or adds the token's text.
    fn accept(&mut self, token: u32, events: &mut Vec<Event>) -> Result<(), EngineError> {
        if self.vocabulary.end_tokens.contains(&token) {
            self.stop(FinishReason::Stop, None, events);
            return Ok(());
        }
        self.tokens.push(token);
        self.repetition.push(token);
        let marker = self.vocabulary.thinking.as_ref().map(|thinking| (thinking.open, thinking.close));
        match (self.phase, marker) {
            (Phase::Opening, Some((open, _))) if token == open => self.phase = Phase::Reasoning,
            (Phase::Reasoning, Some((_, close))) if token == close => {
                self.begin_answer();
                self.lead_into_format();
            }
            (Phase::Reasoning, _) => self.reason(token, events),
            (Phase::Opening, _) => {
                self.begin_answer();
                self.answer(token, events)?;
            }
            (Phase::Answer, _) => self.answer(token, events)?,
        }
        Ok(())
    }

    fn reason(&mut self, token: u32, events: &mut Vec<Event>) {
        self.reasoning_tokens += 1;
        self.show_reasoning(token, events);
    }

    fn show_reasoning(&mut self, token: u32, events: &mut Vec<Event>) {
        let text = self.text.bytes.push(&self.vocabulary.tokenizer.token_bytes(token));
        let text = self.text.reasoning.push(&text);
        emit(events, Event::Reasoning(text));
    }

    fn answer(&mut self, token: u32, events: &mut Vec<Event>) -> Result<(), EngineError> {
        let complete = match &mut self.drawing.constraint {
            Some(constraint) => constraint.accept(token)?,
            None => false,
        };
        self.show_answer(token, events);
        if complete && self.finished.is_none() {
            self.stop(FinishReason::Stop, None, events);
        }
        Ok(())
    }

    fn show_answer(&mut self, token: u32, events: &mut Vec<Event>) {
        let mut text = self.text.bytes.push(&self.vocabulary.tokenizer.token_bytes(token));
        if !self.text.answer_begun {
            text = text.trim_start_matches('\n').to_owned();
            self.text.answer_begun = !text.is_empty();
        }
        let (text, stop) = self.text.stops.push(&text);
        self.show_safe(&text, events);
        let has_its_call = self.limits.one_call && self.text.called;
        if stop.is_some() || has_its_call {
            self.stop(FinishReason::Stop, stop, events);
        }
    }

    /// Emits text that no stop string will take back, calls apart.
    fn show_safe(&mut self, text: &str, events: &mut Vec<Event>) {
        let pieces = match &mut self.text.calls {
            Some(calls) => calls.push(text),
            None => vec![Piece::Text(text.to_owned())],
        };
        pieces.into_iter().for_each(|piece| self.show_piece(piece, events));
    }

    fn show_piece(&mut self, piece: Piece, events: &mut Vec<Event>) {
        match piece {
            // Whoever wants one call is not shown a second that came in the same token.
            Piece::Call(_) if self.limits.one_call && self.text.called => {}
            Piece::Call(call) => {
                self.text.called = true;
                emit(events, Event::ToolCall(call));
            }
            Piece::Text(text) => emit(events, Event::Answer(text)),
        }
    }

    fn show_token(&self, token: u32, logprobs: &[f32], events: &mut Vec<Event>) {
        let tokenizer = &self.vocabulary.tokenizer;
        let describe = |(id, logprob): (u32, f32)| TokenLogprob {
            text: tokenizer.token_text(id),
            bytes: tokenizer.token_bytes(id),
            logprob,
        };
        let likeliest = match self.limits.logprobs {
            None | Some(0) => Vec::new(), // zero would keep all
            Some(wanted) => top(logprobs, wanted),
        };
        events.push(Event::Token(TokenLogprobs {
            drawn: describe((token, logprobs[token as usize])),
            likeliest: likeliest.into_iter().map(describe).collect(),
        }));
    }

    fn begin_answer(&mut self) {
        self.phase = Phase::Answer;
        self.text.bytes.discard();
        if let Some(recipe) = self.drawing.answer.take() {
            self.drawing.sampler.follow(recipe);
        }
    }

    /// A format has no room for the line break that models write between thinking and answer. Written for them, it keeps
    /// the answer's beginning where they expect it.
    fn lead_into_format(&mut self) {
        let Some(thinking) = self.vocabulary.thinking.as_ref().filter(|_| self.drawing.constraint.is_some())
        else {
            return;
        };
        let gap = &thinking.bare_closing[1..];
        if self.room() > gap.len() {
            self.tokens.extend(gap);
            self.completed += gap.len();
        }
    }

    /// After every token: is the request, or its thinking, at an end?
    fn enforce_limits(&mut self, events: &mut Vec<Event>) {
        if self.finished.is_some() {
            return;
        }
        let endless = self.repetition.found().filter(|found| self.limits.cut_loops && found.is_endless());
        self.cut_loop = endless.or(self.cut_loop);
        if self.room() == 0 || (endless.is_some() && self.phase == Phase::Answer) {
            return self.stop(FinishReason::Length, None, events);
        }
        if let Some(closing) = self.closing_due(endless.is_some()) {
            self.force_close(&closing, events);
        }
    }

    /// Tokens that may still follow.
    fn room(&self) -> usize {
        let by_tokens = self.limits.max_tokens.saturating_sub(self.completed);
        by_tokens.min(self.limits.context.saturating_sub(self.tokens.len()))
    }

    /// Must the engine close the thinking block now, and with which words? With the sentence where it leaves the
    /// answer its room, without it where it does not, and not at all where no answer would fit either way.
    fn closing_due(&self, stuck: bool) -> Option<Arc<[u32]>> {
        let thinking = self.vocabulary.thinking.as_ref().filter(|_| self.phase == Phase::Reasoning)?;
        let (full, bare) = (thinking.closing.len(), thinking.bare_closing.len());
        let (room, reserve) = (self.room(), self.limits.reserve_answer);
        let last_call = |closing: usize| reserve > 0 && room == reserve.saturating_add(closing);
        let overdue = reserve > 0 && room <= reserve.saturating_add(bare);
        let due = self.budget_spent() || last_call(full) || overdue || stuck;
        if due && room >= full + reserve.max(1) {
            return Some(Arc::clone(&thinking.closing));
        }
        (due && room > bare).then(|| Arc::clone(&thinking.bare_closing))
    }

    fn budget_spent(&self) -> bool {
        self.limits.budget.is_some_and(|budget| self.reasoning_tokens >= budget)
    }

    /// Appends the closing words as if the model had written them.
    fn force_close(&mut self, closing: &[u32], events: &mut Vec<Event>) {
        self.budget_exhausted = self.budget_spent();
        self.closed_thinking = true;
        self.repetition = repetition::Watch::default(); // the answer begins anew
        self.text.bytes.discard(); // the cut may have gone through a character
        let shown = closing.len() - self.vocabulary.thinking.as_ref().map_or(0, |it| it.bare_closing.len());
        for token in &closing[..shown] {
            self.show_reasoning(*token, events);
        }
        self.tokens.extend(closing);
        self.completed += closing.len();
        self.begin_answer();
    }

    fn stop(&mut self, reason: FinishReason, stop: Option<String>, events: &mut Vec<Event>) {
        if self.phase == Phase::Answer {
            if stop.is_none() {
                let held = self.text.stops.flush();
                self.show_safe(&held, events);
            }
            if let Some(piece) = self.text.calls.as_mut().and_then(CallFinder::finish) {
                self.show_piece(piece, events);
            }
        }
        let waits_for_tools = self.text.called && reason == FinishReason::Stop;
        self.finished = Some((if waits_for_tools { FinishReason::ToolCalls } else { reason }, stop));
    }

    fn finish(&self, reason: FinishReason, stop_sequence: Option<String>) -> Finish {
        let thought = self.text.reasoning.started();
        Finish {
            reason,
            stop_sequence,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens.unwrap_or(0),
            reasoning_tokens: if thought { self.reasoning_tokens } else { 0 },
            completion_tokens: self.completed,
            budget_exhausted: self.budget_exhausted,
            closed_thinking: self.closed_thinking,
            repetition: self.cut_loop.or(self.repetition.found()),
            cut_loop: self.cut_loop.is_some(),
            experts: (!self.experts.layers.is_empty()).then(|| self.experts.clone()),
        }
    }
}

/// Adds text to the last event of its kind, so that a step sends few of them.
fn emit(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (_, Event::Reasoning(text) | Event::Answer(text)) if text.is_empty() => {}
        (Some(Event::Reasoning(last)), Event::Reasoning(text)) => last.push_str(&text),
        (Some(Event::Answer(last)), Event::Answer(text)) => last.push_str(&text),
        (_, event) => events.push(event),
    }
}
