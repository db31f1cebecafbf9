//! One running gateway: what it decides with, what it calls, and what it counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use thinkgate_engine::Engine;
use tokio::sync::{Semaphore, watch};

use crate::backends::breaker::Breaker;
use crate::backends::builtin::Builtin;
use crate::backends::upstream::{self, Upstream};
use crate::backends::{Answer, BackendError, Call};
use crate::calibration;
use crate::classifier::{self, Classifier};
use crate::config::{Config, Model, Source};
use crate::conversation::Conversation;
use crate::decide::{Snapshot, decide};
use crate::embedded;
use crate::record::Recorder;
use crate::rules::RuleSet;

/// Everything the handlers share.
pub struct App {
    /// As checked at the start.
    pub config: Config,
    /// The models, in configured order.
    pub models: Vec<Arc<Served>>,
    /// What finished requests are turned into.
    pub recorder: Arc<Recorder>,
    /// Places for requests being answered.
    pub places: Arc<Semaphore>,
    /// Bytes left for request bodies.
    pub body_bytes: Arc<Semaphore>,
    /// When it started.
    pub started: std::time::SystemTime,
    snapshots: ArcSwap<Snapshots>,
    ready: AtomicBool,
    cut_off: watch::Sender<bool>,
}

/// A configured model that can be called.
pub struct Served {
    /// As configured.
    pub model: Model,
    /// Its health.
    pub breaker: Breaker,
    backend: Backend,
}

/// A place a model runs.
enum Backend {
    Builtin(Builtin),
    Upstream(Box<Upstream>),
}

/// What deciding depends on, once for the common case and once for keys with a say about text directives. A reload
/// swaps all three together.
struct Snapshots {
    plain: Arc<Snapshot>,
    obeying: Arc<Snapshot>,
    ignoring: Arc<Snapshot>,
}

impl Snapshots {
    fn new(plain: Snapshot) -> Self {
        let with_directives = |obeyed: bool| {
            let mut snapshot = plain.clone();
            snapshot.policy.presets.values_mut().for_each(|preset| preset.text_directives = obeyed);
            Arc::new(snapshot)
        };
        Snapshots { obeying: with_directives(true), ignoring: with_directives(false), plain: Arc::new(plain) }
    }
}

/// Loads what deciding depends on.
///
/// # Errors
/// Every fault of the rules, or the first of the calibration.
pub fn load_snapshot(config: &Config) -> anyhow::Result<Snapshot> {
    let rules = match &config.rules {
        Some(folder) => RuleSet::from_dir(folder),
        None => RuleSet::builtin(),
    };
    let rules = rules.map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        anyhow::anyhow!("the rules do not load:{}", lines.concat())
    })?;
    let mut snapshot = Snapshot { rules, classifier: load_classifier(config), policy: config.policy() };
    if let Some(from) = &config.calibration {
        let fitted_on = calibration::apply(&from.path, from.gain_per_1000_tokens, &mut snapshot.policy)?;
        if let Some(other) = fitted_on.differs_from(&snapshot) {
            tracing::warn!("{}: fitted to the scores of {other}; calibrate again", from.path.display());
        }
    }
    // Patterns are compiled when first used: better now than on somebody's request.
    for prompt in ["你好", "Hello"] {
        let _ = decide(&Conversation::of_prompt(prompt), &snapshot);
    }
    Ok(snapshot)
}

/// The configured classifier. One that cannot be used is told and left out: the rules decide without it, and every
/// decision says so.
fn load_classifier(config: &Config) -> Option<Arc<Classifier>> {
    let file = config.classifier.as_deref()?;
    match read_classifier(file) {
        Ok(classifier) => Some(Arc::new(classifier)),
        Err(error) => {
            tracing::error!("{}: {error:#}; the rules decide alone", file.display());
            None
        }
    }
}

fn read_classifier(file: &Path) -> anyhow::Result<Classifier> {
    Ok(classifier::read(&std::fs::read(file)?)?)
}

