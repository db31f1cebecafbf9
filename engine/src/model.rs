//! What does the decoder compute?
//!
//! Embedding, blocks, norm, LM head, in the order of the paper. A step takes a pack: the next tokens of any
//! number of sequences, one after another, without padding. Rows of different sequences meet only inside a
//! matrix product, where they cannot influence each other.
//!
//! [`Decoder`] is the seam below the scheduler: tokens and caches in, logits out. Other backends, and the
//! scripted ones that tests use, implement it.

use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::layers::attention::Attention;
use crate::layers::ffn::Ffn;
pub use crate::layers::ffn::{Choices, GateRecord};
use crate::layers::norm::RmsNorm;
use crate::layers::rope::{Angles, Rope};
use crate::request::EngineError;
use crate::tensor::Matrix;
use crate::weights::{LoadError, Weights};

/// The next tokens of one sequence.
pub struct Span<'a> {
    /// Ids to read, in order; at most as many as the cache has room for.
    pub tokens: &'a [u32],
    /// What the sequence has read before; the step appends to it.
    pub cache: &'a mut KvCache,
    /// Which of the tokens need logits. The LM head is the widest product, so nobody else pays for it.
    pub wanted: Wanted,
}

/// Which rows of a span need logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: more of the prompt is to come.
    Nothing,
    /// The last token's, to draw the next one.
    Last,
    /// Every token's, to compare with a reference.
    All,
}

/// What one step computed.
#[derive(Debug, Default)]
pub struct Output {
    /// (wanted rows, vocab), in the order of the pack.
    pub logits: Vec<f32>,
    /// One record per sparse layer; empty for a dense model.
    pub gates: Vec<GateRecord>,
}

/// Anything that can take a step.
pub trait Decoder: Send + 'static {
    /// The shape of the model.
    fn config(&self) -> &ModelConfig;

    /// Runs the pack and advances every cache. After an error the caches are unusable.
    fn forward(&self, spans: &mut [Span<'_>]) -> Result<Output, EngineError>;
}

/// A decoder-only transformer in main memory.
pub struct Model {
    config: ModelConfig,
    embedding: Matrix, // (vocab, hidden)
    blocks: Vec<Block>,
    norm: RmsNorm,
    head: Option<Matrix>, // (vocab, hidden); none if the embedding serves
    rope: Rope,
}

struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    ffn_norm: RmsNorm,
    ffn: Ffn,
}

impl Model {
    /// Takes every tensor that the config calls for, and refuses weights that hold others.
    pub fn load(config: ModelConfig, mut weights: Weights) -> Result<Model, LoadError> {
        let table = |name: &str| [(name.to_owned(), config.vocab)];
        let embedding = weights.matrix(&table("model.embed_tokens.weight"), config.hidden)?;
        let blocks = (0..config.layers)
            .map(|layer| Block::load(&mut weights, layer, &config))
            .collect::<Result<_, _>>()?;
        let norm = RmsNorm::load(&mut weights, "model.norm", config.hidden, config.norm_eps)?;
        let head = load_head(&mut weights, &config)?;
        weights.finish()?;
        Ok(Model { embedding, rope: Rope::new(&config), config, blocks, norm, head })
    }

