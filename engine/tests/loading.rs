//! Models that load, and files that must be refused with words instead of a panic or an allocation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use thinkgate_engine::{Chat, Engine, Event, LoadError, ModelFiles, Options, Request};

fn pico() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pico-dense")
}

fn refused(files: ModelFiles) -> String {
    match Engine::load_embedded(files, Options::default()) {
        Ok(_) => panic!("loaded"),
        Err(error) => error.to_string(),
    }
}

fn with_config(change: impl Fn(&mut Value)) -> ModelFiles {
    let mut files = ModelFiles::read(&pico()).expect("reads");
    let mut config: Value = serde_json::from_slice(&files.config_json).expect("JSON");
    change(&mut config);
    files.config_json = Cow::Owned(config.to_string().into_bytes());
    files
}

#[test]
fn hostile_configs_are_refused_by_key_and_value() {
    for (key, value) in [
        ("num_hidden_layers", json!(2_147_483_648_u64)),
        ("num_hidden_layers", json!(0)),
        ("num_attention_heads", json!(0)),
        ("num_key_value_heads", json!(0)),
        ("num_key_value_heads", json!(3)),
        ("hidden_size", json!(-1)),
        ("hidden_size", json!("128")),
        ("vocab_size", json!(1e30)),
        ("head_dim", json!(3)),
        ("rope_theta", json!(-1.0)),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ("attention_bias", json!(true)),
        ("model_type", json!("mamba")),
    ] {
        let error = refused(with_config(|config| config[key] = value.clone()));
        assert!(error.contains("config.json") && error.contains(key), "{key} = {value}: {error}");
    }
}

#[test]
fn experts_must_fit_the_gate() {
    let error = refused(with_config(|config| {
        config["model_type"] = json!("qwen3_moe");
        config["num_experts"] = json!(4);
        config["num_experts_per_tok"] = json!(5);
        config["moe_intermediate_size"] = json!(8);
    }));
    assert!(error.contains("num_experts_per_tok") && error.contains('5'), "{error}");
}

#[test]
fn shapes_are_checked_before_anything_runs() {
    let error = refused(with_config(|config| config["intermediate_size"] = json!(512)));
    assert!(error.contains("mlp.gate_proj.weight") && error.contains("[512, 128]"), "{error}");
    let error = refused(with_config(|config| config["num_hidden_layers"] = json!(5)));
    assert!(error.contains("model.layers.4") && error.contains("missing"), "{error}");
    let error = refused(with_config(|config| config["tie_word_embeddings"] = json!(false)));
    assert!(error.contains("lm_head.weight"), "{error}");
}

#[test]
fn damaged_weights_are_refused() {
    let whole = ModelFiles::read(&pico()).expect("reads");
    let bytes = whole.weights[0].1.clone();
    let mut flipped = bytes.to_vec();
    flipped[0] ^= 0xff;
    let mut huge_header = bytes.to_vec();
    huge_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for damaged in [
        bytes[..bytes.len() / 2].to_vec(),
        bytes[..7].to_vec(),
        Vec::new(),
        flipped,
        huge_header,
        vec![0x80; 4096],
    ] {
        let files =
            ModelFiles { weights: vec![("model.safetensors".into(), Cow::Owned(damaged))], ..whole.clone() };
        let error = refused(files);
        assert!(error.contains("model.safetensors"), "{error}");
    }
}

#[test]
fn damaged_tokenizers_and_templates_are_refused() {
    let whole = ModelFiles::read(&pico()).expect("reads");
    let error = refused(ModelFiles { tokenizer_json: Cow::Borrowed(b"{}"), ..whole.clone() });
    assert!(error.contains("tokenizer.json"), "{error}");
    let error = refused(ModelFiles { tokenizer_config_json: Cow::Borrowed(b"{}"), ..whole.clone() });
    assert!(error.contains("chat_template"), "{error}");
    let error = refused(ModelFiles { chat_template: Some(Cow::Borrowed(b"{% for %}")), ..whole });
    assert!(error.contains("chat template"), "{error}");
}

#[test]
fn a_template_that_never_ends_is_cut_off() {
    let files = ModelFiles {
        chat_template: Some(Cow::Borrowed(
            b"{% for a in range(9000) %}{% for b in range(9000) %}x{% endfor %}{% endfor %}",
        )),
        ..ModelFiles::read(&pico()).expect("reads")
    };
    let engine = Engine::load_embedded(files, Options::default()).expect("loads");
    let chat = Chat { messages: vec![json!({"role": "user", "content": "hi"})], ..Chat::default() };
    let error = engine.render(&chat).expect_err("cut off").to_string();
    assert!(error.contains("fuel"), "{error}");
}

#[test]
fn a_missing_folder_and_a_pickle_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Engine::load_folder(folder.path(), Options::default()).expect_err("refused");
    assert!(matches!(error, LoadError::Read { .. }) && error.to_string().contains("config.json"), "{error}");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(pico().join(name), folder.path().join(name)).expect("copies");
    }
    let error = Engine::load_folder(folder.path(), Options::default()).expect_err("refused").to_string();
    assert!(error.contains("no model.safetensors"), "{error}");
    std::fs::write(folder.path().join("pytorch_model.bin"), b"x").expect("writes");
    let error = Engine::load_folder(folder.path(), Options::default()).expect_err("refused").to_string();
    assert!(error.contains("pytorch_model.bin") && error.contains("safetensors"), "{error}");
}

