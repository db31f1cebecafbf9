//! Which model is this, and is its description one we can run?
//!
//! Reads Hugging Face's `config.json` of Qwen3, Qwen3-MoE, Qwen2 and Llama models, in the style of transformers 4
//! (`rope_theta`, `num_experts`) and 5 (`rope_parameters.rope_theta`, `num_local_experts`). Every number is checked
//! here, so that no later module divides by zero heads or allocates what a hostile file asked for. Anything that would
//! change the arithmetic and that we do not implement (scaled rotary embeddings, biases where Qwen2 has none) is refused
//! rather than ignored.

use serde_json::Value;

use crate::cache::Precision;
use crate::weights::LoadError;

/// Everything the decoder needs to know about its own shape.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Rows of the embedding, padding rows included.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of a dense feed-forward layer.
    pub intermediate: usize,
    /// Added to the mean square before its root is taken.
    pub norm_eps: f32,
    /// Base of the rotary embedding's wavelengths.
    pub rope_theta: f64,
    /// Queries and keys are normalised head by head: Qwen3.
    pub qk_norm: bool,
    /// The projections to queries, keys and values add a bias: Qwen2.
    pub qkv_bias: bool,
    /// The LM head is the embedding.
    pub tied: bool,
    /// Positions that the model was trained for.
    pub context_length: usize,
    /// Tokens that end a turn, as far as this file knows.
    pub eos_token_ids: Vec<u32>,
    /// `None` for a dense model.
    pub moe: Option<MoeConfig>,
    /// How keys and values are kept; no file says so, the engine's options do.
    pub cache_precision: Precision,
}

/// What a mixture-of-experts model adds.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeConfig {
    /// Experts per sparse layer.
    pub experts: usize,
    /// Experts that work on one token.
    pub experts_per_token: usize,
    /// Width of one expert.
    pub intermediate: usize,
    /// The chosen experts' weights are scaled to sum to one.
    pub renormalise: bool,
    /// Every n-th layer is sparse.
    pub sparse_step: usize,
    /// Layers that are dense all the same.
    pub dense_layers: Vec<usize>,
}

/// How a model spends its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// All parameters work on every token.
    Dense,
    /// A gate picks a few experts for every token.
    Moe,
}

impl ModelConfig {
    /// Reads and checks the bytes of `config.json`.
    pub fn parse(bytes: &[u8]) -> Result<ModelConfig, LoadError> {
        ModelConfig::of_file(&ConfigFile::parse("config.json", bytes)?)
    }

    pub(crate) fn of_file(file: &ConfigFile) -> Result<ModelConfig, LoadError> {
        let family = Family::of(file)?;
        refuse_what_we_would_get_wrong(file)?;
        let heads = file.count("num_attention_heads", 1, 1024, None)?;
        let hidden = file.count("hidden_size", 1, 65_536, None)?;
        let config = ModelConfig {
            vocab: file.count("vocab_size", 1, 4_000_000, None)?,
            hidden,
            layers: file.count("num_hidden_layers", 1, 1024, None)?,
            heads,
            kv_heads: file.count("num_key_value_heads", 1, 1024, Some(heads))?,
            head_dim: file.count("head_dim", 2, 1024, Some(family.default_head_dim(hidden, heads)))?,
            intermediate: file.count("intermediate_size", 1, 1_048_576, None)?,
            norm_eps: file.number("rms_norm_eps", 0.0, 1.0, Some(1e-6))? as f32,
            rope_theta: rope_theta(file)?,
            qk_norm: matches!(family, Family::Qwen3 | Family::Qwen3Moe),
            qkv_bias: family == Family::Qwen2,
            tied: file.flag("tie_word_embeddings", false)?,
            context_length: file.count("max_position_embeddings", 2, 16_777_216, None)?,
            eos_token_ids: file.token_ids("eos_token_id")?,
            moe: if family == Family::Qwen3Moe { Some(MoeConfig::parse(file)?) } else { None },
            cache_precision: Precision::default(),
        };
        config.check_heads(file)?;
        Ok(config)
    }

