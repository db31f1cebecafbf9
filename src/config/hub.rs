//! Where does a model of the Hugging Face hub lie on this machine?
//!
//! In the cache that the hub's own library keeps, so that either finds what the other fetched:
//! `models--OWNER--NAME/refs/REVISION` names a commit, `snapshots/COMMIT` holds its files by name, as links into `blobs`.
//! What is not there is fetched by [`super::download`].

use std::path::{Path, PathBuf};

use super::Environment;

/// A model of the hub: `OWNER/NAME`, `OWNER/NAME/FILE.gguf`, either with `@REVISION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'n> {
    pub(super) owner: &'n str,
    pub(super) name: &'n str,
    /// One of several GGUF files.
    pub(super) file: Option<&'n str>,
    pub(super) revision: &'n str,
}

impl<'n> Name<'n> {
    pub(super) fn parse(text: &'n str) -> Result<Name<'n>, String> {
        let (path, revision) = text.split_once('@').unwrap_or((text, "main"));
        let parts: Vec<&str> = path.split('/').collect();
        let (owner, name, file) = match parts[..] {
            [owner, name] => (owner, name, None),
            [owner, name, file] if is_gguf(file) => (owner, name, Some(file)),
            _ => ("", "", None),
        };
        if [owner, name, revision].into_iter().chain(file).all(is_plain) {
            return Ok(Name { owner, name, file, revision });
        }
        Err(format!(
            "expected hf:OWNER/NAME, hf:OWNER/NAME/FILE.gguf, or either with @REVISION, got {text:?}"
        ))
    }

    /// What belongs to it in the cache.
    pub(super) fn folder(&self, environment: Environment<'_>) -> Result<PathBuf, String> {
        let cache = cache(environment).ok_or("none of HF_HUB_CACHE, HF_HOME and HOME is set")?;
        Ok(cache.join(format!("models--{}--{}", self.owner, self.name)))
    }

    /// The model in the cache; `None` if it, or a part of it, is not there.
    pub(super) fn find(&self, environment: Environment<'_>) -> Result<Option<PathBuf>, String> {
        let folder = self.folder(environment)?;
        let commit = std::fs::read_to_string(folder.join("refs").join(self.revision));
        let commit = commit.map_or_else(|_| self.revision.to_owned(), |commit| commit.trim().to_owned());
        if !is_plain(&commit) {
            return Ok(None);
        }
        let snapshot = folder.join("snapshots").join(&commit);
        let present: Vec<String> = names_in(&snapshot);
        let present: Vec<&str> = present.iter().map(String::as_str).collect();
        Ok(match self.choose(&present) {
            Ok(Some(file)) => Some(snapshot.join(file)),
            Ok(None) => shards_are_whole(&snapshot, &present).then_some(snapshot),
            Err(_) => None,
        })
    }

    /// Which of a repository's files is the model: one GGUF file, or, where that is `None`, the folder.
    pub(super) fn choose<'f>(&self, files: &[&'f str]) -> Result<Option<&'f str>, String> {
        let Name { owner, name, .. } = self;
        let models = files.iter().copied().filter(|file| is_gguf(file) && is_plain(file));
        let models: Vec<&str> = models.collect();
        if let Some(named) = self.file {
            let found = models.iter().copied().find(|file| *file == named);
            return found.map(Some).ok_or_else(|| format!("{owner}/{name} holds no {named}"));
        }
        let has = |file: &str| files.contains(&file);
        if has("config.json") && has("tokenizer.json") && (has("model.safetensors") || has(INDEX)) {
            return Ok(None);
        }
        match models[..] {
            [only] => Ok(Some(only)),
            [] => Err(format!(
                "{owner}/{name} holds neither a GGUF file nor safetensors with config.json and tokenizer.json"
            )),
            _ => Err(format!(
                "{owner}/{name} holds several GGUF files; name one, as hf:{owner}/{name}/{}",
                models.join(" or ")
            )),
        }
    }
}

/// The list of weights that lie in several files.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Safe as one part of a path.
pub(super) fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_gguf(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "gguf")
}

