//! "What is known about well-known models, so that a config can name them instead of describing them?"

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use thinkgate_engine::config::ModelConfig;

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
    /// The shape that a model's own files describe.
    #[must_use]
    pub fn of_config(config: &ModelConfig) -> Shape {
        // The engine refuses dimensions that do not fit.
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let moe = config.moe.as_ref();
        Shape {
            architecture: if moe.is_some() { Architecture::Moe } else { Architecture::Dense },
            total_params: config.total_params(),
            active_params: config.active_params(),
            layers: narrow(config.layers),
            heads: narrow(config.heads),
            kv_heads: narrow(config.kv_heads),
            experts: moe.map(|moe| narrow(moe.experts)),
            experts_per_token: moe.map(|moe| narrow(moe.experts_per_token)),
            context_length: narrow(config.context_length),
        }
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
            ("pico-dense", include_bytes!("../models/pico-dense/config.json").as_slice()),
            ("pico-moe", include_bytes!("../models/pico-moe/config.json").as_slice()),
        ] {
            let config = ModelConfig::parse(config).expect("a model of the engine's");
            let entry = find(name).expect("in the catalogue");
            assert_eq!(Shape::of_config(&config), entry.shape, "{name}");
        }
    }
}
