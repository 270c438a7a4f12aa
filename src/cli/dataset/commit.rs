//! `git sparse dataset commit`: git's own commit of these paths, with what changed in their tables in its message.

use clap::Args;
use serde::Serialize;

use super::open::{blob, content, failed, table};
use super::{key, words};
use crate::cli::repo::Repo;
use crate::cli::{report, watch};
use crate::daemon::message::{Failure, Kind};
use crate::dataset::diff::{self, TableDiff};
use crate::dataset::trailer::{Mark, RowChange, Trailer};
use crate::dataset::{self, CompareError, Table, TableError};

/// Commit tables: git add and git commit of these paths, with what changed in rows and columns in the message
#[derive(Debug, Args)]
pub struct Commit {
    /// Files or directories; other staged changes are left as they are
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// The message; what changed is written below it
    #[arg(short, long, value_name = "MSG", required = true)]
    message: Vec<String>,
    /// Columns that tell which row is which [default: the attribute sparse-key of each path]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    key: Vec<String>,
    /// Print one JSON document (schema git-sparse/dataset-commit/1)
    #[arg(long)]
    json: bool,
}

/// Whether a path is neither on disk nor in the index, but is in HEAD.
fn is_gone(repo: &Repo, path: &str) -> bool {
    let lists = |arguments: [&str; 5]| git(repo, arguments).is_ok_and(|listed| !listed.is_empty());
    !std::path::Path::new(path).exists()
        && !lists(["ls-files", "-z", "--cached", "--", path])
        && lists(["diff", "--cached", "--name-only", "--", path])
}

/// What happened to one file.
struct FileChange {
    trailer: Trailer,
    /// For people, a line each.
    lines: Vec<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    rows: Option<RowChange>,
    columns: &'a [Mark],
    old_size: u64,
    size: u64,
}

impl Commit {
    pub fn run(self) -> Result<(), Failure> {
        let repo = Repo::here()?;
        self.refuse_untracked(&repo)?;
        let paths = self.paths.iter().map(String::as_str);
        // None where a merge is not done: git commit refuses it, too.
        let index = git(&repo, ["write-tree"]).ok();
        let done = self.commit(&repo);
        if let (Err(_), Some(index)) = (&done, index) {
            // What was not committed is not staged either.
            let reset = ["reset", "--quiet", &index, "--"].into_iter();
            let _ = git(&repo, reset.chain(paths));
        }
        done
    }

    fn commit(&self, repo: &Repo) -> Result<(), Failure> {
        let paths = self.paths.iter().map(String::as_str);
        // What git rm or git mv took away is staged already, and unknown to git add.
        let added: Vec<&str> = paths.clone().filter(|path| !is_gone(repo, path)).collect();
        if !added.is_empty() {
            let done = git(repo, ["add", "--"].into_iter().chain(added));
            done.map_err(|failure| match failure.message.contains("did not match any files") {
                true => Failure::new(Kind::NotFound, failure.message)
                    .fix("name files or directories of the work tree: see git status"),
                false => failure,
            })?;
        }
        let staged = ["diff", "--cached", "--name-only", "-z", "--no-renames", "--"];
        let staged = git(repo, staged.into_iter().chain(paths.clone()))?;
        let staged: Vec<&str> = staged.split('\0').filter(|path| !path.is_empty()).collect();
        if staged.is_empty() {
            return Err(Failure::new(Kind::Refused, "nothing changed: these paths are as HEAD has them")
                .fix("see git status"));
        }
        let head = repo.commit("HEAD").ok();
        let changes = staged.iter().map(|path| self.change(repo, head.as_deref(), path));
        let changes: Vec<FileChange> = changes.collect::<Result<_, _>>()?;
        let (body, trailers) = (body(&changes), trailers(&changes));
        let messages = self.message.iter().flat_map(|text| ["-m", text.as_str()]);
        let ours = ["-m", body.as_str(), "-m", trailers.as_str(), "--"];
        let commit = ["commit", "--quiet", "--only"].into_iter().chain(messages).chain(ours).chain(paths);
        git(repo, commit)?;
        let commit = repo.commit("HEAD")?;
        if self.json {
            let files: Vec<_> = changes.iter().map(|change| json(&change.trailer)).collect();
            report::json("dataset-commit", serde_json::json!({ "commit": commit, "files": files }));
        } else {
            report::say(&format!("{commit:.10} {}", self.message[0].lines().next().unwrap_or_default()));
            report::say(&body);
        }
        Ok(())
    }

