//! `[[models]]`: where each model runs, what it is, and whether the two agree.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thinkgate_engine::Options;
use thinkgate_engine::config::ModelConfig;
use thinkgate_engine::weights::Checkpoint;

use super::reader::Section;
use super::{Environment, Surroundings};
use crate::catalogue::{self, Entry, Shape};
use crate::policy::{Architecture, ModelProfile, Skill, ThinkingAbility};

/// One configured model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What the policy knows of it.
    pub profile: ModelProfile,
    /// What it is made of, where that is known.
    pub shape: Option<Shape>,
    /// Languages it is good at, as ISO 639-1 codes; empty: not stated.
    pub languages: Vec<String>,
    /// Where it runs.
    pub source: Source,
    /// How much the built-in engine may take on for it; of no matter to an upstream.
    pub engine: Options,
}

/// Where a model runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Built-in engine, weights inside this program.
    Embedded(&'static str),
    /// Built-in engine, a folder in Hugging Face layout or a GGUF file.
    Path(PathBuf),
    /// A server elsewhere.
    Upstream(Box<Upstream>),
}

/// A server elsewhere and how to speak to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// The base that `/chat/completions` is appended to.
    pub url: reqwest::Url,
    /// How it spells the thinking mode.
    pub dialect: Dialect,
    /// The model's name over there.
    pub model_id: String,
    /// What authorises us.
    pub api_key: Option<Secret>,
    /// The server can enforce a thinking budget.
    pub budget: bool,
    /// Reasoning may stand inline in the content, between think tags.
    pub inline_reasoning: bool,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// How long to wait for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the first token of a stream, or the whole answer where it comes in one piece.
    pub first_token: Duration,
    /// Between two tokens.
    pub idle: Duration,
    /// For the whole answer.
    pub total: Duration,
}

/// How one backend family spells the thinking mode. The implemented ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// vLLM: chat template flags and a token budget.
    Vllm,
    /// Any server that speaks chat completions and whose thinking cannot be switched.
    Generic,
}

const DIALECTS: &[(&str, Option<Dialect>)] = &[
    ("vllm", Some(Dialect::Vllm)),
    ("generic", Some(Dialect::Generic)),
    ("sglang", None),
    ("llama-cpp", None),
    ("ollama", None),
    ("ollama-native", None),
    ("lm-studio", None),
    ("mistral-rs", None),
    ("tensorrt-llm", None),
    ("lmdeploy", None),
    ("mlx-lm", None),
    ("dashscope", None),
    ("openai", None),
    ("azure", None),
    ("anthropic", None),
    ("gemini", None),
    ("deepseek", None),
    ("glm", None),
    ("kimi", None),
    ("doubao", None),
    ("minimax", None),
    ("hunyuan", None),
    ("xai", None),
    ("openrouter", None),
    ("groq", None),
    ("together", None),
    ("fireworks", None),
    ("siliconflow", None),
    ("bedrock", None),
];

const ARCHITECTURES: &[(&str, Architecture)] = &[("dense", Architecture::Dense), ("moe", Architecture::Moe)];

const ABILITIES: &[(&str, ThinkingAbility)] = &[
    ("hybrid", ThinkingAbility::Hybrid),
    ("always", ThinkingAbility::Always),
    ("never", ThinkingAbility::Never),
];

/// A value that must not be seen. Printing it shows that it is there, no more.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Secret(value)
    }

    /// The value, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// The models inside this program.
pub(super) fn embedded_pair() -> Vec<Model> {
    catalogue::entries()
        .iter()
        .filter(|entry| entry.embedded)
        .map(|entry| Model {
            profile: ModelProfile {
                name: entry.name.clone(),
                architecture: entry.shape.architecture,
                total_params: Some(entry.shape.total_params),
                active_params: Some(entry.shape.active_params),
                context_length: Some(entry.shape.context_length),
                thinking: ThinkingAbility::Hybrid,
                tools: false,
                vision: false,
                skill: entry.skill,
                price: None,
                calibrated: None,
                calibration_absent: false,
            },
            shape: Some(entry.shape.clone()),
            languages: Vec::new(),
            source: Source::Embedded(&entry.name),
            engine: Options::default(),
        })
        .collect()
}

