//! What all suites share: the rows that count, the controls beside them, the intervals.

use std::path::{Path, PathBuf};

use super::controls::{Known, Peers, Policy};
use super::measured::Measured;
use super::metrics::{Estimate, estimate};
use super::report::{Cell, Unit};
use super::rows::{RowError, Split};
use crate::decide::Snapshot;

/// What is measured, and how closely.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of rows; not needed for parity alone.
    pub data: Option<PathBuf>,
    /// Folder of written pairs; those inside the binary where left out.
    pub written: Option<PathBuf>,
    /// Files of peers' decisions.
    pub peers: Vec<PathBuf>,
    /// Measure what may have been trained on too.
    pub everything: bool,
    /// Draws per interval.
    pub resamples: usize,
    /// Seeds every draw.
    pub seed: u64,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Rows, pairs or peers cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A file that a suite needs is absent or has no row that counts.
    #[error("{file}.jsonl: {why}")]
    File {
        /// Its name without the ending.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A row lacks what its file is measured by.
    #[error("{file}: row {id} has no {column}")]
    Column {
        /// Name of the file without the ending.
        file: String,
        /// The row.
        id: String,
        /// The absent field.
        column: &'static str,
    },
    /// A suite other than parity was asked for without `data`.
    #[error("the suite {0} needs a folder of rows: --data DIR")]
    NoData(&'static str),
}

/// Everything a suite measures with.
pub(super) struct Bench<'a> {
    pub(super) rows: &'a [Measured],
    pub(super) dir: &'a Path,
    pub(super) snapshot: &'a Snapshot,
    pub(super) peers: &'a Peers,
    pub(super) settings: &'a Settings,
}

impl<'a> Bench<'a> {
    /// Rows whose figures may be claimed.
    pub(super) fn counted(&self) -> impl Iterator<Item = &'a Measured> {
        let everything = self.settings.everything;
        self.rows.iter().filter(move |row| everything || row.split != Split::Train)
    }

    /// Counted rows of one file, at least one.
    pub(super) fn of_file(&self, file: &str) -> Result<Vec<&'a Measured>, EvaluateError> {
        let rows: Vec<&Measured> = self.counted().filter(|row| row.row.file == file).collect();
        if !rows.is_empty() {
            return Ok(rows);
        }
        let why = if self.rows.iter().any(|row| row.row.file == file) {
            "no held-out row; --split all measures the others".to_owned()
        } else {
            format!("not in {}", self.dir.display())
        };
        Err(EvaluateError::File { file: file.to_owned(), why })
    }

    /// The router's line with the controls and peers for thinking.
    pub(super) fn thinking_policies(&self, rows: &[&Measured]) -> Vec<Policy> {
        let scores = rows.iter().map(|row| row.judgement.score).collect();
        let on: Vec<bool> = rows.iter().map(|row| row.judgement.on).collect();
        let mut router = Policy::router(scores, &on);
        router.probabilities = Some(rows.iter().map(|row| row.judgement.thinking).collect());
        let hard = rows.iter().filter(|row| row.expected == Some(true)).count() as f64;
        let base_rate = hard / rows.len().max(1) as f64;
        self.beside_controls(router, rows, ["always off", "always on"], base_rate)
    }

    /// A router's line with the controls and peers.
    pub(super) fn beside_controls(
        &self,
        router: Policy,
        rows: &[&Measured],
        names: [&str; 2],
        base_rate: f64,
    ) -> Vec<Policy> {
        Policy::beside_controls(router, &known(rows), names, base_rate, self.peers, self.settings.seed)
    }

    pub(super) fn missing_peers(&self, rows: &[&Measured]) -> String {
        self.peers.missing(&known(rows))
    }

    /// A figure over `rows` rows with its interval.
    pub(super) fn estimate(&self, rows: usize, metric: impl Fn(&[f64]) -> f64 + Sync) -> Estimate {
        estimate(rows, self.settings.resamples, self.settings.seed, metric)
    }

    /// The same as a cell.
    pub(super) fn cell(&self, rows: usize, unit: Unit, metric: impl Fn(&[f64]) -> f64 + Sync) -> Cell {
        Cell::estimate(self.estimate(rows, metric), unit)
    }
}

pub(super) fn known(rows: &[&Measured]) -> Vec<Known> {
    rows.iter().map(|row| Known { id: row.row.id.clone(), length: row.length }).collect()
}

/// Fails on the first row that lacks a field.
pub(super) fn column<T>(
    rows: &[&Measured],
    column: &'static str,
    of: impl Fn(&Measured) -> Option<T>,
) -> Result<Vec<T>, EvaluateError> {
    rows.iter()
        .map(|row| {
            of(row).ok_or_else(|| EvaluateError::Column {
                file: row.row.file.clone(),
                id: row.row.id.clone(),
                column,
            })
        })
        .collect()
}
