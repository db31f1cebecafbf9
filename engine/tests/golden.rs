//! The forward pass against the reference implementation, and against itself.
//!
//! `fixtures/golden.json` holds what transformers says (`fixtures/make_golden.py`). Both sides compute in f32 on the
//! same f16 weights, so they differ by the order of additions only: logits of size ten over four layers agree to about
//! 1e-5; 1e-3 leaves room for other machines' kernels and is far below the gap between two tokens.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use thinkgate_engine::inspect::Bare;
use thinkgate_engine::{Chat, Engine, ModelFiles, Options};

const TOLERANCE: f32 = 1e-3;

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(model)
}

fn golden(model: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).expect("the fixture")).expect("JSON");
    all[model].as_array().expect("rows").clone()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| u32::try_from(id.as_u64().expect("an id")).expect("u32"))
        .collect()
}

fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn best(logits: &[f32]) -> u32 {
    let at = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("a vocabulary").0;
    u32::try_from(at).expect("u32")
}

#[test]
fn logits_and_greedy_tokens_equal_the_reference() {
    for model in ["pico-dense", "pico-moe"] {
        let mut bare = Bare::load_folder(&folder(model)).expect("loads");
        let mut worst = 0.0_f32;
        for row in golden(model) {
            let mut tokens = ids(&row["ids"]);
            let (logits, _) = bare.logits(&[&tokens], usize::MAX).expect("runs");
            let entries = ids(&row["entries"]);
            for (position, expected) in
                ids(&row["positions"]).iter().zip(row["logits"].as_array().expect("logits"))
            {
                for (entry, expected) in entries.iter().zip(expected.as_array().expect("numbers")) {
                    #[expect(clippy::cast_possible_truncation, reason = "stored f32")]
                    let expected = expected.as_f64().expect("a number") as f32;
                    worst = worst.max((logits[0][*position as usize][*entry as usize] - expected).abs());
                }
            }
            for expected in ids(&row["greedy"]) {
                let (logits, _) = bare.logits(&[&tokens], usize::MAX).expect("runs");
                assert_eq!(
                    best(logits[0].last().expect("a position")),
                    expected,
                    "{model} {}",
                    row["prompt"]
                );
                tokens.push(expected);
            }
        }
        println!("{model}: largest difference to the reference {worst:e}");
        assert!(worst <= TOLERANCE, "{model}: {worst}");
    }
}

#[test]
fn the_gate_chooses_the_reference_experts() {
    let mut bare = Bare::load_folder(&folder("pico-moe")).expect("loads");
    for row in golden("pico-moe") {
        let tokens = ids(&row["ids"]);
        let (_, gating) = bare.logits(&[&tokens], usize::MAX).expect("runs");
        for (layer, expected) in gating.iter().zip(row["experts"].as_array().expect("layers")) {
            let expected: Vec<u32> = expected.as_array().expect("positions").iter().flat_map(ids).collect();
            assert_eq!(layer.experts, expected, "{}", row["prompt"]);
            for weights in layer.weights.chunks(2) {
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5, "renormalised");
            }
        }
    }
}

#[test]
fn prompts_are_rendered_and_encoded_like_the_reference() {
    for model in ["pico-dense", "pico-moe"] {
        let engine = Engine::load_folder(&folder(model), Options::default()).expect("loads");
        for row in golden(model) {
            let chat = Chat {
                messages: vec![json!({"role": "user", "content": row["prompt"]})],
                thinking: row["thinking"].as_bool().expect("a switch"),
                ..Chat::default()
            };
            assert_eq!(engine.render(&chat).expect("renders"), row["text"].as_str().expect("text"));
            assert_eq!(engine.encode(&chat).expect("encodes"), ids(&row["ids"]));
        }
    }
}

#[test]
fn cached_and_chunked_equal_whole() {
    for model in ["pico-dense", "pico-moe"] {
        let mut bare = Bare::load_folder(&folder(model)).expect("loads");
        let tokens = ids(&golden(model)[0]["ids"]);
        let (whole, _) = bare.logits(&[&tokens], usize::MAX).expect("runs");
        for chunk in [1, 3, 7] {
            let (pieces, _) = bare.logits(&[&tokens], chunk).expect("runs");
            let difference = largest_difference(&whole[0], &pieces[0]);
            assert!(difference <= TOLERANCE, "{model}, chunks of {chunk}: {difference}");
        }
    }
}

#[test]
fn a_ragged_batch_equals_its_members() {
    for model in ["pico-dense", "pico-moe"] {
        let mut bare = Bare::load_folder(&folder(model)).expect("loads");
        let sequences: Vec<Vec<u32>> = golden(model).iter().map(|row| ids(&row["ids"])).collect();
        let borrowed: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
        let (together, _) = bare.logits(&borrowed, 5).expect("runs");
        for (sequence, packed) in borrowed.iter().zip(&together) {
            let (alone, _) = bare.logits(&[sequence], usize::MAX).expect("runs");
            let difference = largest_difference(&alone[0], packed);
            assert!(difference <= TOLERANCE, "{model}: {difference}");
        }
    }
}

/// The dense model's weights under the names of a MoE with one expert; the gate's values do not matter, because one
/// expert of one always weighs one.
fn one_expert() -> ModelFiles {
    let mut files = ModelFiles::read(&folder("pico-dense")).expect("reads");
    let mut config: Value = serde_json::from_slice(&files.config_json).expect("JSON");
    let (hidden, layers) =
        (config["hidden_size"].as_u64().expect("a width"), config["num_hidden_layers"].as_u64());
    config["model_type"] = json!("qwen3_moe");
    config["num_experts"] = json!(1);
    config["num_experts_per_tok"] = json!(1);
    config["norm_topk_prob"] = json!(true);
    config["moe_intermediate_size"] = config["intermediate_size"].clone();
    let bytes = files.weights[0].1.clone();
    let dense = SafeTensors::deserialize(&bytes).expect("usable");
    let gate = vec![0_u8; usize::try_from(hidden).expect("small") * 2];
    let mut tensors: Vec<(String, TensorView<'_>)> = dense
        .tensors()
        .into_iter()
        .map(|(name, view)| (name.replace(".mlp.", ".mlp.experts.0."), view))
        .collect();
    for layer in 0..layers.expect("a depth") {
        let shape = vec![1, usize::try_from(hidden).expect("small")];
        let view = TensorView::new(Dtype::F16, shape, &gate).expect("a view");
        tensors.push((format!("model.layers.{layer}.mlp.gate.weight"), view));
    }
    let weights = safetensors::serialize(tensors, None).expect("serialises");
    files.config_json = Cow::Owned(config.to_string().into_bytes());
    files.weights = vec![("model.safetensors".into(), Cow::Owned(weights))];
    files
}

#[test]
fn a_moe_with_one_expert_equals_the_dense_model() {
    let mut dense = Bare::load_folder(&folder("pico-dense")).expect("loads");
    let mut moe = Bare::load(&one_expert()).expect("loads");
    let tokens = ids(&golden("pico-dense")[0]["ids"]);
    let (expected, _) = dense.logits(&[&tokens], usize::MAX).expect("runs");
    let (found, gating) = moe.logits(&[&tokens], usize::MAX).expect("runs");
    let difference = largest_difference(&expected[0], &found[0]);
    assert!(difference <= 1e-5, "the same products in the same order: {difference}");
    assert!(gating.iter().all(|layer| layer.experts.iter().all(|expert| *expert == 0)));
}
