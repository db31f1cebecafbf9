//! "What do we decide with, and who may ask?" All that a reload replaces, as one value: a request keeps the one that it
//! came in under.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::calibration;
use crate::classifier::{self, Classifier};
use crate::config::{ClassifierSource, Config, Fault, Key};
use crate::conversation::Conversation;
use crate::decide::{Snapshot, decide};
use crate::policy::Policy;
use crate::rules::{self, CaseOutcome, RuleSet};

/// What reloads. Each part by itself: a damaged classifier does not keep a withdrawn key in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Keys and presets.
    Config,
    /// Rules and strengths.
    Rules,
    /// The trained vote.
    Classifier,
}

impl Part {
    /// Every part, in the order of [`Loaded`]'s standings.
    pub const ALL: [Part; 3] = [Part::Config, Part::Rules, Part::Classifier];

    /// Its name in metrics, logs and `/readyz`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Config => "config",
            Part::Rules => "rules",
            Part::Classifier => "classifier",
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
    pub outcomes: [Outcome; 3],
}

/// Everything in force that a reload can replace. Immutable.
#[derive(Clone)]
pub struct Loaded {
    /// The configuration in force: what reloads as last read, the rest as at the start.
    pub config: Arc<Config>,
    /// Absent until the first reload.
    pub last_reload: Option<LastReload>,
    standings: [Standing; 3],
    rules_digest: [u8; 32],
    snapshots: Arc<Snapshots>,
}

/// What deciding depends on, once for the common case and once for keys with a say about text directives.
struct Snapshots {
    plain: Arc<Snapshot>,
    obeying: Arc<Snapshot>,
    ignoring: Arc<Snapshot>,
}

impl Snapshots {
    fn new(plain: Snapshot) -> Self {
        // Patterns are compiled when first used: better now than on somebody's request.
        for prompt in ["你好", "Hello"] {
            let _ = decide(&Conversation::of_prompt(prompt), &plain);
        }
        let with_directives = |obeyed: bool| {
            let mut snapshot = plain.clone();
            snapshot.policy.presets.values_mut().for_each(|preset| preset.text_directives = obeyed);
            Arc::new(snapshot)
        };
        Snapshots { obeying: with_directives(true), ignoring: with_directives(false), plain: Arc::new(plain) }
    }
}

/// What was read from disk to take over, part by part.
pub(crate) struct Found {
    pub(crate) config: Result<Arc<Config>, String>,
    /// Absent where the files are those in force.
    pub(crate) rules: Result<Option<Rules>, String>,
    pub(crate) classifier: Result<Option<Arc<Classifier>>, String>,
}

/// Rules with the digest of all their files, cases included.
pub(crate) struct Rules {
    set: RuleSet,
    digest: [u8; 32],
}

impl Loaded {
    /// What a gateway starts with. A classifier that cannot be used is told and left out: the rules decide without it,
    /// and every decision says so. Rules that fail a case of theirs are told and used, because there are no others yet.
    ///
    /// # Errors
    /// Every fault of the rules, or the first of the calibration.
    pub fn at_start(config: Arc<Config>) -> anyhow::Result<Loaded> {
        let rules = RuleFiles::of(&config)?.load(&config)?;
        for failed in failing_cases(&config, &rules.set) {
            tracing::warn!("{failed}; used all the same, but a reload would refuse it");
        }
        let (classifier, refused) = match load_classifier(&config) {
            Ok(classifier) => (classifier, None),
            Err(fault) => {
                tracing::error!("{fault}; the rules decide alone");
                (None, Some(Refusal { at: SystemTime::now(), message: fault.to_string() }))
            }
        };
        let mut loaded = Loaded::new(config, rules, classifier)?;
        loaded.standings[Part::Classifier as usize].refused = refused;
        Ok(loaded)
    }

    /// The same for a command that ends when it is done, where what was configured and cannot be used is bad input.
    ///
    /// # Errors
    /// Every fault of the rules, the classifier's, or the first of the calibration.
    pub fn strictly(config: Arc<Config>) -> anyhow::Result<Loaded> {
        let rules = RuleFiles::of(&config)?.load(&config)?;
        let classifier = load_classifier(&config)?;
        Loaded::new(config, rules, classifier)
    }

