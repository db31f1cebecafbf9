//! Runs Qwen3-style dense and mixture-of-experts models: tokens in, tokens out. Knows nothing of HTTP.
//!
//! # Life of a token
//!
//! [`Engine::submit`] renders the chat template and encodes it (`tokenizer`), makes a `sequence` and queues it.
//! The engine's thread (`runner`) asks the `scheduler` who runs, packs their tokens into one forward pass of the
//! `model`, lets each `sampler` pick from its logits, and the sequence says what the token completes as an
//! [`Event`]: reasoning or answer, told apart by token. Dropping the [`Generation`] cancels it within one step.
#![forbid(unsafe_code)]

mod cache;
mod config;
mod error;
mod layers;
mod model;
mod runner;
mod sampler;
mod scheduler;
mod sequence;
mod tokenizer;
mod weights;

#[doc(hidden)]
pub mod inspect;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};

use serde_json::Value;
use tokio::sync::mpsc;

pub use config::Architecture;
pub use error::{EngineError, LoadError, PromptError, SubmitError};
pub use sampler::Sampling;
pub use sequence::{Event, Finish, FinishReason};
pub use tokenizer::Chat;
pub use weights::ModelFiles;

use config::ModelConfig;
use model::Model;
use runner::{Runner, Shared};
use sampler::{Recommended, Sampler};
use sequence::{CLOSING, ForcedClose, Limits, Sequence};
use tokenizer::Tokenizer;
use weights::Weights;

/// How many requests an engine takes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Sequences that run together.
    pub max_running: usize,
    /// Sequences that wait; beyond them the engine is busy.
    pub max_waiting: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_running: 8, max_waiting: 32 }
    }
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Dense or MoE.
    pub architecture: Architecture,
    /// All parameters.
    pub total_params: u64,
    /// Parameters that work on one token.
    pub active_params: u64,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Experts per layer; 0 for dense.
    pub experts: usize,
    /// Experts that work on one token; 0 for dense.
    pub experts_per_token: usize,
    /// Tokens the model can hold.
    pub context_length: usize,
    /// Entries of the vocabulary.
    pub vocab: usize,
    /// Whether it has tokens that open and close thinking.
    pub has_thinking: bool,
}

/// What to generate.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The conversation.
    pub chat: Chat,
    /// Most reasoning tokens.
    pub thinking_budget: Option<usize>,
    /// Most generated tokens, reasoning included; absent: what the context leaves.
    pub max_tokens: Option<usize>,
    /// Of those, how many are kept for the answer; thinking is closed in time.
    pub reserve_answer: usize,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// What the client set.
    pub sampling: Sampling,
}

/// How busy an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Sequences that run.
    pub running: usize,
    /// Sequences that wait.
    pub waiting: usize,
    /// False once the engine has stopped for good.
    pub healthy: bool,
}

/// A loaded model and the thread that runs it. Clones share both; the last one dropped lets the thread end.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    info: ModelInfo,
    tokenizer: Arc<Tokenizer>,
    commands: Sender<Sequence>,
    shared: Arc<Shared>,
    options: Options,
    recommended: Recommended,
    eos: Vec<u32>,
    close: Option<ForcedClose>,
}

/// Pieces that a reader may leave unread before its sequence waits for it.
const UNREAD_EVENTS: usize = 64;

impl Engine {
    /// Loads a folder in Hugging Face layout: `config.json`, `tokenizer.json`, `tokenizer_config.json`, safetensors.
    ///
    /// # Errors
    /// The first file, key or tensor that is missing, damaged or of the wrong shape.
    pub fn load_folder(folder: &Path, options: Options) -> Result<Engine, LoadError> {
        Engine::load_embedded(ModelFiles::read(folder)?, options)
    }

    /// Loads files that are already in memory.
    ///
    /// # Errors
    /// The first file, key or tensor that is missing, damaged or of the wrong shape.
    pub fn load_embedded(files: ModelFiles, options: Options) -> Result<Engine, LoadError> {
        let config = ModelConfig::parse(&files.config_json)?;
        let tokenizer = Tokenizer::load(
            &files.tokenizer_json,
            &files.tokenizer_config_json,
            files.chat_template.as_deref(),
        )?;
        if tokenizer.vocab() > config.vocab {
            let reason = format!("{} tokens; the model has {} embeddings", tokenizer.vocab(), config.vocab);
            return Err(LoadError::File { file: "tokenizer.json".into(), reason });
        }
        let generation: Value = files
            .generation_config_json
            .as_deref()
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or(Value::Null);
        let model = Model::load(config, &Weights::open(&files.weights)?)?;
        Ok(Engine::start(model, tokenizer, &generation, options))
    }

