//! What does it cost to note which experts a mixture of experts chose?
//!
//! `cargo bench -p thinkgate-engine --bench gates [-- MODEL]`
//!
//! Decodes the same tokens without a note, with every choice counted, and with the choices kept token by token as well, in
//! turn on one loaded model, so that whatever else the machine does falls on all three alike. Prints the median of the
//! ratios of neighbours, with quartiles. At most 1.05 is promised.
#![expect(clippy::print_stdout, reason = "its result")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use thinkgate_engine::ExpertUse;
use thinkgate_engine::cache::KvCache;
use thinkgate_engine::model::{Decoder, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;

const ROUNDS: usize = 401;
const PROMPT: usize = 64;
const WRITTEN: usize = 32;

#[derive(Clone, Copy, PartialEq)]
enum Note {
    Nothing,
    Counts,
    Tokens,
}

const NOTES: [Note; 3] = [Note::Nothing, Note::Counts, Note::Tokens];

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pico-moe");
    let checkpoint = Checkpoint::open(&named.map_or(shipped, PathBuf::from)).expect("a model");
    let config = checkpoint.config().expect("its config is valid");
    let model = Model::load(config, checkpoint.weights().expect("its weights are whole")).expect("they fit");
    for note in NOTES {
        decode(&model, note); // what is done once is done now
    }
    let mut seconds: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..NOTES.len() {
            let at = (round + turn) % NOTES.len(); // nobody is always first
            seconds[at].push(decode(&model, NOTES[at]));
        }
    }
    let steps = seconds[0].iter().sum::<f64>() / (ROUNDS * WRITTEN) as f64;
    println!("one step without a note: {:.1} us", steps * 1e6);
    for (name, noted) in ["counted", "and kept token by token"].iter().zip(&seconds[1..]) {
        let mut ratios: Vec<f64> =
            noted.iter().zip(&seconds[0]).map(|(with, without)| with / without).collect();
        ratios.sort_by(f64::total_cmp);
        let [low, middle, high] = [1, 2, 3].map(|quarter| ratios[(ROUNDS - 1) * quarter / 4]);
        println!("{name}: {middle:.4} of the time [{low:.4} to {high:.4}]");
    }
}

/// Seconds for [`WRITTEN`] steps after a prompt.
fn decode(model: &Model, note: Note) -> f64 {
    let mut cache = KvCache::new(model.config());
    let prompt: Vec<u32> = (0..PROMPT as u32).collect();
    step(model, &mut cache, &prompt, &mut ExpertUse::default(), note);
    let mut used = ExpertUse::default();
    let start = Instant::now();
    for token in 0..WRITTEN as u32 {
        step(model, &mut cache, &[300 + token], &mut used, note);
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(used.layers.is_empty(), note == Note::Nothing, "a mixture of experts is needed");
    seconds
}

fn step(model: &Model, cache: &mut KvCache, tokens: &[u32], used: &mut ExpertUse, note: Note) {
    let span = Span { tokens, cache, wanted: Wanted::Last };
    let output = model.forward(&mut [span]).expect("the context has room");
    if note != Note::Nothing {
        let traced = if note == Note::Tokens { usize::MAX } else { 0 };
        used.record(&output.gates, 0..tokens.len(), tokens, traced);
    }
}
