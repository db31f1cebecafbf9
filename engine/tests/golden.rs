//! The forward pass against the reference implementation, and against itself.
//!
//! `fixtures/golden.json` holds what transformers says (`fixtures/make_golden.py`). Both sides compute in f32 on the
//! same f16 weights, so they differ only in the order of additions: logits of size ten over four layers agree to about
//! 1e-5. The tolerance of 1e-3 leaves room for other machines' kernels and is far below the gap between two tokens.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use thinkgate_engine::cache::KvCache;
use thinkgate_engine::model::{Decoder, GateRecord, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;
use thinkgate_engine::{Chat, Engine, ModelFiles, Options};

const TOLERANCE: f32 = 1e-3;
const MODELS: [&str; 2] = ["pico-dense", "pico-moe"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(model)
}

fn load(model: &str) -> Model {
    build(&Checkpoint::open_folder(&folder(model)).unwrap())
}

fn build(checkpoint: &Checkpoint) -> Model {
    Model::load(checkpoint.config().unwrap(), checkpoint.weights().unwrap()).unwrap()
}

fn golden(model: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    all[model].as_array().unwrap().clone()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Logits of every position, (tokens, vocab) per sequence: all packed together, each fed `chunk` tokens per step.
/// Also the gates of the first step.
fn logits(model: &Model, sequences: &[Vec<u32>], chunk: usize) -> (Vec<Vec<f32>>, Vec<GateRecord>) {
    let vocab = model.config().vocab;
    let mut caches: Vec<KvCache> = sequences.iter().map(|_| KvCache::new(model.config())).collect();
    let mut rows = vec![Vec::new(); sequences.len()];
    let mut gates = None;
    loop {
        let mut owners = Vec::new();
        let mut spans: Vec<Span<'_>> = Vec::new();
        for (owner, (tokens, cache)) in sequences.iter().zip(&mut caches).enumerate() {
            let start = cache.positions();
            let tokens = &tokens[start..tokens.len().min(start + chunk)];
            if !tokens.is_empty() {
                owners.extend(vec![owner; tokens.len()]);
                spans.push(Span { tokens, cache, wanted: Wanted::All });
            }
        }
        if spans.is_empty() {
            return (rows, gates.unwrap_or_default());
        }
        let output = model.forward(&mut spans).unwrap();
        for (owner, row) in owners.into_iter().zip(output.logits.chunks_exact(vocab)) {
            rows[owner].extend_from_slice(row);
        }
        gates.get_or_insert(output.gates);
    }
}

const WHOLE: usize = 1 << 20;

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

fn most_likely(logits: &[f32]) -> u32 {
    (0..).zip(logits).max_by(|left, right| left.1.total_cmp(right.1)).unwrap().0
}

#[test]
fn logits_equal_the_reference() {
    for name in MODELS {
        let model = load(name);
        let vocab = model.config().vocab;
        let mut worst = 0.0_f32;
        for row in golden(name) {
            let (found, _) = logits(&model, &[ids(&row["ids"])], WHOLE);
            let entries = ids(&row["entries"]);
            for (position, expected) in ids(&row["positions"]).iter().zip(row["logits"].as_array().unwrap()) {
                let found = &found[0][*position as usize * vocab..];
                for (entry, expected) in entries.iter().zip(expected.as_array().unwrap()) {
                    worst = worst.max((found[*entry as usize] - expected.as_f64().unwrap() as f32).abs());
                }
            }
        }
        println!("{name}: largest difference to the reference {worst:e}");
        assert!(worst <= TOLERANCE, "{name}: {worst}");
    }
}

#[test]
fn greedy_continuations_equal_the_reference_with_a_cache() {
    for name in MODELS {
        let model = load(name);
        for row in golden(name) {
            let mut cache = KvCache::new(model.config());
            let mut next = ids(&row["ids"]);
            for expected in ids(&row["greedy"]) {
                let span = Span { tokens: &next, cache: &mut cache, wanted: Wanted::Last };
                let output = model.forward(&mut [span]).unwrap();
                assert_eq!(most_likely(&output.logits), expected, "{name} {}", row["prompt"]);
                next = vec![expected];
            }
        }
    }
}

#[test]
fn whole_greedy_replies_equal_the_reference() {
    for name in MODELS {
        let engine = Engine::open(&folder(name), Options::default()).unwrap();
        let model = load(name);
        let rows = golden(&format!("{name} replies"));
        assert_eq!(rows.len(), 50);
        for row in rows {
            let chat = Chat {
                messages: row["messages"].as_array().unwrap().clone(),
                thinking: row["thinking"].as_bool().unwrap(),
                ..Chat::default()
            };
            let mut next = engine.encode(&chat).unwrap();
            assert_eq!(next, ids(&row["ids"]), "{name} {}", row["messages"]);
            let mut cache = KvCache::new(model.config());
            for expected in ids(&row["reply"]) {
                let span = Span { tokens: &next, cache: &mut cache, wanted: Wanted::Last };
                let output = model.forward(&mut [span]).unwrap();
                assert_eq!(most_likely(&output.logits), expected, "{name} {}", row["messages"]);
                next = vec![expected];
            }
        }
    }
}

#[test]
fn the_gate_chooses_the_reference_experts() {
    let model = load("pico-moe");
    for row in golden("pico-moe") {
        let (_, gates) = logits(&model, &[ids(&row["ids"])], WHOLE);
        let expected = row["experts"].as_array().unwrap();
        assert_eq!(gates.len(), expected.len());
        for (gate, expected) in gates.iter().zip(expected) {
            let expected: Vec<Vec<u32>> = expected.as_array().unwrap().iter().map(ids).collect();
            let chosen = |token: &Vec<(usize, f32)>| token.iter().map(|(expert, _)| *expert as u32).collect();
            let found: Vec<Vec<u32>> = gate.choices.iter().map(chosen).collect();
            assert_eq!(found, expected, "layer {} of {}", gate.layer, row["prompt"]);
            let sums = gate.choices.iter().map(|token| token.iter().map(|(_, weight)| weight).sum::<f32>());
            assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-6), "two divisions round once each");
        }
    }
}

