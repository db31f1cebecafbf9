//! What does the rest of the program hold of the engine?
//!
//! A handle. It renders and checks a request on the caller's thread, so that a bad one costs the
//! engine thread nothing, and hands the tokens over. Everything after that is [`crate::runner`].

use std::path::Path;
use std::sync::Arc;

use crate::cache::{BLOCK, KvCache, Precision, block_bytes};
use crate::config::{Architecture, ModelConfig};
use crate::constraint::Constraints;
use crate::model::Model;
use crate::prompt::{PromptError, Template};
use crate::request::{Chat, Generation, Request};
use crate::runner::RunnerHandle;
use crate::sampler::Defaults;
use crate::sequence::{Drawing, Limits, Phase, Sequence, Thinking, Vocabulary};
use crate::tokenizer::Tokenizer;
use crate::weights::{Checkpoint, GenerationConfig, LoadError, ModelFiles};

/// A loaded model and the thread that runs it. Cloning shares both; dropping the last clone stops the
/// thread, and generations still in flight end with `Failed(Stopped)`.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    info: ModelInfo,
    config: ModelConfig,
    template: Template,
    vocabulary: Vocabulary,
    constraints: Constraints,
    defaults: Defaults,
    cut_loops: bool,
    runner: RunnerHandle,
}

/// How much the engine may take on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Sequences that share each step.
    pub max_running: usize,
    /// Accepted requests that wait for a place; one more is refused as [`SubmitError::Busy`].
    pub max_waiting: usize,
    /// Threads for matrix products; `None` takes the machine's cores for a large model and one for a small
    /// model, whose products are over before a second thread wakes.
    pub threads: Option<usize>,
    /// Bytes for keys and values, of running sequences and of texts kept for reuse together; `None` takes a gibibyte, or
    /// what one full context needs where that is more. Where running sequences need more, the youngest waits and reads its
    /// text again later. Less than a full context shortens the context.
    pub cache_bytes: Option<usize>,
    /// How keys and values are kept.
    pub cache_precision: Precision,
    /// End what has repeated itself a thousand tokens long, where the request sets no `max_tokens`: thinking goes over into
    /// the answer, an answer ends for its length.
    pub cut_loops: bool,
}

impl Options {
    pub(crate) fn cache_bytes_for(&self, config: &ModelConfig) -> usize {
        let one_context = config.context_length.div_ceil(BLOCK) * block_bytes(config);
        self.cache_bytes.unwrap_or(one_context.max(1 << 30))
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_running: 8,
            max_waiting: 64,
            threads: None,
            cache_bytes: None,
            cache_precision: Precision::Half,
            cut_loops: true,
        }
    }
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// Dense or mixture of experts.
    pub architecture: Architecture,
    /// Parameters stored, tied ones once.
    pub total_params: u64,
    /// Parameters that work on one token.
    pub active_params: u64,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Experts per sparse layer; 0 for a dense model.
    pub experts: usize,
    /// Experts that work on one token; 0 for a dense model.
    pub experts_per_token: usize,
    /// Prompt and completion together may not exceed this many tokens.
    pub context_length: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// The tokenizer knows `<think>` and `</think>`.
    pub has_thinking: bool,
    /// The chat template renders tools.
    pub takes_tools: bool,
}

/// How busy the engine is, at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Sequences that share the current step.
    pub running: usize,
    /// Accepted and not yet running, or put back to wait for memory.
    pub waiting: usize,
    /// Keys and values in memory, those kept for reuse included.
    pub cache_bytes: usize,
    /// False once a step has panicked; then every request is refused.
    pub healthy: bool,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The conversation cannot be rendered.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A parameter is out of range.
    #[error("{field} = {value}: {reason}")]
    Invalid {
        /// The parameter's name, as a client would write it.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        reason: &'static str,
    },
    /// The answer's format cannot be enforced.
    #[error("the answer's format: {0}")]
    Format(String),
    /// The prompt alone fills the context.
    #[error("the prompt has {tokens} tokens, the model's context has room for {context}")]
    TooLong {
        /// Tokens of the rendered prompt.
        tokens: usize,
        /// The model's context length.
        context: usize,
    },
    /// The waiting queue is full; try another backend, or later.
    #[error("the engine has as much work as it may queue")]
    Busy,
    /// The engine has failed or is being stopped.
    #[error("the engine takes no more work")]
    Stopped,
}

