//! `git sparse dataset log`: the revisions of a table and what each one changed.

use clap::Args;
use serde::Serialize;

use super::commit::between;
use super::open::{behind, blob, table};
use crate::cli::repo::Repo;
use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::dataset::trailer::{KEY, Mark, RowChange, Trailer};
use crate::git::Pointer;
use crate::git::command::{Git, GitError};

/// The revisions of a table that led to HEAD, newest first: rows and columns that each one changed
///
/// Each one is compared with its parent, a merge with its first: with the branch that it was made on.
#[derive(Debug, Args)]
pub struct Log {
    /// A table of this repository that Git LFS tracks; before it, where its history is read from [default: HEAD]
    #[arg(required = true, num_args = 1..=2, value_name = "[REV] PATH")]
    what: Vec<String>,
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
    /// Whether it has several parents.
    merge: bool,
    oid: crate::id::Oid,
    size: u64,
    /// `trailer`, `computed`, or `unknown` where a version is not here.
    source: &'static str,
    rows: Option<RowChange>,
    columns: Vec<Mark>,
}

/// One state of the table: the commit that made it, and the one before.
struct Version {
    commit: String,
    time: i64,
    subject: String,
    pointer: Pointer,
    is_merge: bool,
    before: Before,
}

/// The table in the first parent of a commit.
enum Before {
    Nothing,
    Pointer(Pointer),
    /// The clone does not reach so far back, or git keeps it itself.
    Unknown,
}

impl Log {
    pub fn run(self) -> Result<(), Failure> {
        let repo = Repo::here()?;
        let (revision, path) = match self.what.as_slice() {
            [revision, path] => (Some(repo.commit(revision)?), path),
            what => (repo.commit("HEAD").ok(), &what[0]),
        };
        let path = repo.path(path)?;
        let most = self.max_count.unwrap_or(usize::MAX);
        let versions = match revision {
            Some(revision) => versions(&repo, &revision, &path, most)?,
            None => Vec::new(),
        };
        if versions.is_empty() && most > 0 {
            let from = if self.what.len() > 1 { &self.what[0] } else { "HEAD" };
            let told = format!("{path}: no table of this name in the history of {from} that Git LFS tracks");
            return Err(Failure::new(Kind::NotFound, told).fix("see git sparse status"));
        }
        let lines: Vec<_> = versions.iter().map(|version| self.line(&repo, &path, version)).collect();
        if self.json {
            report::json("dataset-log", serde_json::json!({ "path": path, "revisions": lines }));
            return Ok(());
        }
        let head = ["commit", "date", ">size", ">rows", "changed", "columns", "subject"];
        report::table(&head, lines.iter().map(row));
        Ok(())
    }

    fn line<'a>(&self, repo: &Repo, path: &str, version: &'a Version) -> Line<'a> {
        let told = (!self.computed).then(|| told(repo, path, version)).flatten();
        let (source, change) = match told {
            Some(change) => ("trailer", Some(change)),
            None => match computed(repo, path, version) {
                Some(change) => ("computed", Some(change)),
                None => ("unknown", None),
            },
        };
        let (rows, columns) = change.unzip();
        let Version { pointer, commit, time, subject, is_merge, .. } = version;
        Line {
            commit,
            time: *time,
            subject,
            merge: *is_merge,
            oid: pointer.oid,
            size: pointer.size,
            source,
            rows,
            columns: columns.unwrap_or_default(),
        }
    }
}

/// What `git log` shows of a path, newest first: states that Git LFS tracks, each with what its first parent has. A merge that
/// took one side as it was made none.
fn versions(repo: &Repo, revision: &str, path: &str, most: usize) -> Result<Vec<Version>, Failure> {
    let failed = |error: GitError| Failure::new(Kind::Fatal, error.to_string());
    let top = Git::at(repo.git.top().map_err(failed)?);
    let listed = top.run(&["log", "-z", "--format=%H%n%P%n%ct%n%s", revision, "--", path]).map_err(failed)?;
    let cut_off = std::fs::read_to_string(repo.git_dir.join("shallow")).unwrap_or_default();
    let mut found = Vec::new();
    for entry in listed.split('\0').map(str::trim_start).filter(|entry| !entry.is_empty()) {
        if found.len() >= most {
            break;
        }
        let mut lines = entry.splitn(4, '\n');
        let [commit, parents, time, subject] = [(); 4].map(|()| lines.next().unwrap_or_default());
        let Some(pointer) = blob(repo, commit, path)?.and_then(|text| Pointer::parse(&text)) else {
            continue;
        };
        let mut parents = parents.split_whitespace();
        let before = match parents.next() {
            None if cut_off.lines().any(|line| line == commit) => Before::Unknown,
            None => Before::Nothing,
            Some(parent) => match blob(repo, parent, path)? {
                None => Before::Nothing,
                Some(text) => Pointer::parse(&text).map_or(Before::Unknown, Before::Pointer),
            },
        };
        found.push(Version {
            commit: commit.to_owned(),
            time: time.parse().unwrap_or_default(),
            subject: subject.trim_end().to_owned(),
            pointer,
            is_merge: parents.next().is_some(),
            before,
        });
    }
    Ok(found)
}

/// What the commit's own trailer says, if it is about these very files: a commit that was rebased may have another one before it.
fn told(repo: &Repo, path: &str, version: &Version) -> Option<(RowChange, Vec<Mark>)> {
    let format = format!("--format=%(trailers:key={KEY},valueonly,unfold)");
    let text = repo.git.run(&["log", "-1", &format, &version.commit]).ok()?;
    let mut trailers = text.lines().filter_map(Trailer::parse);
    let fits = |(old, new): (u64, u64)| {
        let fits_before = match version.before {
            Before::Nothing => old == 0,
            Before::Pointer(before) => old == before.size,
            Before::Unknown => true,
        };
        fits_before && new == version.pointer.size
    };
    let trailer = trailers.find(|trailer| trailer.path == path && fits(trailer.bytes))?;
    Some((trailer.rows?, trailer.columns))
}

fn computed(repo: &Repo, path: &str, version: &Version) -> Option<(RowChange, Vec<Mark>)> {
    let new = || behind(&repo.git, version.pointer).ok();
    match version.before {
        Before::Unknown => None,
        Before::Pointer(before) => between(behind(&repo.git, before).ok()?, new()?, path),
        Before::Nothing => Some((RowChange::whole(0, table(new()?, path).ok()?.rows().ok()?), Vec::new())),
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
        format!("{}{:.50}", if line.merge { "(merge) " } else { "" }, line.subject),
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
