//! Given a conversation, what does the model say?
//!
//! A small inference engine for Qwen3-style decoders, dense and mixture-of-experts, and the Qwen2 and Llama models that
//! differ little from them, on the CPU. No HTTP and no wire formats: a [`Chat`] goes in, [`Event`]s come out.
//!
//! # Life of a token
//!
//! 1. [`Engine::submit`] renders the conversation through the model's own chat template (`prompt`) and turns
//!    it into token ids (`tokenizer`); text that a user typed can never become a control token.
//! 2. The runner's thread (`runner`) gives the sequence a place among the running ones.
//! 3. Each step, the `scheduler` says how many tokens of every running sequence go through the model: one
//!    for a sequence that is writing, a chunk for one that is still reading its prompt.
//! 4. [`model`] runs the packed tokens through the `layers`, writing to each sequence's [`cache`]. What another text
//!    with the same beginning has read already (`prefix`) is not read again.
//! 5. The `sampler` draws one token from the logits of each sequence that has read everything it was given; where the
//!    answer has a format, `constraint` says which tokens could continue it.
//! 6. `sequence` decides what that token means: reasoning, answer, the end, a spent budget.
//! 7. `stream` turns it into text that is safe to show, `tools` takes calls out of it, and the runner delivers it.
//!
//! The public modules are the parts below the scheduler, for measuring and for comparing with other engines.
#![deny(unsafe_code)] // the exceptions say why, each in one place
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a failed set-up is a failed test"))]

pub mod cache;
pub mod config;
mod constraint;
mod engine;
mod experts;
mod gguf;
mod kernels;
mod layers;
pub mod model;
mod packed;
mod prefix;
mod products;
mod prompt;
mod repetition;
mod request;
mod runner;
mod sampler;
mod scheduler;
mod sequence;
mod shards;
mod simd;
mod stream;
mod tensor;
mod tokenizer;
mod tools;
pub mod weights;
mod workers;

pub use cache::Precision;
pub use config::Architecture;
pub use engine::{Engine, Load, ModelInfo, Options, SubmitError};
pub use experts::{ExpertUse, LayerUse, TokenUse};
pub use prompt::PromptError;
pub use repetition::Repetition;
pub use request::{
    AnswerFormat, Chat, EngineError, Event, Finish, FinishReason, Generation, Request, Sampling,
    TokenLogprob, TokenLogprobs,
};
pub use tools::ToolCall;
pub use weights::{LoadError, ModelFiles};
