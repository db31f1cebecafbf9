//! How surprised is a model by a text? To compare this engine with others on the same weights.
//!
//! `cargo run --release -p thinkgate-engine --example perplexity -- MODEL TEXT [TOKENS]`
//!
//! MODEL is a Hugging Face folder or a GGUF file, TEXT a file; its first TOKENS tokens (512) are read in one window, and the
//! mean is taken over the second half of them, as llama.cpp's `llama-perplexity` does.
#![expect(clippy::print_stdout, reason = "its result")]

use std::path::Path;

use anyhow::{Context, bail};
use thinkgate_engine::cache::KvCache;
use thinkgate_engine::model::{Decoder, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;
use thinkgate_engine::{Engine, Options};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, rest @ ..] = arguments.as_slice() else { bail!("expected MODEL TEXT [TOKENS]") };
    let length = rest.first().map_or(Ok(512), |tokens| tokens.parse()).context("TOKENS")?;
    let text = std::fs::read_to_string(text).with_context(|| text.clone())?;
    let tokens = Engine::open(Path::new(model), Options::default())?.encode_text(&text)?;
    let tokens =
        tokens.get(..length).with_context(|| format!("the text has only {} tokens", tokens.len()))?;

    let checkpoint = Checkpoint::open(Path::new(model))?;
    let model = Model::load(checkpoint.config()?, checkpoint.weights()?)?;
    let mut cache = KvCache::new(model.config());
    let output = model.forward(&mut [Span { tokens, cache: &mut cache, wanted: Wanted::All }])?;
    let rows = output.logits.chunks_exact(model.config().vocab);
    let second_half = rows.zip(&tokens[1..]).skip(length / 2 - 1);
    let surprises: Vec<f64> = second_half.map(|(logits, token)| surprise(logits, *token as usize)).collect();
    let mean = surprises.iter().sum::<f64>() / surprises.len() as f64;
    println!("perplexity {:.4} over {} tokens", mean.exp(), surprises.len());
    Ok(())
}

/// Nats.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    sum.ln() - f64::from(logits[token] - highest)
}
