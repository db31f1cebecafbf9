//! Where does a model of the Hugging Face hub lie on this machine?
//!
//! Other tools download it (`hf download OWNER/NAME`); we read their cache, whose layout is the hub library's:
//! `models--OWNER--NAME/refs/REVISION` names a commit, and `snapshots/COMMIT` holds its files.

use std::path::{Path, PathBuf};

use super::Environment;

/// The folder of `name`, as `owner/name` or `owner/name@revision`.
pub(super) fn find(name: &str, environment: Environment<'_>) -> Result<PathBuf, String> {
    let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let parts =
        repository.split_once('/').filter(|(owner, name)| plain(owner) && plain(name) && plain(revision));
    let Some((owner, name)) = parts else {
        return Err(format!("expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION, got {name:?}"));
    };
    let cache = cache(environment).ok_or("none of HF_HUB_CACHE, HF_HOME and HOME is set")?;
    let folder = cache.join(format!("models--{owner}--{name}"));
    let commit = std::fs::read_to_string(folder.join("refs").join(revision));
    let commit = commit.map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned());
    let snapshot = folder.join("snapshots").join(&commit);
    if !plain(&commit) || !snapshot.is_dir() {
        let cache = cache.display();
        return Err(format!("{owner}/{name} is not in {cache}; fetch it with: hf download {owner}/{name}"));
    }
    Ok(only_gguf(&snapshot).unwrap_or(snapshot))
}

/// The hub library's rule: the first of these that is set.
fn cache(environment: Environment<'_>) -> Option<PathBuf> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

/// Repositories of GGUF files hold no config; if there is one file, it is the model.
fn only_gguf(snapshot: &Path) -> Option<PathBuf> {
    if snapshot.join("config.json").exists() {
        return None;
    }
    let files = snapshot.read_dir().ok()?.flatten().map(|file| file.path());
    let mut models = files.filter(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    models.next().filter(|_| models.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_is_found_as_other_tools_left_it() {
        let cache = tempfile::tempdir().expect("a folder");
        let folder = cache.path().join("models--Qwen--Qwen3-0.6B");
        let snapshot = folder.join("snapshots/c1899de2");
        fs::create_dir_all(&snapshot).expect("made");
        fs::create_dir_all(folder.join("refs")).expect("made");
        fs::write(folder.join("refs/main"), "c1899de2\n").expect("written");
        let hub = |name: &str| (name == "HF_HUB_CACHE").then(|| cache.path().display().to_string());
        assert_eq!(find("Qwen/Qwen3-0.6B", &hub), Ok(snapshot.clone()));
        assert_eq!(find("Qwen/Qwen3-0.6B@c1899de2", &hub), Ok(snapshot.clone()));
        let gguf = snapshot.join("qwen3-q8_0.gguf");
        fs::write(&gguf, "").expect("written");
        assert_eq!(find("Qwen/Qwen3-0.6B", &hub), Ok(gguf));

        let missing = find("Qwen/Qwen3-4B", &hub).expect_err("not there");
        assert!(missing.contains("hf download Qwen/Qwen3-4B"), "{missing}");
        for hostile in ["Qwen", "../x", "a/../../etc", "a/b@../../x", "/etc/passwd", ""] {
            assert!(
                find(hostile, &hub).expect_err("refused").contains("expected hf:OWNER/NAME"),
                "{hostile}"
            );
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
