//! How fast is the engine on one model, and how much memory does it take?
//!
//! `cargo run --release -p thinkgate-engine --example speed -- MODEL THREADS POSITIONS STEPS`
//!
//! Prints one line of JSON. `benches/llama/compare.py` runs it in turn with llama.cpp, which is given the same tokens in
//! the same steps.
#![expect(clippy::print_stdout, reason = "its result")]

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;
use thinkgate_engine::cache::{KvCache, Precision};
use thinkgate_engine::config::ModelConfig;
use thinkgate_engine::model::{Decoder, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;

const PROMPT: usize = 512;
/// Tokens of one step, as the scheduler has it.
const STEP: usize = 256;
const TOGETHER: usize = 8;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, numbers @ ..] = arguments.as_slice() else { bail!("expected MODEL THREADS POSITIONS STEPS") };
    let numbers = numbers.iter().map(|number| number.parse()).collect::<Result<Vec<usize>, _>>()?;
    let [threads, positions, steps] = numbers[..] else { bail!("expected MODEL THREADS POSITIONS STEPS") };
    let checkpoint = Checkpoint::open(Path::new(model))?;
    let config = ModelConfig { cache_precision: Precision::Half, ..checkpoint.config()? };
    let model = Model::load(config, checkpoint.weights()?)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    println!("{}", pool.install(|| measure(&model, positions, steps))?);
    Ok(())
}

fn measure(model: &Model, positions: usize, steps: usize) -> anyhow::Result<serde_json::Value> {
    let mut alone = [KvCache::new(model.config())];
    read(model, &mut [KvCache::new(model.config())], PROMPT)?; // what is done once for every weight is done now
    let prefill = seconds(|| read(model, &mut alone, PROMPT))?;
    read(model, &mut alone, positions.saturating_sub(PROMPT))?;
    let decode = seconds(|| (0..steps).try_for_each(|_| step(model, &mut alone, &[1])))?;
    drop(alone);
    let mut caches: Vec<KvCache> = (0..TOGETHER).map(|_| KvCache::new(model.config())).collect();
    for cache in &mut caches {
        read(model, std::slice::from_mut(cache), 256)?;
    }
    let together = seconds(|| (0..steps).try_for_each(|_| step(model, &mut caches, &[1; TOGETHER])))?;
    caches[TOGETHER - 1] = KvCache::new(model.config());
    let first_token = seconds(|| first_token(model, &mut caches))?;
    Ok(json!({
        "prefill": PROMPT as f64 / prefill,
        "decode": steps as f64 / decode,
        "decode 8": (TOGETHER * steps) as f64 / together,
        "first token": first_token,
        "peak": peak_mib()?,
    }))
}

/// The last cache's owner reads a prompt while the others write.
fn first_token(model: &Model, caches: &mut [KvCache]) -> anyhow::Result<()> {
    let last = caches.len() - 1;
    while caches[last].positions() < PROMPT {
        let mut takes = vec![1; caches.len()];
        takes[last] = (STEP - last).min(PROMPT - caches[last].positions());
        step(model, caches, &takes)?;
    }
    Ok(())
}

fn read(model: &Model, caches: &mut [KvCache], tokens: usize) -> anyhow::Result<()> {
    let mut left = tokens;
    while left > 0 {
        step(model, caches, &[left.min(STEP)])?;
        left -= left.min(STEP);
    }
    Ok(())
}

/// Each sequence reads its share.
fn step(model: &Model, caches: &mut [KvCache], takes: &[usize]) -> anyhow::Result<()> {
    let token = |position: usize| 100 + (position % 1000) as u32;
    let tokens: Vec<Vec<u32>> = caches
        .iter()
        .zip(takes)
        .map(|(cache, take)| (cache.positions()..cache.positions() + take).map(token).collect())
        .collect();
    let spans = caches.iter_mut().zip(&tokens);
    let mut spans: Vec<Span<'_>> =
        spans.map(|(cache, tokens)| Span { tokens, cache, wanted: Wanted::Last }).collect();
    model.forward(&mut spans)?;
    Ok(())
}

fn seconds(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// The most memory that the process ever held, where the system says so; zero elsewhere.
fn peak_mib() -> anyhow::Result<f64> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(0.0) };
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).context("VmHWM")?.parse()?;
    Ok(kib / 1024.0)
}