    fn new(config: Arc<Config>, rules: Rules, classifier: Option<Arc<Classifier>>) -> anyhow::Result<Loaded> {
        let since = SystemTime::now();
        let standing =
            |version: Option<&str>| Standing { version: version.map(str::to_owned), since, refused: None };
        let standings = [
            standing(Some(&config.version)),
            standing(Some(rules.set.version())),
            standing(classifier.as_ref().map(|classifier| classifier.version.as_str())),
        ];
        let mut snapshot = Snapshot { rules: rules.set, classifier, policy: config.policy() };
        if let Some(from) = &config.calibration {
            let fitted_on = calibration::apply(&from.path, from.gain_per_1000_tokens, &mut snapshot.policy)?;
            if let Some(other) = fitted_on.differs_from(&snapshot) {
                tracing::warn!("{}: fitted to the scores of {other}; calibrate again", from.path.display());
            }
        }
        let snapshots = Arc::new(Snapshots::new(snapshot));
        Ok(Loaded { config, last_reload: None, standings, rules_digest: rules.digest, snapshots })
    }

    /// What to decide with, for the holder of this key.
    #[must_use]
    pub fn snapshot(&self, key: Option<&Key>) -> &Arc<Snapshot> {
        match key.and_then(|key| key.text_directives) {
            None => &self.snapshots.plain,
            Some(true) => &self.snapshots.obeying,
            Some(false) => &self.snapshots.ignoring,
        }
    }

    /// How a part stands.
    #[must_use]
    pub fn standing(&self, part: Part) -> &Standing {
        &self.standings[part as usize]
    }

    /// Reads the rules that `config` names; `None` where they are in force already.
    pub(crate) fn find_rules(&self, config: &Config) -> Result<Option<Rules>, String> {
        let files = RuleFiles::of(config).map_err(|fault| fault.to_string())?;
        if files.digest == self.rules_digest {
            return Ok(None);
        }
        let rules = files.load(config).map_err(|fault| fault.to_string())?;
        let failed = failing_cases(config, &rules.set);
        if failed.is_empty() { Ok(Some(rules)) } else { Err(listed(failed)) }
    }

    /// What takes over: the sound parts of what was found, and the rest as it was.
    pub(crate) fn replaced_by(&self, found: Found) -> Loaded {
        let at = SystemTime::now();
        let mut next = self.clone();
        let outcomes = next.replace(found);
        for (part, outcome) in Part::ALL.into_iter().zip(&outcomes) {
            let standing = &mut next.standings[part as usize];
            match outcome {
                Ok(Outcome::Loaded) => standing.since = at,
                Ok(_) => {}
                Err(message) => {
                    standing.refused = Some(Refusal { at, message: message.clone() });
                    continue;
                }
            }
            standing.refused = None;
        }
        let outcomes = outcomes.map(|outcome| outcome.unwrap_or(Outcome::Refused));
        next.last_reload = Some(LastReload { at, outcomes });
        next
    }

    fn replace(&mut self, found: Found) -> [Result<Outcome, String>; 3] {
        let old = Arc::clone(&self.snapshots.plain);
        let mut snapshot = None;
        let config = found.config.map(|config| {
            if config.version == self.config.version {
                return Outcome::Unchanged;
            }
            self.standings[Part::Config as usize].version = Some(config.version.clone());
            snapshot.get_or_insert_with(|| Snapshot::clone(&old)).policy = config.policy();
            self.config = config;
            Outcome::Loaded
        });
        let rules = found.rules.map(|rules| {
            let Some(rules) = rules else { return Outcome::Unchanged };
            self.standings[Part::Rules as usize].version = Some(rules.set.version().to_owned());
            self.rules_digest = rules.digest;
            snapshot.get_or_insert_with(|| Snapshot::clone(&old)).rules = rules.set;
            Outcome::Loaded
        });
        let classifier = found.classifier.map(|classifier| {
            let version = classifier.as_ref().map(|classifier| classifier.version.clone());
            let standing = &mut self.standings[Part::Classifier as usize];
            if version == standing.version {
                return Outcome::Unchanged;
            }
            standing.version = version;
            snapshot.get_or_insert_with(|| Snapshot::clone(&old)).classifier = classifier;
            Outcome::Loaded
        });
        if let Some(snapshot) = snapshot {
            self.snapshots = Arc::new(Snapshots::new(snapshot));
        }
        [config, rules, classifier]
    }
}

/// What a command decides with that ends when it is done.
///
/// # Errors
/// Every fault of the rules, or the classifier's.
pub fn load_snapshot(config: &Config) -> anyhow::Result<Snapshot> {
    let loaded = Loaded::strictly(Arc::new(config.clone()))?;
    Ok(Snapshot::clone(&loaded.snapshots.plain))
}

/// The files of the rules that `config` names.
struct RuleFiles {
    sources: Vec<rules::Source>,
    digest: [u8; 32],
}

impl RuleFiles {
    fn of(config: &Config) -> Result<RuleFiles, Fault> {
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

    fn load(self, config: &Config) -> Result<Rules, Fault> {
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
fn failing_cases(config: &Config, rules: &RuleSet) -> Vec<String> {
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
fn listed(mut lines: Vec<String>) -> String {
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
