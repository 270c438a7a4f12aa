//! `git sparse du`: what is saved, file by file and in all.

use clap::Args;
use serde::Serialize;

use super::repo::Repo;
use super::{report, watch};
use crate::daemon::message::{Failure, FileAnswer, Reply, Request};
use crate::id::Oid;

/// What the versions of each file cost, and what is saved
#[derive(Debug, Args)]
pub struct Du {
    /// Every file in the store, whatever repository it is from
    #[arg(long)]
    all: bool,
    /// Print one JSON document (schema git-sparse/du/1)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    path: String,
    revisions: u64,
    size: u64,
    /// Bytes of all their objects with the bases below, each counted once.
    stored: u64,
    /// Revisions that the store doesn't have.
    missing: u64,
}

impl Du {
    pub fn run(self) -> Result<(), Failure> {
        if self.all { self.whole_store() } else { self.repository() }
    }

    fn repository(&self) -> Result<(), Failure> {
        let history = Repo::here()?.history()?;
        let mut lines = Vec::new();
        let mut all: Vec<Oid> = Vec::new();
        for (path, versions) in history.paths() {
            let oids: Vec<Oid> = versions.iter().map(|version| version.pointer.oid).collect();
            lines.push(line(path, &oids)?);
            all.extend(oids);
        }
        all.sort();
        all.dedup();
        let Reply::Files { total, .. } = watch::call(&Request::Files { oids: all })? else {
            return Err(super::unexpected());
        };
        if self.json {
            report::json("du", serde_json::json!({ "files": lines, "total": total }));
            return Ok(());
        }
        let rows = lines.iter().map(|line| {
            vec![
                line.path.clone(),
                line.revisions.to_string(),
                report::bytes(line.size),
                report::bytes(line.stored),
                report::share(line.stored, line.size),
            ]
        });
        report::table(&["file", ">revisions", ">size", ">stored", ">ratio"], rows);
        let (size, stored) = (total.size, total.stored);
        report::say(&format!(
            "{} in all: {} stored in {} ({})",
            report::count(total.files, "revision"),
            report::bytes(size),
            report::bytes(stored),
            report::share(stored, size)
        ));
        let missing: u64 = lines.iter().map(|line| line.missing).sum();
        if missing > 0 {
            let missing = report::count(missing, "revision");
            report::say(&format!("{missing} not in this store: git lfs fetch --all brings what it lacks"));
        }
        Ok(())
    }

    fn whole_store(&self) -> Result<(), Failure> {
        let Reply::Census { files, total, damaged, pack_bytes } = watch::call(&Request::Census)? else {
            return Err(super::unexpected());
        };
        if self.json {
            let document = serde_json::json!({
                "files": files, "total": total, "damaged": damaged, "pack_bytes": pack_bytes
            });
            report::json("du", document);
            return Ok(());
        }
        let rows = files.iter().map(|file| {
            vec![
                report::short(&file.oid),
                report::bytes(file.size),
                report::bytes(file.stored),
                report::bytes(file.shared),
                report::share(file.stored, file.size),
                file.depth.to_string(),
            ]
        });
        report::table(&["file", ">size", ">stored", ">shared", ">ratio", ">depth"], rows);
        report::say(&format!(
            "{} in all: {} stored in {} ({}); packs take {}",
            report::count(total.files, "file"),
            report::bytes(total.size),
            report::bytes(total.stored),
            report::share(total.stored, total.size),
            report::bytes(pack_bytes)
        ));
        if !damaged.is_empty() {
            report::say(&format!("{} damaged: git sparse fsck", report::count(damaged.len(), "file")));
        }
        Ok(())
    }
}

/// All versions of one path; objects that several of them share count once.
fn line(path: &str, oids: &[Oid]) -> Result<Line, Failure> {
    let Reply::Files { files, total } = watch::call(&Request::Files { oids: oids.to_vec() })? else {
        return Err(super::unexpected());
    };
    let missing = files.iter().filter(|file| !matches!(file, FileAnswer::Stored(_))).count() as u64;
    Ok(Line {
        path: path.into(),
        revisions: oids.len() as u64,
        size: total.size,
        stored: total.stored,
        missing,
    })
}