pub(super) fn read(
    sections: &[Section<'_, '_, '_>],
    listen: SocketAddr,
    around: &Surroundings<'_>,
) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for section in sections {
        let model = read_model(section, listen, around);
        section.refuse_unknown();
        let Some(model) = model else { continue };
        let name = &model.profile.name;
        if models.iter().any(|other| other.profile.name == *name) {
            section.fault("name", format!("{name:?} is the name of an earlier model"));
        }
        models.push(model);
    }
    if models.is_empty() { embedded_pair() } else { models }
}

fn read_model(section: &Section<'_, '_, '_>, listen: SocketAddr, around: &Surroundings<'_>) -> Option<Model> {
    let name = section.string("name").unwrap_or_else(|| {
        section.fault("name", "missing; clients choose the model by it");
        String::new()
    });
    check_name(section, &name);
    let stated = section.one_of("architecture", ARCHITECTURES);
    let named = section.string("catalogue").and_then(|entry| find_entry(section, &entry));
    let source = read_source(section, named, listen, around);

    let entry = named.or(match &source {
        Some(Source::Upstream(upstream)) => catalogue::find(&upstream.model_id),
        Some(Source::Embedded(name)) => catalogue::find(name),
        _ => None,
    });
    let opened = open(section, source.as_ref());
    let shape = match (&source, &opened) {
        (Some(Source::Path(_)), opened) => opened.as_ref().map(|(config, _)| Shape::of_config(config)),
        _ => entry.map(|entry| entry.shape.clone()),
    };
    let passed_over = source.is_none() && around.has_passed_over();
    let architecture = if passed_over { stated } else { agree(section, stated, shape.as_ref()) };
    let of_shape = |pick: fn(&Shape) -> u64| shape.as_ref().map(pick);
    let total_params = section.parameters("total_params").or(of_shape(|shape| shape.total_params));
    // A dense model's every parameter is active.
    let all = total_params.filter(|_| architecture == Some(Architecture::Dense));
    let profile = ModelProfile {
        name,
        architecture: architecture.unwrap_or(Architecture::Dense),
        total_params,
        active_params: section.parameters("active_params").or(of_shape(|shape| shape.active_params)).or(all),
        context_length: section
            .integer("context_length", 1, u64::from(u32::MAX))
            .and_then(|tokens| u32::try_from(tokens).ok())
            .or(shape.as_ref().map(|shape| shape.context_length)),
        thinking: section.one_of("thinking", ABILITIES).unwrap_or_default(),
        tools: section.boolean("tools").unwrap_or(match &source {
            Some(Source::Upstream(_)) => true, // they are taken to know tools
            _ => opened.is_some_and(|(_, takes_tools)| takes_tools),
        }),
        vision: section.boolean("vision").unwrap_or(false),
        skill: read_skill(section).or(entry.and_then(|entry| entry.skill)),
        price: section.number("price", 0.0, 1e6),
        calibrated: None,
        calibration_absent: false,
    };
    check_profile(section, &profile, source.as_ref());
    let engine = read_engine(section, source.as_ref());
    Some(Model { profile, shape, languages: section.strings("languages"), source: source?, engine })
}

fn read_engine(section: &Section<'_, '_, '_>, source: Option<&Source>) -> Options {
    let defaults = Options::default();
    if !section.has("engine") {
        return defaults;
    }
    if matches!(source, Some(Source::Upstream(_))) {
        section.fault("engine", "is for models of the built-in engine; this one runs elsewhere");
    }
    let section = section.section("engine");
    let count =
        |key, least, most| section.integer(key, least, most).and_then(|count| usize::try_from(count).ok());
    let options = Options {
        max_running: count("max_running", 1, 1024).unwrap_or(defaults.max_running),
        max_waiting: count("max_waiting", 0, 1 << 20).unwrap_or(defaults.max_waiting),
        threads: count("threads", 1, 1024),
        cache_bytes: count("cache_bytes", 1 << 20, 1 << 50),
        cut_loops: section.boolean("cut_loops").unwrap_or(defaults.cut_loops),
        ..defaults
    };
    section.refuse_unknown();
    options
}

