//! "What did the operator ask for, and does it make sense?"
//!
//! Reading checks everything and reports every fault at once. This is the only place that reads the environment.

mod dialect;
mod download;
mod hub;
mod keys;
mod models;
mod reader;
mod reread;
mod upstream;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::calibration::GAIN_PER_1000_TOKENS;
use crate::conversation::Mode;
use crate::policy::{Policy, Preset};

pub use dialect::{Dialect, Wire};
pub use keys::{Key, digest};
pub use models::{Model, Source};
pub use reader::Fault;
use reader::{Document, Section};
pub use reread::Reread;
pub use upstream::{Secret, Timeouts, Upstream};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from; absent for the built-in one.
    pub file: Option<PathBuf>,
    /// The start of its text's SHA-256; `built-in` where there is no text.
    pub version: String,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Under which name chat clients get reasoning.
    pub reasoning_field: ReasoningField,
    /// What becomes of tools that only a vendor's own servers can run.
    pub hosted_tools: HostedTools,
    /// The preset that applies when the client names none.
    pub preset: String,
    /// Built-in presets and the operator's own.
    pub presets: BTreeMap<String, Preset>,
    /// The models to choose from, in configured order; never empty.
    pub models: Vec<Model>,
    /// A folder of rules that replaces the built-in ones.
    pub rules: Option<PathBuf>,
    /// Which classifier votes beside the rules.
    pub classifier: ClassifierSource,
    /// What thinking buys and costs on each model; without one the score alone says where to think.
    pub calibration: Option<Calibration>,
    /// Who may call; empty: everyone who can reach the address.
    pub keys: Vec<Arc<Key>>,
    /// What is written down.
    pub log: Log,
    /// How much, and how long, before a caller is refused.
    pub limits: Limits,
}

/// Under which name chat clients get reasoning. Clients disagree, and some show it twice if it comes under both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReasoningField {
    /// `reasoning_content`, which most clients read.
    #[default]
    ReasoningContent,
    /// `reasoning`, as vLLM and OpenRouter write it.
    Reasoning,
    /// The same text under either name.
    Both,
}

impl ReasoningField {
    /// Every choice, as configuration and header name it.
    pub const ALL: &[(&'static str, ReasoningField)] = &[
        ("reasoning_content", ReasoningField::ReasoningContent),
        ("reasoning", ReasoningField::Reasoning),
        ("both", ReasoningField::Both),
    ];

    /// The fields that hold it.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            ReasoningField::ReasoningContent => &["reasoning_content"],
            ReasoningField::Reasoning => &["reasoning"],
            ReasoningField::Both => &["reasoning_content", "reasoning"],
        }
    }
}

/// What becomes of tools that only a vendor's own servers can run, such as a web search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostedTools {
    /// The request is refused: its answer may look right and lack what the tool was for.
    Refuse,
    /// They are left out, and the decision notes which: agents offer them with every request, whether it matters or not.
    #[default]
    Drop,
}

/// Which classifier votes beside the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClassifierSource {
    /// None: the rules decide alone.
    Off,
    /// The one inside this program.
    #[default]
    Builtin,
    /// The one in this file.
    File(PathBuf),
}

/// Profiles of models, and what is asked of thinking by them.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// What `thinkgate calibrate` wrote.
    pub path: PathBuf,
    /// Success that 1,000 tokens of thinking must buy.
    pub gain_per_1000_tokens: f64,
}

/// What is written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// A file that gets one JSON line per decided request, without prompt text.
    pub decisions: Option<PathBuf>,
    /// One JSON object per line on standard error instead of text.
    pub json: bool,
}

/// How much, and how long, before a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Requests being answered.
    pub in_flight: usize,
    /// Bytes of one request body.
    pub body_bytes: usize,
    /// Bytes of all request bodies being held.
    pub all_bodies_bytes: usize,
    /// Bytes of one request's headers.
    pub header_bytes: usize,
    /// From connection to first byte.
    pub first_byte: Duration,
    /// From first byte of a request to the end of its headers.
    pub header: Duration,
    /// A connection between two requests.
    pub keep_alive: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// A whole body.
    pub body_total: Duration,
    /// A client that does not read what it asked for.
    pub write_stall: Duration,
    /// Between two signs of life on a stream that has nothing to say yet.
    pub ping: Duration,
    /// From the signal to stop until what still runs is cut off.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 10_000,
            in_flight: 512,
            body_bytes: 32 << 20,
            all_bodies_bytes: 256 << 20,
            header_bytes: 32 << 10,
            first_byte: Duration::from_secs(10),
            header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            body_total: Duration::from_secs(120),
            write_stall: Duration::from_secs(60),
            ping: Duration::from_secs(15),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            file: None,
            version: "built-in".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            reasoning_field: ReasoningField::default(),
            hosted_tools: HostedTools::default(),
            preset: "api".to_owned(),
            presets: Policy::builtin_presets(),
            models: models::embedded_pair(),
            rules: None,
            classifier: ClassifierSource::default(),
            calibration: None,
            keys: Vec::new(),
            log: Log::default(),
            limits: Limits::default(),
        }
    }
}

