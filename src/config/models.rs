//! `[[models]]`: where each model runs, what it is, and whether the two agree.

use std::net::SocketAddr;
use std::path::PathBuf;

use thinkgate_engine::Options;
use thinkgate_engine::config::ModelConfig;
use thinkgate_engine::weights::Checkpoint;

use super::reader::Section;
use super::{Surroundings, Upstream, upstream};
use crate::backends::capability::Spelling;
use crate::catalogue::{self, Entry, Shape};
use crate::conversation::Mode;
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

const ARCHITECTURES: &[(&str, Architecture)] = &[("dense", Architecture::Dense), ("moe", Architecture::Moe)];

const ABILITIES: &[(&str, ThinkingAbility)] = &[
    ("hybrid", ThinkingAbility::Hybrid),
    ("always", ThinkingAbility::Always),
    ("never", ThinkingAbility::Never),
];

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
    let thinking = section.one_of("thinking", ABILITIES);
    let source = read_source(section, named, thinking, listen, around);

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
        thinking: thinking.unwrap_or(match &source {
            Some(Source::Upstream(upstream)) => upstream.ability(),
            _ => ThinkingAbility::default(),
        }),
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
    thinking: Option<ThinkingAbility>,
    listen: SocketAddr,
    around: &Surroundings<'_>,
) -> Option<Source> {
    let elsewhere = section.has("upstream");
    match (section.string("path"), elsewhere) {
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
            let upstream = upstream::read(&section, named, thinking, listen, around.environment);
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
        && upstream.thinking_model_id.is_none()
        && upstream.capability(Mode::Off).spelling == Spelling::Silent
        && profile.thinking == ThinkingAbility::Hybrid
    {
        let message = format!(
            "dialect {} cannot switch thinking; expected \"always\" or \"never\": what the server does",
            upstream.dialect.as_str()
        );
        section.fault("thinking", message);
    }
}
