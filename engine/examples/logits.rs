//! What does the model say of each token of a text, as raw numbers?
//!
//! `cargo run --release -p thinkgate-engine --example logits -- MODEL TOKENS OUT full|half`
//!
//! TOKENS is a file of token ids, with white space between them; OUT receives the logits, (tokens, vocab) as f32 in little
//! endian. The last word says how keys and values are kept. `benches/llama/logits.py` compares them with llama.cpp's.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use thinkgate_engine::cache::{KvCache, Precision};
use thinkgate_engine::config::ModelConfig;
use thinkgate_engine::model::{Decoder, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;

/// Tokens of one step, as the scheduler has it.
const STEP: usize = 256;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokens, out, precision] = arguments.as_slice() else {
        bail!("expected MODEL TOKENS OUT full|half")
    };
    let cache_precision = match precision.as_str() {
        "full" => Precision::Full,
        "half" => Precision::Half,
        other => bail!("expected full or half, got {other:?}"),
    };
    let ids = std::fs::read_to_string(tokens).with_context(|| tokens.clone())?;
    let ids: Vec<u32> = ids.split_whitespace().map(str::parse).collect::<Result<_, _>>().context("TOKENS")?;
    let checkpoint = Checkpoint::open(Path::new(model))?;
    let config = ModelConfig { cache_precision, ..checkpoint.config()? };
    let model = Model::load(config, checkpoint.weights()?)?;
    let mut cache = KvCache::new(model.config());
    let mut out = std::io::BufWriter::new(std::fs::File::create(out).with_context(|| out.clone())?);
    for tokens in ids.chunks(STEP) {
        let span = Span { tokens, cache: &mut cache, wanted: Wanted::All };
        for logit in model.forward(&mut [span])?.logits {
            out.write_all(&logit.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}