#[test]
fn prompts_are_rendered_and_encoded_like_the_reference() {
    for name in MODELS {
        let engine = Engine::open(&folder(name), Options::default()).unwrap();
        for row in golden(name) {
            let chat = Chat {
                messages: vec![json!({"role": "user", "content": row["prompt"]})],
                thinking: row["thinking"].as_bool().unwrap(),
                ..Chat::default()
            };
            assert_eq!(engine.render(&chat).unwrap(), row["text"].as_str().unwrap());
            assert_eq!(engine.encode(&chat).unwrap(), ids(&row["ids"]));
        }
    }
}

#[test]
fn cached_and_chunked_equal_whole() {
    for name in MODELS {
        let model = load(name);
        let tokens = ids(&golden(name)[0]["ids"]);
        let (whole, _) = logits(&model, std::slice::from_ref(&tokens), WHOLE);
        for chunk in [1, 3, 7] {
            let (pieces, _) = logits(&model, std::slice::from_ref(&tokens), chunk);
            let difference = largest_difference(&whole[0], &pieces[0]);
            // Other products, other order of additions; the same bound as against the reference.
            assert!(difference <= TOLERANCE, "{name}, chunks of {chunk}: {difference}");
        }
    }
}

#[test]
fn a_ragged_batch_equals_its_members() {
    for name in MODELS {
        let model = load(name);
        let sequences: Vec<Vec<u32>> = golden(name).iter().map(|row| ids(&row["ids"])).collect();
        let (together, _) = logits(&model, &sequences, 5);
        for (sequence, packed) in sequences.iter().zip(&together) {
            let (alone, _) = logits(&model, std::slice::from_ref(sequence), WHOLE);
            let difference = largest_difference(&alone[0], packed);
            assert!(difference <= TOLERANCE, "{name}: {difference}");
        }
    }
}

/// The dense weights under the names of a MoE with one expert. The gate's values do not matter: one expert of one
/// always weighs one.
fn one_expert() -> ModelFiles {
    let mut files = ModelFiles::read(&folder("pico-dense")).unwrap();
    let mut config: Value = serde_json::from_slice(&files.config_json).unwrap();
    let hidden = config["hidden_size"].as_u64().unwrap() as usize;
    let layers = config["num_hidden_layers"].as_u64().unwrap();
    config["model_type"] = json!("qwen3_moe");
    config["num_experts"] = json!(1);
    config["num_experts_per_tok"] = json!(1);
    config["norm_topk_prob"] = json!(true);
    config["moe_intermediate_size"] = config["intermediate_size"].clone();
    let bytes = files.weights[0].1.clone();
    let dense = SafeTensors::deserialize(&bytes).unwrap();
    let gate = vec![0_u8; hidden * 2];
    let rename = |(name, view): (String, _)| (name.replace(".mlp.", ".mlp.experts.0."), view);
    let mut tensors: Vec<(String, TensorView<'_>)> = dense.tensors().into_iter().map(rename).collect();
    for layer in 0..layers {
        let view = TensorView::new(Dtype::F16, vec![1, hidden], &gate).unwrap();
        tensors.push((format!("model.layers.{layer}.mlp.gate.weight"), view));
    }
    let weights = safetensors::serialize(tensors, None).unwrap();
    files.config_json = Cow::Owned(config.to_string().into_bytes());
    files.weights = vec![("model.safetensors".to_owned(), Cow::Owned(weights))];
    files
}

#[test]
fn a_moe_with_one_expert_equals_the_dense_model() {
    let dense = load("pico-dense");
    let moe = build(&Checkpoint::open_embedded(one_expert()).unwrap());
    let tokens = ids(&golden("pico-dense")[0]["ids"]);
    let (expected, _) = logits(&dense, std::slice::from_ref(&tokens), WHOLE);
    let (found, gates) = logits(&moe, &[tokens], WHOLE);
    // The same products in the same order, times a weight of exactly one.
    assert_eq!(largest_difference(&expected[0], &found[0]), 0.0);
    assert!(gates.iter().flat_map(|gate| &gate.choices).all(|choice| *choice == [(0, 1.0)]));
}
