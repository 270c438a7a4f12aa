//! `git sparse where PATH`: which packs, bases and remotes hold a file.

use clap::Args;

use super::repo::{self, Repo};
use super::{report, watch};
use crate::census::FileCost;
use crate::daemon::message::{Failure, FileAnswer, Kind, Reply, Request};
use crate::id::Oid;
use crate::recipe::{Parent, Reason};

/// Which packs, bases and remotes hold a file
#[derive(Debug, Args)]
pub struct Where {
    /// REV:PATH, PATH (at HEAD), or the file's SHA-256
    file: String,
    /// Print one JSON document (schema git-sparse/where/1)
    #[arg(long)]
    json: bool,
}

impl Where {
    pub fn run(self) -> Result<(), Failure> {
        let place = repo::file(&self.file)?;
        let oid = place.pointer.oid;
        let cost = cost(oid)?;
        let bases = bases(&cost)?;
        let remotes = Repo::here().map(|repo| remotes(&repo, oid)).unwrap_or_default();
        if self.json {
            let remotes: Vec<_> =
                remotes.iter().map(|(name, has)| serde_json::json!({ "name": name, "has": has })).collect();
            let depth = cost.depth;
            report::json(
                "where",
                serde_json::json!({ "path": place.path, "depth": depth, "file": cost, "bases": bases, "remotes": remotes }),
            );
            return Ok(());
        }
        print_cost(&place.path, &cost);
        for pack in &cost.packs {
            report::say(&format!("pack     {pack}"));
        }
        for base in &bases {
            report::say(&format!(
                "below    {} ({} of {})",
                base.oid,
                report::bytes(base.stored),
                report::bytes(base.size)
            ));
        }
        for (name, has) in &remotes {
            let word = has.map_or("can't be asked", |has| if has { "has it" } else { "lacks it" });
            report::say(&format!("remote   {name}: {word}"));
        }
        Ok(())
    }
}

/// What one file costs.
pub fn cost(oid: Oid) -> Result<FileCost, Failure> {
    match watch::call(&Request::Files { oids: vec![oid] })? {
        Reply::Files { mut files, .. } => match files.pop() {
            Some(FileAnswer::Stored(cost)) => Ok(cost),
            Some(FileAnswer::Damaged { oid, why }) => {
                Err(Failure::new(Kind::Corrupt, format!("file {oid}: {why}")).fix("git sparse fsck --repair"))
            }
            _ => Err(Failure::new(Kind::NotFound, format!("file {oid} is not in the store yet"))
                .fix("git push stores it, git lfs pull fetches it")),
        },
        _ => Err(super::unexpected()),
    }
}

/// The few lines with which `show` and `where` begin.
pub fn print_cost(path: &str, cost: &FileCost) {
    if !path.is_empty() {
        report::say(&format!("path     {path}"));
    }
    report::say(&format!("oid      {}", cost.oid));
    report::say(&format!("format   {:?}", cost.format).to_lowercase());
    report::say(&format!("size     {} ({} bytes)", report::bytes(cost.size), cost.size));
    report::say(&format!(
        "stored   {} ({})",
        report::bytes(cost.stored),
        report::share(cost.stored, cost.size)
    ));
    report::say(&format!("shared   {}", report::bytes(cost.shared)));
    report::say(&format!("depth    {}", cost.depth));
    if let (Some(base), Some(reason)) = (cost.base, cost.reason) {
        report::say(&format!("base     {base} (by {})", super::log::reason(reason)));
    }
    for line in made_of(cost) {
        report::say(&line);
    }
}

/// Where a file follows from others by a rule: a line for each of them.
fn made_of(cost: &FileCost) -> Vec<String> {
    let many = cost.origin.len() > 1;
    let line = |(at, Parent { oid, weight }): (usize, &Parent)| {
        let what = match cost.reason {
            Some(Reason::Merge) => format!("{} × {oid}", report::weight(*weight)),
            Some(Reason::Adapter) if at > 0 => format!("{} × adapter {oid}", report::weight(*weight)),
            _ => oid.to_string(),
        };
        format!("{} {what}", if at == 0 { "made of " } else { "       +" })
    };
    cost.origin.iter().enumerate().filter(|_| many).map(line).collect()
}

/// The files below, nearest first, as far as the store still has them.
fn bases(cost: &FileCost) -> Result<Vec<FileCost>, Failure> {
    let mut bases: Vec<FileCost> = Vec::new();
    let mut next = cost.base;
    while let Some(oid) = next.filter(|oid| bases.len() < 64 && !bases.iter().any(|base| base.oid == *oid)) {
        match watch::call(&Request::Files { oids: vec![oid] })? {
            Reply::Files { files, .. } => match files.into_iter().next() {
                Some(FileAnswer::Stored(base)) => {
                    next = base.base;
                    bases.push(base);
                }
                _ => break,
            },
            _ => return Err(super::unexpected()),
        }
    }
    Ok(bases)
}

fn remotes(repo: &Repo, oid: Oid) -> Vec<(String, Option<bool>)> {
    let names = repo.git.run(&["remote"]).unwrap_or_default();
    let has = |name: &str| {
        let remote = repo.remote(name, false).ok()?;
        match watch::call(&Request::RemoteHas { oids: vec![oid], remote }).ok()? {
            Reply::RemoteHas { has } => has.first().copied(),
            _ => None,
        }
    };
    names.lines().map(|name| (name.to_owned(), has(name))).collect()
}
