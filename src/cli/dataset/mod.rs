//! `git sparse dataset`: tables by revision: what is in them, what changed, and merging it.

mod cat;
mod checkout;
mod commit;
mod diff;
mod key;
mod log;
mod merge;
pub mod open;
mod portable;
mod show;
mod words;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::daemon::message::Failure;

/// Tables of a repository: rows and columns by revision, what changed, commits, merges
#[derive(Debug, Args)]
pub struct Dataset {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Commit(commit::Commit),
    Log(log::Log),
    Diff(diff::Diff),
    Show(show::Show),
    Checkout(checkout::Checkout),
    Cat(cat::Cat),
    Merge(merge::Merge),
    Compress(portable::Compress),
    Reconstruct(portable::Reconstruct),
    Estimate(portable::Estimate),
    #[command(hide = true)]
    MergeDriver(merge::MergeDriver),
}

impl Dataset {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.verb {
            Verb::Diff(args) => return args.run(),
            Verb::Merge(args) => return args.run(),
            Verb::MergeDriver(args) => return args.run(),
            Verb::Commit(args) => args.run(),
            Verb::Log(args) => args.run(),
            Verb::Show(args) => args.run(),
            Verb::Checkout(args) => args.run(),
            Verb::Cat(args) => args.run(),
            Verb::Compress(args) => args.run(),
            Verb::Reconstruct(args) => args.run(),
            Verb::Estimate(args) => args.run(),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}
