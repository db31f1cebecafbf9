//! "What is known about well-known models, so that a config can name them instead of describing them?"

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::{Architecture, Skill};

/// A model whose shape, cost and skill are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Short name, as a config writes it.
    pub name: String,
    /// Hugging Face id, as an upstream's `model_id` has it.
    pub id: String,
    /// Its weights are inside this program.
    #[serde(default)]
    pub embedded: bool,
    /// Takes tools.
    #[serde(default)]
    pub tools: bool,
    /// Measured accuracy by mode.
    pub skill: Option<Skill>,
    /// What it is made of.
    #[serde(flatten)]
    pub shape: Shape,
}

/// What a model is made of, as far as choosing between models needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Dense or MoE.
    pub architecture: Architecture,
    /// All parameters.
    pub total_params: u64,
    /// Parameters that work on one token.
    pub active_params: u64,
    /// Decoder layers.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Experts per MoE layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<u32>,
    /// Experts the gate wakes per token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts_per_token: Option<u32>,
    /// Tokens the model can hold.
    pub context_length: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Entry>,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("../models/catalogue.toml"))
        .expect("the catalogue is part of the program and its test reads it");
    file.model
});

/// Every known model, in the catalogue's order.
#[must_use]
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The entry with this short name or Hugging Face id.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.name == name || entry.id == name)
}

impl Shape {
    /// Counts a Qwen3-style model's parameters from its `config.json`. None where the file lacks a dimension.
    #[must_use]
    pub fn of_config_json(config: &Value) -> Option<Shape> {
        let number = |key: &str| config.get(key).and_then(Value::as_u64);
        let (hidden, layers, vocabulary) =
            (number("hidden_size")?, number("num_hidden_layers")?, number("vocab_size")?);
        let heads = number("num_attention_heads")?;
        let kv_heads = number("num_key_value_heads").unwrap_or(heads);
        let head_dim = number("head_dim").unwrap_or(hidden / heads.max(1));
        let experts = number("num_experts").filter(|experts| *experts > 0);
        let awake = experts.and(number("num_experts_per_tok"));

        // Projections of queries, keys, values and output, the norms of queries and keys, the two norms of the layer.
        let attention = hidden * head_dim * (2 * heads + 2 * kv_heads) + 2 * head_dim + 2 * hidden;
        // Gate, up and down projection.
        let (all, active) = match experts {
            None => {
                let ffn = 3 * hidden * number("intermediate_size")?;
                (ffn, ffn)
            }
            Some(experts) => {
                let expert = 3 * hidden * number("moe_intermediate_size")?;
                let gate = hidden * experts;
                (gate + experts * expert, gate + awake? * expert)
            }
        };
        let tied = config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
        let embeddings = vocabulary * hidden * if tied { 1 } else { 2 } + hidden;
        Some(Shape {
            architecture: if experts.is_some() { Architecture::Moe } else { Architecture::Dense },
            total_params: embeddings + layers * (attention + all),
            active_params: embeddings + layers * (attention + active),
            layers: u32::try_from(layers).ok()?,
            heads: u32::try_from(heads).ok()?,
            kv_heads: u32::try_from(kv_heads).ok()?,
            experts: experts.and_then(|count| u32::try_from(count).ok()),
            experts_per_token: awake.and_then(|count| u32::try_from(count).ok()),
            context_length: u32::try_from(number("max_position_embeddings")?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole_and_unique() {
        for (index, entry) in entries().iter().enumerate() {
            assert!(entries()[..index].iter().all(|other| other.name != entry.name && other.id != entry.id));
            let shape = &entry.shape;
            assert_eq!(shape.architecture == Architecture::Moe, shape.experts.is_some(), "{}", entry.name);
            assert!(shape.active_params <= shape.total_params);
            assert!(entry.skill.is_some_and(|skill| skill.thinking > skill.direct), "{}", entry.name);
        }
        assert_eq!(entries().iter().filter(|entry| entry.embedded).count(), 2);
    }

    #[test]
    fn embedded_shapes_agree_with_their_weights() {
        for (name, config) in [
            ("pico-dense", include_str!("../models/pico-dense/config.json")),
            ("pico-moe", include_str!("../models/pico-moe/config.json")),
        ] {
            let config = serde_json::from_str(config).expect("JSON");
            let entry = find(name).expect("in the catalogue");
            assert_eq!(Shape::of_config_json(&config).as_ref(), Some(&entry.shape), "{name}");
        }
    }
}
