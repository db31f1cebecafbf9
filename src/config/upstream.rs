//! `upstream = {…}`: a server elsewhere and how to speak to it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::Environment;
use super::dialect::{Dialect, Wire};
use super::reader::Section;
use crate::backends::capability::{self, Capability};
use crate::catalogue::Entry;
use crate::conversation::Mode;
use crate::policy::ThinkingAbility;

/// A server elsewhere and how to speak to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// The base that the wire's path is appended to.
    pub url: reqwest::Url,
    /// How it spells the thinking mode.
    pub dialect: Dialect,
    /// How it frames a conversation.
    pub wire: Wire,
    /// The model's name over there.
    pub model_id: String,
    /// The name of the model that thinks, where that is another one over there.
    pub thinking_model_id: Option<String>,
    /// What the operator says of its thinking, which outranks what is known of the model.
    pub thinking: Option<ThinkingAbility>,
    /// What authorises us.
    pub api_key: Option<Secret>,
    /// The version of the interface, where the address must name one.
    pub api_version: Option<String>,
    /// The server enforces a thinking budget, if the dialect has a word for one.
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

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

impl Upstream {
    /// With everything but its address and model as it is unless stated.
    #[must_use]
    pub fn new(url: reqwest::Url, dialect: Dialect, model_id: &str) -> Self {
        Upstream {
            url,
            dialect,
            wire: dialect.wire(),
            model_id: model_id.to_owned(),
            thinking_model_id: None,
            thinking: None,
            api_key: None,
            api_version: None,
            budget: capability::find(dialect, model_id).budget.is_some_and(|rule| !rule.started_for_it),
            inline_reasoning: true,
            timeouts: Timeouts::default(),
        }
    }

    /// The name over there of the model for a mode.
    #[must_use]
    pub fn model_for(&self, mode: Mode) -> &str {
        match (mode, &self.thinking_model_id) {
            (Mode::On, Some(id)) => id,
            _ => &self.model_id,
        }
    }

    /// What is known of the model for a mode.
    #[must_use]
    pub fn capability(&self, mode: Mode) -> &'static Capability {
        capability::find(self.dialect, self.model_for(mode))
    }

    /// Whether both modes can be had: as the operator says, or by the pair, or as is known of the model.
    #[must_use]
    pub fn ability(&self) -> ThinkingAbility {
        match (self.thinking, &self.thinking_model_id) {
            (Some(stated), _) => stated,
            (None, Some(_)) => ThinkingAbility::Hybrid,
            (None, None) => self.capability(Mode::Off).ability(),
        }
    }
}

pub(super) fn read(
    section: &Section<'_, '_, '_>,
    named: Option<&'static Entry>,
    thinking: Option<ThinkingAbility>,
    listen: SocketAddr,
    environment: Environment<'_>,
) -> Option<Upstream> {
    let url = read_url(section, listen);
    let model_id = section.string("model_id").or_else(|| named.map(|entry| entry.id.clone()));
    if model_id.is_none() {
        section.fault("model_id", "missing; expected the model's name on that server");
    }
    let dialect = read_dialect(section);
    let wire = dialect.and_then(|dialect| read_wire(section, dialect));
    let thinking_model_id = section.string("thinking_model_id");
    if thinking_model_id.is_some() && thinking_model_id == model_id {
        section.fault("thinking_model_id", "is model_id; leave it out where one model has both modes");
    }
    let api_key = section.string("api_key_env").and_then(|variable| {
        let key = environment(&variable).filter(|key| !key.is_empty()).map(Secret::new);
        if key.is_none() {
            section.fault("api_key_env", format!("environment variable {variable} is not set"));
        }
        key
    });
    let api_version = section.string("api_version");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if api_version.as_ref().is_some_and(|version| !version.chars().all(plain)) {
        section.fault("api_version", "expected a version such as \"2025-04-01-preview\"");
    }
    let budget = section.boolean("budget");
    let inline_reasoning = section.boolean("inline_reasoning");
    let connect = if url.as_ref().is_some_and(on_loopback) { 1 } else { 5 };
    let timeouts = read_timeouts(section.section("timeouts"), Duration::from_secs(connect));
    let mut upstream = Upstream::new(url?, dialect?, &model_id?);
    upstream.wire = wire?;
    upstream.budget = budget.unwrap_or(upstream.budget);
    upstream.inline_reasoning = inline_reasoning.unwrap_or(upstream.inline_reasoning);
    Some(Upstream { thinking_model_id, thinking, api_key, api_version, timeouts, ..upstream })
}

fn read_dialect(section: &Section<'_, '_, '_>) -> Option<Dialect> {
    let names: Vec<(&str, Dialect)> =
        Dialect::ALL.iter().map(|dialect| (dialect.as_str(), *dialect)).collect();
    if !section.has("dialect") {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        section.fault("dialect", format!("missing; expected one of {}", known.join(", ")));
        return None;
    }
    section.one_of("dialect", &names)
}

/// Gemini speaks two; every other dialect has its own.
fn read_wire(section: &Section<'_, '_, '_>, dialect: Dialect) -> Option<Wire> {
    let own = dialect.wire();
    let mut wires = vec![(own.as_str(), own)];
    if dialect == Dialect::Gemini {
        wires.push((Wire::Chat.as_str(), Wire::Chat));
    }
    if section.has("wire") { section.one_of("wire", &wires) } else { Some(own) }
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

fn read_timeouts(section: Section<'_, '_, '_>, connect: Duration) -> Timeouts {
    let defaults = Timeouts::default();
    let time = |key: &'static str, default: Duration| section.milliseconds(key).unwrap_or(default);
    let timeouts = Timeouts {
        connect: time("connect_ms", connect),
        first_token: time("first_token_ms", defaults.first_token),
        idle: time("idle_ms", defaults.idle),
        total: time("total_ms", defaults.total),
    };
    section.finish();
    timeouts
}
