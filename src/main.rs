//! The `thinkgate` binary: parse the command line, run the command, turn its failure into an exit code.

use std::process::ExitCode;

use clap::Parser;
use thinkgate::cli::Cli;
use thinkgate::commands;

fn main() -> ExitCode {
    match commands::run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