    fn embed(&self, spans: &[Span<'_>]) -> Result<Vec<f32>, EngineError> {
        let mut hidden = Vec::new(); // (tokens, hidden)
        for token in spans.iter().flat_map(|span| span.tokens) {
            if *token as usize >= self.config.vocab {
                return Err(EngineError::Compute(format!("token {token} is outside the vocabulary")));
            }
            self.embedding.append_row(*token as usize, &mut hidden)?;
        }
        Ok(hidden)
    }

    /// The rows of `hidden` (tokens, hidden) that need logits.
    fn wanted_rows(&self, hidden: &[f32], spans: &[Span<'_>]) -> Vec<f32> {
        let mut rest = hidden;
        let mut wanted = Vec::new(); // (wanted rows, hidden)
        for span in spans {
            let rows;
            (rows, rest) = rest.split_at(span.tokens.len() * self.config.hidden);
            wanted.extend_from_slice(match span.wanted {
                Wanted::Nothing => &[],
                Wanted::Last => &rows[rows.len() - self.config.hidden..],
                Wanted::All => rows,
            });
        }
        wanted
    }

    fn logits(&self, rows: &[f32]) -> Result<Vec<f32>, EngineError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.norm.apply(rows); // (wanted rows, hidden)
        self.head.as_ref().unwrap_or(&self.embedding).apply(&rows) // (wanted rows, vocab)
    }
}

impl Decoder for Model {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn forward(&self, spans: &mut [Span<'_>]) -> Result<Output, EngineError> {
        check_room(spans)?;
        spans.iter_mut().for_each(|span| span.cache.make_room(span.tokens.len()));
        let mut hidden = self.embed(spans)?; // (tokens, hidden)
        let angles = self.rope.angles_of(spans); // (tokens)
        let mut gates = Vec::new();
        for (layer, block) in self.blocks.iter().enumerate() {
            let choices = block.forward(&mut hidden, spans, &angles)?;
            let experts = self.config.moe.as_ref().map_or(0, |moe| moe.experts);
            gates.extend(choices.map(|choices| GateRecord { layer, experts, choices }));
        }
        for span in spans.iter_mut() {
            span.cache.advance(span.tokens.len());
        }
        let rows = self.wanted_rows(&hidden, spans); // (wanted rows, hidden)
        Ok(Output { logits: self.logits(&rows)?, gates })
    }
}

impl Block {
    fn load(weights: &mut Weights, layer: usize, config: &ModelConfig) -> Result<Self, LoadError> {
        let name = format!("model.layers.{layer}");
        let norm = |weights: &mut Weights, part: &str| {
            RmsNorm::load(weights, &format!("{name}.{part}"), config.hidden, config.norm_eps)
        };
        Ok(Block {
            attention_norm: norm(weights, "input_layernorm")?,
            attention: Attention::load(weights, layer, config)?,
            ffn_norm: norm(weights, "post_attention_layernorm")?,
            ffn: Ffn::load(weights, layer, config)?,
        })
    }

    /// Adds attention and feed-forward to the residual stream `hidden` (tokens, hidden).
    fn forward(
        &self,
        hidden: &mut [f32],
        spans: &mut [Span<'_>],
        angles: &[Angles],
    ) -> Result<Option<Choices>, EngineError> {
        let normed = self.attention_norm.apply(hidden); // (tokens, hidden)
        let attended = self.attention.forward(&normed, spans, angles)?; // (tokens, hidden)
        add(hidden, &attended);
        let normed = self.ffn_norm.apply(hidden); // (tokens, hidden)
        let (fed, choices) = self.ffn.forward(&normed)?; // (tokens, hidden)
        add(hidden, &fed);
        Ok(choices)
    }
}

/// A tied model's file may hold the head all the same; it is the embedding, so it is not read twice.
fn load_head(weights: &mut Weights, config: &ModelConfig) -> Result<Option<Matrix>, LoadError> {
    if config.tied {
        weights.skip("lm_head.weight");
        return Ok(None);
    }
    weights.matrix(&[("lm_head.weight".to_owned(), config.vocab)], config.hidden).map(Some)
}

fn check_room(spans: &[Span<'_>]) -> Result<(), EngineError> {
    match spans.iter().find(|span| span.tokens.is_empty() || span.tokens.len() > span.cache.room()) {
        Some(span) => Err(EngineError::Compute(format!(
            "a span of {} tokens, with room for {}",
            span.tokens.len(),
            span.cache.room()
        ))),
        None => Ok(()),
    }
}

fn add(target: &mut [f32], source: &[f32]) {
    for (target, source) in target.iter_mut().zip(source) {
        *target += source;
    }
}
