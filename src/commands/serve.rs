//! `thinkgate serve`: load everything, say where it listens, serve until told to stop.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::Failure;
use crate::app::App;
use crate::cli::ServeArgs;
use crate::config::{ClassifierSource, Config, Log, Source};
use crate::loaded::{Loaded, Part};
use crate::reload;
use crate::server::{Ended, serve};

/// Runs the gateway until SIGINT or SIGTERM.
///
/// # Errors
/// A faulty configuration, a model that does not load, or an address that cannot be had.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let begin_logging = |log: &Log| start_logging(log.json);
    let config = Config::load_fetching(args.config.as_deref(), begin_logging).map_err(Failure::usage)?;
    let listen = args.listen.unwrap_or(config.listen);
    refuse_open_door(&config, listen, args.insecure_no_auth)?;
    start_logging(config.log.json);
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let listener = bind(listen).await?;
        let app = App::new(config).map_err(Failure::usage)?;
        let watching = reload::watch(Arc::clone(&app), reload::INTERVAL);
        announce(&app, listener.local_addr().unwrap_or(listen));
        let ended = tokio::select! {
            ended = serve(listener, app, stop_signal()) => ended,
            never = watching => match never {},
        };
        if let Ended::CutOff(count) = ended {
            tracing::warn!(count, "connections were cut off");
        }
        Ok(())
    })
}

/// A gateway that anyone on the network can spend on is rarely meant.
fn refuse_open_door(config: &Config, listen: SocketAddr, insecure: bool) -> Result<(), Failure> {
    if listen.ip().is_loopback() || !config.keys.is_empty() || insecure {
        return Ok(());
    }
    let message = format!(
        "{listen} can be reached from other machines; add [[keys]], or pass --insecure-no-auth if that is meant"
    );
    Err(Failure::usage(config.fault("server.listen", message)))
}

/// `RUST_LOG` chooses what is logged; by default one line per request.
pub(super) fn start_logging(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second gateway in this process keeps the first one's logging.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "; another program has it: choose another with --listen",
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need special rights",
            _ => "",
        };
        Failure::usage(anyhow::anyhow!("cannot listen on {address}: {error}{hint}"))
    })
}

/// What runs, what decides, where, and a line to try it with.
fn announce(app: &App, address: SocketAddr) {
    let mut text = format!("thinkgate {}\n", env!("CARGO_PKG_VERSION"));
    for served in &app.models {
        let place = match &served.model.source {
            Source::Embedded(_) => "embedded".to_owned(),
            Source::Path(path) => path.display().to_string(),
            Source::Upstream(upstream) => format!("{} at {}", upstream.model_id, upstream.url),
        };
        let profile = &served.model.profile;
        text.push_str(&format!("  {:<16} {:<5} {place}\n", profile.name, profile.architecture.as_str()));
    }
    let loaded = app.loaded();
    text.push_str(&format!("\n{}\n", what_decides(&loaded)));
    let key = if loaded.config.keys.is_empty() { "" } else { " -H 'authorization: Bearer YOUR_KEY'" };
    text.push_str(&format!(
        "listening on http://{address}\n\n  curl http://{address}/v1/chat/completions -H 'content-type: \
         application/json'{key} \\\n    -d '{{\"model\": \"auto\", \"messages\": [{{\"role\": \"user\", \"content\": \
         \"37*48=?\"}}]}}'\n"
    ));
    // Nobody may be reading; serving does not depend on it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// One line for each part of what is in force.
fn what_decides(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let of = |version: &str, path: Option<&Path>| {
        format!("version {version}, {}", path.map_or("built in".into(), Path::to_string_lossy))
    };
    let rules = &loaded.snapshot(None).rules;
    let presets = config.presets.keys().map(|name| match *name == config.preset {
        true => format!("{name} (by default)"),
        false => name.clone(),
    });
    let keys: Vec<&str> = config.keys.iter().map(|key| key.name.as_str()).collect();
    let lines = [
        ("config", of(&config.version, config.file.as_deref())),
        ("rules", format!("{}, {}", rules.rules().len(), of(rules.version(), config.rules.as_deref()))),
        ("classifier", classifier_line(loaded)),
        ("calibration", calibration_line(loaded)),
        ("presets", presets.collect::<Vec<_>>().join(", ")),
        (
            "keys",
            match keys.len() {
                0 => "none: whoever reaches the address may call".to_owned(),
                count => format!("{count}: {}", keys.join(", ")),
            },
        ),
    ];
    lines.into_iter().map(|(what, text)| format!("  {what:<16} {text}\n")).collect()
}

fn classifier_line(loaded: &Loaded) -> String {
    let standing = loaded.standing(Part::Classifier);
    match (&standing.version, &standing.refused, &loaded.config.classifier) {
        (None, Some(refusal), _) => format!("none, the rules decide alone: {}", refusal.message),
        (None, None, _) => "none, the rules decide alone: none is configured".to_owned(),
        (Some(version), _, ClassifierSource::File(file)) => format!("version {version}, {}", file.display()),
        (Some(version), ..) => format!("version {version}, built in"),
    }
}

fn calibration_line(loaded: &Loaded) -> String {
    let standing = loaded.standing(Part::Calibration);
    match (&standing.version, &standing.refused, &loaded.config.calibration) {
        (Some(version), _, Some(from)) => format!("version {version}, {}", from.path.display()),
        (_, Some(refusal), _) => format!("none, the score alone says where to think: {}", refusal.message),
        _ => "none, the score alone says where to think: none is configured".to_owned(),
    }
}

/// Resolves on the first signal to stop; the second one ends the program at once.
async fn stop_signal() {
    signal().await;
    tracing::info!("stopping; a second signal stops at once");
    tokio::spawn(async {
        signal().await;
        std::process::exit(130);
    });
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}
