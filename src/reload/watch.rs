//! When to look: SIGHUP, and files that changed and have settled.
//!
//! Files are asked after instead of waiting for the system's word of them: that word does not come from network file
//! systems, nor from the other side of a mount, and stops when a watched file is replaced.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::{Stamps, reload};
use crate::app::App;

/// How often the files are asked after. They must look the same twice in a row, so a change takes twice this to arrive.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the gateway at what lies on disk, until dropped. SIGHUP is heard from the call on, before the first poll.
///
/// A configuration without a file has nothing to watch, and SIGHUP then ends the program as it always did.
pub fn watch(app: Arc<App>, interval: Duration) -> impl Future<Output = Infallible> + Send {
    let hangups = app.config.file.is_some().then(Hangups::new);
    async move {
        match hangups {
            Some(hangups) => keep_up(app, interval, hangups).await,
            None => pending().await,
        }
    }
}

async fn keep_up(app: Arc<App>, interval: Duration, mut hangups: Hangups) -> Infallible {
    let mut watcher = Watcher { handled: app.stamps.clone(), seen: None, app };
    let mut asked = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = hangups.next() => {
                tracing::info!("SIGHUP: reading everything again");
                asked = true;
            }
        }
        asked = watcher.look(asked).await == Look::Again && asked;
    }
}

/// What came of one look.
#[derive(PartialEq, Eq)]
enum Look {
    /// Nothing is left to do.
    Done,
    /// Files are changing now.
    Again,
}

struct Watcher {
    app: Arc<App>,
    /// As of the last reload.
    handled: Option<Stamps>,
    /// As of the last look.
    seen: Option<Stamps>,
}

impl Watcher {
    /// Reloads what has changed and settled, or at once if `asked` to.
    async fn look(&mut self, asked: bool) -> Look {
        let app = Arc::clone(&self.app);
        let Ok(now) = spawn_blocking(move || Stamps::of(&app.loaded().config)).await else {
            return Look::Done;
        };
        let now = Some(now);
        if !asked && now == self.handled {
            self.seen = None;
            return Look::Done;
        }
        if !asked && now != self.seen {
            self.seen = now;
            return Look::Again;
        }
        self.seen = None;
        let app = Arc::clone(&self.app);
        match spawn_blocking(move || reload(&app)).await {
            Ok(None) => Look::Again,
            Ok(handled) => {
                self.handled = handled;
                Look::Done
            }
            Err(_) => {
                tracing::error!("reloading panicked; what is in force stays");
                // Trying the same files again would end the same.
                self.handled = now;
                Look::Done
            }
        }
    }
}

/// The signals that ask for a reload.
struct Hangups {
    #[cfg(unix)]
    signals: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    #[cfg(unix)]
    fn new() -> Hangups {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = signal(SignalKind::hangup());
        if let Err(error) = &signals {
            tracing::warn!(%error, "SIGHUP cannot be heard; changed files are reloaded all the same");
        }
        Hangups { signals: signals.ok() }
    }

    #[cfg(not(unix))]
    fn new() -> Hangups {
        Hangups {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals
            && signals.recv().await.is_some()
        {
            return;
        }
        pending().await
    }
}