impl Engine {
    /// Loads a Hugging Face model folder or a GGUF file.
    pub fn open(path: &Path, options: Options) -> Result<Engine, LoadError> {
        Self::start(Checkpoint::open(path)?, options)
    }

    /// Loads a model from bytes in memory, such as one compiled into the program.
    pub fn load_embedded(files: ModelFiles, options: Options) -> Result<Engine, LoadError> {
        Self::start(Checkpoint::open_embedded(files)?, options)
    }

    fn start(checkpoint: Checkpoint, options: Options) -> Result<Engine, LoadError> {
        let mut config = checkpoint.config()?;
        config.cache_precision = options.cache_precision;
        let blocks = options.cache_bytes_for(&config) / block_bytes(&config);
        config.context_length = config.context_length.min(blocks.max(1) * BLOCK);
        let generation = checkpoint.generation_config()?;
        let vocabulary = vocabulary(&checkpoint, &config, &generation)?;
        let template = Template::from_checkpoint(&checkpoint, vocabulary.tokenizer.markers())?;
        let model = Model::load(config.clone(), checkpoint.weights()?)?;
        let threads = options.threads.unwrap_or_else(|| default_threads(&config));
        let (tokenizer, end_tokens) = (Arc::clone(&vocabulary.tokenizer), Arc::clone(&vocabulary.end_tokens));
        let shared = Shared {
            info: describe(&config, vocabulary.thinking.is_some(), template.takes_tools()),
            constraints: Constraints::new(tokenizer, end_tokens),
            template,
            vocabulary,
            defaults: Defaults::new(generation.sampling),
            cut_loops: options.cut_loops,
            runner: RunnerHandle::spawn(model, &options, threads).map_err(LoadError::Thread)?,
            config,
        };
        Ok(Engine { shared: Arc::new(shared) })
    }

    /// What was loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// How busy the engine is.
    pub fn load(&self) -> Load {
        self.shared.runner.load()
    }

    /// The prompt as text, for tests and for looking at.
    pub fn render(&self, chat: &Chat) -> Result<String, PromptError> {
        Ok(self.shared.template.render(chat)?.into_text())
    }

    /// Tokens of the rendered prompt.
    pub fn count_tokens(&self, chat: &Chat) -> Result<usize, PromptError> {
        Ok(self.encode(chat)?.len())
    }

    /// Queues a generation; its events arrive on the returned handle.
    pub fn submit(&self, mut request: Request) -> Result<Generation, SubmitError> {
        check_limits(&request)?;
        // A budget of nothing is the switch: an opened and at once closed block would only cost tokens.
        request.chat.thinking &= request.thinking_budget != Some(0);
        let prompt = self.encode(&request.chat)?;
        self.check_length(prompt.len())?;
        let thinking = self.shared.vocabulary.thinking.as_ref();
        let phase = Phase::after(&prompt, request.chat.thinking, thinking);
        let drawing = self.drawing(&request, phase)?;
        self.enqueue(&request, prompt, phase, drawing)
    }

    fn drawing(&self, request: &Request, phase: Phase) -> Result<Drawing, SubmitError> {
        let resolve = |wishes| self.shared.defaults.resolve(wishes, request.chat.thinking);
        let first = resolve(&request.sampling)?;
        let wishes = request.answer_sampling.as_ref().map(|wishes| wishes.or(&request.sampling));
        let answer = wishes.as_ref().map(resolve).transpose()?;
        let (first, answer) = match (phase, answer) {
            (Phase::Answer, Some(answer)) => (answer, None),
            (_, answer) => (first, answer),
        };
        let constraint =
            self.shared.constraints.compile(&request.answer_format).map_err(SubmitError::Format)?;
        Ok(Drawing { sampler: first.sampler(), answer, constraint })
    }

