//! "What do we decide with, and who may ask?" All that a reload replaces, as one value: a request keeps the one that it
//! came in under.

mod files;
mod standing;

use std::sync::Arc;
use std::time::SystemTime;

use crate::calibration::Profiles;
use crate::classifier::Classifier;
use crate::config::{Config, Fault, Key};
use crate::conversation::Conversation;
use crate::decide::{Snapshot, decide};
use crate::policy::Policy;
use crate::rules::RuleSet;

use files::{RuleFiles, failing_cases, listed};
pub(crate) use files::{find_calibration, load_calibration, load_classifier};
pub use standing::{LastReload, Outcome, Part, Refusal, Standing};

/// One value for each part, in the order of [`Part::ALL`].
type ByPart<T> = [T; Part::ALL.len()];

/// Everything in force that a reload can replace. Immutable.
#[derive(Clone)]
pub struct Loaded {
    /// The configuration in force: what reloads as last read, the rest as at the start.
    pub config: Arc<Config>,
    /// Absent until the first reload.
    pub last_reload: Option<LastReload>,
    standings: ByPart<Standing>,
    rules_digest: [u8; 32],
    profiles: Option<Arc<Profiles>>,
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
    pub(crate) calibration: Result<Option<Arc<Profiles>>, String>,
}

/// Rules with the digest of all their files, cases included.
pub(crate) struct Rules {
    set: RuleSet,
    digest: [u8; 32],
}

impl Loaded {
    /// What a gateway starts with. A classifier or calibration that cannot be used is told and left out: the rest decides
    /// without it, and every decision says so. Rules that fail a case of theirs are told and used, because there are no
    /// others yet.
    ///
    /// # Errors
    /// Every fault of the rules.
    pub fn at_start(config: Arc<Config>) -> anyhow::Result<Loaded> {
        let rules = RuleFiles::of(&config)?.load(&config)?;
        for failed in failing_cases(&config, &rules.set) {
            tracing::warn!("{failed}; used all the same, but a reload would refuse it");
        }
        let (classifier, no_classifier) = or_without(load_classifier(&config), "the rules decide alone");
        let (profiles, no_profiles) =
            or_without(load_calibration(&config), "the score alone says where to think");
        let mut loaded = Loaded::new(config, rules, classifier, profiles);
        loaded.standings[Part::Classifier as usize].refused = no_classifier;
        loaded.standings[Part::Calibration as usize].refused = no_profiles;
        Ok(loaded)
    }

    /// The same for a command that ends when it is done, where what was configured and cannot be used is bad input.
    ///
    /// # Errors
    /// Every fault of the rules, the classifier's, or the first of the calibration.
    pub fn strictly(config: Arc<Config>) -> anyhow::Result<Loaded> {
        let rules = RuleFiles::of(&config)?.load(&config)?;
        let classifier = load_classifier(&config)?;
        let profiles = load_calibration(&config)?;
        Ok(Loaded::new(config, rules, classifier, profiles))
    }

    fn new(
        config: Arc<Config>,
        rules: Rules,
        classifier: Option<Arc<Classifier>>,
        profiles: Option<Arc<Profiles>>,
    ) -> Loaded {
        let since = SystemTime::now();
        let standing =
            |version: Option<&str>| Standing { version: version.map(str::to_owned), since, refused: None };
        let standings = [
            standing(Some(&config.version)),
            standing(Some(rules.set.version())),
            standing(classifier.as_ref().map(|classifier| classifier.version.as_str())),
            standing(profiles.as_ref().map(|profiles| profiles.version.as_str())),
        ];
        let policy = policy_of(&config, profiles.as_deref());
        let snapshots = Arc::new(Snapshots::new(Snapshot { rules: rules.set, classifier, policy }));
        let loaded =
            Loaded { config, last_reload: None, standings, rules_digest: rules.digest, profiles, snapshots };
        loaded.tell_misfit();
        loaded
    }

    /// Profiles hold for the scores that they were fitted to.
    pub(crate) fn tell_misfit(&self) {
        let Some(profiles) = &self.profiles else { return };
        if let Some(other) = profiles.fitted_on.differs_from(&self.snapshots.plain) {
            tracing::warn!("{}: fitted to the scores of {other}; calibrate again", profiles.file.display());
        }
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

    fn replace(&mut self, found: Found) -> ByPart<Result<Outcome, String>> {
        let mut snapshot = Snapshot::clone(&self.snapshots.plain);
        let config = found.config.map(|config| {
            let outcome = self.renamed(Part::Config, Some(config.version.clone()));
            if outcome == Outcome::Loaded {
                self.config = config;
            }
            outcome
        });
        let rules = found.rules.map(|rules| {
            let Some(rules) = rules else { return Outcome::Unchanged };
            self.standings[Part::Rules as usize].version = Some(rules.set.version().to_owned());
            self.rules_digest = rules.digest;
            snapshot.rules = rules.set;
            Outcome::Loaded
        });
        let classifier = found.classifier.map(|classifier| {
            let version = classifier.as_ref().map(|classifier| classifier.version.clone());
            snapshot.classifier = classifier;
            self.renamed(Part::Classifier, version)
        });
        let calibration = found.calibration.map(|profiles| {
            let version = profiles.as_ref().map(|profiles| profiles.version.clone());
            self.profiles = profiles;
            self.renamed(Part::Calibration, version)
        });
        let outcomes = [config, rules, classifier, calibration];
        if outcomes.contains(&Ok(Outcome::Loaded)) {
            // Of both the configuration and the profiles, so that neither takes over without the other's say.
            snapshot.policy = policy_of(&self.config, self.profiles.as_deref());
            self.snapshots = Arc::new(Snapshots::new(snapshot));
        }
        outcomes
    }

    /// Whether this is another version of a part, which is then in force.
    fn renamed(&mut self, part: Part, version: Option<String>) -> Outcome {
        let standing = &mut self.standings[part as usize];
        if version == standing.version {
            return Outcome::Unchanged;
        }
        standing.version = version;
        Outcome::Loaded
    }
}

/// What was loaded, or what a gateway has to say for doing without.
fn or_without<T>(loaded: Result<Option<T>, Fault>, instead: &str) -> (Option<T>, Option<Refusal>) {
    match loaded {
        Ok(loaded) => (loaded, None),
        Err(fault) => {
            tracing::error!("{fault}; {instead}");
            (None, Some(Refusal { at: SystemTime::now(), message: fault.to_string() }))
        }
    }
}

/// Models and presets as configured, each model with its profile.
fn policy_of(config: &Config, profiles: Option<&Profiles>) -> Policy {
    let mut policy = config.policy();
    match (&config.calibration, profiles) {
        (Some(wanted), Some(profiles)) => profiles.give_to(&mut policy, wanted.gain_per_1000_tokens),
        (Some(_), None) => policy.models.iter_mut().for_each(|model| model.calibration_absent = true),
        (None, _) => {}
    }
    policy
}

/// What a command decides with that ends when it is done.
///
/// # Errors
/// Every fault of the rules, the classifier's, or the first of the calibration.
pub fn load_snapshot(config: &Config) -> anyhow::Result<Snapshot> {
    let loaded = Loaded::strictly(Arc::new(config.clone()))?;
    Ok(Snapshot::clone(&loaded.snapshots.plain))
}