/// Names whose content is there as well: a link may outlive what it points to.
fn names_in(snapshot: &Path) -> Vec<String> {
    let Ok(entries) = snapshot.read_dir() else { return Vec::new() };
    let present = entries.flatten().filter(|entry| entry.path().is_file());
    present.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Are all the files there that the list of weights names, where there is one?
fn shards_are_whole(snapshot: &Path, present: &[&str]) -> bool {
    let Ok(index) = std::fs::read(snapshot.join(INDEX)) else { return true };
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap_or_default();
    let shards = index.get("weight_map").and_then(serde_json::Value::as_object);
    shards.is_some_and(|map| map.values().all(|shard| shard.as_str().is_some_and(|it| present.contains(&it))))
}

/// The hub library's rule: the first of these that is set.
fn cache(environment: Environment<'_>) -> Option<PathBuf> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE").or_else(|| home(environment).map(|home| home.join("hub")))
}

/// Where the hub's tools keep what they know.
pub(super) fn home(environment: Environment<'_>) -> Option<PathBuf> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HF_HOME").or_else(|| set("HOME").map(|home| home.join(".cache/huggingface")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn find(name: &str, environment: Environment<'_>) -> Result<Option<PathBuf>, String> {
        Name::parse(name)?.find(environment)
    }

    #[test]
    fn a_name_is_found_as_other_tools_left_it() {
        let cache = tempfile::tempdir().expect("a folder");
        let folder = cache.path().join("models--Qwen--Qwen3-0.6B");
        let snapshot = folder.join("snapshots/c1899de2");
        fs::create_dir_all(&snapshot).expect("made");
        fs::create_dir_all(folder.join("refs")).expect("made");
        fs::write(folder.join("refs/main"), "c1899de2\n").expect("written");
        let hub = |name: &str| (name == "HF_HUB_CACHE").then(|| cache.path().display().to_string());
        let put = |name: &str, text: &str| fs::write(snapshot.join(name), text).expect("written");
        let found = || find("Qwen/Qwen3-0.6B", &hub);
        assert_eq!(found(), Ok(None), "nothing in it yet");
        put("qwen3-q8_0.gguf", "");
        assert_eq!(found(), Ok(Some(snapshot.join("qwen3-q8_0.gguf"))));
        put("qwen3-q4_0.gguf", "");
        assert_eq!(found(), Ok(None), "which of the two?");
        assert_eq!(find("Qwen/Qwen3-0.6B/qwen3-q4_0.gguf", &hub), Ok(Some(snapshot.join("qwen3-q4_0.gguf"))));
        assert_eq!(find("Qwen/Qwen3-0.6B/other.gguf", &hub), Ok(None));

        put("config.json", "{}");
        put("tokenizer.json", "{}");
        put(INDEX, r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#);
        put("model-1.safetensors", "");
        assert_eq!(found(), Ok(None), "a shard is missing");
        put("model-2.safetensors", "");
        assert_eq!(found(), Ok(Some(snapshot.clone())));
        assert_eq!(find("Qwen/Qwen3-0.6B@c1899de2", &hub), Ok(Some(snapshot.clone())));
        assert_eq!(find("Qwen/Qwen3-4B", &hub), Ok(None));
    }

    #[test]
    fn hostile_names_are_refused() {
        for hostile in [
            "Qwen",
            "../x",
            "a/../../etc",
            "a/b@../../x",
            "/etc/passwd",
            "",
            "a/b/c",
            "a/b/../x.gguf",
            "a/b/c/d.gguf",
        ] {
            let refused = Name::parse(hostile).expect_err("refused");
            assert!(refused.contains("expected hf:OWNER/NAME"), "{hostile}");
        }
    }

    #[test]
    fn the_cache_is_where_the_hub_library_puts_it() {
        let home = |name: &str| (name == "HOME").then(|| "/home/a".to_owned());
        assert_eq!(cache(&home), Some("/home/a/.cache/huggingface/hub".into()));
        let moved = |name: &str| match name {
            "HF_HOME" => Some("/data/hf".to_owned()),
            other => home(other),
        };
        assert_eq!(cache(&moved), Some("/data/hf/hub".into()));
        assert_eq!(cache(&|_: &str| None), None);
    }
}