    /// A table that git would take in whole is not what anybody wants: tell before anything is staged.
    fn refuse_untracked(&self, repo: &Repo) -> Result<(), Failure> {
        let status = ["status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--"];
        let changed = git(repo, status.into_iter().chain(self.paths.iter().map(String::as_str)))?;
        let entries = changed.split('\0').filter_map(|entry| Some((entry.get(..2)?, entry.get(3..)?)));
        let changed: Vec<_> =
            entries.filter(|(state, _)| !state.contains('D')).map(|(_, path)| path).collect();
        for path in changed.into_iter().filter(|path| dataset::Kind::named(path).is_some()) {
            if key::attribute(repo, "filter", path)?.as_deref() != Some("lfs") {
                let told = format!("{path}: not tracked by Git LFS; git would keep each version of it whole");
                return Err(Failure::new(Kind::Refused, told)
                    .fix(format!("git sparse init --track '{}'", pattern(path))));
            }
        }
        Ok(())
    }

    fn change(&self, repo: &Repo, head: Option<&str>, path: &str) -> Result<FileChange, Failure> {
        let old = match head {
            Some(head) => blob(repo, head, path)?,
            None => None,
        };
        let new = staged_blob(repo, path)?;
        let open = |blob: Option<Vec<u8>>| match blob {
            None => Ok((0, None)),
            Some(blob) => {
                let file = content(&repo.git, blob)?;
                Ok((file.len(), dataset::Table::open(file, path).ok()))
            }
        };
        let (had, has) = (old.is_some(), new.is_some());
        // An old version that is not here is no reason not to commit a new one.
        let (old_size, old) = open(old).unwrap_or((0, None));
        let (size, new): (u64, Option<Table>) = open(new)?;
        let mut trailer = Trailer {
            path: path.to_owned(),
            rows: None,
            columns: Vec::new(),
            bytes: (old_size, size),
            key: Vec::new(),
        };
        let mut found = None;
        let compared = match (&old, &new) {
            (Some(old), Some(new)) => self.compare(old, new, path).map(|diff| {
                trailer.rows = Some(RowChange::of(&diff));
                trailer.columns = diff.columns.iter().map(Mark::of).collect();
                trailer.key.clone_from(&diff.key);
                found = Some(diff);
            }),
            (None, Some(new)) if !had => {
                let rows = new.rows().map_err(CompareError::from);
                rows.map(|rows| trailer.rows = Some(RowChange::whole(0, rows)))
            }
            (Some(old), None) if !has => {
                let rows = old.rows().map_err(CompareError::from);
                rows.map(|rows| trailer.rows = Some(RowChange::whole(rows, 0)))
            }
            _ => Ok(()),
        };
        let mut lines = lines(&trailer, found.as_ref(), had, has);
        match compared {
            Ok(()) => {}
            // A key that was asked for here and does not fit is a mistake; all else is no reason not to commit.
            Err(error) if matches!(error, CompareError::Cancelled(_)) || self.insists_on(&error) => {
                return Err(failed(&error));
            }
            Err(error) => lines.push(format!("  rows were not compared: {error}")),
        }
        Ok(FileChange { trailer, lines })
    }

    fn insists_on(&self, error: &CompareError) -> bool {
        !self.key.is_empty() && is_about_the_key(error)
    }

    /// With the key, if there is one and it is one; a commit is not the place to insist on it.
    fn compare(&self, old: &Table, new: &Table, path: &str) -> Result<TableDiff, CompareError> {
        let key =
            if self.key.is_empty() { key::of(Some(path)).unwrap_or_default() } else { self.key.clone() };
        let compare = |key: &[String]| watch::here("compare", |progress| diff::diff(old, new, key, progress));
        match compare(&key) {
            Err(error) if self.key.is_empty() && is_about_the_key(&error) => {
                report::note(&format!("{error}; rows are counted without a key"));
                compare(&[])
            }
            done => done,
        }
    }
}

