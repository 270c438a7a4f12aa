//! `git sparse fsck`: the whole store, and its repair.

use clap::Args;

use super::repo::Repo;
use super::{report, watch};
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply, Request};
use crate::fsck::{Depth, Problem};

/// Check every pack and file of the store; mend what can be mended
#[derive(Debug, Args)]
pub struct Fsck {
    /// Set damaged packs aside and fetch what is missing from this repository's remote; deletes nothing
    #[arg(long)]
    repair: bool,
    /// Where --repair fetches from [default: the remote a push would use]
    #[arg(long, value_name = "NAME", requires = "repair")]
    remote: Option<String>,
    /// Checksums only: don't rebuild the files
    #[arg(long)]
    quick: bool,
    /// Print one JSON document (schema git-sparse/fsck/1)
    #[arg(long)]
    json: bool,
}

impl Fsck {
    pub fn run(self) -> Result<(), Failure> {
        let depth = if self.quick { Depth::Quick } else { Depth::Full };
        let remote = self.remote()?;
        let Reply::Fsck { report: found } =
            watch::call(&Request::Fsck { depth, repair: self.repair, remote })?
        else {
            return Err(super::unexpected());
        };
        if self.json {
            report::json("fsck", &found);
        } else {
            report::say(&format!(
                "{} packs with {} objects in {}, {} files",
                found.packs,
                found.objects,
                report::bytes(found.bytes),
                found.files
            ));
            found.repaired.iter().for_each(|problem| report::say(&format!("repaired: {}", words(problem))));
            found.problems.iter().for_each(|problem| report::say(&format!("DAMAGED: {}", words(problem))));
        }
        match found.problems.len() {
            0 => Ok(()),
            count => {
                let failure = Failure::new(Kind::Corrupt, format!("{count} problems"));
                Err(failure.fix(match self.repair {
                    true => "push the damaged files again from a clone that has them",
                    false => "git sparse fsck --repair, in a repository whose remote has the files",
                }))
            }
        }
    }

    /// A remote that was named must be there; the default one is used if it is.
    fn remote(&self) -> Result<Option<RemotePlace>, Failure> {
        match (&self.remote, self.repair) {
            (Some(name), _) => Repo::here()?.remote(name, false).map(Some),
            (None, true) => {
                Ok(Repo::here().ok().and_then(|repo| repo.remote(&repo.default_remote(), false).ok()))
            }
            (None, false) => Ok(None),
        }
    }
}

fn words(problem: &Problem) -> String {
    match problem {
        Problem::Pack { what, .. } => what.clone(),
        Problem::File { oid, what } => format!("file {oid}: {what}"),
        Problem::Index { pack, what } => format!("index, pack {pack}: {what}"),
    }
}
