//! The command line: one file a verb. Words for people, exit codes, and nothing of storage.

mod daemon;
mod init;
mod install;
mod lfs_agent;
mod report;
mod trust;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::daemon::message::{Failure, Kind};

/// Versioned storage for models and data sets inside ordinary git (not related to git sparse-checkout)
#[derive(Debug, Parser)]
#[command(name = "git-sparse", bin_name = "git sparse", version, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Install(install::Install),
    Uninstall(install::Uninstall),
    Init(init::Init),
    Trust(trust::Trust),
    Daemon(daemon::Daemon),
    #[command(hide = true)]
    LfsAgent(lfs_agent::LfsAgent),
}

/// Runs the command line and says how it ended.
pub fn main() -> ExitCode {
    match dispatch(Cli::parse().verb) {
        Ok(code) => code,
        Err(failure) => report::failure(&failure),
    }
}

fn dispatch(verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Install(args) => args.run(),
        Verb::Uninstall(args) => args.run(),
        Verb::Init(args) => args.run(),
        Verb::Trust(args) => args.run(),
        Verb::Daemon(args) => args.run(),
        Verb::LfsAgent(args) => args.run(),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// The exit code of a failure; `docs/commands.md` has the table.
fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Usage => 2,
        Kind::NotFound => 3,
        Kind::Remote => 4,
        Kind::Corrupt => 5,
        Kind::Refused => 6,
        Kind::Fatal => 128,
    }
}
