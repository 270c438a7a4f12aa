//! `git sparse dataset log`: the revisions of a table and what each one changed.

use clap::Args;
use serde::Serialize;

use super::commit::between;
use super::open::{behind, table};
use crate::cli::repo::Repo;
use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::dataset::trailer::{KEY, Mark, RowChange, Trailer};
use crate::git::Version;

/// The revisions of a table, newest first: rows and columns that each one changed
#[derive(Debug, Args)]
pub struct Log {
    /// A table of this repository that Git LFS tracks
    path: String,
    /// Show this many revisions at most
    #[arg(short = 'n', long, value_name = "N")]
    max_count: Option<usize>,
    /// Compare tables even where the commit says what changed
    #[arg(long)]
    computed: bool,
    /// Print one JSON document (schema git-sparse/dataset-log/1)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    commit: &'a str,
    time: i64,
    subject: &'a str,
    oid: crate::id::Oid,
    size: u64,
    /// `trailer`, `computed`, or `unknown` where a version is not here.
    source: &'static str,
    rows: Option<RowChange>,
    columns: Vec<Mark>,
}

impl Log {
    pub fn run(self) -> Result<(), Failure> {
        let repo = Repo::here()?;
        let history = repo.history()?;
        let path = repo.path(&self.path)?;
        let versions = history.versions(&path);
        if versions.is_empty() {
            let told = format!("{path}: no table of this name in any commit that Git LFS tracks");
            return Err(Failure::new(Kind::NotFound, told).fix("see git sparse status"));
        }
        let shown = self.max_count.unwrap_or(versions.len()).min(versions.len());
        let lines: Vec<_> =
            (0..shown).map(|at| self.line(&repo, &path, &versions[at], versions.get(at + 1))).collect();
        if self.json {
            report::json("dataset-log", serde_json::json!({ "path": path, "revisions": lines }));
            return Ok(());
        }
        let head = ["commit", "date", ">size", ">rows", "changed", "columns", "subject"];
        report::table(&head, lines.iter().map(row));
        Ok(())
    }

    fn line<'a>(&self, repo: &Repo, path: &str, version: &'a Version, before: Option<&Version>) -> Line<'a> {
        let told = (!self.computed).then(|| told(repo, path, version)).flatten();
        let (source, change) = match told {
            Some(change) => ("trailer", Some(change)),
            None => match computed(repo, path, version, before) {
                Some(change) => ("computed", Some(change)),
                None => ("unknown", None),
            },
        };
        let (rows, columns) = change.unzip();
        let Version { pointer, commit, time, subject } = version;
        let columns = columns.unwrap_or_default();
        Line { commit, time: *time, subject, oid: pointer.oid, size: pointer.size, source, rows, columns }
    }
}

/// What the commit's own trailer says, if it is about this very file.
fn told(repo: &Repo, path: &str, version: &Version) -> Option<(RowChange, Vec<Mark>)> {
    let format = format!("--format=%(trailers:key={KEY},valueonly,unfold)");
    let text = repo.git.run(&["log", "-1", &format, &version.commit]).ok()?;
    let mut trailers = text.lines().filter_map(Trailer::parse);
    let trailer = trailers.find(|trailer| trailer.path == path && trailer.bytes.1 == version.pointer.size)?;
    Some((trailer.rows?, trailer.columns))
}

fn computed(
    repo: &Repo,
    path: &str,
    version: &Version,
    before: Option<&Version>,
) -> Option<(RowChange, Vec<Mark>)> {
    let new = behind(&repo.git, version.pointer).ok()?;
    match before {
        Some(before) => between(behind(&repo.git, before.pointer).ok()?, new, path),
        None => Some((RowChange::whole(0, table(new, path).ok()?.rows().ok()?), Vec::new())),
    }
}

fn row(line: &Line<'_>) -> Vec<String> {
    let rows = |rows: &RowChange| {
        let changed = rows.changed.map_or(String::new(), |changed| format!(" ~{changed}"));
        let moved = if rows.moved > 0 { format!(" {} moved", rows.moved) } else { String::new() };
        format!("+{} -{}{changed}{moved}", rows.added, rows.removed)
    };
    vec![
        format!("{:.10}", line.commit),
        report::date(line.time),
        report::bytes(line.size),
        line.rows.map_or("-".into(), |rows| rows.new.to_string()),
        line.rows.as_ref().map_or("-".into(), rows),
        line.columns.iter().map(mark).collect::<Vec<_>>().join(" "),
        line.subject.chars().take(50).collect(),
    ]
}

fn mark(mark: &Mark) -> String {
    match mark {
        Mark::Added { name } => format!("+{name}"),
        Mark::Dropped { name } => format!("-{name}"),
        Mark::Renamed { name, old_name } => format!("{old_name}→{name}"),
        Mark::Changed { name } => format!("~{name}"),
    }
}
