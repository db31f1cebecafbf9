//! Reading the configuration again while it is in force: what may take over, and what waits for a restart.

use std::cell::Cell;

use sha2::{Digest, Sha256};

use super::{Absent, Config, ConfigError, Fault, Surroundings, folder_of, parse, text_of};

/// A configuration that may take over from the one in force.
pub struct Reread {
    /// Keys, presets and paths as the file says now; the rest as in the one in force.
    pub config: Config,
    /// Keys that the file says otherwise and that are read at the start only.
    pub waiting: Vec<&'static str>,
    /// Names of the models that wait; absent where they are not all known before the restart.
    pub later: Option<Vec<String>>,
}

impl Config {
    /// Reads its own file again. Models are never downloaded for it: they wait for a restart anyway.
    ///
    /// # Errors
    /// Every fault of the file, or that what it says must not take over from `self`.
    pub fn reread(&self) -> Result<Reread, ConfigError> {
        let Some(path) = self.file.as_deref() else {
            return Ok(Reread { config: self.clone(), waiting: Vec::new(), later: None });
        };
        let (text, name) = text_of(path)?;
        let environment = |name: &str| std::env::var(name).ok();
        let absent = Absent::Note(Cell::new(false));
        let around =
            Surroundings { folder: folder_of(path), environment: &environment, absent, running: true };
        let mut new = parse(&text, Some(name), &around)?;
        new.file = Some(path.to_owned());
        let faults = self.refusals(&new);
        if !faults.is_empty() {
            return Err(ConfigError { faults });
        }
        let waiting = self.waiting_for_restart(&new);
        let later = (!around.has_passed_over()).then(|| new.model_names());
        let Config { listen, models, log, limits, .. } = self.clone();
        Ok(Reread { config: Config { listen, models, log, limits, ..new }, waiting, later })
    }

    /// Whether the file still says what this was read from.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let Some(path) = self.file.as_deref() else { return true };
        text_of(path).is_ok_and(|(text, _)| version_of(&text) == self.version)
    }

    /// What a sound file may still not do to a running gateway.
    fn refusals(&self, new: &Config) -> Vec<Fault> {
        let mut faults = Vec::new();
        // A file caught empty while it is written would say the same.
        if new.keys.is_empty() && !self.keys.is_empty() {
            let message = "the last key is gone, which would let in everyone; if that is meant, restart";
            faults.push(new.fault("keys", message));
        }
        let running = self.models.iter().map(|model| &model.profile.name);
        for name in running.filter(|name| new.presets.contains_key(*name)) {
            let message = format!("{name:?} is the name of a running model; clients could not tell");
            faults.push(new.fault("presets", message));
        }
        faults
    }

    fn waiting_for_restart(&self, new: &Config) -> Vec<&'static str> {
        let changed = [
            ("server.listen", self.listen != new.listen),
            ("models", self.models != new.models),
            ("log", self.log != new.log),
            ("limits", self.limits != new.limits),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
}

/// Names a text by its content.
pub(super) fn version_of(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