/// A name must survive a header and never be mistaken for an alias.
fn check_name(section: &Section<'_, '_, '_>, name: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
    if name.len() > 100 || !name.chars().all(plain) {
        section.fault("name", format!("{name:?} may hold only letters, digits and -_./:@+, at most 100"));
    }
    if name == "auto" || name.starts_with("auto:") {
        section.fault("name", format!("{name:?} is an alias; choose another name"));
    }
}

fn find_entry(section: &Section<'_, '_, '_>, name: &str) -> Option<&'static Entry> {
    let entry = catalogue::find(name);
    if entry.is_none() {
        let known: Vec<&str> = catalogue::entries().iter().map(|entry| entry.name.as_str()).collect();
        section.fault("catalogue", format!("no entry {name:?}; known are {}", known.join(", ")));
    }
    entry
}

fn read_source(
    section: &Section<'_, '_, '_>,
    named: Option<&'static Entry>,
    listen: SocketAddr,
    around: &Surroundings<'_>,
) -> Option<Source> {
    let upstream = section.has("upstream");
    match (section.string("path"), upstream) {
        (Some(path), false) => match path.strip_prefix("hf:") {
            Some(name) => {
                let found = around.hub_model(name).unwrap_or_else(|reason| {
                    section.fault("path", reason);
                    None
                });
                found.and_then(|path| read_path(section, path))
            }
            None => read_path(section, around.folder.join(path)),
        },
        (None, true) => {
            let section = section.section("upstream");
            let upstream = read_upstream(&section, named, listen, around.environment);
            section.refuse_unknown();
            upstream.map(|upstream| Source::Upstream(Box::new(upstream)))
        }
        (None, false) => match named {
            Some(entry) if entry.embedded => Some(Source::Embedded(&entry.name)),
            _ => {
                section.fault("path", "expected path or upstream: where the model runs");
                None
            }
        },
        (Some(_), true) => {
            section.fault("upstream", "expected only one of path and upstream");
            None
        }
    }
}

fn read_path(section: &Section<'_, '_, '_>, path: PathBuf) -> Option<Source> {
    if !path.is_file() && !path.join("config.json").is_file() {
        let message = format!(
            "{} is neither a GGUF file nor a folder in Hugging Face layout: it lacks config.json",
            path.display()
        );
        section.fault("path", message);
        return None;
    }
    Some(Source::Path(path))
}

fn read_upstream(
    section: &Section<'_, '_, '_>,
    named: Option<&'static Entry>,
    listen: SocketAddr,
    environment: Environment<'_>,
) -> Option<Upstream> {
    let url = read_url(section, listen);
    let model_id = section.string("model_id").or_else(|| named.map(|entry| entry.id.clone()));
    if model_id.is_none() {
        section.fault("model_id", "missing; expected the model's name on that server");
    }
    let dialect = read_dialect(section);
    let api_key = section.string("api_key_env").and_then(|variable| {
        let key = environment(&variable).filter(|key| !key.is_empty()).map(Secret::new);
        if key.is_none() {
            section.fault("api_key_env", format!("environment variable {variable} is not set"));
        }
        key
    });
    let budget = section.boolean("budget").unwrap_or(false);
    let inline_reasoning = section.boolean("inline_reasoning").unwrap_or(true);
    let connect = if url.as_ref().is_some_and(on_loopback) { 1 } else { 5 };
    let timeouts = read_timeouts(section.section("timeouts"), Duration::from_secs(connect));
    Some(Upstream {
        url: url?,
        dialect: dialect?,
        model_id: model_id?,
        api_key,
        budget,
        inline_reasoning,
        timeouts,
    })
}

fn read_url(section: &Section<'_, '_, '_>, listen: SocketAddr) -> Option<reqwest::Url> {
    const ACCEPTED: &str = "expected a base address such as \"http://127.0.0.1:9000/v1\"";
    let Some(text) = section.string("url") else {
        section.fault("url", format!("missing; {ACCEPTED}"));
        return None;
    };
    let url = reqwest::Url::parse(text.trim_end_matches('/'))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        section.fault("url", format!("{ACCEPTED}, got {text:?}"));
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        section.fault("url", "holds a user name or password; name the key's variable in api_key_env instead");
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        section.fault("url", "holds a query or fragment; expected only a base address");
        return None;
    }
    if on_loopback(&url) && listen.ip().is_loopback() && url.port_or_known_default() == Some(listen.port()) {
        section.fault("url", "is this gateway's own address; requests would go in circles");
    }
    Some(url)
}

