//! `git sparse lfs-agent`: started by git-lfs, never by people.

use std::io;

use clap::Args;

use crate::agent::Agent;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::place::Place;
use crate::git::command::Git;

/// Speak the git-lfs custom transfer protocol (started by git-lfs)
#[derive(Debug, Args)]
pub struct LfsAgent {}

impl LfsAgent {
    pub fn run(self) -> Result<(), Failure> {
        let mut agent = Agent::new(Git::at(".").steady(), Place::from_environment()?);
        lfs_agent::serve(io::stdin().lock(), io::stdout().lock(), &mut agent)
            .map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
    }
}
