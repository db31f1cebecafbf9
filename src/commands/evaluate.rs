//! `thinkgate evaluate`: the published decision-quality tables.

use std::io::Write;
use std::path::Path;

use super::Failure;
use crate::app::load_snapshot;
use crate::cli::{EvaluateArgs, SuiteArg};
use crate::config::Config;
use crate::evaluate::{Settings, Suite, evaluate};

/// Measures, then writes Markdown and, where asked, JSON.
///
/// # Errors
/// A faulty configuration, rows that cannot be read, or a file that cannot be written.
pub fn run(args: &EvaluateArgs, out: &mut impl Write) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref()).map_err(Failure::usage)?;
    let snapshot = load_snapshot(&config).map_err(Failure::usage)?;
    let report = evaluate(suites(args.suite), &settings(args), &snapshot).map_err(Failure::usage)?;
    if let Some(file) = &args.json {
        write_file(file, &format!("{:#}\n", report.json()))?;
    }
    match &args.output {
        Some(file) => write_file(file, &report.markdown()),
        None => Ok(out.write_all(report.markdown().as_bytes())?),
    }
}

fn suites(suite: SuiteArg) -> &'static [Suite] {
    match suite {
        SuiteArg::Thinking => &[Suite::Thinking],
        SuiteArg::StrongWeak => &[Suite::StrongWeak],
        SuiteArg::ZhEn => &[Suite::ZhEn],
        SuiteArg::Robustness => &[Suite::Robustness],
        SuiteArg::All => &Suite::ALL,
    }
}

fn settings(args: &EvaluateArgs) -> Settings {
    Settings {
        data: args.data.clone(),
        written: args.written.clone(),
        peers: args.peers.clone(),
        everything: args.split == crate::cli::SplitArg::All,
        resamples: args.resamples,
        seed: args.seed,
    }
}

fn write_file(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|error| Failure::usage(anyhow::anyhow!("cannot write {}: {error}", file.display())))
}
