//! The calibration file: profiles in TOML, to be read and compared by people.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::{Calibrated, Profile};
use crate::decide::Snapshot;
use crate::policy::Policy;

/// Layout of the file; another one is refused.
const FORMAT: u32 = 1;
const HEAD: &str = "\
# What thinking buys and costs on each model; written by `thinkgate calibrate` from measured outcomes.
# without: log-odds of a right answer without thinking. gain: log-odds that thinking adds to it.
# tokens_without, tokens_with: log2 of the tokens put out. Each is
#   base + per_thinking * t + per_complexity * c + task + language
# where t is the log-odds that thinking helps (the score), c that a strong model is needed, both kept within the range
# they had in the rows. A task or language without an offset keeps to the common line.

";

/// What the numbers were fitted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Hash of the prompts and outcomes.
    pub data: String,
    /// Version of the rules that scored them.
    pub rules: String,
    /// Version of the classifier that did, or `none`.
    pub classifier: String,
}

impl Provenance {
    /// What decides, and the rows that a profile is fitted on.
    #[must_use]
    pub fn of(snapshot: &Snapshot, data: String) -> Provenance {
        let classifier = snapshot.classifier.as_ref().map(|classifier| classifier.version.clone());
        Provenance {
            data,
            rules: snapshot.rules.version().to_owned(),
            classifier: classifier.unwrap_or_else(|| "none".to_owned()),
        }
    }

    /// The rules or classifier whose scores the profiles were fitted to, where they are not those that decide.
    #[must_use]
    pub fn differs_from(&self, snapshot: &Snapshot) -> Option<String> {
        let now = Provenance::of(snapshot, self.data.clone());
        (*self != now).then(|| format!("rules {} and classifier {}", self.rules, self.classifier))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<K: Ord> {
    format: u32,
    fitted_on: Provenance,
    models: BTreeMap<K, Profile>,
}

/// Why a calibration cannot be used. Names file, line, key and value.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The file does not open.
    #[error("calibration.path: cannot read {}: {error}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {message}", .file.display())]
    Fault {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Key, value and what would do.
        message: String,
    },
}

/// The text of a calibration file.
#[must_use]
pub fn write(fitted_on: &Provenance, models: BTreeMap<String, Profile>) -> String {
    let file = File { format: FORMAT, fitted_on: fitted_on.clone(), models };
    let body = toml::to_string(&file).expect("numbers, strings and maps are TOML");
    format!("{HEAD}{body}")
}

/// Hash of a calibration file's text.
#[must_use]
fn version_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a calibration, and gives each of the policy's models its profile. Returns what the profiles were fitted on.
///
/// # Errors
/// The file cannot be read, or names a model that the policy does not have.
pub fn apply(file: &Path, least_gain: f64, policy: &mut Policy) -> Result<Provenance, CalibrationError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CalibrationError::Io { file: file.to_owned(), error })?;
    let (fitted_on, profiles) = read(file, &text)?;
    let version = version_of(&text);
    for (name, profile) in profiles {
        let known = policy.models.iter_mut().find(|model| model.name == *name.get_ref());
        let Some(model) = known else {
            let names: Vec<&str> = policy.models.iter().map(|model| model.name.as_str()).collect();
            let message =
                format!("models: no model {:?}; configured are {}", name.get_ref(), names.join(", "));
            return Err(fault(file, &text, name.span(), message));
        };
        model.calibrated = Some(Arc::new(Calibrated { profile, least_gain, version: version.clone() }));
    }
    Ok(fitted_on)
}

type Profiles = BTreeMap<Spanned<String>, Profile>;

/// Checks the text of a calibration; `file` is what complaints call it.
///
/// # Errors
/// The first fault.
pub fn read(file: &Path, text: &str) -> Result<(Provenance, Profiles), CalibrationError> {
    let parsed: File<Spanned<String>> = toml::from_str(text)
        .map_err(|error| fault(file, text, error.span().unwrap_or(0..0), error.message().to_owned()))?;
    if parsed.format != FORMAT {
        let message = format!("format: {}, but this program reads {FORMAT}", parsed.format);
        return Err(fault(file, text, 0..0, message));
    }
    for (name, profile) in &parsed.models {
        if let Some(message) = odd_number(profile) {
            let message = format!("models.{}.{message}", name.get_ref());
            return Err(fault(file, text, name.span(), message));
        }
    }
    Ok((parsed.fitted_on, parsed.models))
}

