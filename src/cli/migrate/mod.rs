//! `git sparse migrate`: a Git LFS repository with its whole history into a store, and out of it again.
//!
//! Nothing in history changes: pointers are the same on both sides. What is not finished is found and finished by the
//! next run, so an interrupt, a lost network or a `kill -9` costs at most one batch.

mod batch;
mod depot;
mod into;
mod inward;
mod lfs;
mod out;
mod settle;
mod survey;
mod told;

use clap::{Args, Subcommand};

use crate::daemon::message::Failure;

/// Move a Git LFS repository with its history into a store, or out to a plain LFS server
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(subcommand)]
    way: Way,
}

#[derive(Debug, Subcommand)]
enum Way {
    In(into::In),
    Out(out::Out),
}

impl Migrate {
    pub fn run(self) -> Result<(), Failure> {
        match self.way {
            Way::In(args) => args.run(),
            Way::Out(args) => args.run(),
        }
    }
}
