//! "Who may call, and what may they ask for?"

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reader::Section;
use super::{Environment, Model, check_preset};
use crate::policy::Preset;

/// A client's key. Only its digest is kept.
#[derive(Debug, Clone)]
pub struct Key {
    /// Who holds it; appears in logs.
    pub name: String,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// The preset that applies to its requests when they name none.
    pub preset: Option<String>,
    /// Whether directives in the text are obeyed; absent: as the preset says.
    pub text_directives: Option<bool>,
    /// The models it may use; absent: all.
    pub models: Option<Vec<String>>,
    /// The presets its requests may name beside its own; absent: all.
    pub presets: Option<Vec<String>>,
    /// Most reasoning tokens that its requests are ever granted.
    pub max_budget_tokens: Option<u32>,
}

impl Key {
    /// A number that stands for its holder, whichever place the key has in the configuration.
    #[must_use]
    pub fn holder(&self) -> u64 {
        self.digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

pub(super) fn read(
    sections: &[Section<'_, '_, '_>],
    presets: &BTreeMap<String, Preset>,
    models: Option<&Vec<Model>>,
    environment: Environment<'_>,
) -> Vec<Arc<Key>> {
    let models = models.map(|models| models.iter().map(|model| model.profile.name.as_str()).collect());
    let preset_names = Some(presets.keys().map(String::as_str).collect());
    let mut keys: Vec<Arc<Key>> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let key = Key {
            name: section.string("name").unwrap_or_else(|| format!("key-{}", index + 1)),
            digest: read_digest(section, environment),
            preset: section.string("preset"),
            text_directives: section.boolean("text_directives"),
            models: read_names(section, "models", models.as_ref()),
            presets: read_names(section, "presets", preset_names.as_ref()),
            max_budget_tokens: section
                .integer("max_budget_tokens", 0, u64::from(u32::MAX))
                .and_then(|tokens| u32::try_from(tokens).ok()),
        };
        if let Some(preset) = &key.preset {
            check_preset(section, preset, presets);
        }
        if keys.iter().any(|other| other.name == key.name) {
            section.fault("name", format!("{:?} is the name of an earlier key", key.name));
        }
        keys.push(Arc::new(key));
    }
    sections.iter().for_each(Section::refuse_unknown);
    keys
}

/// Names of what is configured; absent where the key has no limit.
fn read_names(
    section: &Section<'_, '_, '_>,
    key: &'static str,
    known: Option<&Vec<&str>>,
) -> Option<Vec<String>> {
    let names = section.has(key).then(|| section.strings(key))?;
    if let Some(known) = known {
        for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
            section.fault(key, format!("no {name:?}; known are {}", known.join(", ")));
        }
    }
    if names.is_empty() {
        section.fault(key, "names nothing, so the key could do nothing; leave it out to allow all");
    }
    Some(names)
}

/// A key is stated by its digest, or by the environment variable that holds it; never by itself.
fn read_digest(section: &Section<'_, '_, '_>, environment: Environment<'_>) -> [u8; 32] {
    match (section.string("sha256"), section.string("key_env")) {
        (Some(hex), None) => digest_of_hex(&hex).unwrap_or_else(|| {
            section.fault("sha256", "expected 64 hexadecimal digits: the SHA-256 of the key");
            [0; 32]
        }),
        (None, Some(variable)) => match environment(&variable).filter(|key| !key.is_empty()) {
            Some(key) => digest(key.as_bytes()),
            None => {
                section.fault("key_env", format!("environment variable {variable} is not set"));
                [0; 32]
            }
        },
        _ => {
            section.fault("sha256", "expected exactly one of sha256 and key_env");
            [0; 32]
        }
    }
}

/// The digest under which a client's key is kept and compared.
#[must_use]
pub fn digest(key: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(key).into()
}

fn digest_of_hex(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