    /// Dense or mixture of experts.
    pub fn architecture(&self) -> Architecture {
        if self.moe.is_some() { Architecture::Moe } else { Architecture::Dense }
    }

    /// The expert configuration of a layer, if that layer has experts.
    pub fn experts_of_layer(&self, layer: usize) -> Option<&MoeConfig> {
        self.moe
            .as_ref()
            .filter(|moe| (layer + 1).is_multiple_of(moe.sparse_step) && !moe.dense_layers.contains(&layer))
    }

    /// Width of all query heads together.
    pub fn query_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Parameters stored, tied ones once.
    pub fn total_params(&self) -> u64 {
        self.params(|moe| moe.experts)
    }

    /// Parameters that work on one token.
    pub fn active_params(&self) -> u64 {
        self.params(|moe| moe.experts_per_token)
    }

    fn params(&self, experts: impl Fn(&MoeConfig) -> usize) -> u64 {
        let [vocab, hidden] = [self.vocab as u64, self.hidden as u64];
        let embeddings = vocab * hidden * if self.tied { 1 } else { 2 };
        let layers: u64 = (0..self.layers).map(|layer| self.layer_params(layer, &experts)).sum();
        embeddings + layers + hidden
    }

    fn layer_params(&self, layer: usize, experts: &impl Fn(&MoeConfig) -> usize) -> u64 {
        let hidden = self.hidden as u64;
        let norms = if self.qk_norm { 2 * self.head_dim } else { 0 };
        let biases = if self.qkv_bias { self.query_dim() + 2 * self.kv_dim() } else { 0 };
        let attention = 2 * hidden * (self.query_dim() + self.kv_dim()) as u64 + (norms + biases) as u64;
        let swiglu = |width: usize| 3 * hidden * width as u64;
        let feed_forward = match self.experts_of_layer(layer) {
            Some(moe) => hidden * moe.experts as u64 + experts(moe) as u64 * swiglu(moe.intermediate),
            None => swiglu(self.intermediate),
        };
        attention + feed_forward + 2 * hidden
    }

    fn check_heads(&self, file: &ConfigFile) -> Result<(), LoadError> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(file.refuse(
                "num_key_value_heads",
                self.kv_heads,
                "a divisor of num_attention_heads",
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(file.refuse("head_dim", self.head_dim, "an even number: rotation works on pairs"));
        }
        Ok(())
    }
}

impl MoeConfig {
    fn parse(file: &ConfigFile) -> Result<MoeConfig, LoadError> {
        let key = if file.has("num_experts") { "num_experts" } else { "num_local_experts" };
        let experts = file.count(key, 1, 4096, None)?;
        Ok(MoeConfig {
            experts,
            experts_per_token: file.count("num_experts_per_tok", 1, experts, None)?,
            intermediate: file.count("moe_intermediate_size", 1, 1_048_576, None)?,
            renormalise: file.flag("norm_topk_prob", false)?,
            sparse_step: file.count("decoder_sparse_step", 1, 1024, Some(1))?,
            dense_layers: file.indices("mlp_only_layers")?,
        })
    }
}

/// The model classes that are read; the decoder is the same but for what their names imply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Qwen3,
    Qwen3Moe,
    Qwen2,
    Llama,
}

impl Family {
    fn of(file: &ConfigFile) -> Result<Family, LoadError> {
        match file.text("model_type")? {
            Some("qwen3") => Ok(Family::Qwen3),
            Some("qwen3_moe") => Ok(Family::Qwen3Moe),
            Some("qwen2") => Ok(Family::Qwen2),
            Some("llama") => Ok(Family::Llama),
            other => {
                let expected = "qwen3, qwen3_moe, qwen2 or llama";
                Err(file.refuse("model_type", other.unwrap_or("absent"), expected))
            }
        }
    }

    /// What transformers assumes when the file is silent; the model classes differ.
    fn default_head_dim(self, hidden: usize, heads: usize) -> usize {
        if self == Family::Qwen3 { 128 } else { hidden / heads }
    }
}