/// Every fault of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order of the file.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.faults.len() == 1 { "fault" } else { "faults" };
        write!(out, "{} {plural} in the configuration", self.faults.len())?;
        for fault in &self.faults {
            write!(out, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Looks up an environment variable; tests put a table in its place.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// What to do about a model of the hub that is not on this machine.
enum Absent {
    /// It is a fault.
    Refuse,
    /// Pass over it, and note that there is one.
    Note(Cell<bool>),
    /// Download it, which takes its time.
    Fetch,
}

/// What reading depends on beside the text.
struct Surroundings<'e> {
    /// Where relative paths start.
    folder: &'e Path,
    environment: Environment<'e>,
    absent: Absent,
    /// A gateway runs already. What is missing is then told, and waited for, by the part that is loaded from it.
    running: bool,
}

impl Surroundings<'_> {
    /// Is there a model of the hub that is yet to be downloaded?
    fn has_passed_over(&self) -> bool {
        matches!(&self.absent, Absent::Note(noted) if noted.get())
    }

    /// The files of a model of the hub; `None` if it was passed over.
    fn hub_model(&self, text: &str) -> Result<Option<PathBuf>, String> {
        let name = hub::Name::parse(text)?;
        let found = name.find(self.environment)?;
        match &self.absent {
            _ if found.is_some() => Ok(found),
            Absent::Note(noted) => {
                noted.set(true);
                Ok(None)
            }
            Absent::Refuse => Err(format!(
                "{text} is not in {}; `thinkgate serve` and `hf download {}/{}` fetch it",
                name.folder(self.environment)?.display(),
                name.owner,
                name.name
            )),
            Absent::Fetch => {
                download::fetch(&name, self.environment)
                    .map_err(|reason| format!("{text} is not on this machine: {reason}"))?;
                let found = name.find(self.environment)?;
                found.map(Some).ok_or_else(|| format!("{text} was downloaded, but is not whole"))
            }
        }
    }
}

impl Config {
    /// Reads and checks `file`, or takes the built-in configuration where there is none.
    ///
    /// # Errors
    /// Every fault of the file. A model of the hub that is not on this machine is one.
    pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
        let Some(path) = file else { return Ok(Config::default()) };
        let (text, name) = text_of(path)?;
        let environment = |name: &str| std::env::var(name).ok();
        let mut config = Config::parse(&text, Some(name), folder_of(path), &environment)?;
        config.file = Some(path.to_owned());
        Ok(config)
    }

    /// The same, and downloads the models of the hub that are not on this machine. That can take long and be told on the
    /// log, so `before` is called first; faults of the file are told before anything is downloaded.
    ///
    /// # Errors
    /// Every fault of the file, or why a model could not be downloaded.
    pub fn load_fetching(file: Option<&Path>, before: impl FnOnce(&Log)) -> Result<Config, ConfigError> {
        let Some(path) = file else { return Ok(Config::default()) };
        let (text, name) = text_of(path)?;
        let environment = |name: &str| std::env::var(name).ok();
        let mut config = Config::parse_fetching(&text, Some(name), folder_of(path), &environment, before)?;
        config.file = Some(path.to_owned());
        Ok(config)
    }

    /// Checks the text of a configuration. Relative paths in it start at `folder`.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn parse(
        text: &str,
        name: Option<String>,
        folder: &Path,
        environment: Environment<'_>,
    ) -> Result<Config, ConfigError> {
        parse(text, name, &Surroundings { folder, environment, absent: Absent::Refuse, running: false })
    }

    /// The same, and downloads models, as [`Config::load_fetching`] does.
    ///
    /// # Errors
    /// As there.
    pub fn parse_fetching(
        text: &str,
        name: Option<String>,
        folder: &Path,
        environment: Environment<'_>,
        before: impl FnOnce(&Log),
    ) -> Result<Config, ConfigError> {
        let mut around =
            Surroundings { folder, environment, absent: Absent::Note(Cell::new(false)), running: false };
        let config = parse(text, name.clone(), &around)?;
        if !around.has_passed_over() {
            return Ok(config);
        }
        before(&config.log);
        around.absent = Absent::Fetch;
        parse(text, name, &around)
    }

    /// A fault of `key` that shows only when what the key names is loaded.
    #[must_use]
    pub fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        Fault { file, line: None, key: key.to_owned(), message: message.into() }
    }

    /// The names of the models, in configured order.
    #[must_use]
    pub fn model_names(&self) -> Vec<String> {
        self.models.iter().map(|model| model.profile.name.clone()).collect()
    }

    /// What deciding needs of the configuration.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            models: self.models.iter().map(|model| model.profile.clone()).collect(),
            presets: self.presets.clone(),
            preset: self.preset.clone(),
        }
    }
}

