//! "How good are the decisions?" Measured on public rows with known outcomes, beside what no router would do.
//!
//! Training and evaluation read rows, split and labels from [`rows`], so that neither can drift from the other.

mod bench;
mod controls;
mod labels;
mod measured;
pub mod metrics;
mod outcomes;
mod parity;
pub mod perturb;
mod profiles;
pub mod report;
mod robustness;
pub mod rows;
mod sources;
mod strong_weak;
mod thinking;

use std::path::Path;

use serde_json::json;

pub use bench::{EvaluateError, Settings};
pub use profiles::{Resampling, held_out_table};

use crate::conversation::Conversation;
use crate::decide::{Snapshot, decide};
use bench::Bench;
use controls::Peers;
use measured::Measured;
use report::Report;
use rows::{Split, read_dir};

/// A set of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Does it think where that is called for, and did thinking pay?
    Thinking,
    /// Do the prompts that need the strong model get it?
    StrongWeak,
    /// Are Chinese and English decided alike?
    ZhEn,
    /// Does writing it differently change the decision?
    Robustness,
}

impl Suite {
    /// All, in the order of the page.
    pub const ALL: [Suite; 4] = [Suite::Thinking, Suite::StrongWeak, Suite::ZhEn, Suite::Robustness];

    fn name(self) -> &'static str {
        match self {
            Suite::Thinking => "thinking",
            Suite::StrongWeak => "strong-weak",
            Suite::ZhEn => "zh-en",
            Suite::Robustness => "robustness",
        }
    }
}

/// Measures the suites with what `snapshot` decides.
///
/// # Errors
/// Rows, pairs or peers that cannot be read, or a file or field that a suite needs and does not find.
pub fn evaluate(suites: &[Suite], settings: &Settings, snapshot: &Snapshot) -> Result<Report, EvaluateError> {
    let peers = Peers::read(&settings.peers)?;
    let reading = suites.iter().find(|suite| **suite != Suite::ZhEn);
    let rows = match (reading, &settings.data) {
        (None, _) => Vec::new(),
        (Some(suite), None) => return Err(EvaluateError::NoData(suite.name())),
        (Some(_), Some(dir)) => measured::measure(read_dir(dir)?, snapshot),
    };
    let dir = settings.data.as_deref().unwrap_or(Path::new(""));
    let bench = Bench { rows: &rows, dir, snapshot, peers: &peers, settings };
    let mut sections = Vec::new();
    for suite in suites {
        sections.push(match suite {
            Suite::Thinking => thinking::section(&bench)?,
            Suite::StrongWeak => strong_weak::section(&bench)?,
            Suite::ZhEn => parity::section(settings, snapshot, &peers)?,
            Suite::Robustness => robustness::section(&bench)?,
        });
    }
    let decided = decide(&Conversation::of_prompt(""), snapshot);
    let mut notes = notes(&rows, settings);
    let classifier = decided.versions.classifier.as_deref().unwrap_or("none");
    notes.push(format!("Decided by rules {} and classifier {classifier}.", decided.versions.rules));
    Ok(Report { notes, versions: json!(decided.versions), sections })
}

fn notes(rows: &[Measured], settings: &Settings) -> Vec<String> {
    let mut notes = vec![format!(
        "Figures in brackets: 95 % of {} resamples of the rows (seed {}).",
        settings.resamples, settings.seed
    )];
    if !rows.is_empty() {
        let of = |split: Split| rows.iter().filter(|row| row.split == split).count();
        let (held_out, never) = (of(Split::HeldOut), of(Split::NeverTrained));
        notes.push(if settings.everything {
            format!("All {} rows are measured, those that may have been trained on too (--split all).", rows.len())
        } else {
            format!(
                "Only rows that nothing was trained on are measured: {held_out} kept back one by one (one text in \
                 five, the same text in every source alike) and {never} of sources kept back as a whole."
            )
        });
    }
    let cramped = rows.iter().filter(|row| row.judgement.cramped).count();
    if cramped > 0 {
        notes.push(format!(
            "For {cramped} of all {} rows the configured models' context leaves no room to think, so the mode is off \
             whatever the score. A configuration of larger models (--config) shows the decisions without that.",
            rows.len()
        ));
    }
    notes.push(
        "Beside every figure: always off and always on (weak, strong), a constant mix of the router's share, the \
         router's decisions shuffled, and length alone."
            .to_owned(),
    );
    notes
}
