//! What happens to models that are not what they say, and to the less common layouts that are fine.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use thinkgate_engine::cache::KvCache;
use thinkgate_engine::config::ModelConfig;
use thinkgate_engine::model::{Decoder, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;
use thinkgate_engine::{Architecture, Engine, LoadError, ModelFiles, Options};

fn pico() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pico-dense")
}

fn files() -> ModelFiles {
    ModelFiles::read(&pico()).unwrap()
}

fn load(files: ModelFiles) -> Result<Engine, LoadError> {
    Engine::load_embedded(files, Options::default())
}

fn with_weights(bytes: Vec<u8>) -> ModelFiles {
    ModelFiles { weights: vec![("model.safetensors".to_owned(), Cow::Owned(bytes))], ..files() }
}

/// A folder of its own for one test, removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("thinkgate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_shipped_models_say_what_they_are() {
    let dense = load(files()).unwrap();
    assert_eq!((dense.info().architecture, dense.info().experts), (Architecture::Dense, 0));
    assert_eq!(dense.info().total_params, dense.info().active_params);
    let moe = Engine::open(&pico().with_file_name("pico-moe"), Options::default()).unwrap();
    assert_eq!(
        (moe.info().architecture, moe.info().experts, moe.info().experts_per_token),
        (Architecture::Moe, 8, 2)
    );
    assert!(moe.info().active_params < moe.info().total_params / 2);
    assert!(moe.info().has_thinking);
    // Two bytes per stored parameter, and a header.
    let bytes = files().weights[0].1.len() as u64;
    assert!((bytes - 2 * dense.info().total_params) < 10_000);
}

#[test]
fn truncated_weights_are_damaged_at_every_length() {
    let whole = files().weights[0].1.to_vec();
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        let error = load(with_weights(whole[..length].to_vec())).unwrap_err();
        assert!(matches!(error, LoadError::Damaged { .. }), "{length}: {error}");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(matches!(load(with_weights(longer)).unwrap_err(), LoadError::Damaged { .. }));
}

#[test]
fn a_header_that_claims_the_moon_is_damaged_and_allocates_nothing() {
    for size in [u64::MAX, 1 << 40, 99_999_999] {
        let mut bytes = size.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        assert!(matches!(load(with_weights(bytes)).unwrap_err(), LoadError::Damaged { .. }), "{size}");
    }
    let header = br#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0; 16]);
    assert!(matches!(load(with_weights(bytes)).unwrap_err(), LoadError::Damaged { .. }));
}

#[test]
fn missing_misshapen_mistyped_and_extra_tensors_are_named() {
    let rebuilt = |change: &dyn Fn(&mut Vec<Part>)| {
        let bytes = files().weights[0].1.to_vec();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let copy = |(name, view): (String, TensorView<'_>)| {
            (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())
        };
        let mut parts: Vec<_> = tensors.tensors().into_iter().map(copy).collect();
        parts.sort();
        change(&mut parts);
        load(with_weights(serialize(&parts))).unwrap_err()
    };
    let name = "model.layers.2.self_attn.k_norm.weight";
    let missing = rebuilt(&|parts| parts.retain(|part| part.0 != name));
    assert!(matches!(missing, LoadError::Missing { tensor, .. } if tensor == name));
    let find = |parts: &[Part]| parts.iter().position(|part| part.0 == name).unwrap();
    let misshapen = rebuilt(&|parts| {
        let at = find(parts);
        parts[at].2 = vec![2, 16];
    });
    assert!(matches!(misshapen, LoadError::Shape { tensor, .. } if tensor == name));
    let mistyped = rebuilt(&|parts| {
        let at = find(parts);
        parts[at].1 = Dtype::I16;
    });
    assert!(matches!(mistyped, LoadError::Type { tensor, .. } if tensor == name));
    let extra = rebuilt(&|parts| parts.push(("zz.bias".to_owned(), Dtype::F16, vec![1], vec![0; 2])));
    assert!(matches!(extra, LoadError::Unexpected { tensor, .. } if tensor == "zz.bias"));
}