fn rope_theta(file: &ConfigFile) -> Result<f64, LoadError> {
    let file = match file.object("rope_parameters")? {
        Some(parameters) => parameters,
        None => file.clone(),
    };
    file.number("rope_theta", 1.0, 1e12, Some(10_000.0))
}

fn refuse_what_we_would_get_wrong(file: &ConfigFile) -> Result<(), LoadError> {
    for key in ["attention_bias", "mlp_bias", "use_sliding_window"] {
        if file.flag(key, false)? {
            return Err(file.refuse(key, true, "false"));
        }
    }
    if let Some(activation) = file.text("hidden_act")?.filter(|name| *name != "silu") {
        return Err(file.refuse("hidden_act", activation, "silu"));
    }
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = file.object(key)? else { continue };
        for kind in ["rope_type", "type"] {
            if let Some(scaled) = rope.text(kind)?.filter(|name| *name != "default") {
                return Err(rope.refuse(kind, scaled, "default"));
            }
        }
    }
    Ok(())
}

/// A JSON object and the file it came from, so that every complaint can name file, key and value.
#[derive(Clone)]
pub(crate) struct ConfigFile {
    name: String,
    value: Value,
}

impl ConfigFile {
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<ConfigFile, LoadError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|source| LoadError::Json { file: name.to_owned(), source })?;
        let file = ConfigFile::new(name, value);
        if !file.value.is_object() {
            return Err(file.refuse("(the file)", "not an object", "a JSON object"));
        }
        Ok(file)
    }

    pub(crate) fn new(name: &str, value: Value) -> ConfigFile {
        ConfigFile { name: name.to_owned(), value }
    }

    pub(crate) fn refuse(&self, key: &str, value: impl ToString, expected: &str) -> LoadError {
        LoadError::Config {
            file: self.name.clone(),
            key: key.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
        }
    }

    /// Null is absent: transformers writes unset keys as null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn object(&self, key: &str) -> Result<Option<ConfigFile>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) if value.is_object() => {
                Ok(Some(ConfigFile { name: format!("{} {key}", self.name), value: value.clone() }))
            }
            Some(value) => Err(self.refuse(key, value, "an object")),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, LoadError> {
        self.get(key)
            .map(|value| value.as_str().ok_or_else(|| self.refuse(key, value, "a string")))
            .transpose()
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, LoadError> {
        self.get(key).map_or(Ok(default), |value| {
            value.as_bool().ok_or_else(|| self.refuse(key, value, "true or false"))
        })
    }

    fn count(&self, key: &str, low: usize, high: usize, default: Option<usize>) -> Result<usize, LoadError> {
        let expected = || format!("a whole number from {low} to {high}");
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.refuse(key, "absent", &expected())),
            (Some(value), _) => value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (low..=high).contains(number))
                .ok_or_else(|| self.refuse(key, value, &expected())),
        }
    }

    pub(crate) fn number(
        &self,
        key: &str,
        low: f64,
        high: f64,
        default: Option<f64>,
    ) -> Result<f64, LoadError> {
        let expected = || format!("a number from {low} to {high}");
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.refuse(key, "absent", &expected())),
            (Some(value), _) => value
                .as_f64()
                .filter(|number| (low..=high).contains(number))
                .ok_or_else(|| self.refuse(key, value, &expected())),
        }
    }

    fn indices(&self, key: &str) -> Result<Vec<usize>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let numbers = value
            .as_array()
            .and_then(|items| items.iter().map(|item| item.as_u64().map(|number| number as usize)).collect());
        numbers.ok_or_else(|| self.refuse(key, value, "a list of layer numbers"))
    }

    /// One id or a list of them; both spellings are in use.
    pub(crate) fn token_ids(&self, key: &str) -> Result<Vec<u32>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let ids = items.iter().map(|item| item.as_u64().and_then(|id| u32::try_from(id).ok()));
        ids.collect::<Option<_>>().ok_or_else(|| self.refuse(key, value, "a token id or a list of them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "model_type": "qwen3", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "intermediate_size": 16,
            "max_position_embeddings": 64, "rope_theta": 1e6, "tie_word_embeddings": true, "eos_token_id": 7
        })
    }

    fn moe() -> Value {
        with(json!({
            "model_type": "qwen3_moe", "num_local_experts": 4, "num_experts_per_tok": 2,
            "moe_intermediate_size": 6, "decoder_sparse_step": 2, "norm_topk_prob": true
        }))
    }

    fn with(changes: Value) -> Value {
        let mut config = base();
        for (key, value) in changes.as_object().expect("written as an object") {
            config[key] = value.clone();
        }
        config
    }

    fn parse(config: &Value) -> Result<ModelConfig, LoadError> {
        ModelConfig::parse(config.to_string().as_bytes())
    }

    #[test]
    fn both_spellings_of_transformers_give_the_same_config() {
        let mut newer = base();
        newer["rope_parameters"] = json!({"rope_theta": 1e6, "rope_type": "default"});
        newer.as_object_mut().unwrap().remove("rope_theta");
        assert_eq!(parse(&newer).unwrap(), parse(&base()).unwrap());
        assert_eq!(parse(&newer).unwrap().rope_theta, 1e6);

        let mut older = moe();
        older["num_experts"] = older.as_object_mut().unwrap().remove("num_local_experts").unwrap();
        assert_eq!(parse(&older).unwrap(), parse(&moe()).unwrap());
    }

    #[test]
    fn sparse_step_and_dense_layers_decide_which_layers_have_experts() {
        let mut config = moe();
        config["num_hidden_layers"] = json!(4);
        config["mlp_only_layers"] = json!([3]);
        let config = parse(&config).unwrap();
        let sparse: Vec<bool> = (0..4).map(|layer| config.experts_of_layer(layer).is_some()).collect();
        assert_eq!(sparse, [false, true, false, false]);
    }

    #[test]
    fn counts_parameters_by_hand() {
        // Embedding 800, final norm 8; per layer: attention 2*8*(16+8)+2*4 = 392, norms 16, SwiGLU 3*8*16 = 384.
        assert_eq!(parse(&base()).unwrap().total_params(), 800 + 8 + 2 * (392 + 16 + 384));
        // Layer 1 is sparse: gate 32, experts 144 each.
        let moe = parse(&moe()).unwrap();
        assert_eq!(moe.total_params(), 808 + 2 * 408 + 384 + 32 + 4 * 144);
        assert_eq!(moe.active_params(), 808 + 2 * 408 + 384 + 32 + 2 * 144);
    }

    #[test]
    fn hostile_numbers_are_refused_by_name() {
        let cases = [
            ("num_hidden_layers", json!(2_147_483_648_u64)),
            ("num_hidden_layers", json!(0)),
            ("num_attention_heads", json!(0)),
            ("num_key_value_heads", json!(0)),
            ("num_key_value_heads", json!(3)),
            ("hidden_size", json!(-8)),
            ("hidden_size", json!("8")),
            ("vocab_size", json!(1e30)),
            ("head_dim", json!(5)),
            ("rms_norm_eps", json!(-1.0)),
            ("rope_theta", json!(0)),
            ("max_position_embeddings", json!(u64::MAX)),
            ("intermediate_size", json!(1e9)),
            ("eos_token_id", json!([1, "x"])),
            ("tie_word_embeddings", json!(1)),
            ("attention_bias", json!(true)),
            ("hidden_act", json!("gelu")),
            ("model_type", json!("gemma3")),
        ];
        for (key, value) in cases {
            match parse(&with(json!({ key: value }))) {
                Err(LoadError::Config { key: named, .. }) => assert_eq!(named, key),
                other => panic!("{key} = {value}: {other:?}"),
            }
        }
    }

    #[test]
    fn scaled_rotary_embeddings_are_refused_not_ignored() {
        let scaled = with(json!({ "rope_scaling": {"rope_type": "yarn", "factor": 4.0} }));
        assert!(matches!(parse(&scaled), Err(LoadError::Config { .. })));
    }

    #[test]
    fn more_experts_per_token_than_experts_are_refused() {
        let mut config = moe();
        config["num_experts_per_tok"] = json!(5);
        assert!(matches!(parse(&config), Err(LoadError::Config { key, .. }) if key == "num_experts_per_tok"));
    }
}
