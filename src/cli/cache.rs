//! `git sparse cache`: rebuilt files that are kept.

use clap::{Args, Subcommand};

use super::{repo, report, watch};
use crate::daemon::message::{Failure, Reply, Request};

/// Rebuilt files that are kept, under a hard cap (gitsparse.cachesize, in bytes)
#[derive(Debug, Args)]
pub struct Cache {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them, the longest unused last
    Ls {
        /// Print one JSON document (schema git-sparse/cache/1)
        #[arg(long)]
        json: bool,
    },
    /// Remove what is over the cap
    Prune {
        /// Remove all that is not pinned
        #[arg(long)]
        all: bool,
    },
    /// Keep a file rebuilt until it is unpinned
    Pin {
        /// REV:PATH, PATH (at HEAD), or the file's SHA-256
        file: String,
    },
    /// Let a file go again
    Unpin {
        /// REV:PATH, PATH (at HEAD), or the file's SHA-256
        file: String,
    },
}

impl Cache {
    pub fn run(self) -> Result<(), Failure> {
        let pin = |file: &str, pinned| -> Result<Request, Failure> {
            Ok(Request::CachePin { oid: repo::file(file)?.pointer.oid, pinned })
        };
        let (request, json) = match &self.action {
            Action::Ls { json } => (Request::CacheList, *json),
            Action::Prune { all } => (Request::CachePrune { all: *all }, false),
            Action::Pin { file } => (pin(file, true)?, false),
            Action::Unpin { file } => (pin(file, false)?, false),
        };
        let Reply::Cache { files, limit } = watch::call(&request)? else { return Err(super::unexpected()) };
        if json {
            report::json("cache", serde_json::json!({ "files": files, "limit": limit }));
            return Ok(());
        }
        let total: u64 = files.iter().map(|file| file.size).sum();
        let rows = files.iter().map(|file| {
            let pinned = if file.pinned { "pinned" } else { "" };
            vec![
                report::short(&file.oid),
                report::bytes(file.size),
                format!("{} s", file.idle_seconds),
                pinned.into(),
            ]
        });
        report::table(&["file", ">size", ">unused for", ""], rows);
        let count = report::count(files.len(), "file");
        report::say(&format!("{count}, {} of {}", report::bytes(total), report::bytes(limit)));
        Ok(())
    }
}