    fn enqueue(
        &self,
        request: &Request,
        prompt: Vec<u32>,
        phase: Phase,
        drawing: Drawing,
    ) -> Result<Generation, SubmitError> {
        let shared = &self.shared;
        let permit = shared.runner.reserve()?;
        let limits = Limits::new(request, shared.info.context_length, shared.cut_loops);
        let cache = KvCache::counted(&shared.config, shared.runner.blocks());
        let sequence = Sequence::new(prompt, phase, cache, drawing, limits, shared.vocabulary.clone());
        shared.runner.submit(permit, sequence)
    }

    /// The rendered prompt as token ids.
    pub fn encode(&self, chat: &Chat) -> Result<Vec<u32>, PromptError> {
        let rendered = self.shared.template.render(chat)?;
        self.shared.vocabulary.tokenizer.encode_prompt(&rendered)
    }

    /// Ordinary text as token ids; no marker comes of it, whatever it says.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        self.shared.vocabulary.tokenizer.encode_text(text)
    }

    /// One token for people to read; half a character of a larger one is replaced.
    pub fn token_text(&self, token: u32) -> String {
        self.shared.vocabulary.tokenizer.token_text(token)
    }

    fn check_length(&self, tokens: usize) -> Result<(), SubmitError> {
        let context = self.shared.info.context_length;
        if tokens >= context {
            return Err(SubmitError::TooLong { tokens, context });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Engine").field("info", &self.shared.info).finish_non_exhaustive()
    }
}

fn check_limits(request: &Request) -> Result<(), SubmitError> {
    let invalid = |field, value, reason| Err(SubmitError::Invalid { field, value, reason });
    if request.max_tokens == Some(0) {
        return invalid("max_tokens", "0".to_owned(), "at least 1");
    }
    if request.stop.len() > MAX_STOPS {
        return invalid("stop", format!("{} strings", request.stop.len()), "at most 16 strings");
    }
    if request.logprobs.is_some_and(|wanted| wanted > MAX_LOGPROBS) {
        return invalid("top_logprobs", request.logprobs.unwrap_or(0).to_string(), "at most 20");
    }
    match request.stop.iter().find(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        Some(stop) => invalid("stop", format!("{} bytes", stop.len()), "1 to 1024 bytes each"),
        None => Ok(()),
    }
}

const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 1024;
const MAX_LOGPROBS: usize = 20;

fn vocabulary(
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    generation: &GenerationConfig,
) -> Result<Vocabulary, LoadError> {
    let tokenizer = Arc::new(Tokenizer::from_checkpoint(checkpoint, config)?);
    let thinking = Thinking::find(&tokenizer);
    // Both files may name tokens that end a turn; either is right.
    let end_tokens = generation.eos_token_ids.iter().chain(&config.eos_token_ids).copied().collect();
    Ok(Vocabulary { tokenizer, thinking, end_tokens })
}

fn describe(config: &ModelConfig, has_thinking: bool, takes_tools: bool) -> ModelInfo {
    let moe = config.moe.as_ref();
    ModelInfo {
        architecture: config.architecture(),
        total_params: config.total_params(),
        active_params: config.active_params(),
        layers: config.layers,
        hidden: config.hidden,
        experts: moe.map_or(0, |moe| moe.experts),
        experts_per_token: moe.map_or(0, |moe| moe.experts_per_token),
        context_length: config.context_length,
        vocab: config.vocab,
        has_thinking,
        takes_tools,
    }
}

/// Below this the largest product of a decoding step fits one core's cache and takes microseconds.
const SMALL_MODEL_PARAMS: u64 = 50_000_000;

fn default_threads(config: &ModelConfig) -> usize {
    if config.active_params() < SMALL_MODEL_PARAMS {
        return 1;
    }
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}