fn is_about_the_key(error: &CompareError) -> bool {
    matches!(error, CompareError::NotAKey { .. } | CompareError::Table(TableError::NoColumn { .. }))
}

/// The pattern of files that are named as this one: what packs it belongs to its ending.
fn pattern(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let packed =
        [".gz", ".zst", ".zstd"].into_iter().find(|ending| name.ends_with(ending)).unwrap_or_default();
    let plain = &name[..name.len() - packed.len()];
    format!("*.{}{packed}", plain.rsplit('.').next().unwrap_or_default())
}

/// What is staged at a path.
fn staged_blob(repo: &Repo, path: &str) -> Result<Option<Vec<u8>>, Failure> {
    let entry =
        git(repo, ["ls-files", "-z", "--stage", "--full-name", "--", &format!(":(top,literal){path}")])?;
    let Some(id) = entry.split_ascii_whitespace().nth(1) else { return Ok(None) };
    let size: usize = git(repo, ["cat-file", "-s", id])?.trim().parse().unwrap_or(usize::MAX);
    // A pointer is small; what git itself keeps is in the work tree just as it was staged.
    if size < crate::git::pointer::MAX_POINTER_BYTES {
        let text = git(repo, ["cat-file", "blob", id])?;
        return Ok(Some(format!("{text}\n").into_bytes()));
    }
    let top = repo.git.top().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    let place = top.join(path);
    std::fs::read(&place).map(Some).map_err(|error| crate::daemon::words::file(&place, &error))
}

fn git<'a>(repo: &Repo, args: impl IntoIterator<Item = &'a str>) -> Result<String, Failure> {
    let args: Vec<&str> = args.into_iter().collect();
    repo.git.run(&args).map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
}

fn lines(trailer: &Trailer, found: Option<&TableDiff>, had: bool, has: bool) -> Vec<String> {
    let Trailer { path, rows, bytes: (old, new), .. } = trailer;
    let sizes = match (had, has) {
        (true, true) => format!("{} → {}", report::bytes(*old), report::bytes(*new)),
        (_, true) => report::bytes(*new),
        _ => report::bytes(*old),
    };
    let what = match (had, has, found, rows) {
        (_, _, Some(diff), _) => words::rows(diff),
        (false, _, _, Some(rows)) => format!("new, {}", report::count(rows.new, "row")),
        (_, false, _, Some(rows)) => format!("removed, {}", report::count(rows.old, "row")),
        (false, ..) => "new".into(),
        (_, false, ..) => "removed".into(),
        _ => "changed".into(),
    };
    let mut lines = vec![format!("{path}: {what}, {sizes}")];
    for change in found.iter().flat_map(|diff| &diff.columns) {
        lines.push(format!("  {}", words::column(change)));
    }
    let cells: Vec<_> = found
        .iter()
        .flat_map(|diff| &diff.cells)
        .map(|(column, count)| format!("{column} {count}"))
        .collect();
    if !cells.is_empty() {
        lines.push(format!("  changed cells: {}", cells.join(", ")));
    }
    lines
}

fn body(changes: &[FileChange]) -> String {
    let lines: Vec<_> = changes.iter().flat_map(|change| &change.lines).map(String::as_str).collect();
    lines.join("\n")
}

fn trailers(changes: &[FileChange]) -> String {
    let lines: Vec<_> = changes.iter().map(|change| change.trailer.to_string()).collect();
    lines.join("\n")
}

fn json(trailer: &Trailer) -> Line<'_> {
    Line {
        path: &trailer.path,
        rows: trailer.rows,
        columns: &trailer.columns,
        old_size: trailer.bytes.0,
        size: trailer.bytes.1,
    }
}

/// What one version of a table became in the next, where both can be read.
pub fn between(old: dataset::File, new: dataset::File, path: &str) -> Option<(RowChange, Vec<Mark>)> {
    let (old, new) = (table(old, path).ok()?, table(new, path).ok()?);
    let key = key::of(Some(path)).unwrap_or_default();
    let compare =
        |key: &[String]| watch::here("compare", |progress| diff::diff(&old, &new, key, progress)).ok();
    let found = compare(&key).or_else(|| compare(&[]))?;
    Some((RowChange::of(&found), found.columns.iter().map(Mark::of).collect()))
}
