//! From the command line to `explain`, `classify` and `check`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde_json::Value;

use super::{Failure, check, classify, explain};
use crate::app::load_snapshot;
use crate::cli::{CheckArgs, ClassifyArgs, DecideArgs, ExplainArgs};
use crate::config::Config;
use crate::conversation::Conversation;
use crate::decide::Snapshot;
use crate::loaded::{load_calibration, load_classifier};
use crate::rules::RuleSet;

/// `thinkgate explain`.
///
/// # Errors
/// A faulty configuration, or a prompt that cannot be read.
pub fn explain(args: &ExplainArgs, out: &mut impl Write) -> Result<(), Failure> {
    let snapshot = snapshot_of(&args.decide)?;
    let text = match (&args.prompt, &args.messages) {
        (Some(prompt), _) if prompt == "-" => read_text(Path::new("-"))?,
        (Some(prompt), _) => prompt.clone(),
        (None, Some(file)) => read_text(file)?,
        (None, None) => String::new(),
    };
    let body: Value = match &args.messages {
        Some(file) => serde_json::from_str(&text)
            .map_err(|error| Failure::usage(anyhow::anyhow!("{}: {error}", file.display())))?,
        None => Value::Null,
    };
    let conversation = match &body {
        Value::Null => Ok(Conversation::of_prompt(&text)),
        Value::Array(_) => Conversation::from_messages(&body),
        _ => Conversation::from_body(&body, &snapshot.policy),
    };
    let conversation = conversation.map_err(Failure::usage)?;
    let mut decision = explain::timed_decision(&conversation, &snapshot);
    if args.decide.no_timing {
        decision.micros = None;
    }
    if args.json {
        explain::print_json(&decision, out)?;
    } else {
        explain::print_text(&decision, &conversation, out)?;
    }
    Ok(())
}

/// `thinkgate classify`.
///
/// # Errors
/// A faulty configuration, a file that cannot be read, or rows that could not be decided.
pub fn classify(args: &ClassifyArgs, out: &mut impl Write) -> Result<(), Failure> {
    let snapshot = snapshot_of(&args.decide)?;
    let options = classify::Options { no_timing: args.decide.no_timing, summary: args.summary.clone() };
    let mut tally = classify::Tally::default();
    let mut file = args.output.as_deref().map(create).transpose()?;
    for input in &args.inputs {
        let reader: Box<dyn Read> = match input.as_os_str().to_str() {
            Some("-") => Box::new(std::io::stdin()),
            _ => Box::new(File::open(input).map_err(|error| unreadable(input, &error))?),
        };
        let reader = BufReader::new(reader);
        match &mut file {
            Some(file) => classify::run(reader, file, &snapshot, &options, &mut tally)?,
            None => classify::run(reader, out, &snapshot, &options, &mut tally)?,
        }
    }
    if let Some(mut file) = file {
        file.flush()?;
    }
    tally.print(&options.summary, &mut std::io::stderr().lock())?;
    if tally.bad > 0 {
        return Err(Failure::usage(anyhow::anyhow!("{} rows could not be read", tally.bad)));
    }
    Ok(())
}

/// `thinkgate check`.
///
/// # Errors
/// A faulty configuration or a failed check.
pub fn check(args: &CheckArgs, out: &mut impl Write) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref()).map_err(Failure::check)?;
    load_classifier(&config).map_err(Failure::check)?;
    load_calibration(&config).map_err(Failure::check)?;
    let rules = match args.rules.as_deref().or(config.rules.as_deref()) {
        Some(folder) => RuleSet::from_dir(folder),
        None => RuleSet::builtin(),
    };
    let outcome = match rules {
        Err(faults) => check::report_faults(&faults, out)?,
        Ok(rules) => {
            // The rules' cases are about the rules.
            check::run_cases(&Snapshot { rules, classifier: None, policy: config.policy() }, out)?
        }
    };
    match outcome {
        check::Outcome::Passed => Ok(()),
        check::Outcome::Failed => Err(Failure::Check(None)),
    }
}

fn snapshot_of(args: &DecideArgs) -> Result<Snapshot, Failure> {
    let mut config = Config::load(args.config.as_deref()).map_err(Failure::usage)?;
    if let Some(preset) = &args.preset {
        if !config.presets.contains_key(preset) {
            let known: Vec<&str> = config.presets.keys().map(String::as_str).collect();
            let message = format!("no preset {preset:?}; known are {}", known.join(", "));
            return Err(Failure::usage(anyhow::anyhow!(message)));
        }
        config.preset.clone_from(preset);
    }
    load_snapshot(&config).map_err(Failure::usage)
}

fn read_text(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| unreadable(file, &error))
}

fn create(file: &Path) -> Result<BufWriter<File>, Failure> {
    let created = File::create(file).map(BufWriter::new);
    created.map_err(|error| Failure::usage(anyhow::anyhow!("cannot write {}: {error}", file.display())))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(anyhow::anyhow!("cannot read {}: {error}", file.display()))
}
