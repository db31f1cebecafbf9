//! The decoder, in the order of the paper: embed, then per layer attention and feed-forward, then the LM head.
//!
//! A forward pass takes rows packed from several sequences. Only attention looks at who a row belongs to.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::layers::attention::Attention;
use crate::layers::ffn::{Ffn, Gating};
use crate::layers::linear::Linear;
use crate::layers::norm::RmsNorm;
use crate::layers::rope::Rope;
use crate::weights::Weights;

/// Consecutive rows of one sequence.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Which rows of the pack.
    pub(crate) rows: Range<usize>,
    /// Which cache they extend.
    pub(crate) cache: usize,
}

/// What a forward pass gives.
#[derive(Debug)]
pub(crate) struct Pass {
    /// (wanted rows, vocab).
    pub(crate) logits: Vec<f32>,
    /// Per layer, for every row of the pack.
    pub(crate) gating: Vec<Gating>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    ffn_norm: RmsNorm,
    ffn: Ffn,
}

/// A loaded model.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) config: ModelConfig,
    embedding: Tensor, // (vocab, hidden)
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Linear,
    rope: Rope,
}

impl Model {
    /// Loads every tensor and checks its shape; nothing is computed before all are in place.
    pub(crate) fn load(config: ModelConfig, weights: &Weights<'_>) -> std::result::Result<Self, LoadError> {
        let embedding = weights.get("model.embed_tokens.weight", &[config.vocab, config.hidden])?;
        let head = if config.tied {
            Linear::sharing(&embedding, config.hidden)
        } else {
            Linear::load(weights, "lm_head.weight", config.vocab, config.hidden)?
        };
        let norm =
            |name: &str| weights.numbers(name, config.hidden).map(|gain| RmsNorm::new(gain, config.norm_eps));
        let layers = (0..config.layers)
            .map(|layer| {
                let prefix = format!("model.layers.{layer}");
                Ok(Layer {
                    attention_norm: norm(&format!("{prefix}.input_layernorm.weight"))?,
                    attention: Attention::load(weights, &format!("{prefix}.self_attn"), &config)?,
                    ffn_norm: norm(&format!("{prefix}.post_attention_layernorm.weight"))?,
                    ffn: Ffn::load(weights, &format!("{prefix}.mlp"), layer, &config)?,
                })
            })
            .collect::<std::result::Result<_, LoadError>>()?;
        let norm = norm("model.norm.weight")?;
        let rope = Rope::new(config.rope_theta, config.head_dim);
        Ok(Model { embedding, layers, norm, head, rope, config })
    }

    /// `tokens`: all spans' tokens in order; `wanted`: the rows whose logits are needed, ascending.
    pub(crate) fn forward(
        &mut self,
        tokens: &[u32],
        spans: &[Span],
        wanted: &[usize],
        caches: &mut [&mut KvCache],
    ) -> Result<Pass> {
        let longest =
            spans.iter().map(|span| caches[span.cache].positions + span.rows.len()).max().unwrap_or(0);
        self.rope.cover(longest);
        let ids = Tensor::from_slice(tokens, tokens.len(), &Device::Cpu)?;
        let mut x: Vec<f32> = self.embedding.index_select(&ids, 0)?.flatten_all()?.to_vec1()?; // (rows, hidden)
        let mut gating = Vec::with_capacity(self.layers.len());
        for (at, layer) in self.layers.iter().enumerate() {
            let normed = layer.attention_norm.applied(&x);
            add(&mut x, &layer.attention.forward(&normed, at, &self.rope, spans, caches)?);
            let (update, gates) = layer.ffn.forward(&layer.ffn_norm.applied(&x))?;
            add(&mut x, &update);
            gating.push(gates);
        }
        for span in spans {
            caches[span.cache].positions += span.rows.len();
        }
        let hidden = self.config.hidden;
        let mut kept: Vec<f32> =
            wanted.iter().flat_map(|row| &x[row * hidden..][..hidden]).copied().collect();
        self.norm.apply(&mut kept); // (wanted, hidden)
        let logits = if wanted.is_empty() { Vec::new() } else { self.head.forward(&kept)? };
        Ok(Pass { logits, gating })
    }
}

fn add(x: &mut [f32], update: &[f32]) {
    for (x, update) in x.iter_mut().zip(update) {
        *x += update;
    }
}
