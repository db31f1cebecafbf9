//! What tells, without reading a file, that it is another one now.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::{ClassifierSource, Config};
use crate::rules;

/// The state of every file that a configuration is loaded from, itself included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps(Vec<(PathBuf, Stamp)>);

/// Links are followed, so that swapping a link of a mounted folder counts as a change of the files behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    Absent(ErrorKind),
    Present(Seen),
}

impl Stamps {
    /// As things are now.
    #[must_use]
    pub fn of(config: &Config) -> Stamps {
        let mut paths: Vec<PathBuf> = config.file.iter().cloned().collect();
        if let Some(folder) = &config.rules {
            // The folder itself would change with every draft that an editor keeps beside a file.
            paths.extend(rules::files_of(folder).unwrap_or_else(|_| vec![folder.clone()]));
        }
        if let ClassifierSource::File(file) = &config.classifier {
            paths.push(file.clone());
        }
        paths.extend(config.calibration.iter().map(|calibration| calibration.path.clone()));
        Stamps(paths.into_iter().map(|path| (path.clone(), Stamp::of(&path))).collect())
    }

    /// Of one file alone.
    pub(super) fn of_file(file: &Path) -> Stamps {
        Stamps(vec![(file.to_owned(), Stamp::of(file))])
    }
}

impl Stamp {
    fn of(path: &Path) -> Stamp {
        match std::fs::metadata(path) {
            Ok(metadata) => Stamp::Present(Seen::of(&metadata)),
            Err(error) => Stamp::Absent(error.kind()),
        }
    }
}

/// The time of the inode's last change is beside that of the content's because tools set the latter back.
#[cfg(unix)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[cfg(unix)]
impl Seen {
    fn of(metadata: &Metadata) -> Seen {
        use std::os::unix::fs::MetadataExt;
        Seen {
            inode: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(not(unix))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    length: u64,
    modified: Option<std::time::SystemTime>,
}

#[cfg(not(unix))]
impl Seen {
    fn of(metadata: &Metadata) -> Seen {
        Seen { length: metadata.len(), modified: metadata.modified().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.toml"), "a").expect("written");
        let config = Config { rules: Some(folder.path().to_owned()), ..Config::default() };
        (folder, config)
    }

    #[test]
    fn any_change_of_a_rule_file_shows() {
        let (folder, config) = folder();
        let file = folder.path().join("a.toml");
        let mut before = Stamps::of(&config);
        let mut changed = |what: &str| {
            let now = Stamps::of(&config);
            assert_ne!(now, before, "{what}");
            before = now;
        };
        std::fs::write(&file, "ab").expect("written");
        changed("more text");
        std::fs::write(folder.path().join(".a.toml.new"), "cd").expect("written");
        std::fs::rename(folder.path().join(".a.toml.new"), &file).expect("renamed");
        changed("a file of the same length in its place");
        std::fs::write(folder.path().join("b.toml"), "b").expect("written");
        changed("another file");
        std::fs::remove_file(&file).expect("removed");
        changed("a file less");
        std::fs::remove_dir_all(folder.path()).expect("removed");
        changed("no folder");
    }

    #[test]
    fn an_editors_own_files_are_none_of_the_rules() {
        let (folder, config) = folder();
        let before = Stamps::of(&config);
        for name in [".#a.toml", ".a.toml.swp", "a.toml~", "4913"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        assert_eq!(Stamps::of(&config), before);
    }

    #[cfg(unix)]
    #[test]
    fn a_swapped_link_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("v1", "one"), ("v2", "two")] {
            std::fs::create_dir(at(name)).expect("created");
            std::fs::write(at(name).join("a.toml"), text).expect("written");
        }
        let link = |to: &str| {
            std::os::unix::fs::symlink(at(to), at("new")).expect("linked");
            std::fs::rename(at("new"), at("data")).expect("renamed");
        };
        link("v1");
        let config = Config { rules: Some(at("data")), ..Config::default() };
        let before = Stamps::of(&config);
        link("v2");
        assert_ne!(Stamps::of(&config), before);
    }
}
