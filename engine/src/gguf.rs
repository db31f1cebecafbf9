//! How does one file in llama.cpp's format say what a Hugging Face folder says?
//!
//! GGUF holds settings, vocabulary, chat template and tensors together. The library reads the container; this module
//! translates its contents into what a folder would hold (a `config.json`, a `tokenizer.json`), so that they go
//! through the same checks, and finds tensors by the names the rest of the crate uses. Complaints name the file's
//! own keys.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value as Setting};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use crate::config::{ConfigFile, ModelConfig};
use crate::shards::numbers;
use crate::tensor::Stored;
use crate::weights::LoadError;

/// A file whose header has been read.
pub struct Gguf {
    path: PathBuf,
    content: Arc<Content>,
}

/// What each architecture calls its settings, in config.json's words. The prefix is the architecture's name.
const SETTINGS: [(&str, &str); 12] = [
    ("block_count", "num_hidden_layers"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("rope.freq_base", "rope_theta"),
    ("context_length", "max_position_embeddings"),
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
];

/// Architecture here and `model_type` in config.json.
const ARCHITECTURES: [(&str, &str); 4] =
    [("qwen3", "qwen3"), ("qwen3moe", "qwen3_moe"), ("qwen2", "qwen2"), ("llama", "llama")];

impl Gguf {
    /// Reads the header; tensors stay where they are.
    pub fn open(path: &Path) -> Result<Gguf, LoadError> {
        let file = open(path)?;
        // The reader divides by an alignment that the file may claim to be zero.
        let read = || Content::read(&mut BufReader::new(file));
        let content = catch_unwind(AssertUnwindSafe(read))
            .map_err(|_| unreadable(path, "its header makes no sense"))?;
        let content = content.map_err(|error| unreadable(path, error))?;
        Ok(Gguf { path: path.to_owned(), content: Arc::new(content) })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn setting(&self, key: &str) -> Option<&Setting> {
        self.content.metadata.get(key)
    }

    fn refuse(&self, key: &str, value: impl ToString, expected: &str) -> LoadError {
        LoadError::Config {
            file: self.name(),
            key: key.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&str>, LoadError> {
        match self.setting(key) {
            None => Ok(None),
            Some(Setting::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.refuse(key, "not text", "text")),
        }
    }

    /// Architecture and `model_type`.
    fn architecture(&self) -> Result<(&'static str, &'static str), LoadError> {
        let key = "general.architecture";
        let found = self.text(key)?.unwrap_or("absent");
        let known = ARCHITECTURES.iter().find(|(name, _)| *name == found);
        known.copied().ok_or_else(|| self.refuse(key, found, "qwen3, qwen3moe, qwen2 or llama"))
    }

    /// What `config.json` would say, checked as if it had.
    pub(crate) fn config(&self) -> Result<ModelConfig, LoadError> {
        let (architecture, model_type) = self.architecture()?;
        let mut config = Map::new();
        config.insert("model_type".into(), model_type.into());
        for (ours, theirs) in SETTINGS {
            let key = format!("{architecture}.{ours}");
            if let Some(setting) = self.setting(&key) {
                let value = number(setting).ok_or_else(|| self.refuse(&key, "not a number", "a number"))?;
                config.insert(theirs.into(), value);
            }
        }
        self.refuse_what_we_would_get_wrong(architecture, &config)?;
        config.insert("vocab_size".into(), self.vocabulary_rows().into());
        config.insert(
            "tie_word_embeddings".into(),
            (!self.content.tensor_infos.contains_key("output.weight")).into(),
        );
        config.insert("norm_topk_prob".into(), true.into()); // llama.cpp does it for every architecture read here
        config.insert("eos_token_id".into(), self.end_tokens()?.into());
        // Experts, or no experts; a dense model's file does not say how wide they would be, and the other way round.
        config.entry("intermediate_size").or_insert(json!(1));
        let file = ConfigFile::new(&self.name(), config.into());
        ModelConfig::of_file(&file).map_err(|error| rename(error, architecture))
    }

    fn refuse_what_we_would_get_wrong(
        &self,
        architecture: &str,
        config: &Map<String, Value>,
    ) -> Result<(), LoadError> {
        self.refuse_scaled_rotation(architecture)?;
        let width = |key: &str| config.get(key).and_then(Value::as_u64);
        let heads = width("hidden_size").zip(width("num_attention_heads").filter(|heads| *heads > 0));
        let head_dim = width("head_dim").or(heads.map(|(hidden, heads)| hidden / heads));
        let key = format!("{architecture}.rope.dimension_count");
        if let Some(rotated) = self.setting(&key).and_then(number).filter(|it| it.as_u64() != head_dim) {
            return Err(self.refuse(&key, rotated, "the width of a head"));
        }
        match width("num_experts") {
            Some(experts) if experts > 0 && architecture != "qwen3moe" => {
                Err(self.refuse(&format!("{architecture}.expert_count"), experts, "0"))
            }
            _ => Ok(()),
        }
    }

    fn refuse_scaled_rotation(&self, architecture: &str) -> Result<(), LoadError> {
        let key = format!("{architecture}.rope.scaling.type");
        if let Some(kind) = self.text(&key)?.filter(|kind| *kind != "none") {
            return Err(self.refuse(&key, kind, "none"));
        }
        // Without a type, a factor alone scales.
        for factor in ["rope.scaling.factor", "rope.scale_linear"] {
            let key = format!("{architecture}.{factor}");
            let factor = self.setting(&key).and_then(number).and_then(|factor| factor.as_f64());
            if let Some(factor) = factor.filter(|factor| *factor != 0.0 && *factor != 1.0) {
                return Err(self.refuse(&key, factor, "1"));
            }
        }
        Ok(())
    }

    fn vocabulary_rows(&self) -> u64 {
        let embedding = self.content.tensor_infos.get("token_embd.weight");
        embedding.and_then(|info| info.shape.dims().first()).map_or(0, |rows| *rows as u64)
    }

    /// Tokens that end a turn: some files name the end of the turn, some the end of the text, some both.
    fn end_tokens(&self) -> Result<Vec<u32>, LoadError> {
        let keys = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
        keys.iter().filter_map(|key| self.token_id(key).transpose()).collect()
    }

    fn token_id(&self, key: &str) -> Result<Option<u32>, LoadError> {
        let Some(setting) = self.setting(key) else { return Ok(None) };
        let id = number(setting).and_then(|id| u32::try_from(id.as_u64()?).ok());
        id.map(Some).ok_or_else(|| self.refuse(key, "no token's number", "the number of a token"))
    }

    /// The text of `bos_token` or `eos_token`, where the file names one.
    pub(crate) fn marker(&self, name: &str) -> Result<Option<String>, LoadError> {
        let Some(id) = self.token_id(&format!("tokenizer.ggml.{name}_id"))? else { return Ok(None) };
        let tokens = self.strings("tokenizer.ggml.tokens")?;
        Ok(tokens.get(id as usize).map(|token| (*token).to_owned()))
    }

    pub(crate) fn chat_template(&self) -> Result<String, LoadError> {
        self.text("tokenizer.chat_template")?.map(str::to_owned).ok_or_else(|| LoadError::Template {
            file: self.name(),
            reason: "holds no tokenizer.chat_template".to_owned(),
        })
    }

    /// What `tokenizer.json` would say.
    pub(crate) fn tokenizer(&self) -> Result<Vec<u8>, LoadError> {
        let key = "tokenizer.ggml.model";
        let model = self.text(key)?.unwrap_or("absent");
        if model != "gpt2" {
            return Err(self.refuse(key, model, "gpt2, byte-level BPE"));
        }
        let key = "tokenizer.ggml.pre";
        let pre = self.text(key)?.unwrap_or("absent");
        let known = "qwen2, deepseek-r1-qwen, llama-bpe, llama3, smollm or gpt-2";
        let pre_tokenizer = pre_tokenizer(pre).ok_or_else(|| self.refuse(key, pre, known))?;
        let (vocabulary, added) = self.vocabulary_and_markers()?;
        let file = json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": if pre == "qwen2" { json!({"type": "NFC"}) } else { Value::Null },
            "pre_tokenizer": pre_tokenizer,
            "post_processor": null,
            "decoder": byte_level(false),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": matches!(pre, "llama-bpe" | "llama3"),
                "vocab": vocabulary, "merges": self.merges()?
            }
        });
        Ok(file.to_string().into_bytes())
    }

    /// The words, and apart from them the tokens that text never merges into.
    fn vocabulary_and_markers(&self) -> Result<(Map<String, Value>, Vec<Value>), LoadError> {
        let tokens = self.strings("tokenizer.ggml.tokens")?;
        let kinds = self.token_kinds(tokens.len())?;
        let (mut vocabulary, mut added) = (Map::new(), Vec::new());
        for ((id, token), kind) in tokens.into_iter().enumerate().zip(kinds) {
            match kind {
                CONTROL | USER_DEFINED => added.push(json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind == CONTROL
                })),
                UNUSED => {}
                _ => {
                    vocabulary.insert(token.to_owned(), id.into());
                }
            }
        }
        Ok((vocabulary, added))
    }

    fn merges(&self) -> Result<Vec<Value>, LoadError> {
        let key = "tokenizer.ggml.merges";
        let pair = |merge: &str| merge.split_once(' ').map(|(left, right)| json!([left, right]));
        let pairs: Option<Vec<Value>> = self.strings(key)?.into_iter().map(pair).collect();
        pairs.ok_or_else(|| self.refuse(key, "a merge without a space", "two tokens with a space between"))
    }

    fn strings(&self, key: &str) -> Result<Vec<&str>, LoadError> {
        let items = self.setting(key).and_then(|setting| setting.to_vec().ok());
        let items = items.ok_or_else(|| self.refuse(key, "absent", "a list of strings"))?;
        let texts = items.iter().map(|item| item.to_string().ok().map(String::as_str)).collect::<Option<_>>();
        texts.ok_or_else(|| self.refuse(key, "other values", "a list of strings"))
    }

    fn token_kinds(&self, tokens: usize) -> Result<Vec<i32>, LoadError> {
        let key = "tokenizer.ggml.token_type";
        // Without it, the template's own markers could not be told from text.
        let setting =
            self.setting(key).ok_or_else(|| self.refuse(key, "absent", "one number for each token"))?;
        let kinds = setting.to_vec().ok().map(|items| items.iter().map(|item| item.to_i32().ok()));
        let kinds: Option<Vec<i32>> = kinds.and_then(Iterator::collect);
        let kinds = kinds.filter(|kinds| kinds.len() == tokens);
        kinds.ok_or_else(|| self.refuse(key, "another length or type", "one number for each token"))
    }

    pub(crate) fn tensors(&self) -> Result<Tensors, LoadError> {
        let config = self.config()?;
        Ok(Tensors {
            name: self.name(),
            file: open(&self.path)?,
            content: Arc::clone(&self.content),
            left: self.content.tensor_infos.keys().cloned().collect(),
            // The converter to GGUF reorders the rows of llama's queries and keys for its own rotation.
            interleaved: (self.architecture()?.0 == "llama").then_some((config.heads, config.kv_heads)),
            experts: config.moe.map_or(0, |moe| moe.experts),
        })
    }
}