#[test]
fn a_config_for_other_weights_is_refused_before_any_arithmetic() {
    for (key, value) in [("hidden_size", 512), ("num_hidden_layers", 1024), ("vocab_size", 3_999_999)] {
        let mut config: Value = serde_json::from_slice(&files().config_json).unwrap();
        config[key] = json!(value);
        let files = ModelFiles { config_json: config.to_string().into_bytes().into(), ..files() };
        let error = load(files).unwrap_err();
        assert!(matches!(error, LoadError::Shape { .. } | LoadError::Missing { .. }), "{key}: {error}");
    }
}

#[test]
fn other_damaged_files_are_named() {
    let broken = || Cow::Borrowed(&b"{\"model\": "[..]);
    let named = |files: ModelFiles, name: &str| {
        let error = load(files).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    };
    named(ModelFiles { config_json: broken(), ..files() }, "config.json");
    named(ModelFiles { tokenizer_json: broken(), ..files() }, "tokenizer.json");
    named(ModelFiles { tokenizer_config_json: Cow::Borrowed(b"{}"), ..files() }, "chat_template");
    named(ModelFiles { chat_template: Some(Cow::Borrowed(b"{% for %}")), ..files() }, "template");
    named(ModelFiles { chat_template: Some(Cow::Borrowed(b"\xFF")), ..files() }, "chat_template.jinja");
    named(ModelFiles { generation_config_json: Some(broken()), ..files() }, "generation_config.json");
}

#[test]
fn pickles_are_refused_by_name() {
    let folder = Folder::new("pickle");
    folder.write("config.json", &files().config_json);
    folder.write("pytorch_model.bin", b"");
    let error = Engine::open(&folder.0, Options::default()).unwrap_err();
    assert!(matches!(error, LoadError::Pickle { .. }), "{error}");
    let mut embedded = files();
    embedded.weights[0].0 = "model.pt".to_owned();
    assert!(matches!(load(embedded).unwrap_err(), LoadError::Pickle { .. }));
    let absent = Engine::open(&folder.0.join("nowhere"), Options::default()).unwrap_err();
    assert!(matches!(absent, LoadError::Io { .. }), "{absent}");
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    let folder = Folder::new("index");
    for name in ["../model.safetensors", "/etc/passwd", "pytorch_model.bin", ".hidden.safetensors"] {
        folder.write("model.safetensors.index.json", json!({"weight_map": {"a": name}}).to_string());
        let weights = Checkpoint::open_folder(&folder.0).unwrap().weights();
        assert!(matches!(weights.err(), Some(LoadError::Config { .. })), "{name}");
    }
}

type Part = (String, Dtype, Vec<usize>, Vec<u8>);

fn serialize(parts: &[Part]) -> Vec<u8> {
    let view = |(name, dtype, shape, bytes): &'_ Part| {
        (
            name.clone(),
            TensorView::new(*dtype, shape.clone(), bytes).unwrap().data().to_vec(),
            *dtype,
            shape.clone(),
        )
    };
    let owned: Vec<_> = parts.iter().map(view).collect();
    let views = owned.iter().map(|(name, bytes, dtype, shape)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A tiny config in the newer style: mixed dense and sparse layers, untied head.
fn tiny_config() -> Value {
    json!({
        "model_type": "qwen3_moe", "dtype": "bfloat16", "vocab_size": 24, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 12,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "num_local_experts": 3,
        "num_experts_per_tok": 2, "moe_intermediate_size": 5, "norm_topk_prob": true,
        "decoder_sparse_step": 2, "mlp_only_layers": []
    })
}

fn tiny_shapes() -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![24, 8]),
        ("lm_head.weight".to_owned(), vec![24, 8]),
        ("model.norm.weight".to_owned(), vec![8]),
    ];
    for layer in 0..3 {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(norm, &[8]);
        }
        for norm in ["self_attn.q_norm", "self_attn.k_norm"] {
            add(norm, &[4]);
        }
        add("self_attn.q_proj", &[8, 8]);
        add("self_attn.k_proj", &[4, 8]);
        add("self_attn.v_proj", &[4, 8]);
        add("self_attn.o_proj", &[8, 8]);
        let experts: Vec<(String, usize)> = match layer {
            1 => (0..3).map(|expert| (format!("mlp.experts.{expert}"), 5)).collect(),
            _ => vec![("mlp".to_owned(), 12)],
        };
        for (name, width) in experts {
            add(&format!("{name}.gate_proj"), &[width, 8]);
            add(&format!("{name}.up_proj"), &[width, 8]);
            add(&format!("{name}.down_proj"), &[8, width]);
        }
        if layer == 1 {
            add("mlp.gate", &[3, 8]);
        }
    }
    shapes
}