fn on_loopback(url: &reqwest::Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

fn read_dialect(section: &Section<'_, '_, '_>) -> Option<Dialect> {
    if !section.has("dialect") {
        section.fault("dialect", "missing; supported are vllm and generic");
        return None;
    }
    let dialect = section.one_of("dialect", DIALECTS)?;
    if dialect.is_none() {
        let name = section.string("dialect").unwrap_or_default();
        section.fault("dialect", format!("{name} is not supported yet; supported are vllm and generic"));
    }
    dialect
}

fn read_timeouts(section: Section<'_, '_, '_>, connect: Duration) -> Timeouts {
    let time = |key: &'static str, default: Duration| section.milliseconds(key).unwrap_or(default);
    let timeouts = Timeouts {
        connect: time("connect_ms", connect),
        first_token: time("first_token_ms", Duration::from_secs(120)),
        idle: time("idle_ms", Duration::from_secs(60)),
        total: time("total_ms", Duration::from_secs(600)),
    };
    section.finish();
    timeouts
}

/// What a model's files say of its shape, which outranks the catalogue, and whether its chat template takes tools.
fn open(section: &Section<'_, '_, '_>, source: Option<&Source>) -> Option<(ModelConfig, bool)> {
    let Some(Source::Path(path)) = source else { return None };
    let opened = Checkpoint::open(path).and_then(|checkpoint| Ok((checkpoint.config()?, checkpoint)));
    match opened {
        Ok((config, checkpoint)) => Some((config, checkpoint.takes_tools().unwrap_or(false))),
        Err(error) => {
            section.fault("path", error.to_string());
            None
        }
    }
}

/// What the operator says and what the weights say must be the same.
fn agree(
    section: &Section<'_, '_, '_>,
    stated: Option<Architecture>,
    shape: Option<&Shape>,
) -> Option<Architecture> {
    match (stated, shape.map(|shape| shape.architecture)) {
        (Some(stated), Some(known)) if stated != known => {
            let message = format!("\"{}\", but the model is {}", stated.as_str(), known.as_str());
            section.fault("architecture", message);
            None
        }
        (None, None) => {
            if !section.has("architecture") {
                section.fault(
                    "architecture",
                    "missing, and the model is not in the catalogue; expected dense or moe",
                );
            }
            None
        }
        (stated, known) => stated.or(known),
    }
}

fn read_skill(section: &Section<'_, '_, '_>) -> Option<Skill> {
    if !section.has("skill") {
        return None;
    }
    let section = section.section("skill");
    let skill = Skill {
        direct: section.number("direct", 0.0, 1.0).unwrap_or_default(),
        thinking: section.number("thinking", 0.0, 1.0).unwrap_or_default(),
        narrow: false,
    };
    if !(section.has("direct") && section.has("thinking")) {
        section.fault("direct", "expected both direct and thinking");
    }
    section.finish();
    Some(skill)
}

fn check_profile(section: &Section<'_, '_, '_>, profile: &ModelProfile, source: Option<&Source>) {
    if let (Some(total), Some(active)) = (profile.total_params, profile.active_params)
        && active > total
    {
        section.fault("active_params", format!("{active} is more than total_params, {total}"));
    }
    if let Some(Source::Upstream(upstream)) = source
        && upstream.dialect == Dialect::Generic
        && profile.thinking == ThinkingAbility::Hybrid
    {
        section.fault(
            "thinking",
            "dialect generic cannot switch thinking; expected \"always\" or \"never\": what the server does",
        );
    }
}