#[test]
fn an_index_cannot_point_outside_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(pico().join(name), folder.path().join(name)).expect("copies");
    }
    let index = json!({"weight_map": {"model.norm.weight": "../../etc/passwd.safetensors"}});
    std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).expect("writes");
    let error = Engine::load_folder(folder.path(), Options::default()).expect_err("refused").to_string();
    assert!(error.contains("passwd"), "{error}");
}

/// A random untied MoE with one dense layer, in bf16 shards, with the config style of transformers 5.
fn write_sharded(folder: &Path) {
    let (hidden, heads, kv, head_dim, vocab, experts, width) = (32, 4, 2, 16, 1600, 4, 24);
    let config = json!({
        "model_type": "qwen3_moe", "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": head_dim,
        "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "dtype": "bfloat16",
        "max_position_embeddings": 64, "tie_word_embeddings": false, "num_local_experts": experts,
        "num_experts_per_tok": 2, "moe_intermediate_size": width, "norm_topk_prob": true, "mlp_only_layers": [0],
        "eos_token_id": [1538, 1536]
    });
    let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        shapes.insert(name.into(), vec![vocab, hidden]);
    }
    shapes.insert("model.norm.weight".into(), vec![hidden]);
    for layer in 0..2 {
        let prefix = format!("model.layers.{layer}");
        let mut add =
            |name: &str, shape: &[usize]| shapes.insert(format!("{prefix}.{name}.weight"), shape.to_vec());
        add("input_layernorm", &[hidden]);
        add("post_attention_layernorm", &[hidden]);
        add("self_attn.q_norm", &[head_dim]);
        add("self_attn.k_norm", &[head_dim]);
        add("self_attn.q_proj", &[heads * head_dim, hidden]);
        add("self_attn.k_proj", &[kv * head_dim, hidden]);
        add("self_attn.v_proj", &[kv * head_dim, hidden]);
        add("self_attn.o_proj", &[hidden, heads * head_dim]);
        let networks: Vec<(String, usize)> = match layer {
            0 => vec![("mlp".into(), 48)],
            _ => (0..experts).map(|expert| (format!("mlp.experts.{expert}"), width)).collect(),
        };
        for (network, width) in networks {
            add(&format!("{network}.gate_proj"), &[width, hidden]);
            add(&format!("{network}.up_proj"), &[width, hidden]);
            add(&format!("{network}.down_proj"), &[hidden, width]);
        }
        if layer == 1 {
            add("mlp.gate", &[experts, hidden]);
        }
    }
    let mut state = 1_u32;
    let mut map = serde_json::Map::new();
    for shard in 0..2 {
        let file = format!("model-{shard}.safetensors");
        let data: Vec<(&String, Vec<u8>)> = shapes
            .iter()
            .enumerate()
            .filter(|(at, _)| at % 2 == shard)
            .map(|(_, (name, shape))| {
                let numbers = (0..shape.iter().product::<usize>()).flat_map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // The upper half of an f32 is a bf16; these are between -0.1 and 0.1.
                    #[expect(clippy::cast_precision_loss, reason = "noise")]
                    let number = (state >> 8) as f32 / (1 << 24) as f32 * 0.2 - 0.1;
                    number.to_bits().to_be_bytes()[..2].iter().rev().copied().collect::<Vec<u8>>()
                });
                (name, numbers.collect())
            })
            .collect();
        let views: Vec<(&String, TensorView<'_>)> = data
            .iter()
            .map(|(name, bytes)| {
                (*name, TensorView::new(Dtype::BF16, shapes[*name].clone(), bytes).expect("a view"))
            })
            .collect();
        map.extend(views.iter().map(|(name, _)| ((*name).clone(), json!(file))));
        std::fs::write(folder.join(&file), safetensors::serialize(views, None).expect("serialises"))
            .expect("writes");
    }
    std::fs::write(folder.join("config.json"), config.to_string()).expect("writes");
    std::fs::write(folder.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string())
        .expect("writes");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(pico().join(name), folder.join(name)).expect("copies");
    }
}

#[test]
fn sharded_bf16_weights_with_a_new_style_config_run() {
    let folder = tempfile::tempdir().expect("a folder");
    write_sharded(folder.path());
    let engine = Engine::load_folder(folder.path(), Options::default()).expect("loads");
    assert_eq!((engine.info().experts, engine.info().experts_per_token), (4, 2));
    assert!(engine.info().active_params < engine.info().total_params);
    let chat = Chat { messages: vec![json!({"role": "user", "content": "hi"})], ..Chat::default() };
    let mut generation =
        engine.submit(Request { chat, max_tokens: Some(12), ..Request::default() }).expect("taken");
    let mut ended = false;
    while let Some(event) = generation.blocking_next() {
        ended |= matches!(event, Event::Finished(_));
    }
    assert!(ended);
}
