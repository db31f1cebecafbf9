//! One running gateway: what it decides with, what it calls, and what it counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use thinkgate_engine::Engine;
use tokio::sync::{Semaphore, watch};

use crate::backends::breaker::Breaker;
use crate::backends::builtin::Builtin;
use crate::backends::upstream::{self, Upstream};
use crate::backends::{Answer, Applied, BackendError, Call};
use crate::config::{Config, Model, Source};
use crate::embedded;
use crate::loaded::Loaded;
use crate::record::Recorder;
use crate::reload::Stamps;
use crate::warmth::Warmth;

pub use crate::loaded::load_snapshot;

/// Everything the handlers share.
pub struct App {
    /// As checked at the start. What reloads is asked of [`App::loaded`].
    pub config: Arc<Config>,
    /// The models, in configured order.
    pub models: Vec<Arc<Served>>,
    /// What finished requests are turned into.
    pub recorder: Arc<Recorder>,
    /// Which conversations which models have read lately.
    pub warmth: Warmth,
    /// Places for requests being answered.
    pub places: Arc<Semaphore>,
    /// Bytes left for request bodies.
    pub body_bytes: Arc<Semaphore>,
    /// When it started.
    pub started: std::time::SystemTime,
    /// Held while reloading: one at a time.
    pub(crate) reloading: Mutex<()>,
    /// What was on disk when loading began; absent if that has changed since the configuration was read.
    pub(crate) stamps: Option<Stamps>,
    loaded: ArcSwap<Loaded>,
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

impl App {
    /// Loads rules, classifier, calibration, models and logs for a gateway. Takes seconds where models are large.
    ///
    /// # Errors
    /// Whatever cannot be loaded or opened; a classifier or calibration that cannot be used is told instead.
    pub fn new(config: Config) -> anyhow::Result<Arc<App>> {
        let config = Arc::new(config);
        let stamps = Stamps::of(&config);
        let stamps = config.is_current().then_some(stamps);
        App::with(Loaded::at_start(config)?, stamps)
    }

    /// The same for a command that ends when it is done, where these are bad input.
    ///
    /// # Errors
    /// Whatever cannot be loaded or opened.
    pub fn strictly(config: Config) -> anyhow::Result<Arc<App>> {
        App::with(Loaded::strictly(Arc::new(config))?, None)
    }

    fn with(loaded: Loaded, stamps: Option<Stamps>) -> anyhow::Result<Arc<App>> {
        let config = Arc::clone(&loaded.config);
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
        recorder.metrics.started(&loaded);
        Ok(Arc::new(App {
            models,
            recorder: Arc::new(recorder),
            warmth: Warmth::default(),
            places: Arc::new(Semaphore::new(config.limits.in_flight)),
            body_bytes: Arc::new(Semaphore::new(config.limits.all_bodies_bytes)),
            started: std::time::SystemTime::now(),
            reloading: Mutex::new(()),
            stamps,
            loaded: ArcSwap::from_pointee(loaded),
            ready: AtomicBool::new(false),
            cut_off: watch::Sender::new(false),
            config,
        }))
    }

    /// What is in force. A request asks once and keeps the answer, so that it sees one version of everything.
    #[must_use]
    pub fn loaded(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    /// Lets `next` take over for requests that are yet to come.
    pub(crate) fn take_over(&self, next: Arc<Loaded>) {
        self.loaded.store(next);
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

    /// The models that this process runs, where there are others.
    pub(crate) fn builtin_beside_upstreams(&self) -> Vec<String> {
        let name = |served: &Arc<Served>| served.model.profile.name.clone();
        let builtin: Vec<String> =
            self.models.iter().filter(|served| served.is_builtin()).map(name).collect();
        if builtin.len() == self.models.len() { Vec::new() } else { builtin }
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

    /// Tokens of the prompt that the call would be rendered to, where the tokenizer is at hand.
    ///
    /// # Errors
    /// The request asks for something the model does not do.
    pub async fn count_tokens(&self, call: &Call) -> Result<Option<usize>, BackendError> {
        match &self.backend {
            Backend::Builtin(builtin) => builtin.count_tokens(call).await.map(Some),
            Backend::Upstream(_) => Ok(None),
        }
    }

    /// What the model will be told of a call, and what of it cannot be said.
    #[must_use]
    pub fn applied(&self, call: &Call) -> Applied {
        match &self.backend {
            Backend::Builtin(_) => Applied::in_full(call),
            Backend::Upstream(upstream) => upstream.applied(call),
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
