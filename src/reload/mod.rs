//! "What changed on disk, and may it take over?"
//!
//! Everything is read and checked beside what is in force; the sound parts then take over in one step, for requests that
//! are yet to come. A part that is damaged leaves its last good version in force.

mod stamps;
mod watch;

use std::path::Path;
use std::sync::{Arc, PoisonError};

pub use stamps::Stamps;
pub use watch::{INTERVAL, watch};

use crate::app::App;
use crate::loaded::{Found, LastReload, Loaded, Outcome, Part, find_calibration, load_classifier};

/// Reads everything again. Returns what was on disk, or `None` if that changed meanwhile, so that what was read may never
/// have belonged together; nothing has taken over then.
///
/// Blocks for as long as compiling rules takes.
#[must_use]
pub fn reload(app: &App) -> Option<Stamps> {
    let _turn = app.reloading.lock().unwrap_or_else(PoisonError::into_inner);
    let old = app.loaded();
    let began = old.config.file.as_deref().map(Stamps::of_file);
    let reread = old.config.reread();
    let (config, waiting, later) = match reread {
        Ok(reread) => (Ok(Arc::new(reread.config)), reread.waiting, reread.later),
        Err(error) => (Err(error.to_string()), Vec::new(), None),
    };
    let wanted = Arc::clone(config.as_ref().unwrap_or(&old.config));
    let stamps = Stamps::of(&wanted);
    let rules = old.find_rules(&wanted);
    let classifier = load_classifier(&wanted).map_err(|fault| fault.to_string());
    let (calibration, misfit) = match find_calibration(&wanted, later.as_deref()) {
        Ok((profiles, misfit)) => (Ok(profiles), misfit),
        Err(message) => (Err(message), None),
    };
    let ended = old.config.file.as_deref().map(Stamps::of_file);
    if began != ended || Stamps::of(&wanted) != stamps {
        return None;
    }
    let next = Arc::new(old.replaced_by(Found { config, rules, classifier, calibration }));
    app.take_over(Arc::clone(&next));
    app.recorder.metrics.reloaded(&old, &next);
    tell(&old, &next);
    tell_waiting(&next, &waiting, misfit.as_deref());
    Some(stamps)
}

/// One line for each part that is not as before.
fn tell(old: &Loaded, next: &Loaded) {
    let Some(LastReload { outcomes, .. }) = next.last_reload else { return };
    for (part, outcome) in Part::ALL.into_iter().zip(outcomes) {
        let standing = next.standing(part);
        let version = standing.version.as_deref().unwrap_or("none");
        let part_name = part.as_str();
        match (outcome, &standing.refused) {
            (Outcome::Loaded, _) => {
                let before = old.standing(part).version.as_deref().unwrap_or("none");
                tracing::info!(part = part_name, version, before, "reloaded");
            }
            (_, Some(refusal)) => {
                tracing::error!(
                    part = part_name,
                    version,
                    "not reloaded, {version} stays: {}",
                    refusal.message
                );
            }
            (_, None) if old.standing(part).refused.is_some() => {
                tracing::info!(part = part_name, version, "sound again, as in force");
            }
            (_, None) => {}
        }
    }
    if outcomes[1..].contains(&Outcome::Loaded) {
        next.tell_misfit();
    }
    let [config, rules, classifier, calibration] = outcomes.map(Outcome::as_str);
    tracing::info!(config, rules, classifier, calibration, "read again");
}

fn tell_waiting(next: &Loaded, waiting: &[&str], misfit: Option<&str>) {
    if !waiting.is_empty() {
        let file = next.config.file.as_deref().unwrap_or(Path::new("")).display();
        let keys = waiting.join(", ");
        tracing::warn!("{file}: {keys}: changed, and read at the start only; restart to put it in force");
    }
    if let Some(misfit) = misfit {
        tracing::warn!("{misfit}; it decides on until the restart, and would be left out then");
    }
}
