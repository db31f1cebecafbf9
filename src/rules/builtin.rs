//! The packs that ship inside the binary.

use include_dir::{Dir, include_dir};

use super::Source;

static RULES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/rules");

/// Every TOML file under `rules/`, by name.
pub(super) fn sources() -> Vec<Source> {
    let mut sources: Vec<Source> = RULES
        .files()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|file| {
            let name = file.path().file_name()?.to_string_lossy().into_owned();
            Some(Source { name, text: file.contents_utf8()?.to_owned() })
        })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}