    fn start(model: Model, tokenizer: Tokenizer, generation: &Value, options: Options) -> Engine {
        let mut eos = config::ids(generation.get("eos_token_id"));
        eos.extend(&model.config.eos);
        let info = info(&model.config, &tokenizer);
        let close = tokenizer.think.and_then(|think| closing_tokens(&tokenizer, think.close));
        let tokenizer = Arc::new(tokenizer);
        let shared = Arc::new(Shared::default());
        let (commands, receiver) = channel();
        let runner =
            Runner::new(model, Arc::clone(&tokenizer), receiver, Arc::clone(&shared), options.max_running);
        let spawned = std::thread::Builder::new().name("engine".into()).spawn(move || runner.run());
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for the engine");
            shared.dead.store(true, Ordering::Release);
        }
        let recommended = Recommended::for_thinking(generation);
        Engine {
            inner: Arc::new(Inner { info, tokenizer, commands, shared, options, recommended, eos, close }),
        }
    }

    /// What the model is.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// The prompt as the model sees it.
    ///
    /// # Errors
    /// The template refused the conversation.
    pub fn render(&self, chat: &Chat) -> Result<String, PromptError> {
        self.inner.tokenizer.render(chat)
    }

    /// Tokens of the prompt.
    ///
    /// # Errors
    /// The template or the tokenizer refused the conversation.
    pub fn count_tokens(&self, chat: &Chat) -> Result<usize, PromptError> {
        self.inner.tokenizer.encode_chat(chat).map(|ids| ids.len())
    }

    /// Queues a request.
    ///
    /// # Errors
    /// The request cannot be run, or not now.
    pub fn submit(&self, request: Request) -> Result<Generation, SubmitError> {
        let inner = &*self.inner;
        request.sampling.check()?;
        let prompt = inner.tokenizer.encode_chat(&request.chat)?;
        let context = inner.info.context_length;
        if prompt.is_empty() || prompt.len() >= context {
            return Err(SubmitError::TooLong { tokens: prompt.len(), context });
        }
        if request.max_tokens == Some(0) {
            return Err(SubmitError::Invalid {
                field: "max_tokens",
                value: "0".into(),
                reason: "expected 1 or more",
            });
        }
        let (out, events) = mpsc::channel(UNREAD_EVENTS);
        let sequence = self.sequence(&request, prompt, out);
        self.reserve_place()?;
        inner.commands.send(sequence).map_err(|_| SubmitError::Stopped)?;
        Ok(Generation { events })
    }

    fn sequence(&self, request: &Request, prompt: Vec<u32>, out: mpsc::Sender<Event>) -> Sequence {
        let inner = &*self.inner;
        let left = inner.info.context_length - prompt.len();
        let limits = Limits {
            thinking_budget: request.thinking_budget,
            max_tokens: request.max_tokens.map_or(left, |most| most.min(left)),
            reserve_answer: request.reserve_answer,
            stop: request.stop.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            eos: inner.eos.clone(),
        };
        let thinking = request.chat.thinking;
        let sampler = Sampler::new(&request.sampling, thinking, inner.recommended);
        Sequence::new(
            prompt,
            thinking,
            limits,
            inner.close.clone(),
            inner.tokenizer.think,
            sampler,
            inner.info.layers,
            out,
        )
    }

    fn reserve_place(&self) -> Result<(), SubmitError> {
        let (shared, most) = (&self.inner.shared, self.inner.options.max_waiting);
        if shared.dead.load(Ordering::Acquire) {
            return Err(SubmitError::Stopped);
        }
        let free = self.inner.options.max_running.saturating_sub(shared.running.load(Ordering::Acquire));
        let taken = shared.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < most + free).then_some(waiting + 1)
        });
        taken.map(|_| ()).map_err(|_| SubmitError::Busy)
    }

    /// How busy the engine is.
    #[must_use]
    pub fn load(&self) -> Load {
        let shared = &self.inner.shared;
        Load {
            running: shared.running.load(Ordering::Acquire),
            waiting: shared.waiting.load(Ordering::Acquire),
            healthy: !shared.dead.load(Ordering::Acquire),
        }
    }
}

fn info(config: &ModelConfig, tokenizer: &Tokenizer) -> ModelInfo {
    ModelInfo {
        architecture: config.architecture(),
        total_params: config.total_params(),
        active_params: config.active_params(),
        layers: config.layers,
        hidden: config.hidden,
        experts: config.moe.as_ref().map_or(0, |moe| moe.experts),
        experts_per_token: config.moe.as_ref().map_or(0, |moe| moe.experts_per_token),
        context_length: config.context_length,
        vocab: config.vocab,
        has_thinking: tokenizer.think.is_some(),
    }
}

/// The closing sentence and token, encoded as the published client code puts them together.
fn closing_tokens(tokenizer: &Tokenizer, close: u32) -> Option<ForcedClose> {
    let mut tokens = tokenizer.encode(&format!("\n\n{CLOSING}\n")).ok()?;
    tokens.push(close);
    tokens.extend(tokenizer.encode("\n\n").ok()?);
    Some(ForcedClose { tokens })
}

/// A running request. Dropping it cancels the request.
#[derive(Debug)]
pub struct Generation {
    events: mpsc::Receiver<Event>,
}

impl Generation {
    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The same for threads without a runtime.
    pub fn blocking_next(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }
}
