//! `thinkgate calibrate`: from measured outcomes to a profile of each model, with what it is worth on rows that it was not
//! fitted on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Failure, answers};
use crate::app::load_snapshot;
use crate::calibration::{
    GAIN_PER_1000_TOKENS, Inputs, LEAST_ROWS, Measurement, Profile, Provenance, Sample, fit, fold_of,
    read_outcomes, write,
};
use crate::cli::CalibrateArgs;
use crate::config::Config;
use crate::conversation::Mode;
use crate::decide::{Snapshot, decide};
use crate::evaluate::{Resampling, held_out_table};

/// Fits, shows what the profiles are worth, and writes them.
///
/// # Errors
/// A faulty configuration or row, names that do not meet, too few rows, or a model that fails to answer.
pub fn run(args: &CalibrateArgs, out: &mut impl Write) -> Result<(), Failure> {
    let mut config = Config::load(args.config.as_deref()).map_err(Failure::usage)?;
    // What an earlier calibration says must not colour the next.
    let earlier = config.calibration.take();
    let least_gain = earlier.map_or(GAIN_PER_1000_TOKENS, |earlier| earlier.gain_per_1000_tokens);
    let snapshot = load_snapshot(&config).map_err(Failure::usage)?;
    let mut rows = Vec::new();
    for file in &args.eval {
        rows.extend(read_outcomes(file).map_err(Failure::usage)?);
    }
    answers::measure(&mut rows, &config, args.seed, out)?;
    let names = names(&rows, args, &config)?;
    let resampling = Resampling { resamples: args.resamples, seed: args.seed };
    let mut profiles = BTreeMap::new();
    for (name, in_file) in &names {
        let samples = samples(&rows, in_file, &snapshot);
        match fit(&samples.iter().collect::<Vec<_>>()) {
            Some(profile) => {
                show(name, &profile, &samples, least_gain, &resampling, out)?;
                profiles.insert(name.clone(), profile);
            }
            None => writeln!(out, "{name}: left out, {}\n", few(samples.len()))?,
        }
    }
    if profiles.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!(
            "no model has the {LEAST_ROWS} rows that a profile needs"
        )));
    }
    let fitted_on = Provenance::of(&snapshot, digest(&rows));
    save(&args.output, &write(&fitted_on, profiles))?;
    writeln!(out, "Written to {0}; to use it: [calibration] path = \"{0}\"", args.output.display())?;
    Ok(())
}

fn few(rows: usize) -> String {
    format!("{rows} rows, where a profile needs {LEAST_ROWS}")
}

fn show(
    name: &str,
    profile: &Profile,
    samples: &[Sample],
    least_gain: f64,
    resampling: &Resampling,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let title = format!("{name}: {} rows", profile.rows);
    match held_out_table(title, samples, least_gain, resampling) {
        Some(table) => writeln!(out, "{}", table.markdown().trim_start())?,
        None => writeln!(out, "{name}: {} rows, too few to hold a fifth of them out\n", profile.rows)?,
    }
    Ok(())
}

/// Configured name to names in the rows. Without a configuration every name will do.
fn names(
    rows: &[Measurement],
    args: &CalibrateArgs,
    config: &Config,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let known: BTreeSet<&str> = rows.iter().flat_map(|row| row.outcomes.keys()).map(String::as_str).collect();
    let configured: BTreeSet<&str> = config.models.iter().map(|model| model.profile.name.as_str()).collect();
    let accepted = args.config.is_some().then_some(&configured);
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for given in &args.model {
        let (name, in_file) = pair(given, &known, accepted)
            .map_err(|why| Failure::usage(anyhow::anyhow!("--model {given}: {why}")))?;
        names.entry(name.to_owned()).or_default().push(in_file.to_owned());
    }
    if args.model.is_empty() {
        let wanted = known.iter().filter(|name| accepted.is_none_or(|accepted| accepted.contains(*name)));
        names.extend(wanted.map(|name| ((*name).to_owned(), vec![(*name).to_owned()])));
    }
    if names.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!(
            "the rows have outcomes of {}, but configured are {}; --model NAME=NAME_IN_FILE says which is which",
            listed(&known),
            listed(&configured)
        )));
    }
    Ok(names)
}

/// What one `--model` says, or what is wrong with it.
fn pair<'g>(
    given: &'g str,
    known: &BTreeSet<&str>,
    accepted: Option<&BTreeSet<&str>>,
) -> Result<(&'g str, &'g str), String> {
    let (name, in_file) = given.split_once('=').ok_or("expected NAME=NAME_IN_FILE")?;
    if !known.contains(in_file) {
        return Err(format!("no row has outcomes of {in_file:?}; they have {}", listed(known)));
    }
    match accepted.filter(|accepted| !accepted.contains(name)) {
        Some(accepted) => Err(format!("no model {name:?}; configured are {}", listed(accepted))),
        None => Ok((name, in_file)),
    }
}

fn listed(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

fn samples(rows: &[Measurement], in_file: &[String], snapshot: &Snapshot) -> Vec<Sample> {
    let numbers = &snapshot.rules.strengths().score;
    let preset = snapshot.policy.presets.get(&snapshot.policy.preset);
    let unsure = preset.is_some_and(|preset| preset.unsure == Mode::On);
    let mut samples = Vec::new();
    for row in rows {
        let outcomes: Vec<_> = in_file.iter().filter_map(|name| row.outcomes.get(name)).collect();
        if outcomes.is_empty() {
            continue;
        }
        let decision = decide(&row.conversation(), snapshot);
        let from = if unsure { numbers.off_below } else { numbers.on_from };
        let (inputs, fold) = (Inputs::of(&decision), fold_of(&row.text()));
        let on = decision.score >= from;
        samples.extend(outcomes.into_iter().map(|outcome| Sample { inputs, outcome: *outcome, fold, on }));
    }
    samples
}

/// Hash of the prompts and what came of them.
fn digest(rows: &[Measurement]) -> String {
    let mut digest = Sha256::new();
    for row in rows {
        digest.update(row.messages.to_string());
        for (model, outcome) in &row.outcomes {
            digest.update(format!("{model}{outcome:?}"));
        }
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn save(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|error| Failure::usage(anyhow::anyhow!("cannot write {}: {error}", file.display())))
}
