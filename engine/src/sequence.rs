//! One request in flight: its tokens, its phase, its limits, and what it still has to say.
//!
//! Thinking and answer are told apart by the tokens that open and close thinking, never by text. A spent budget
//! feeds the closing sentence and token, which then run through the model like any other input.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::cache::KvCache;
use crate::error::EngineError;
use crate::layers::ffn::Gating;
use crate::sampler::Sampler;
use crate::tokenizer::{Detokenizer, Think, Tokenizer};

/// What a generation says, in order; exactly one `Finished` or `Failed` comes last.
#[derive(Debug, Clone)]
pub enum Event {
    /// A piece of the reasoning.
    Reasoning(String),
    /// A piece of the answer.
    Answer(String),
    /// The end.
    Finished(Finish),
    /// It broke off.
    Failed(EngineError),
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its answer, or a stop string came.
    Stop,
    /// A limit on tokens was reached.
    Length,
}

/// How a generation ended, and what it took.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// The stop string that came.
    pub stop_sequence: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens between the opening and the closing of thinking; 0 where only whitespace stood there.
    pub reasoning_tokens: usize,
    /// All generated tokens, reasoning and markers included.
    pub completion_tokens: usize,
    /// The thinking budget ran out.
    pub budget_exhausted: bool,
    /// Thinking was closed by the engine, for the budget or to leave the answer its room.
    pub closed_thinking: bool,
    /// How often each expert was chosen: (layer, expert) → tokens; absent for dense models.
    pub experts: Option<Vec<Vec<u32>>>,
}

/// Qwen3 report, section 4.3, in the form of its published client code.
pub(crate) const CLOSING: &str = "Considering the limited time by the user, I have to give the solution based on the thinking directly now.";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reasoning,
    Answer,
}

/// The tokens that end thinking before its time.
#[derive(Debug, Clone)]
pub(crate) struct ForcedClose {
    pub(crate) tokens: Vec<u32>,
}

/// Limits of one request.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) thinking_budget: Option<usize>,
    pub(crate) max_tokens: usize,
    pub(crate) reserve_answer: usize,
    pub(crate) stop: Vec<String>,
    pub(crate) eos: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) cache: KvCache,
    /// Tokens the model has not yet seen.
    pub(crate) feed: VecDeque<u32>,
    pub(crate) sampler: Sampler,
    pub(crate) generated: Vec<u32>,
    /// Thinking may still begin: wanted, and nothing said yet.
    may_open: bool,
    limits: Limits,
    close: Option<ForcedClose>,
    think: Option<Think>,
    phase: Phase,
    prompt_tokens: usize,
    reasoning_tokens: usize,
    budget_exhausted: bool,
    closed_thinking: bool,
    experts: Vec<Vec<u32>>,
    text: Text,
    out: mpsc::Sender<Event>,
    unsent: VecDeque<Event>,
    finished: bool,
}

impl Sequence {
    #[expect(clippy::too_many_arguments, reason = "built in one place, from parts that have no other home")]
    pub(crate) fn new(
        prompt: Vec<u32>,
        thinking: bool,
        limits: Limits,
        close: Option<ForcedClose>,
        think: Option<Think>,
        sampler: Sampler,
        layers: usize,
        out: mpsc::Sender<Event>,
    ) -> Self {
        // Some templates open the think block themselves; then its opener is the last marker of the prompt.
        let opened = think.is_some_and(|think| {
            prompt.iter().rev().find(|id| **id == think.open || **id == think.close) == Some(&think.open)
        });
        Sequence {
            cache: KvCache::new(layers),
            prompt_tokens: prompt.len(),
            feed: prompt.into(),
            sampler,
            generated: Vec::new(),
            may_open: thinking && !opened,
            limits,
            close,
            think,
            phase: if opened { Phase::Reasoning } else { Phase::Answer },
            reasoning_tokens: 0,
            budget_exhausted: false,
            closed_thinking: false,
            experts: Vec::new(),
            text: Text::default(),
            out,
            unsent: VecDeque::new(),
            finished: false,
        }
    }

