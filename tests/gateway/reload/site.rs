//! A folder with everything that a gateway reloads, and the gateway that watches it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thinkgate::calibration::{Line, Profile, Profiles, Provenance, write};
use thinkgate::classifier;
use thinkgate::rules::RuleSet;

use crate::support::{Gateway, MockUpstream, PATIENCE, ask, json_of, whole};

/// `[[keys]]` by the name of the key, which is also the key.
pub(crate) fn key(name: &str) -> String {
    let digest: String =
        thinkgate::config::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{digest}\"\n")
}

/// A pack with one rule; `why` makes it another version.
pub(crate) fn pack(why: &str) -> String {
    format!(
        "[[rule]]\nid = \"proof.ask\"\nwhy = \"{why}\"\nany = ['\\bprove\\b']\n\
         raises = {{ thinking = \"strong\" }}\nmatches = [\"Prove it.\"]\nignores = [\"Improve it.\"]\n"
    )
}

/// The same with an example that its pattern does not fire on.
pub(crate) fn damaged_pack() -> String {
    pack("damaged").replace("Prove it.", "Show it.")
}

/// The shipped classifier as it would be after training on other data.
pub(crate) fn classifier_of(data: &str) -> Vec<u8> {
    let mut other = classifier::Classifier::builtin().expect("loads");
    other.data.sha256 = data.to_owned();
    classifier::write(&other)
}

/// A calibration by which thinking adds `gain` log-odds to the even chance of being right, for 992 tokens. From about 0.2 on
/// that is worth its tokens.
pub(crate) fn calibration(model: &str, gain: f64) -> String {
    let line = |base: f64| Line { base, ..Line::default() };
    let profile = Profile {
        rows: 100,
        thinking: [-8.0, 8.0],
        complexity: [-8.0, 8.0],
        without: line(0.0),
        gain: line(gain),
        tokens_without: line(3.0),
        tokens_with: line(1000_f64.log2()),
    };
    let fitted_on = Provenance { data: "d".into(), rules: "other".into(), classifier: "none".into() };
    write(&fitted_on, BTreeMap::from([(model.to_owned(), profile)]))
}

/// What makes a configuration use `calibration.toml`.
pub(crate) const CALIBRATED: &str = "[calibration]\npath = \"calibration.toml\"\n";

pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    upstream: MockUpstream,
}

impl Site {
    /// `thinkgate.toml`, `rules/` and `model.bin`.
    pub(crate) async fn new(more: &str) -> Site {
        let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
        let site = Site { folder: tempfile::tempdir().expect("a folder"), upstream };
        std::fs::create_dir(site.path("rules")).expect("created");
        site.write("rules/strengths.toml", include_str!("../../../rules/strengths.toml"));
        site.write("rules/proof.toml", pack("first"));
        site.write("model.bin", classifier_of("first"));
        site.configure(more);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration with `more` at its end.
    pub(crate) fn config(&self, more: &str) -> String {
        let model = self.upstream.model("up");
        format!("{model}[rules]\ndir = \"rules\"\n[classifier]\npath = \"model.bin\"\n{more}")
    }

    pub(crate) fn configure(&self, more: &str) {
        self.write("thinkgate.toml", self.config(more));
    }

    /// In place.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("written");
    }

    /// As careful editors write: beside it, then renamed.
    pub(crate) fn replace(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, path).expect("renamed");
    }

    pub(crate) async fn gateway(&self) -> Gateway {
        Gateway::watching(&self.path("thinkgate.toml")).await
    }

    /// The version of the rules on disk, which must be sound.
    pub(crate) fn rules_version(&self) -> String {
        rules_version(&self.path("rules"))
    }

    /// The version of the classifier on disk, which must be sound.
    pub(crate) fn classifier_version(&self) -> String {
        let bytes = std::fs::read(self.path("model.bin")).expect("read");
        classifier::read(&bytes).expect("sound").version
    }

    /// The version of the calibration on disk, which must be sound.
    pub(crate) fn calibration_version(&self) -> String {
        Profiles::load(&self.path("calibration.toml")).expect("sound").version
    }
}

pub(crate) fn rules_version(folder: &Path) -> String {
    let rules = RuleSet::from_dir(folder).unwrap_or_else(|faults| panic!("{faults:?}"));
    rules.version().to_owned()
}

impl Gateway {
    pub(crate) async fn ready(&self) -> Value {
        json_of(self.get("/readyz").send().await.expect("a response")).await
    }

    /// Waits until `/readyz` says so, and returns it.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let seen = async {
            loop {
                last = self.ready().await;
                if holds(&last) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, seen).await;
        assert!(waited.is_ok(), "never {what}: {last:#}");
        last
    }

    /// Waits until this version of a part is in force and nothing of it is refused.
    pub(crate) async fn serves(&self, part: &str, version: &str) {
        let sound = |ready: &Value| ready["versions"][part] == version && ready["errors"][part].is_null();
        self.until(&format!("{part} {version}"), sound).await;
    }

    /// Waits until what lies on disk of a part is refused, and returns why.
    pub(crate) async fn refuses(&self, part: &str) -> String {
        let ready = self.until(&format!("{part} refused"), |ready| !ready["errors"][part].is_null()).await;
        ready["errors"][part]["message"].as_str().expect("a message").to_owned()
    }

    /// The decision on a prompt.
    pub(crate) async fn decision(&self, prompt: &str) -> Value {
        json_of(self.post("/v1/decision", &ask(prompt)).send().await.expect("a response")).await
    }
}
