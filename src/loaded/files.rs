//! What lies on disk, read and checked part by part.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Rules;
use crate::calibration::{CalibrationError, Profiles};
use crate::classifier::{self, Classifier};
use crate::config::{ClassifierSource, Config, Fault};
use crate::decide::Snapshot;
use crate::policy::Policy;
use crate::rules::{self, CaseOutcome, RuleSet};

/// The files of the rules that `config` names.
pub(super) struct RuleFiles {
    sources: Vec<rules::Source>,
    pub(super) digest: [u8; 32],
}

impl RuleFiles {
    pub(super) fn of(config: &Config) -> Result<RuleFiles, Fault> {
        let sources =
            rules::sources(config.rules.as_deref()).map_err(|faults| rules_fault(config, &faults))?;
        let mut digest = Sha256::new();
        for source in &sources {
            for part in [&source.name, &source.text] {
                digest.update(part.len().to_le_bytes());
                digest.update(part);
            }
        }
        Ok(RuleFiles { sources, digest: digest.finalize().into() })
    }

    pub(super) fn load(self, config: &Config) -> Result<Rules, Fault> {
        let set = RuleSet::load(&self.sources).map_err(|faults| rules_fault(config, &faults))?;
        Ok(Rules { set, digest: self.digest })
    }
}

fn rules_fault(config: &Config, faults: &[rules::Fault]) -> Fault {
    let place = config.rules.as_deref().map_or("the built-in rules".into(), Path::to_string_lossy);
    let lines = listed(faults.iter().map(ToString::to_string).collect());
    config.fault("rules.dir", format!("{place} does not load:\n  {}", lines.replace('\n', "\n  ")))
}

/// The cases beside a folder's rules that do not come out as written. They are about the rules, so the operator's
/// presets and classifier have no say. The built-in ones were run when this program was made.
pub(super) fn failing_cases(config: &Config, rules: &RuleSet) -> Vec<String> {
    if config.rules.is_none() {
        return Vec::new();
    }
    let policy = Policy { preset: "api".to_owned(), presets: Policy::builtin_presets(), ..config.policy() };
    let snapshot = Snapshot { rules: rules.clone(), classifier: None, policy };
    let failed = |case: &rules::Case| match case.run(&snapshot) {
        CaseOutcome::Held => None,
        CaseOutcome::Failed(differences) => {
            let message = format!("{} case {}: {}", case.file, case.number, differences.join("; "));
            Some(config.fault("rules.dir", message).to_string())
        }
    };
    rules.cases().iter().filter_map(failed).collect()
}

/// Lines enough to work with.
pub(super) fn listed(mut lines: Vec<String>) -> String {
    const MOST: usize = 20;
    let more = lines.len().saturating_sub(MOST);
    if more > 0 {
        lines.truncate(MOST);
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// The classifier that `config` asks for, if any.
///
/// # Errors
/// It cannot be read, or is none that this program can use.
pub(crate) fn load_classifier(config: &Config) -> Result<Option<Arc<Classifier>>, Fault> {
    let classifier = match &config.classifier {
        ClassifierSource::Off => return Ok(None),
        ClassifierSource::Builtin => Classifier::builtin()
            .map_err(|error| config.fault("classifier.enabled", format!("the built-in one: {error}")))?,
        ClassifierSource::File(path) => read_classifier(path).map_err(|reason| {
            config.fault("classifier.path", format!("{} cannot be used: {reason}", path.display()))
        })?,
    };
    Ok(Some(Arc::new(classifier)))
}

fn read_classifier(path: &Path) -> Result<Classifier, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    classifier::read(&bytes).map_err(|error| error.to_string())
}

/// The calibration that `config` names, if any.
///
/// # Errors
/// It cannot be read, or is for a model that `config` does not have.
pub(crate) fn load_calibration(config: &Config) -> Result<Option<Arc<Profiles>>, Fault> {
    let Some(profiles) = read_calibration(config)? else { return Ok(None) };
    profiles.check_models(&config.model_names()).map_err(|error| calibration_fault(config, &error))?;
    Ok(Some(Arc::new(profiles)))
}

/// The same for a running gateway, with a warning where what fits now no longer does once the models that the file names,
/// `later`, are in force. They are absent where they are as now, or not known.
///
/// # Errors
/// As there.
pub(crate) fn find_calibration(
    config: &Config,
    later: Option<&[String]>,
) -> Result<(Option<Arc<Profiles>>, Option<String>), String> {
    let Some(profiles) = read_calibration(config).map_err(|fault| fault.to_string())? else {
        return Ok((None, None));
    };
    let unfit = |models: &[String]| {
        let error = profiles.check_models(models).err()?;
        Some(calibration_fault(config, &error).to_string())
    };
    match (unfit(&config.model_names()), later.map(unfit)) {
        (None, later) => Ok((Some(Arc::new(profiles)), later.flatten())),
        (Some(fault), Some(None)) => Err(format!(
            "{fault}; it fits the models that the configuration names now, which wait for a restart"
        )),
        (Some(fault), _) => Err(fault),
    }
}

fn read_calibration(config: &Config) -> Result<Option<Profiles>, Fault> {
    let Some(from) = &config.calibration else { return Ok(None) };
    Profiles::load(&from.path).map(Some).map_err(|error| calibration_fault(config, &error))
}

fn calibration_fault(config: &Config, error: &CalibrationError) -> Fault {
    config.fault("calibration.path", error.to_string())
}
