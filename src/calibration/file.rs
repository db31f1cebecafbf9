//! The calibration file: profiles in TOML, to be read and compared by people.

use std::collections::BTreeMap;
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
    #[error("cannot read {}: {error}", .file.display())]
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
fn version_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A calibration as read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Profiles {
    /// Where it was read.
    pub file: PathBuf,
    /// Hash of its text.
    pub version: String,
    /// What the profiles were fitted on.
    pub fitted_on: Provenance,
    by_model: BTreeMap<String, Stated>,
}

/// A profile and the line that it begins on.
#[derive(Debug, Clone, PartialEq)]
struct Stated {
    line: usize,
    profile: Profile,
}

impl Profiles {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or its first fault.
    pub fn load(file: &Path) -> Result<Profiles, CalibrationError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CalibrationError::Io { file: file.to_owned(), error })?;
        Profiles::parse(file, &text)
    }

    /// Checks the text of a calibration; `file` is what complaints call it.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(file: &Path, text: &str) -> Result<Profiles, CalibrationError> {
        let fault = |line, message| CalibrationError::Fault { file: file.to_owned(), line, message };
        let parsed: File<Spanned<String>> = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let key = key_at(text, at).map(|key| format!("{key}: ")).unwrap_or_default();
            fault(line_of(text, at), format!("{key}{}", error.message()))
        })?;
        if parsed.format != FORMAT {
            let line = 1 + text.lines().position(|line| line.starts_with("format")).unwrap_or(0);
            return Err(fault(line, format!("format: {}, but this program reads {FORMAT}", parsed.format)));
        }
        if parsed.models.is_empty() {
            return Err(fault(1, "models: empty; expected a profile of a model".to_owned()));
        }
        let mut by_model = BTreeMap::new();
        for (name, profile) in parsed.models {
            let line = line_of(text, name.span().start);
            let name = name.into_inner();
            if let Some(message) = odd_number(&profile) {
                return Err(fault(line, format!("models.{name}.{message}")));
            }
            by_model.insert(name, Stated { line, profile });
        }
        Ok(Profiles {
            file: file.to_owned(),
            version: version_of(text),
            fitted_on: parsed.fitted_on,
            by_model,
        })
    }

    /// Whether each profile's model is one of these.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_models(&self, names: &[String]) -> Result<(), CalibrationError> {
        let Some((name, stated)) = self.by_model.iter().find(|(name, _)| !names.contains(name)) else {
            return Ok(());
        };
        let message = format!("models: no model {name:?}; configured are {}", names.join(", "));
        Err(CalibrationError::Fault { file: self.file.clone(), line: stated.line, message })
    }

    /// Gives each of the policy's models its profile.
    pub fn give_to(&self, policy: &mut Policy, least_gain: f64) {
        for model in &mut policy.models {
            model.calibrated = self.by_model.get(&model.name).map(|stated| {
                let (profile, version) = (stated.profile.clone(), self.version.clone());
                Arc::new(Calibrated { profile, least_gain, version })
            });
        }
    }
}

/// The key whose line holds this byte, with its table.
fn key_at(text: &str, at: usize) -> Option<String> {
    let before = text.get(..at)?;
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let table_in = |line: &'_ str| {
        let name = line.trim().strip_prefix('[')?.strip_suffix(']')?;
        Some(name.to_owned())
    };
    let line = text[begin..].lines().next()?;
    if let Some(table) = table_in(line) {
        return Some(table);
    }
    let (key, _) = line.split_once('=')?;
    let table = before.lines().rev().find_map(table_in);
    Some(table.map(|table| table + ".").unwrap_or_default() + key.trim())
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
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
        Profiles::parse(Path::new("c.toml"), text).expect_err("a fault").to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = text();
        let read = |text: &str| Profiles::parse(Path::new("c.toml"), text).expect("well formed");
        let profiles = read(&text);
        let models = profiles.by_model.into_iter().map(|(name, stated)| (name, stated.profile)).collect();
        assert_eq!(write(&profiles.fitted_on, models), text);
        assert_ne!(profiles.version, read(&text.replace("120", "121")).version);
    }

    #[test]
    fn faults_name_line_key_and_value() {
        for (from, to, says) in [
            ("format = 1", "format = 2", ": format: 2, but this program reads 1"),
            ("rows = 120", "row = 120", "models.\"Qwen3-8B@fast\".row: unknown field `row`"),
            ("base = 0.5", "base = inf", "models.Qwen3-8B@fast.gain: expected finite numbers, got inf"),
            ("thinking = [-2.0, 3.0]", "thinking = [3.0, -2.0]", "thinking: expected [least, greatest]"),
            ("math", "sums", "unknown variant `sums`"),
            (
                "base = 9.0",
                "base = \"nine\"",
                "models.\"Qwen3-8B@fast\".tokens_with.base: invalid type: string \"nine\"",
            ),
            ("base = 9.0", "", "models.\"Qwen3-8B@fast\".tokens_with: missing field `base`"),
        ] {
            let changed = text().replacen(from, to, 1);
            assert_ne!(changed, text(), "{from}");
            let complaint = complaint(&changed);
            assert!(complaint.starts_with("c.toml:") && complaint.contains(says), "{complaint}");
        }
    }

    #[test]
    fn a_file_without_profiles_says_so() {
        let text = text();
        let (head, _) = text.split_once("[models").expect("its first profile");
        assert_eq!(
            complaint(&format!("{head}[models]\n")),
            "c.toml:1: models: empty; expected a profile of a model"
        );
        assert!(complaint(head).contains("missing field `models`"));
    }

    #[test]
    fn a_model_that_is_not_configured_is_named() {
        let profiles = Profiles::parse(Path::new("c.toml"), &text()).expect("well formed");
        let line = 1 + text().lines().position(|line| line.contains("Qwen3-8B@fast")).expect("named");
        let error = profiles.check_models(&["a".to_owned(), "b".to_owned()]).expect_err("no such model");
        let expected = format!("c.toml:{line}: models: no model \"Qwen3-8B@fast\"; configured are a, b");
        assert_eq!(error.to_string(), expected);
        assert!(profiles.check_models(&["a".to_owned(), "Qwen3-8B@fast".to_owned()]).is_ok());
        let error = Profiles::load(Path::new("/nowhere.toml")).expect_err("no such file").to_string();
        assert!(error.starts_with("cannot read /nowhere.toml: "), "{error}");
    }
}
