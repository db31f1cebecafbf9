//! "What shape is this model?" From Hugging Face `config.json` to numbers that are safe to compute with.
//!
//! Every figure is range-checked here, so that no later code divides by zero or allocates by a hostile number.

use serde_json::Value;

use crate::error::LoadError;

/// Dense: every parameter works on every token. MoE: a gate wakes a few experts per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Every parameter works on every token.
    Dense,
    /// Mixture of experts.
    Moe,
}

/// The experts of a MoE model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MoeConfig {
    /// Experts per layer.
    pub(crate) experts: usize,
    /// Experts that work on one token.
    pub(crate) experts_per_token: usize,
    /// Width of one expert.
    pub(crate) intermediate: usize,
    /// Weights of the chosen experts are scaled to sum to one.
    pub(crate) renormalise: bool,
    /// Every n-th layer is sparse.
    pub(crate) sparse_step: usize,
    /// Layers that stay dense.
    pub(crate) dense_layers: Vec<usize>,
}

/// A checked model shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelConfig {
    /// Entries of the embedding.
    pub(crate) vocab: usize,
    /// Width of the residual stream.
    pub(crate) hidden: usize,
    /// Width of the dense feed-forward.
    pub(crate) intermediate: usize,
    /// Decoder layers.
    pub(crate) layers: usize,
    /// Query heads.
    pub(crate) heads: usize,
    /// Key and value heads.
    pub(crate) kv_heads: usize,
    /// Width of one head.
    pub(crate) head_dim: usize,
    /// RMSNorm's epsilon.
    pub(crate) norm_eps: f32,
    /// Base of the rotary embedding.
    pub(crate) rope_theta: f64,
    /// Tokens the model can hold.
    pub(crate) context_length: usize,
    /// The LM head shares the embedding.
    pub(crate) tied: bool,
    /// Present in MoE models.
    pub(crate) moe: Option<MoeConfig>,
    /// Tokens that end an answer.
    pub(crate) eos: Vec<u32>,
}

impl ModelConfig {
    /// Reads and checks `config.json`, in the style of transformers 4 or 5.
    ///
    /// # Errors
    /// The first key that is missing, of the wrong type or out of range.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| LoadError::config("(file)", format!("not JSON: {error}")))?;
        let read = Reader(&value);
        let kind = value.get("model_type").and_then(Value::as_str).unwrap_or("(absent)");
        let is_moe = match kind {
            "qwen3" => false,
            "qwen3_moe" => true,
            other => {
                return Err(LoadError::config(
                    "model_type",
                    format!("{other:?}; supported are qwen3 and qwen3_moe"),
                ));
            }
        };
        let heads = read.number(&["num_attention_heads"], 1..=1024)?;
        let hidden = read.number(&["hidden_size"], 1..=65_536)?;
        let config = ModelConfig {
            vocab: read.number(&["vocab_size"], 1..=4_000_000)?,
            hidden,
            intermediate: read.number(&["intermediate_size"], 1..=1_048_576)?,
            layers: read.number(&["num_hidden_layers"], 1..=1024)?,
            heads,
            kv_heads: read.number(&["num_key_value_heads"], 1..=1024)?,
            head_dim: read.number_or(&["head_dim"], 2..=1024, (hidden / heads).max(2))?,
            norm_eps: read.norm_eps()?,
            rope_theta: read.rope_theta()?,
            context_length: read.number(&["max_position_embeddings"], 1..=16_777_216)?,
            tied: value.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
            moe: if is_moe { Some(read.moe()?) } else { None },
            eos: ids(value.get("eos_token_id")),
        };
        config.check(&value)?;
        Ok(config)
    }

    fn check(&self, value: &Value) -> Result<(), LoadError> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            let reason = format!("{}; must divide num_attention_heads = {}", self.kv_heads, self.heads);
            return Err(LoadError::config("num_key_value_heads", reason));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(LoadError::config(
                "head_dim",
                format!("{}; rotary embedding needs an even width", self.head_dim),
            ));
        }
        if value.get("attention_bias").and_then(Value::as_bool) == Some(true) {
            return Err(LoadError::config(
                "attention_bias",
                "true; only models without it are supported".into(),
            ));
        }
        let scaling = value.get("rope_scaling").or_else(|| value.get("rope_parameters"));
        let kind = scaling.and_then(|scaling| scaling.get("rope_type").or_else(|| scaling.get("type")));
        if let Some(kind) = kind.and_then(Value::as_str).filter(|kind| *kind != "default") {
            return Err(LoadError::config(
                "rope_scaling",
                format!("{kind:?}; only unscaled rotary embedding is supported"),
            ));
        }
        match &self.moe {
            Some(moe) if moe.experts_per_token > moe.experts => Err(LoadError::config(
                "num_experts_per_tok",
                format!("{}; there are {} experts", moe.experts_per_token, moe.experts),
            )),
            _ => Ok(()),
        }
    }

    /// Dense or MoE.
    pub(crate) fn architecture(&self) -> Architecture {
        if self.moe.is_some() { Architecture::Moe } else { Architecture::Dense }
    }

    /// Whether this layer's feed-forward is a mixture of experts.
    pub(crate) fn is_sparse(&self, layer: usize) -> bool {
        self.moe.as_ref().is_some_and(|moe| {
            !moe.dense_layers.contains(&layer) && (layer + 1).is_multiple_of(moe.sparse_step)
        })
    }

    /// All parameters.
    pub(crate) fn total_params(&self) -> u64 {
        self.params(|moe| moe.experts)
    }

    /// Parameters that work on one token.
    pub(crate) fn active_params(&self) -> u64 {
        self.params(|moe| moe.experts_per_token)
    }

    fn params(&self, experts: impl Fn(&MoeConfig) -> usize) -> u64 {
        let wide = |value: usize| value as u64;
        let (hidden, head_dim) = (wide(self.hidden), wide(self.head_dim));
        let attention = 2 * hidden * wide(self.heads) * head_dim
            + 2 * hidden * wide(self.kv_heads) * head_dim
            + 2 * head_dim;
        let feed_forward: u64 = (0..self.layers)
            .map(|layer| match &self.moe {
                Some(moe) if self.is_sparse(layer) => {
                    hidden * wide(moe.experts) + 3 * hidden * wide(moe.intermediate) * wide(experts(moe))
                }
                _ => 3 * hidden * wide(self.intermediate),
            })
            .sum();
        let embeddings = wide(self.vocab) * hidden * if self.tied { 1 } else { 2 };
        embeddings + wide(self.layers) * (attention + 2 * hidden) + feed_forward + hidden
    }
}

