//! One file per command; each prints what it was asked for and nothing else on standard output.

mod answers;
pub mod ask;
pub mod calibrate;
pub mod check;
pub mod classify;
pub mod evaluate;
pub mod explain;
mod heat_map;
pub mod models;
pub mod offline;
mod probe;
pub mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Why a command did not do what it was asked; each kind has its own exit code.
#[derive(Debug)]
pub enum Failure {
    /// A check failed; what it printed says all, or this does.
    Check(Option<anyhow::Error>),
    /// Wrong use or bad input.
    Usage(anyhow::Error),
    /// An upstream or model failed.
    Backend(anyhow::Error),
    /// Output could not be written.
    Output(io::Error),
}

impl Failure {
    /// A check failed.
    pub fn check(error: impl Into<anyhow::Error>) -> Failure {
        Failure::Check(Some(error.into()))
    }

    /// Wrong use or bad input.
    pub fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure::Usage(error.into())
    }

    /// An upstream or model failed.
    pub fn backend(error: impl Into<anyhow::Error>) -> Failure {
        Failure::Backend(error.into())
    }

    /// Says what went wrong on standard error and returns the exit code.
    #[expect(clippy::print_stderr, reason = "the last word of a command goes to its user, not to a log")]
    pub fn report(&self) -> ExitCode {
        let (code, error) = match self {
            // `thinkgate … | head` has seen enough.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Failure::Output(error) => {
                eprintln!("thinkgate: {error}");
                return ExitCode::from(2);
            }
            Failure::Check(error) => (1, error.as_ref()),
            Failure::Usage(error) => (2, Some(error)),
            Failure::Backend(error) => (3, Some(error)),
        };
        if let Some(error) = error {
            eprintln!("thinkgate: {error:#}");
        }
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// Runs what the command line asks.
///
/// # Errors
/// Whatever kept the command from its end.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match &cli.command {
        None => {
            drop(out);
            return serve::run(&cli.serve);
        }
        Some(Command::Serve(args)) => {
            drop(out);
            return serve::run(args);
        }
        Some(Command::Ask(args)) => ask::run(args, &mut out)?,
        Some(Command::Explain(args)) => offline::explain(args, &mut out)?,
        Some(Command::Classify(args)) => offline::classify(args, &mut out)?,
        Some(Command::Evaluate(args)) => evaluate::run(args, &mut out)?,
        Some(Command::Calibrate(args)) => calibrate::run(args, &mut out)?,
        Some(Command::Check(args)) => {
            // What a failed check printed is its result, so it must be out before the exit code says so.
            let checked = offline::check(args, &mut out);
            out.flush()?;
            return checked;
        }
        Some(Command::Models(args)) => {
            let listed = models::run(args, &mut out);
            out.flush()?;
            return listed;
        }
    }
    Ok(out.flush()?)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::usage)
}