const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

fn byte_level(regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": regex})
}

/// How text is cut before merging, by the name llama.cpp gives it.
fn pre_tokenizer(name: &str) -> Option<Value> {
    let split = |numbers: &str| {
        let pattern = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
    };
    let both = |first: Value, second: Value| json!({"type": "Sequence", "pretokenizers": [first, second]});
    match name {
        "qwen2" | "deepseek-r1-qwen" => Some(both(split(r"\p{N}"), byte_level(false))),
        "llama-bpe" | "llama3" => Some(both(split(r"\p{N}{1,3}"), byte_level(false))),
        "smollm" => Some(both(json!({"type": "Digits", "individual_digits": true}), byte_level(true))),
        "gpt-2" => Some(byte_level(true)),
        _ => None,
    }
}

/// The tensors of a file, each to be taken once.
pub struct Tensors {
    name: String,
    file: File,
    content: Arc<Content>,
    left: BTreeSet<String>,
    /// Query and key heads, where their rows are interleaved.
    interleaved: Option<(usize, usize)>,
    /// How many there must be in a tensor of experts.
    experts: usize,
}

/// Where a tensor of the crate's naming lies: a tensor of the file, and which of its slices.
struct Place {
    tensor: String,
    expert: Option<usize>,
}

impl Tensors {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn skip(&mut self, tensor: &str) {
        if let Some(place) = place(tensor) {
            self.left.remove(&place.tensor);
        }
    }