    /// The receiver is gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.out.is_closed()
    }

    /// Everything is said and delivered.
    pub(crate) fn is_done(&self) -> bool {
        self.finished && self.unsent.is_empty()
    }

    /// May take part in the next step: neither ended nor waiting for a slow reader.
    pub(crate) fn is_ready(&self) -> bool {
        !self.finished && self.unsent.is_empty()
    }

    /// Delivers what the reader has room for.
    pub(crate) fn deliver(&mut self) {
        while let Some(event) = self.unsent.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.out.try_send(event) {
                self.unsent.push_front(event);
                return;
            }
        }
    }

    pub(crate) fn fail(&mut self, error: EngineError) {
        self.unsent.push_back(Event::Failed(error));
        self.finished = true;
        self.deliver();
    }

    /// Tokens that must not come next. The switch is hard: a model told not to think cannot open a think block, and
    /// none opens a second one or closes what is not open.
    pub(crate) fn banned(&self) -> Vec<u32> {
        let Some(think) = self.think else { return Vec::new() };
        match (self.phase, self.may_open) {
            (Phase::Reasoning, _) => vec![think.open],
            (Phase::Answer, true) => vec![think.close],
            (Phase::Answer, false) => vec![think.open, think.close],
        }
    }

    /// Counts the experts that worked on `rows` of a pass.
    pub(crate) fn count_experts(
        &mut self,
        gating: &[Gating],
        rows: std::ops::Range<usize>,
        total_rows: usize,
        experts: usize,
    ) {
        self.experts.resize_with(gating.len(), || vec![0; experts]);
        for (counts, layer) in self.experts.iter_mut().zip(gating) {
            let per_row = layer.experts.len() / total_rows;
            for expert in &layer.experts[rows.start * per_row..rows.end * per_row] {
                counts[*expert as usize] += 1;
            }
        }
    }

    /// Takes the token the model chose, says what it completes, and sets up what is fed next.
    pub(crate) fn advance(&mut self, token: u32, tokenizer: &Tokenizer) {
        self.accept(token, tokenizer);
        if !self.finished {
            self.feed.push_back(token);
            self.close_if_due(tokenizer);
            if self.generated.len() >= self.limits.max_tokens {
                self.finish(FinishReason::Length, None, tokenizer);
            }
        }
        self.deliver();
    }

    fn accept(&mut self, token: u32, tokenizer: &Tokenizer) {
        self.generated.push(token);
        self.may_open = false;
        if self.limits.eos.contains(&token) {
            return self.finish(FinishReason::Stop, None, tokenizer);
        }
        match self.think {
            Some(think) if token == think.open && self.phase == Phase::Answer => {
                self.phase = Phase::Reasoning
            }
            Some(think) if token == think.close && self.phase == Phase::Reasoning => {
                self.say(Phase::Reasoning, |text| text.end_of_phase(tokenizer));
                self.phase = Phase::Answer;
            }
            _ => {
                if self.phase == Phase::Reasoning {
                    self.reasoning_tokens += 1;
                }
                let phase = self.phase;
                self.say(phase, |text| text.push(tokenizer, token, phase));
                self.stop_if_said(tokenizer);
            }
        }
    }

    fn say(&mut self, phase: Phase, piece: impl FnOnce(&mut Text) -> String) {
        let piece = piece(&mut self.text);
        if piece.is_empty() {
            return;
        }
        match phase {
            Phase::Reasoning => self.unsent.push_back(Event::Reasoning(piece)),
            Phase::Answer => self.text.answer.push_str(&piece),
        }
    }

    /// Releases the answer up to what could still become a stop string; ends it where one is complete.
    fn stop_if_said(&mut self, tokenizer: &Tokenizer) {
        let answer = &mut self.text.answer;
        let complete =
            self.limits.stop.iter().filter_map(|stop| answer.find(stop.as_str()).map(|at| (at, stop))).min();
        if let Some((at, stop)) = complete {
            let stop = stop.clone();
            answer.truncate(at);
            return self.finish(FinishReason::Stop, Some(stop), tokenizer);
        }
        let keep = self.limits.stop.iter().map(|stop| partial(answer, stop)).max().unwrap_or(0);
        let free = answer.len() - keep;
        if free > 0 {
            let piece: String = answer.drain(..free).collect();
            self.unsent.push_back(Event::Answer(piece));
        }
    }

    /// Closes thinking when its budget is spent, or when the answer would be left without room.
    fn close_if_due(&mut self, tokenizer: &Tokenizer) {
        let Some(close) = self.close.as_ref().filter(|_| self.phase == Phase::Reasoning) else { return };
        let spent = self.limits.thinking_budget.is_some_and(|budget| self.reasoning_tokens >= budget);
        let left = self.limits.max_tokens.saturating_sub(self.generated.len());
        let needed = close.tokens.len() + self.limits.reserve_answer;
        let cramped = self.limits.reserve_answer > 0 && left <= needed;
        // A closing sentence that leaves no token for an answer would only overrun the client's limit.
        let fits = left > close.tokens.len();
        if !fits || !(spent || cramped) {
            return;
        }
        self.budget_exhausted |= spent;
        self.closed_thinking = true;
        let counted = self.reasoning_tokens;
        for token in close.tokens.clone() {
            self.feed.push_back(token);
            self.accept(token, tokenizer);
        }
        // The closing sentence is ours, not the model's thinking.
        self.reasoning_tokens = counted;
        self.close = None;
    }

    fn finish(&mut self, reason: FinishReason, stop_sequence: Option<String>, tokenizer: &Tokenizer) {
        let phase = self.phase;
        if stop_sequence.is_none() {
            self.say(phase, |text| text.end_of_phase(tokenizer));
        }
        let rest = std::mem::take(&mut self.text.answer);
        if !rest.is_empty() {
            self.unsent.push_back(Event::Answer(rest));
        }
        self.unsent.push_back(Event::Finished(Finish {
            reason,
            stop_sequence,
            prompt_tokens: self.prompt_tokens,
            reasoning_tokens: if self.text.reasoned { self.reasoning_tokens } else { 0 },
            completion_tokens: self.generated.len(),
            budget_exhausted: self.budget_exhausted,
            closed_thinking: self.closed_thinking,
            experts: self
                .experts
                .iter()
                .any(|layer| !layer.is_empty())
                .then(|| std::mem::take(&mut self.experts)),
        }));
        self.finished = true;
    }
}