impl App {
    /// Loads rules, models and logs. Takes seconds where models are large.
    ///
    /// # Errors
    /// Whatever cannot be loaded or opened.
    pub fn new(config: Config) -> anyhow::Result<Arc<App>> {
        let snapshot = load_snapshot(&config)?;
        let mut clients = Clients::default();
        let mut models = Vec::new();
        for model in &config.models {
            models.push(Arc::new(Served {
                backend: load(model, &mut clients)?,
                model: model.clone(),
                breaker: Breaker::default(),
            }));
        }
        let decisions = config.log.decisions.as_deref();
        let recorder = Recorder::new(decisions)
            .with_context(|| format!("cannot write {}", decisions.unwrap_or("".as_ref()).display()))?;
        Ok(Arc::new(App {
            models,
            recorder: Arc::new(recorder),
            places: Arc::new(Semaphore::new(config.limits.in_flight)),
            body_bytes: Arc::new(Semaphore::new(config.limits.all_bodies_bytes)),
            started: std::time::SystemTime::now(),
            snapshots: ArcSwap::from_pointee(Snapshots::new(snapshot)),
            ready: AtomicBool::new(false),
            cut_off: watch::Sender::new(false),
            config,
        }))
    }

    /// What to decide with, for the holder of this key.
    #[must_use]
    pub fn snapshot(&self, key: Option<usize>) -> Arc<Snapshot> {
        let snapshots = self.snapshots.load();
        let say = key.and_then(|key| self.config.keys.get(key)).and_then(|key| key.text_directives);
        Arc::clone(match say {
            None => &snapshots.plain,
            Some(true) => &snapshots.obeying,
            Some(false) => &snapshots.ignoring,
        })
    }

    /// The model of this name.
    #[must_use]
    pub fn served(&self, name: &str) -> Option<&Arc<Served>> {
        self.models.iter().find(|served| served.model.profile.name == name)
    }

    /// Models that cannot take a request now. If that is all of them, it is none of them: asking a backend that may
    /// fail beats refusing for certain.
    #[must_use]
    pub fn unavailable(&self) -> Vec<String> {
        let now = Instant::now();
        let name = |served: &Arc<Served>| served.model.profile.name.clone();
        let down: Vec<String> =
            self.models.iter().filter(|served| !served.breaker.available(now)).map(name).collect();
        if down.len() == self.models.len() { Vec::new() } else { down }
    }

    /// Whether new requests are welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Turns true when the time for draining is over, so that streams can end with a word of explanation.
    #[must_use]
    pub fn watch_cut_off(&self) -> watch::Receiver<bool> {
        self.cut_off.subscribe()
    }

    /// Ends every stream now.
    pub fn cut_off(&self) {
        self.cut_off.send_replace(true);
    }

    /// Says whether new requests are welcome.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

impl Served {
    /// Asks the model.
    ///
    /// # Errors
    /// Whatever happened before the first step.
    pub async fn ask(&self, call: &Call) -> Result<Answer, BackendError> {
        match &self.backend {
            Backend::Builtin(builtin) => builtin.ask(call).await,
            Backend::Upstream(upstream) => upstream.ask(call).await,
        }
    }

    /// Whether this process runs it.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        matches!(self.backend, Backend::Builtin(_))
    }
}

fn load(model: &Model, clients: &mut Clients) -> anyhow::Result<Backend> {
    let name = &model.profile.name;
    let engine = match &model.source {
        Source::Upstream(config) => {
            let client = clients.with_connect_timeout(config.timeouts.connect)?;
            return Ok(Backend::Upstream(Box::new(Upstream::new(name, (**config).clone(), client))));
        }
        Source::Embedded(embedded) => {
            let files = embedded::files(embedded).context("no such embedded model")?;
            Engine::load_embedded(files, model.engine)
        }
        Source::Path(path) => Engine::open(path, model.engine),
    };
    let engine = engine.with_context(|| format!("model {name} does not load"))?;
    Ok(Backend::Builtin(Builtin::new(name, engine)))
}

/// One pooled client per connect timeout, which the library does not let a request choose.
#[derive(Default)]
struct Clients {
    by_connect: BTreeMap<Duration, reqwest::Client>,
}

impl Clients {
    fn with_connect_timeout(&mut self, connect: Duration) -> anyhow::Result<reqwest::Client> {
        if let Some(client) = self.by_connect.get(&connect) {
            return Ok(client.clone());
        }
        let client = upstream::client(connect).context("the HTTP client cannot be set up")?;
        self.by_connect.insert(connect, client.clone());
        Ok(client)
    }
}