    pub(crate) fn leftover(&self) -> Option<&String> {
        self.left.first()
    }

    /// A tensor as it is stored; `shape` is its own or one expert's.
    pub(crate) fn take(&mut self, tensor: &str, shape: &[usize]) -> Result<Stored, LoadError> {
        let missing = || LoadError::Missing { file: self.name.clone(), tensor: tensor.to_owned() };
        let place = place(tensor).ok_or_else(missing)?;
        let content = Arc::clone(&self.content);
        let info = content.tensor_infos.get(&place.tensor).ok_or_else(missing)?;
        self.check_shape(&place, info, shape)?;
        self.left.remove(&place.tensor);
        let mut bytes = self.read(&place, info, shape)?;
        if let Some((queries, keys)) = self.interleaved {
            let heads = [("q_proj.weight", queries), ("k_proj.weight", keys)];
            if let Some((_, heads)) = heads.iter().find(|(end, _)| tensor.ends_with(end)) {
                bytes = in_halves(&bytes, shape[0], *heads);
            }
        }
        Ok(match info.ggml_dtype {
            GgmlDType::F32 => Stored::Plain(numbers(Dtype::F32, &bytes)),
            GgmlDType::F16 => Stored::Plain(numbers(Dtype::F16, &bytes)),
            GgmlDType::BF16 => Stored::Plain(numbers(Dtype::BF16, &bytes)),
            kind => Stored::Blocks(kind, bytes),
        })
    }

