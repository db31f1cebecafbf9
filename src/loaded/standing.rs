//! "How does each part stand?" What reloads, and what came of it.

use std::time::SystemTime;

/// What reloads. Each part by itself: a damaged classifier does not keep a withdrawn key in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Keys and presets.
    Config,
    /// Rules and strengths.
    Rules,
    /// The trained vote.
    Classifier,
    /// What thinking buys and costs on each model.
    Calibration,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 4] = [Part::Config, Part::Rules, Part::Classifier, Part::Calibration];

    /// Its name in metrics, logs and `/readyz`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Config => "config",
            Part::Rules => "rules",
            Part::Classifier => "classifier",
            Part::Calibration => "calibration",
        }
    }
}

/// How one part stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Names what is in force; absent where nothing is.
    pub version: Option<String>,
    /// When it took over.
    pub since: SystemTime,
    /// Why what lies on disk is not in force; absent where it is.
    pub refused: Option<Refusal>,
}

/// Why something on disk is not in force.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// When it was tried.
    pub at: SystemTime,
    /// File, line or key, and what is wrong with it.
    pub message: String,
}

/// What came of reading one part again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It took over.
    Loaded,
    /// It is in force already.
    Unchanged,
    /// It is damaged; the last good one stays in force.
    Refused,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 3] = [Outcome::Loaded, Outcome::Unchanged, Outcome::Refused];

    /// Its name in metrics and `/readyz`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Loaded => "loaded",
            Outcome::Unchanged => "unchanged",
            Outcome::Refused => "refused",
        }
    }
}

/// The last time that everything was read again.
#[derive(Debug, Clone, Copy)]
pub struct LastReload {
    /// When.
    pub at: SystemTime,
    /// What came of it, in the order of [`Part::ALL`].
    pub outcomes: [Outcome; Part::ALL.len()],
}
