//! How fast do the shipped models read and write?
//!
//! Items are tokens, so the throughput column is tokens per second. Machines differ: compare rows of one run. Eight
//! sequences in a step should cost much less than eight times one; reading should be several times faster than writing.

use std::path::Path;

use divan::Bencher;
use divan::counter::ItemsCount;
use thinkgate_engine::cache::KvCache;
use thinkgate_engine::model::{Decoder, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;

const MODELS: [&str; 2] = ["pico-dense", "pico-moe"];
const PROMPT: usize = 64;
const WRITTEN: usize = 64;

fn main() {
    divan::main();
}

fn load(model: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(model);
    let checkpoint = Checkpoint::open_folder(&folder).expect("the shipped model is there");
    let config = checkpoint.config().expect("its config is valid");
    Model::load(config, checkpoint.weights().expect("its weights are whole")).expect("and belong together")
}

fn read(model: &Model, cache: &mut KvCache, tokens: &[u32]) {
    let span = Span { tokens, cache, wanted: Wanted::Last };
    divan::black_box(model.forward(&mut [span]).expect("the context has room"));
}

/// One prompt of 256 tokens, in one step.
#[divan::bench(args = MODELS)]
fn prefill(bencher: Bencher<'_, '_>, name: &str) {
    let model = load(name);
    let tokens: Vec<u32> = (0..256).collect();
    let counter = ItemsCount::new(tokens.len());
    bencher.counter(counter).with_inputs(|| KvCache::new(model.config())).bench_local_values(|mut cache| {
        read(&model, &mut cache, &tokens);
        cache
    });
}

/// Sequences that write 64 tokens each after a prompt of 64, sharing every step.
#[divan::bench(args = MODELS, consts = [1, 8])]
fn decode<const SEQUENCES: usize>(bencher: Bencher<'_, '_>, name: &str) {
    let model = load(name);
    let start = || -> Vec<KvCache> {
        let prompt: Vec<u32> = (0..PROMPT as u32).collect();
        let mut caches: Vec<KvCache> = (0..SEQUENCES).map(|_| KvCache::new(model.config())).collect();
        caches.iter_mut().for_each(|cache| read(&model, cache, &prompt));
        caches
    };
    bencher.counter(ItemsCount::new(SEQUENCES * WRITTEN)).with_inputs(start).bench_local_values(
        |mut caches| {
            for _ in 0..WRITTEN {
                let span = |cache| Span { tokens: &[7], cache, wanted: Wanted::Last };
                let mut spans: Vec<Span<'_>> = caches.iter_mut().map(span).collect();
                divan::black_box(model.forward(&mut spans).expect("the context has room"));
            }
            caches
        },
    );
}