/// A token id, or a list of them.
pub(crate) fn ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

struct Reader<'a>(&'a Value);

impl Reader<'_> {
    fn number(&self, keys: &[&str], range: std::ops::RangeInclusive<usize>) -> Result<usize, LoadError> {
        let found = keys.iter().find_map(|key| self.0.get(key).map(|value| (*key, value)));
        let Some((key, value)) = found else {
            return Err(LoadError::config(keys[0], "missing".into()));
        };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            LoadError::config(
                key,
                format!("{value}; expected a whole number from {} to {}", range.start(), range.end()),
            )
        })
    }

    fn number_or(
        &self,
        keys: &[&str],
        range: std::ops::RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize, LoadError> {
        let present = keys.iter().any(|key| self.0.get(key).is_some_and(|value| !value.is_null()));
        if present { self.number(keys, range) } else { Ok(default) }
    }

    fn norm_eps(&self) -> Result<f32, LoadError> {
        let value = self.0.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-6);
        #[expect(clippy::cast_possible_truncation, reason = "a small positive number")]
        if (0.0..=1.0).contains(&value) {
            Ok(value as f32)
        } else {
            Err(LoadError::config("rms_norm_eps", value.to_string()))
        }
    }

    /// transformers 5 moved the base into `rope_parameters`.
    fn rope_theta(&self) -> Result<f64, LoadError> {
        let nested = self.0.get("rope_parameters").and_then(|parameters| parameters.get("rope_theta"));
        let value = self.0.get("rope_theta").or(nested).and_then(Value::as_f64).unwrap_or(10_000.0);
        if value.is_finite() && value >= 1.0 {
            Ok(value)
        } else {
            Err(LoadError::config("rope_theta", format!("{value}; expected a number from 1 up")))
        }
    }

    fn moe(&self) -> Result<MoeConfig, LoadError> {
        Ok(MoeConfig {
            experts: self.number(&["num_experts", "num_local_experts"], 1..=4096)?,
            experts_per_token: self.number(&["num_experts_per_tok"], 1..=4096)?,
            intermediate: self.number(&["moe_intermediate_size"], 1..=1_048_576)?,
            renormalise: self.0.get("norm_topk_prob").and_then(Value::as_bool).unwrap_or(false),
            sparse_step: self.number_or(&["decoder_sparse_step"], 1..=1024, 1)?,
            dense_layers: ids(self.0.get("mlp_only_layers"))
                .into_iter()
                .map(|layer| layer as usize)
                .collect(),
        })
    }
}
