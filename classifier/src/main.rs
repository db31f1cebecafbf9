//! `thinkgate-classifier`: from labelled prompts to `classifier/model.bin`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use thinkgate::classifier::{read, write};
use thinkgate::decide::Snapshot;
use thinkgate::policy::Policy;
use thinkgate::rules::RuleSet;
use thinkgate_classifier::examples;
use thinkgate_classifier::fit::fit;

/// Trains the classifier; the same data gives the same file.
#[derive(Debug, Parser)]
#[command(
    about,
    after_help = "Example: thinkgate-classifier --data ../shared/data --output classifier/model.bin"
)]
struct Args {
    /// Folder with the public sets, `*.jsonl` and `*.jsonl.gz`
    #[arg(long)]
    data: PathBuf,
    /// The prompts written for this
    #[arg(long, default_value = "classifier/data/written.jsonl")]
    written: PathBuf,
    /// Folder of rules that it will vote beside; the built-in ones where left out
    #[arg(long)]
    rules: Option<PathBuf>,
    /// Where the classifier goes
    #[arg(long, default_value = "classifier/model.bin")]
    output: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let start = Instant::now();
    let rules = match &args.rules {
        Some(folder) => RuleSet::from_dir(folder),
        None => RuleSet::builtin(),
    };
    let rules = rules.map_err(|faults| anyhow::anyhow!("the rules do not load: {faults:?}"))?;
    let policy = Policy { models: Vec::new(), presets: Policy::builtin_presets(), preset: "api".into() };
    let rules = Snapshot { rules, policy, classifier: None };
    let mut all = examples::public(&args.data, &rules)?;
    all.extend(examples::written(&args.written, &rules)?);
    println!("{} examples, {:.0} s", all.len(), start.elapsed().as_secs_f64());
    let classifier = fit(&all, rules.rules.strengths().score.on_from)?;
    let bytes = write(&classifier);
    let checked = read(&bytes).context("the classifier just made does not load")?;
    std::fs::write(&args.output, &bytes)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    for (language, blend) in &checked.blend {
        println!("{language}: {blend:?}");
    }
    println!(
        "{}: {} bytes, version {}, {:.0} s",
        args.output.display(),
        bytes.len(),
        checked.version,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