/// How many bytes at the end of `text` could begin `stop`.
fn partial(text: &str, stop: &str) -> usize {
    (1..stop.len().min(text.len() + 1))
        .rev()
        .find(|length| {
            text.is_char_boundary(text.len() - length)
                && stop.as_bytes().starts_with(&text.as_bytes()[text.len() - length..])
        })
        .unwrap_or(0)
}

/// Text on its way out: the blank lines around a think block belong to the template, not to the text.
#[derive(Debug, Default)]
struct Text {
    decoder: Detokenizer,
    /// Answer text held back for stop strings.
    answer: String,
    /// Whitespace of the reasoning that may turn out to be its end.
    blank: String,
    reasoned: bool,
    answered: bool,
}

impl Text {
    fn push(&mut self, tokenizer: &Tokenizer, token: u32, phase: Phase) -> String {
        let piece = self.decoder.push(tokenizer, token);
        self.trimmed(piece, phase)
    }

    fn trimmed(&mut self, piece: String, phase: Phase) -> String {
        match phase {
            Phase::Answer if self.answered => piece,
            Phase::Answer => {
                let text = piece.trim_start_matches(['\n', '\r']);
                self.answered |= !text.is_empty();
                text.to_owned()
            }
            Phase::Reasoning => {
                let text = std::mem::take(&mut self.blank) + &piece;
                let text = if self.reasoned { text.as_str() } else { text.trim_start() };
                let end = text.trim_end().len();
                self.blank = text[end..].to_owned();
                self.reasoned |= end > 0;
                text[..end].to_owned()
            }
        }
    }

    fn end_of_phase(&mut self, tokenizer: &Tokenizer) -> String {
        self.blank.clear();
        self.decoder.finish(tokenizer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_stops_are_held_back() {
        assert_eq!(partial("the en", "end"), 2);
        assert_eq!(partial("the end", "end."), 3);
        assert_eq!(partial("abc", "xyz"), 0);
        assert_eq!(partial("证", "证明"), "证".len());
    }
}
