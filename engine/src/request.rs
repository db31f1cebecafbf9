//! What may a caller ask for, and what does it get back?
//!
//! Only types: the conversation going in, the events coming out. What they do is in
//! [`crate::sequence`] (limits, thinking) and [`crate::sampler`] (how a token is drawn).

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::experts::ExpertUse;
use crate::repetition::Repetition;
use crate::runner::Waker;
use crate::tools::ToolCall;

/// A conversation as the chat template will see it.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// OpenAI-shaped message objects; `content` may be a string, null, or an array of text parts.
    pub messages: Vec<Value>,
    /// OpenAI-shaped tool definitions.
    pub tools: Option<Value>,
    /// The hard switch: false renders an empty thinking block, and the model cannot open another.
    pub thinking: bool,
    /// Further template variables; they cannot replace the ones above.
    pub template_kwargs: Map<String, Value>,
}

/// One generation to run.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What to answer.
    pub chat: Chat,
    /// At most this many tokens of reasoning, then the engine closes it. Zero switches thinking off.
    pub thinking_budget: Option<usize>,
    /// At most this many tokens, reasoning and answer together. The context bounds it in any case.
    pub max_tokens: Option<usize>,
    /// Close thinking early enough to leave this many tokens for the answer.
    pub reserve_answer: usize,
    /// Text that ends the answer. It is never emitted, and reasoning is not searched for it.
    pub stop: Vec<String>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// How the answer's are drawn after thinking, where that should differ.
    pub answer_sampling: Option<Sampling>,
    /// What the answer is held to. Thinking is free in any case.
    pub answer_format: AnswerFormat,
    /// End with the first tool call. Calls are looked for only where the chat has tools.
    pub one_call: bool,
    /// Report the answer's tokens one by one, each with this many of the likeliest in its place.
    pub logprobs: Option<usize>,
    /// Texts read for requests of the same group are not read again. Who may not know of each other gets different groups:
    /// time and counts tell whether a text was read before.
    pub group: u64,
    /// Among the waiting requests of one group, lower ones go first. Groups take turns whatever their members say.
    pub priority: i64,
    /// Read everything, whoever has read it before, so that experts are reported for the whole prompt.
    pub read_all: bool,
    /// Keep the experts' work on the first so many tokens one by one; a dense model has none to keep.
    pub trace_experts: usize,
}

/// What an answer may look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnswerFormat {
    /// Anything.
    #[default]
    Free,
    /// JSON that fits a schema.
    Json(Value),
    /// What a grammar admits, in the variant of Lark that llguidance reads.
    Grammar(String),
    /// One call of one of these tools, OpenAI-shaped, with arguments that fit its parameters.
    ToolCall(Value),
}

/// What the caller said about sampling; `None` leaves the choice to the mode's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Zero takes the most likely token every time.
    pub temperature: Option<f32>,
    /// Keep the most likely tokens up to this probability mass.
    pub top_p: Option<f32>,
    /// Keep this many tokens; zero keeps all.
    pub top_k: Option<usize>,
    /// Drop tokens less likely than this fraction of the most likely one.
    pub min_p: Option<f32>,
    /// Subtracted once from tokens already generated.
    pub presence_penalty: Option<f32>,
    /// Subtracted per occurrence from tokens already generated.
    pub frequency_penalty: Option<f32>,
    /// Divides the evidence for tokens already seen, prompt included.
    pub repetition_penalty: Option<f32>,
    /// The same seed and request repeat their text on the same build. Sequences that share a step change how
    /// products round, by about 1e-6, so a busy engine repeats nearly always rather than always.
    pub seed: Option<u64>,
}

impl Sampling {
    /// The same with the gaps filled from `base`.
    pub(crate) fn or(&self, base: &Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.or(base.temperature),
            top_p: self.top_p.or(base.top_p),
            top_k: self.top_k.or(base.top_k),
            min_p: self.min_p.or(base.min_p),
            presence_penalty: self.presence_penalty.or(base.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(base.frequency_penalty),
            repetition_penalty: self.repetition_penalty.or(base.repetition_penalty),
            seed: self.seed.or(base.seed),
        }
    }
}

/// One step of a generation, in the order the model produced it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More of the text inside the thinking block.
    Reasoning(String),
    /// More of the answer.
    Answer(String),
    /// The model wants a tool to be called.
    ToolCall(ToolCall),
    /// The next token of the answer, where tokens were asked for. Its text may come later, once it is safe to show.
    Token(TokenLogprobs),
    /// The last event of a generation that ended well.
    Finished(Finish),
    /// The last event of one that did not.
    Failed(EngineError),
}

/// A token of the answer, and what could have stood in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was drawn.
    pub drawn: TokenLogprob,
    /// The likeliest, likeliest first.
    pub likeliest: Vec<TokenLogprob>,
}

/// How likely the model found a token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Its text; half a character is replaced.
    pub text: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability, before temperature, penalties, filters and format had their say.
    pub logprob: f32,
}

/// How a generation ended, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why it ended.
    pub reason: FinishReason,
    /// The stop string that ended it, if one did.
    pub stop_sequence: Option<String>,
    /// Tokens of the rendered prompt.
    pub prompt_tokens: usize,
    /// Those of them that had been read for an earlier request.
    pub cached_tokens: usize,
    /// Tokens of the model's own inside the thinking block, without the markers and a forced closing sentence;
    /// zero if it held only white space.
    pub reasoning_tokens: usize,
    /// Every token after the prompt: reasoning, answer, their markers, a forced closing sentence and the end.
    pub completion_tokens: usize,
    /// The thinking budget was spent, and the engine closed the block.
    pub budget_exhausted: bool,
    /// The engine closed the block: the budget was spent, the answer needed the room, or thinking had become a loop.
    pub closed_thinking: bool,
    /// The reply ended in a loop, or its thinking was closed because of one.
    pub repetition: Option<Repetition>,
    /// The engine cut that loop off.
    pub cut_loop: bool,
    /// Which experts worked on the tokens that were read for this request; `None` for a dense model.
    pub experts: Option<ExpertUse>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, or a stop string appeared.
    Stop,
    /// The same, and the model waits for the tools it called.
    ToolCalls,
    /// `max_tokens` was reached or the context is full.
    Length,
}

/// Why a generation could not be completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The weights or the input produced NaN or infinity.
    #[error("the model produced a logit that is not a number")]
    NotFinite,
    /// The answer's format left no way on.
    #[error("the answer's format left no way on: {0}")]
    Constraint(String),
    /// A tensor operation refused its input.
    #[error("computation failed: {0}")]
    Compute(String),
    /// A step panicked; the engine takes no further work.
    #[error("the engine failed and takes no further work: {0}")]
    Panicked(String),
    /// The last handle of the engine was dropped while this generation ran.
    #[error("the engine was stopped")]
    Stopped,
}

/// A running generation. Dropping it cancels the work.
pub struct Generation {
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) waker: Waker,
    pub(crate) prompt_tokens: usize,
}

impl Generation {
    /// The next event; `None` after the last one, which is always `Finished` or `Failed`.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        self.waker.made_room();
        event
    }

    /// The same for a thread outside any async runtime; panics inside one.
    pub fn blocking_next(&mut self) -> Option<Event> {
        let event = self.events.blocking_recv();
        self.waker.made_room();
        event
    }

    /// Tokens of the rendered prompt, known before the first event.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.events.close();
        self.waker.wake();
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Generation").field("prompt_tokens", &self.prompt_tokens).finish_non_exhaustive()
    }
}
