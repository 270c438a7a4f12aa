//! `git sparse log PATH`: the revisions of one file and what each one costs.

use clap::Args;
use serde::Serialize;

use super::repo::Repo;
use super::{report, watch};
use crate::census::FileCost;
use crate::daemon::message::{Failure, FileAnswer, Kind, Reply, Request};
use crate::git::Version;
use crate::recipe::Reason;

/// The revisions of a file, newest first, and what each one costs
#[derive(Debug, Args)]
pub struct Log {
    /// A large file of this repository
    path: String,
    /// Print one JSON document (schema git-sparse/log/1)
    #[arg(long)]
    json: bool,
    /// Show this many revisions at most
    #[arg(short = 'n', long, value_name = "N")]
    max_count: Option<usize>,
}

#[derive(Serialize)]
struct Line<'a> {
    commit: &'a str,
    time: i64,
    subject: &'a str,
    oid: crate::id::Oid,
    size: u64,
    cost: Option<FileCost>,
}

impl Log {
    pub fn run(self) -> Result<(), Failure> {
        let repo = Repo::here()?;
        let history = repo.history()?;
        let path = repo.path(&self.path)?;
        let versions = history.versions(&path);
        if versions.is_empty() {
            let failure =
                Failure::new(Kind::NotFound, format!("{path}: no large file of this name in any commit"));
            return Err(failure.fix("see git sparse status"));
        }
        let shown = &versions[..self.max_count.unwrap_or(versions.len()).min(versions.len())];
        let lines = lines(shown)?;
        if self.json {
            report::json("log", serde_json::json!({ "path": path, "revisions": lines }));
            return Ok(());
        }
        let rows = lines.iter().map(|line| {
            let cost = line.cost.as_ref();
            vec![
                format!("{:.10}", line.commit),
                report::date(line.time),
                report::bytes(line.size),
                cost.map_or("-".into(), |cost| report::bytes(cost.stored)),
                cost.map_or("-".into(), |cost| report::bytes(cost.shared)),
                cost.map_or("-".into(), |cost| report::share(cost.stored, line.size)),
                cost.map_or("-".into(), |cost| cost.depth.to_string()),
                cost.and_then(|cost| cost.reason).map_or("-", reason).to_owned(),
                line.subject.chars().take(50).collect(),
            ]
        });
        report::table(
            &["commit", "date", ">size", ">stored", ">shared", ">ratio", ">depth", "base by", "subject"],
            rows,
        );
        Ok(())
    }
}

fn lines(versions: &[Version]) -> Result<Vec<Line<'_>>, Failure> {
    let oids = versions.iter().map(|version| version.pointer.oid).collect();
    let Reply::Files { files, .. } = watch::call(&Request::Files { oids })? else {
        return Err(super::unexpected());
    };
    Ok(versions.iter().zip(files).map(|(version, file)| line(version, file)).collect())
}

fn line(version: &Version, file: FileAnswer) -> Line<'_> {
    let Version { pointer, commit, time, subject } = version;
    let cost = if let FileAnswer::Stored(cost) = file { Some(cost) } else { None };
    Line { commit, time: *time, subject, oid: pointer.oid, size: pointer.size, cost }
}

/// Why a base was chosen, in one word.
pub fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::History => "history",
        Reason::Declared => "declared",
        Reason::Likeness => "likeness",
        Reason::Merge => "merge",
        Reason::Adapter => "adapter",
        Reason::Conversion => "conversion",
    }
}
