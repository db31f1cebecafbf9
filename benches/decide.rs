//! How long a decision takes, by prompt length: median and 99th percentile of single decisions, beside the
//! time to copy and lower-case the same text, measured in the same run as a yardstick for the machine.
//!
//! Run with `cargo bench --bench decide`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thinkgate::classifier;
use thinkgate::conversation::Conversation;
use thinkgate::decide::{Snapshot, decide};
use thinkgate::policy::Policy;
use thinkgate::rules::RuleSet;

const ZH: &str = "某工厂生产两种零件，甲每天生产若干个，乙比甲多三分之一。如果两人合作，几天可以完成全部任务？请考虑所有情况。";
const EN: &str = "A factory makes two kinds of part, and the second line is a third faster than the first. ";

fn main() {
    let rules = RuleSet::builtin().expect("the shipped rules load");
    let policy = Policy { models: Vec::new(), presets: Policy::builtin_presets(), preset: "api".into() };
    let alone = Snapshot { rules, policy, classifier: None };
    let classifier =
        classifier::read(include_bytes!("../classifier/model.bin")).expect("the shipped one loads");
    let voting = Snapshot { classifier: Some(Arc::new(classifier)), ..alone.clone() };
    for (title, snapshot) in [("rules alone", &alone), ("rules and classifier", &voting)] {
        println!("\n{title}");
        table(snapshot);
    }
}

fn table(snapshot: &Snapshot) {
    println!("{:<12} {:>12} {:>12} {:>14} {:>8}", "prompt", "median", "p99", "yardstick", "ratio");
    measure("seed zh", "已知x²+2x+1=0，求x的值", snapshot);
    for (name, length) in [("1 KiB", 1 << 10), ("32 KiB", 1 << 15), ("1 MiB", 1 << 20)] {
        for (language, text) in [("en", EN), ("zh", ZH)] {
            let prompt: String = text.repeat(length / text.len() + 1);
            let prompt = &prompt[..prompt.floor_char_boundary(length)];
            measure(&format!("{name} {language}"), prompt, snapshot);
        }
    }
}

fn measure(name: &str, prompt: &str, snapshot: &Snapshot) {
    let conversation = Conversation::of_prompt(prompt);
    let decided = timings(prompt.len(), || {
        black_box(decide(black_box(&conversation), snapshot));
    });
    let yardstick = timings(prompt.len(), || {
        black_box(black_box(prompt).to_lowercase());
    });
    let ratio = decided.0.as_secs_f64() / yardstick.0.as_secs_f64();
    println!("{name:<12} {:>12.1?} {:>12.1?} {:>14.1?} {ratio:>8.1}", decided.0, decided.1, yardstick.0);
}

/// Median and 99th percentile.
fn timings(length: usize, mut run: impl FnMut()) -> (Duration, Duration) {
    let rounds = if length > 100_000 { 300 } else { 2000 };
    for _ in 0..20 {
        run();
    }
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    (times[rounds / 2], times[rounds * 99 / 100])
}