    fn check_shape(&self, place: &Place, info: &TensorInfo, shape: &[usize]) -> Result<(), LoadError> {
        let found = info.shape.dims();
        let mut expected = shape.to_vec();
        if place.expert.is_some() {
            expected.insert(0, self.experts);
        }
        // Blocks must lie within rows.
        let whole_blocks =
            shape.last().is_some_and(|columns| columns.is_multiple_of(info.ggml_dtype.block_size()));
        if found == expected && whole_blocks {
            return Ok(());
        }
        Err(LoadError::Shape {
            file: self.name.clone(),
            tensor: place.tensor.clone(),
            found: found.to_vec(),
            expected,
        })
    }

    fn read(&mut self, place: &Place, info: &TensorInfo, shape: &[usize]) -> Result<Vec<u8>, LoadError> {
        let kind = info.ggml_dtype;
        let length = shape.iter().product::<usize>() / kind.block_size() * kind.type_size();
        let begin = place.expert.unwrap_or(0) as u64 * length as u64;
        let start = self
            .content
            .tensor_data_offset
            .checked_add(info.offset)
            .and_then(|start| start.checked_add(begin));
        let failed = |source| LoadError::Io { file: self.name.clone(), source };
        let size = self.file.metadata().map_err(failed)?.len();
        let start = start.filter(|start| start.checked_add(length as u64).is_some_and(|end| end <= size));
        let start = start.ok_or_else(|| LoadError::Gguf {
            file: self.name.clone(),
            reason: format!("tensor {} ends beyond the end of the file (truncated?)", place.tensor),
        })?;
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(start)).map_err(failed)?;
        self.file.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

/// Where the file keeps what the crate calls `name`.
fn place(name: &str) -> Option<Place> {
    let whole = |tensor: String| Some(Place { tensor, expert: None });
    match name {
        "model.embed_tokens.weight" => return whole("token_embd.weight".into()),
        "model.norm.weight" => return whole("output_norm.weight".into()),
        "lm_head.weight" => return whole("output.weight".into()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    if let Some(rest) = part.strip_prefix("mlp.experts.") {
        let (expert, projection) = rest.split_once('.')?;
        let projection = projection.strip_suffix("_proj.weight")?;
        return Some(Place {
            tensor: format!("blk.{layer}.ffn_{projection}_exps.weight"),
            expert: Some(expert.parse().ok()?),
        });
    }
    let (part, kind) = part.rsplit_once('.')?;
    let theirs = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate" => "ffn_gate_inp",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    whole(format!("blk.{layer}.{theirs}.{kind}"))
}

/// Rows of heads whose pairs stand side by side, put back so that a head's first half holds the pairs' first members.
fn in_halves(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let (row, head) = (bytes.len() / rows.max(1), rows / heads.max(1));
    let mut out = Vec::with_capacity(bytes.len());
    for first in (0..rows).step_by(head.max(1)) {
        for offset in 0..head {
            let (member, pair) = (offset / (head / 2).max(1), offset % (head / 2).max(1));
            let from = first + 2 * pair + member;
            out.extend_from_slice(&bytes[from * row..(from + 1) * row]);
        }
    }
    out
}

/// A number, if the setting is one; whole numbers stay whole.
fn number(setting: &Setting) -> Option<Value> {
    Some(match setting {
        Setting::F32(value) => json!(value),
        Setting::F64(value) => json!(value),
        Setting::I8(value) => json!(value),
        Setting::I16(value) => json!(value),
        Setting::I32(value) => json!(value),
        Setting::I64(value) => json!(value),
        Setting::U8(_) | Setting::U16(_) | Setting::U32(_) | Setting::U64(_) => json!(setting.to_u64().ok()?),
        Setting::Bool(_) | Setting::String(_) | Setting::Array(_) => return None,
    })
}

/// The complaint in the file's own words.
fn rename(error: LoadError, architecture: &str) -> LoadError {
    match error {
        LoadError::Config { file, key, value, expected } => {
            let ours = SETTINGS.iter().find(|(_, theirs)| *theirs == key);
            let key = ours.map_or(key, |(ours, _)| format!("{architecture}.{ours}"));
            LoadError::Config { file, key, value, expected }
        }
        other => other,
    }
}

fn open(path: &Path) -> Result<File, LoadError> {
    File::open(path).map_err(|source| LoadError::Io { file: path.display().to_string(), source })
}

fn unreadable(path: &Path, error: impl ToString) -> LoadError {
    LoadError::Gguf { file: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_folder_are_found_in_the_file() {
        let found = |name: &str| place(name).map(|place| (place.tensor, place.expert));
        assert_eq!(found("lm_head.weight"), Some(("output.weight".into(), None)));
        assert_eq!(found("model.layers.3.self_attn.q_proj.bias"), Some(("blk.3.attn_q.bias".into(), None)));
        assert_eq!(found("model.layers.0.mlp.gate.weight"), Some(("blk.0.ffn_gate_inp.weight".into(), None)));
        assert_eq!(
            found("model.layers.7.mlp.experts.12.down_proj.weight"),
            Some(("blk.7.ffn_down_exps.weight".into(), Some(12)))
        );
        assert_eq!(found("model.layers.7.mlp.experts.x.down_proj.weight"), None);
        assert_eq!(found("model.rotary.weight"), None);
    }

    #[test]
    fn interleaved_rows_are_put_back_head_by_head() {
        // Two heads of four rows of one byte; pairs (0, 1) and (2, 3) stand side by side.
        assert_eq!(in_halves(&[0, 1, 2, 3, 10, 11, 12, 13], 8, 2), [0, 2, 1, 3, 10, 12, 11, 13]);
    }

    #[test]
    fn every_known_pre_tokenizer_is_one_the_library_reads() {
        for name in ["qwen2", "llama-bpe", "smollm", "gpt-2"] {
            let json = pre_tokenizer(name).unwrap();
            serde_json::from_value::<tokenizers::PreTokenizerWrapper>(json).unwrap();
        }
        assert_eq!(pre_tokenizer("another"), None);
    }
}
