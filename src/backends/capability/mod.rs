//! "What can a backend do about thinking, and how does it want to be told?" Read from `models/capabilities/`.
//!
//! What vendors and servers accept changes by the month. So it is data with a date, one file per dialect, and no code asks
//! for a model by name.

mod record;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::record::*;
use crate::config::Dialect;

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/models/capabilities");

/// Sampling by family and mode.
const SAMPLING: &str = "sampling.toml";

/// A dialect's records.
#[derive(Debug)]
pub struct Records {
    /// What holds for models that no entry names.
    pub default: Capability,
    /// Entries in order; the first whose pattern matches holds.
    pub entries: Vec<Entry>,
}

/// What holds for the models of some names.
#[derive(Debug)]
pub struct Entry {
    /// Patterns of model ids, `*` standing for anything, in lower case.
    pub ids: Vec<String>,
    /// A model id that this entry is for.
    pub example: String,
    /// What holds for it.
    pub capability: Capability,
    /// It stands in the dialect's own file.
    pub own: bool,
}

/// A file as it is written: tables that overlay each other before they are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<toml::Table>,
    /// Files whose entries follow this file's own.
    #[serde(default)]
    with: Vec<String>,
    #[serde(default)]
    model: Vec<toml::Table>,
}

static RECORDS: LazyLock<BTreeMap<Dialect, Records>> = LazyLock::new(|| {
    Dialect::ALL.iter().map(|dialect| (*dialect, read(&format!("{}.toml", dialect.as_str())))).collect()
});

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Families {
        family: Vec<Family>,
    }
    let families: Families =
        toml::from_str(text(SAMPLING)).expect("the file is part of the program and its test reads it");
    families.family
});

/// The records of a dialect.
#[must_use]
pub fn records(dialect: Dialect) -> &'static Records {
    &RECORDS[&dialect]
}

/// What is known of this model behind this dialect.
#[must_use]
pub fn find(dialect: Dialect, model_id: &str) -> &'static Capability {
    let records = records(dialect);
    let found = records.entries.iter().find(|entry| matches_any(&entry.ids, model_id));
    found.map_or(&records.default, |entry| &entry.capability)
}

/// The sampling that the model's makers name for a mode.
#[must_use]
pub fn sampling(model_id: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| matches_any(&family.ids, model_id))
}

/// Every family whose sampling is known.
#[must_use]
pub fn families() -> &'static [Family] {
    &FAMILIES
}

fn text(name: &str) -> &'static str {
    let file =
        FILES.get_file(name).unwrap_or_else(|| panic!("models/capabilities/{name} is part of the program"));
    file.contents_utf8().expect("TOML is UTF-8")
}

fn file(name: &str) -> File {
    toml::from_str(text(name)).unwrap_or_else(|error| panic!("models/capabilities/{name}: {error}"))
}

fn read(name: &str) -> Records {
    let own = file(name);
    let base = own.default.unwrap_or_default();
    let shared = own.with.iter().flat_map(|other| file(&format!("{other}.toml")).model);
    let tables = own.model.into_iter().map(|table| (table, true)).chain(shared.map(|table| (table, false)));
    let entries = tables.map(|(table, own)| entry(name, &base, table, own)).collect();
    Records { default: overlaid(name, base, toml::Table::new()), entries }
}

fn entry(name: &str, base: &toml::Table, mut table: toml::Table, own: bool) -> Entry {
    #[derive(Deserialize)]
    struct Head {
        ids: Vec<String>,
        example: String,
        /// Keys of the default that do not hold here.
        #[serde(default)]
        without: Vec<String>,
    }
    let keys = ["ids", "example", "without"];
    let head: toml::Table =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), table.remove(*key)?))).collect();
    let head: Head = head.try_into().unwrap_or_else(|error| panic!("models/capabilities/{name}: {error}"));
    let mut base = base.clone();
    base.retain(|key, _| !head.without.iter().any(|gone| gone == key));
    Entry { ids: head.ids, example: head.example, capability: overlaid(name, base, table), own }
}

fn overlaid(name: &str, mut base: toml::Table, over: toml::Table) -> Capability {
    base.extend(over);
    let mut capability: Capability =
        base.try_into().unwrap_or_else(|error| panic!("models/capabilities/{name}: {error}"));
    capability.keep_to_server();
    capability
}

/// Whether a pattern covers the whole id or what stands behind its last slash.
fn matches_any(patterns: &[String], model_id: &str) -> bool {
    let id = model_id.to_ascii_lowercase();
    let name = id.rsplit('/').next().unwrap_or(&id);
    patterns.iter().any(|pattern| matches(pattern, &id) || matches(pattern, name))
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.any(|at| matches(rest, &text[at..]))
}

impl Family {
    /// The fields for a mode.
    #[must_use]
    pub fn of(&self, mode: crate::conversation::Mode) -> &Map<String, Value> {
        match mode {
            crate::conversation::Mode::On => &self.thinking,
            crate::conversation::Mode::Off => &self.direct,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_ids_with_and_without_their_owner() {
        for (pattern, id, expected) in [
            ("qwen3-*", "Qwen/Qwen3-4B", true),
            ("qwen/*", "Qwen/Qwen3-4B", true),
            ("*-thinking-*", "Qwen3-4B-Thinking-2507", true),
            ("qwen3-4b", "Qwen3-4B-FP8", false),
            ("o1", "o1-mini", false),
            ("o1*", "gpt-o1", false),
            ("*:1.7b", "qwen3:1.7b", true),
        ] {
            assert_eq!(matches_any(&[pattern.to_owned()], id), expected, "{pattern} {id}");
        }
    }

    #[test]
    fn every_entry_is_dated_and_its_example_is_its_own() {
        for dialect in Dialect::ALL {
            let records = records(*dialect);
            for (index, entry) in records.entries.iter().enumerate() {
                let at = format!("{} {}", dialect.as_str(), entry.example);
                assert!(!entry.capability.source.is_empty(), "{at}");
                let first = records.entries.iter().position(|other| matches_any(&other.ids, &entry.example));
                assert!(first == Some(index) || !entry.own, "{at} is an example of another entry");
                let lower = |id: &String| *id == id.to_ascii_lowercase();
                assert!(entry.ids.iter().all(lower), "{at}: patterns are lower case");
            }
            let date = &records.default.checked;
            assert!(date.len() == 10 && date.starts_with("20"), "{} has no date", dialect.as_str());
            assert!(!records.default.source.is_empty(), "{} has no source", dialect.as_str());
        }
        assert!(!families().is_empty());
    }
}
