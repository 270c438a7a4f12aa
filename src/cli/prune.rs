//! `git sparse prune`: remove git-lfs' local copies, after the remote said that it has each one.
//!
//! git-lfs' own `prune --verify-remote` asks nobody in standalone mode and deletes.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::repo::Repo;
use super::{report, watch};
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::id::Oid;

/// Remove git-lfs' copies of files that HEAD doesn't need and the remote holds
#[derive(Debug, Args)]
pub struct Prune {
    /// Say what would go, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// The remote that must have them [default: the one a push would use]
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
    /// Print one JSON document (schema git-sparse/prune/1)
    #[arg(long)]
    json: bool,
}

struct Copy {
    oid: Oid,
    path: PathBuf,
    size: u64,
}

impl Prune {
    pub fn run(self) -> Result<(), Failure> {
        let repo = Repo::here()?;
        let name = self.remote.clone().unwrap_or_else(|| repo.default_remote());
        let remote = repo.remote(&name, false)?;
        let needed = needed(&repo)?;
        let copies: Vec<_> = copies(&repo)?.into_iter().filter(|copy| !needed.contains(&copy.oid)).collect();
        let oids = copies.iter().map(|copy| copy.oid).collect();
        let Reply::RemoteHas { has } = watch::call(&Request::RemoteHas { oids, remote })? else {
            return Err(super::unexpected());
        };
        let (there, kept): (Vec<_>, Vec<_>) = copies.into_iter().zip(has).partition(|(_, has)| *has);
        let bytes: u64 = there.iter().map(|(copy, _)| copy.size).sum();
        if !self.json {
            let (copies, stay) = (report::count(there.len(), "copy"), report::count(kept.len(), "copy"));
            match there.len() {
                0 => report::say("nothing to remove"),
                _ => report::say(&format!("to remove: {copies}, {}, also on {name}", report::bytes(bytes))),
            }
            if !kept.is_empty() {
                report::say(&format!("kept: {stay} that {name} lacks"));
            }
        }
        if !self.dry_run && !there.is_empty() {
            if !report::confirmed(&format!("Delete {}?", report::bytes(bytes)), self.yes) {
                return Err(Failure::new(Kind::Refused, "nothing was deleted").fix(self.consent()));
            }
            for (copy, _) in &there {
                fs::remove_file(&copy.path).map_err(|error| {
                    Failure::new(Kind::Fatal, format!("{}: {error}", copy.path.display()))
                })?;
            }
        }
        if !self.json && !there.is_empty() {
            report::say(if self.dry_run { "nothing was done: --dry-run" } else { "done" });
        }
        if self.json {
            let removed: Vec<_> = there.iter().map(|(copy, _)| copy.oid).collect();
            let kept: Vec<_> = kept.iter().map(|(copy, _)| copy.oid).collect();
            report::json(
                "prune",
                serde_json::json!({ "dry_run": self.dry_run, "removed": removed, "kept": kept, "bytes": bytes }),
            );
        }
        Ok(())
    }

    /// The same command once more, without the question.
    fn consent(&self) -> String {
        match &self.remote {
            None => "git sparse prune --yes".into(),
            Some(name) => format!("git sparse prune --remote {name} --yes"),
        }
    }
}

/// Files of HEAD in every work tree, and of the index.
fn needed(repo: &Repo) -> Result<HashSet<Oid>, Failure> {
    let mut needed = HashSet::new();
    let trees = repo.git.run(&["worktree", "list", "--porcelain"]).map_err(|error| unknown(&error))?;
    let heads =
        trees.lines().filter_map(|line| line.strip_prefix("HEAD ")).filter(|head| !head.starts_with("0000"));
    for head in heads {
        needed.extend(repo.files(head)?.into_iter().map(|place| place.pointer.oid));
    }
    let tree = repo.git.run(&["write-tree"]).map_err(|error| {
        unknown(&error).fix("if a merge is under way, end it first: git merge --continue, or --abort")
    })?;
    let staged = crate::git::History::files_at(&repo.git_dir, &tree);
    let staged = staged.map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    needed.extend(staged.into_iter().map(|(_, pointer)| pointer.oid));
    Ok(needed)
}

/// What git does not say might be needed.
fn unknown(error: &dyn std::error::Error) -> Failure {
    Failure::new(Kind::Fatal, format!("nothing was removed, since git does not say what is needed: {error}"))
}

/// What git-lfs keeps: `objects/ab/cd/<oid>`.
fn copies(repo: &Repo) -> Result<Vec<Copy>, Failure> {
    let dir =
        repo.git.lfs_dir().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?.join("objects");
    let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = below(dir).flat_map(below).flat_map(below);
    let copy = |path: PathBuf| {
        let oid = path.file_name()?.to_str()?.parse().ok()?;
        let size = path.metadata().ok()?.len();
        Some(Copy { oid, path, size })
    };
    Ok(files.filter_map(copy).collect())
}