/// The text of a file, and the name that complaints give it.
fn text_of(file: &Path) -> Result<(String, String), ConfigError> {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok((text, name)),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(ConfigError {
                faults: vec![Fault { file: Some(name), line: None, key: String::new(), message }],
            })
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn parse(text: &str, name: Option<String>, around: &Surroundings<'_>) -> Result<Config, ConfigError> {
    let document = Document::new(name, text);
    let table = document.parse();
    let root = document.root(&table);
    let mut config = read(&root, around);
    config.version = reread::version_of(text);
    root.finish();
    let faults = document.into_faults();
    if faults.is_empty() { Ok(config) } else { Err(ConfigError { faults }) }
}

fn read(root: &Section<'_, '_, '_>, around: &Surroundings<'_>) -> Config {
    let &Surroundings { folder, environment, .. } = around;
    let presets = read_presets(&root.section("presets"));
    let server = read_server(root.section("server"));
    let models = models::read(&root.sections("models"), server.listen, around);
    let config = Config {
        file: None,
        version: String::new(),
        listen: server.listen,
        reasoning_field: server.reasoning_field,
        hosted_tools: server.hosted_tools,
        preset: read_policy(root.section("policy"), &presets),
        rules: read_rules(root.section("rules"), around),
        classifier: read_classifier(root.section("classifier"), folder),
        calibration: read_calibration(root.section("calibration"), folder),
        keys: keys::read(
            &root.sections("keys"),
            &presets,
            // Of models that are yet to be downloaded not every name is known.
            (!around.has_passed_over()).then_some(&models),
            environment,
        ),
        log: read_log(root.section("log"), folder),
        limits: read_limits(root.section("limits")),
        models,
        presets,
    };
    for model in &config.models {
        if config.presets.contains_key(&model.profile.name) {
            root.fault(
                "models",
                format!("model {:?} has the name of a preset; clients could not tell", model.profile.name),
            );
        }
    }
    config
}

/// What `[server]` says.
struct Server {
    listen: SocketAddr,
    reasoning_field: ReasoningField,
    hosted_tools: HostedTools,
}

fn read_server(section: Section<'_, '_, '_>) -> Server {
    const HOSTED: &[(&str, HostedTools)] = &[("refuse", HostedTools::Refuse), ("drop", HostedTools::Drop)];
    let default = Config::default().listen;
    let listen = section.string("listen").map_or(default, |text| {
        text.parse().unwrap_or_else(|_| {
            section.fault("listen", format!("expected an address such as \"127.0.0.1:8080\", got {text:?}"));
            default
        })
    });
    let server = Server {
        listen,
        reasoning_field: section.one_of("reasoning_field", ReasoningField::ALL).unwrap_or_default(),
        hosted_tools: section.one_of("hosted_tools", HOSTED).unwrap_or_default(),
    };
    section.finish();
    server
}

fn read_policy(section: Section<'_, '_, '_>, presets: &BTreeMap<String, Preset>) -> String {
    let preset = section.string("preset").unwrap_or_else(|| "api".to_owned());
    check_preset(&section, &preset, presets);
    section.finish();
    preset
}

fn check_preset(section: &Section<'_, '_, '_>, name: &str, presets: &BTreeMap<String, Preset>) {
    if !presets.contains_key(name) {
        let known: Vec<&str> = presets.keys().map(String::as_str).collect();
        section.fault("preset", format!("no preset {name:?}; known are {}", known.join(", ")));
    }
}

fn read_presets(section: &Section<'_, '_, '_>) -> BTreeMap<String, Preset> {
    const MODES: &[(&str, Mode)] = &[("on", Mode::On), ("off", Mode::Off)];
    let mut presets = Policy::builtin_presets();
    for (name, own) in section.named_sections() {
        if matches!(name.as_str(), "auto" | "think" | "fast") {
            section.fault(&name, "this name is a model alias; choose another");
        }
        // A preset of a built-in name changes that one; any other starts from the common defaults.
        let base = presets.get(&name).cloned().unwrap_or_default();
        let preset = Preset {
            thinking: own.one_of("thinking", MODES).or(base.thinking),
            unsure: own.one_of("unsure", MODES).unwrap_or(base.unsure),
            text_directives: own.boolean("text_directives").unwrap_or(base.text_directives),
            max_budget_tokens: own
                .integer("max_budget_tokens", 1, u64::from(u32::MAX))
                .and_then(|tokens| u32::try_from(tokens).ok())
                .unwrap_or(base.max_budget_tokens),
        };
        own.finish();
        presets.insert(name, preset);
    }
    presets
}

fn read_path(section: Section<'_, '_, '_>, key: &'static str, folder: &Path) -> Option<PathBuf> {
    let path = section.string(key).map(|path| folder.join(path));
    if let Some(missing) = path.as_ref().filter(|path| !path.exists()) {
        section.fault(key, format!("{} does not exist", missing.display()));
    }
    section.finish();
    path
}

fn read_rules(section: Section<'_, '_, '_>, around: &Surroundings<'_>) -> Option<PathBuf> {
    if !around.running {
        return read_path(section, "dir", around.folder);
    }
    let folder = section.string("dir").map(|folder| around.folder.join(folder));
    section.finish();
    folder
}

/// A file that is not there is no fault here: a gateway starts without it, and says so.
fn read_classifier(section: Section<'_, '_, '_>, folder: &Path) -> ClassifierSource {
    let path = section.string("path").map(|path| folder.join(path));
    let enabled = section.boolean("enabled");
    section.finish();
    match (enabled, path) {
        (Some(false), _) => ClassifierSource::Off,
        (_, Some(path)) => ClassifierSource::File(path),
        (_, None) => ClassifierSource::Builtin,
    }
}

/// Whether the file exists is told where it is read: `thinkgate calibrate` may be about to write it.
fn read_calibration(section: Section<'_, '_, '_>, folder: &Path) -> Option<Calibration> {
    let path = section.string("path").map(|path| folder.join(path));
    let gain = section.number("gain_per_1000_tokens", 0.0, 1.0);
    if gain.is_some() && path.is_none() {
        section.fault("gain_per_1000_tokens", "says nothing without path, the profiles it is asked of");
    }
    section.finish();
    let gain_per_1000_tokens = gain.unwrap_or(GAIN_PER_1000_TOKENS);
    path.map(|path| Calibration { path, gain_per_1000_tokens })
}

fn read_log(section: Section<'_, '_, '_>, folder: &Path) -> Log {
    let log = Log {
        decisions: section.string("decisions").map(|path| folder.join(path)),
        json: section.one_of("format", &[("text", false), ("json", true)]).unwrap_or(false),
    };
    section.finish();
    log
}

fn read_limits(section: Section<'_, '_, '_>) -> Limits {
    let default = Limits::default();
    let count = |key: &'static str, least: u64, default: usize| {
        section.integer(key, least, 1 << 40).and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
    };
    let time = |key: &'static str, default: Duration| section.milliseconds(key).unwrap_or(default);
    let limits = Limits {
        connections: count("connections", 1, default.connections),
        in_flight: count("in_flight", 1, default.in_flight),
        body_bytes: count("body_bytes", 1024, default.body_bytes),
        all_bodies_bytes: count("all_bodies_bytes", 1024, default.all_bodies_bytes),
        // hyper needs 8 KiB to work with.
        header_bytes: count("header_bytes", 8192, default.header_bytes),
        first_byte: time("first_byte_ms", default.first_byte),
        header: time("header_ms", default.header),
        keep_alive: time("keep_alive_ms", default.keep_alive),
        body_idle: time("body_idle_ms", default.body_idle),
        body_total: time("body_total_ms", default.body_total),
        write_stall: time("write_stall_ms", default.write_stall),
        ping: time("ping_ms", default.ping),
        drain: time("drain_ms", default.drain),
    };
    if limits.all_bodies_bytes < limits.body_bytes {
        section.fault("all_bodies_bytes", "smaller than body_bytes, so no body of that size could be read");
    }
    section.finish();
    limits
}