/// Values between -1 and 1 that bf16 holds exactly, so that both files below mean the same numbers.
fn value(seed: usize) -> half::bf16 {
    half::bf16::from_f32(((seed * 37 % 64) as f32 - 32.0) / 32.0)
}

fn tiny_parts(dtype: Dtype) -> Vec<Part> {
    let bytes = |seed: usize| match dtype {
        Dtype::BF16 => value(seed).to_le_bytes().to_vec(),
        _ => value(seed).to_f32().to_le_bytes().to_vec(),
    };
    let part = |(number, (name, shape)): (usize, (String, Vec<usize>))| {
        let count: usize = shape.iter().product();
        (name, dtype, shape, (0..count).flat_map(|at| bytes(number * 101 + at)).collect())
    };
    tiny_shapes().into_iter().enumerate().map(part).collect()
}

fn tiny_logits(folder: &Folder) -> Vec<f32> {
    let checkpoint = Checkpoint::open_folder(&folder.0).unwrap();
    let config: ModelConfig = checkpoint.config().unwrap();
    let model = Model::load(config.clone(), checkpoint.weights().unwrap()).unwrap();
    let mut cache = KvCache::new(&config);
    let span = Span { tokens: &[1, 2, 3, 4], cache: &mut cache, wanted: Wanted::All };
    let output = model.forward(&mut [span]).unwrap();
    assert_eq!(output.gates.len(), 1, "one sparse layer of three");
    output.logits
}

#[test]
fn sharded_bf16_of_the_newer_style_equals_one_f32_file() {
    let single = Folder::new("single");
    single.write("config.json", tiny_config().to_string());
    single.write("model.safetensors", serialize(&tiny_parts(Dtype::F32)));

    let sharded = Folder::new("sharded");
    let parts = tiny_parts(Dtype::BF16);
    let (first, second) = parts.split_at(parts.len() / 2);
    let place = |parts: &[Part], file: &str| -> Vec<(String, Value)> {
        parts.iter().map(|part| (part.0.clone(), json!(file))).collect()
    };
    let map = [place(first, "a.safetensors"), place(second, "b.safetensors")].concat();
    sharded.write("config.json", tiny_config().to_string());
    sharded.write("a.safetensors", serialize(first));
    sharded.write("b.safetensors", serialize(second));
    let index = json!({"weight_map": map.into_iter().collect::<serde_json::Map<_, _>>()});
    sharded.write("model.safetensors.index.json", index.to_string());

    let (whole, pieces) = (tiny_logits(&single), tiny_logits(&sharded));
    assert!(whole.iter().all(|logit| logit.is_finite()) && whole.iter().any(|logit| *logit != whole[0]));
    assert_eq!(whole, pieces); // bf16 widens exactly, so not a bit may differ

    // A shard that the index knows of must be there and hold what it says.
    sharded.write("b.safetensors", serialize(&second[1..]));
    let stale = Checkpoint::open_folder(&sharded.0).unwrap().weights();
    assert!(matches!(stale.err(), Some(LoadError::Missing { .. })));
    std::fs::remove_file(sharded.0.join("b.safetensors")).unwrap();
    let gone = Checkpoint::open_folder(&sharded.0).unwrap().weights().err().unwrap();
    assert!(matches!(&gone, LoadError::Io { file, .. } if file.ends_with("b.safetensors")), "{gone}");
}