/// TOML has numbers that no curve is made of.
fn odd_number(profile: &Profile) -> Option<String> {
    for (key, range) in [("thinking", profile.thinking), ("complexity", profile.complexity)] {
        if !(range[0].is_finite() && range[1].is_finite() && range[0] <= range[1]) {
            return Some(format!("{key}: expected [least, greatest], got {range:?}"));
        }
    }
    let lines = [
        ("without", &profile.without),
        ("gain", &profile.gain),
        ("tokens_without", &profile.tokens_without),
        ("tokens_with", &profile.tokens_with),
    ];
    let odd = lines.iter().find_map(|(key, line)| Some((key, line.numbers().find(|n| !n.is_finite())?)));
    odd.map(|(key, number)| format!("{key}: expected finite numbers, got {number}"))
}

fn fault(file: &Path, text: &str, span: Range<usize>, message: String) -> CalibrationError {
    let line = 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
    CalibrationError::Fault { file: file.to_owned(), line, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Line;
    use crate::decide::TaskLabel;

    fn text() -> String {
        let line = |base: f64| Line {
            base,
            per_thinking: 0.25,
            per_complexity: -0.5,
            task: BTreeMap::from([(TaskLabel::Math, 0.125)]),
            language: BTreeMap::from([("zh".to_owned(), -0.0625)]),
        };
        let profile = Profile {
            rows: 120,
            thinking: [-2.0, 3.0],
            complexity: [-1.0, 1.5],
            without: line(-1.0),
            gain: line(0.5),
            tokens_without: line(5.0),
            tokens_with: line(9.0),
        };
        let models = BTreeMap::from([("Qwen3-8B@fast".to_owned(), profile)]);
        let fitted_on = Provenance { data: "d".into(), rules: "r".into(), classifier: "none".into() };
        write(&fitted_on, models)
    }

    fn complaint(text: &str) -> String {
        read(Path::new("c.toml"), text).expect_err("a fault").to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = text();
        let (fitted_on, profiles) = read(Path::new("c.toml"), &text).expect("well formed");
        let models = profiles.into_iter().map(|(name, profile)| (name.into_inner(), profile)).collect();
        assert_eq!(write(&fitted_on, models), text);
        assert_ne!(version_of(&text), version_of(&text.replace("120", "121")));
    }

    #[test]
    fn faults_name_line_key_and_value() {
        for (from, to, says) in [
            ("format = 1", "format = 2", "c.toml:1: format: 2, but this program reads 1"),
            ("rows = 120", "row = 120", "unknown field `row`"),
            ("base = 0.5", "base = inf", "models.Qwen3-8B@fast.gain: expected finite numbers, got inf"),
            ("thinking = [-2.0, 3.0]", "thinking = [3.0, -2.0]", "thinking: expected [least, greatest]"),
            ("math", "sums", "unknown variant `sums`"),
            ("base = 9.0", "base = \"nine\"", "invalid type: string \"nine\""),
        ] {
            let changed = text().replacen(from, to, 1);
            assert_ne!(changed, text(), "{from}");
            let complaint = complaint(&changed);
            assert!(complaint.starts_with("c.toml:") && complaint.contains(says), "{complaint}");
        }
    }

    #[test]
    fn a_model_that_is_not_configured_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text()).expect("written");
        let mut policy =
            Policy { models: Vec::new(), presets: Policy::builtin_presets(), preset: "api".into() };
        let error = apply(file.path(), 0.05, &mut policy).expect_err("no such model").to_string();
        let line = 1 + text().lines().position(|line| line.contains("Qwen3-8B@fast")).expect("named");
        assert!(error.contains(&format!(":{line}: models: no model \"Qwen3-8B@fast\"")), "{error}");
        assert!(apply(Path::new("/nowhere.toml"), 0.05, &mut policy).is_err());
    }
}
