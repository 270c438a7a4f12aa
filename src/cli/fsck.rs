//! `git sparse fsck`: the whole store, and its repair.

use clap::Args;

use super::repo::Repo;
use super::{report, watch};
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply, Request};
use crate::fsck::{Depth, Problem, Report};

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
            let mended = |problem| report::say(&format!("repaired: {}; {}", words(problem), deed(problem)));
            found.repaired.iter().for_each(mended);
            found.problems.iter().for_each(|problem| report::say(&format!("DAMAGED: {}", words(problem))));
            report::say(&self.verdict(&found));
        }
        match found.problems.len() {
            0 => Ok(()),
            count => {
                let failure = Failure::new(Kind::Corrupt, report::count(count, "problem"));
                Err(failure.fix(match self.repair {
                    true => "push the damaged files again from a clone that has them",
                    false => "git sparse fsck --repair, in a repository whose remote has the files",
                }))
            }
        }
    }

    fn verdict(&self, found: &Report) -> String {
        let number = match found.problems.len() {
            0 => "no problems".into(),
            count => report::count(count, "problem"),
        };
        let (packs, files) = (report::count(found.packs, "pack"), report::count(found.files, "file"));
        let (objects, bytes) = (report::count(found.objects, "object"), report::bytes(found.bytes));
        let depth = if self.quick && !self.repair { "; checksums only, no file was rebuilt" } else { "" };
        let repair = match found.repaired.len() {
            0 if self.repair && found.problems.is_empty() => "; nothing to repair".into(),
            0 => String::new(),
            count => format!("; {count} repaired"),
        };
        format!("{number} in {packs}, {files} ({objects}, {bytes}){depth}{repair}")
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

/// What a repair did about it.
fn deed(problem: &Problem) -> &'static str {
    match problem {
        Problem::Pack { .. } => "set aside under bad/, its good objects are kept",
        Problem::File { .. } => "it comes back whole",
        Problem::Index { .. } => "they are in it again",
    }
}

fn words(problem: &Problem) -> String {
    match problem {
        Problem::Pack { what, .. } => what.clone(),
        Problem::File { oid, what } => format!("file {oid}: {what}"),
        Problem::Index { pack, what } => format!("index, pack {pack}: {what}"),
    }
}
