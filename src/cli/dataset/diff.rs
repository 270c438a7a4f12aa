//! `git sparse dataset diff`: columns, rows and cells that changed between two tables.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::open::{failed, open, open_at, open_path};
use super::show::{clipped, text};
use super::{key, words};
use crate::cli::repo::Repo;
use crate::cli::{report, watch};
use crate::daemon::message::{Failure, Kind};
use crate::dataset::Table;
use crate::dataset::diff::{self, Change, ExportError, TableDiff};
use crate::id::Oid;

/// What changed in a table: columns, rows, and with a key, cells
///
/// REV REV PATH and REV..REV PATH compare two revisions, REV PATH a revision with the work tree, and two files
/// (on disk, or REV:PATH) with each other.
#[derive(Debug, Args)]
pub struct Diff {
    /// REV REV PATH, REV..REV PATH, REV PATH, or FILE FILE
    #[arg(required = true, num_args = 2..=3, value_name = "WHAT")]
    what: Vec<String>,
    /// Columns that tell which row is which [default: the attribute sparse-key of the path]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    key: Vec<String>,
    /// Take what is named for files, as git diff --no-index does
    #[arg(long)]
    no_index: bool,
    /// Show this many changed rows at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Write all changed rows to this new Parquet file
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
    /// Exit with 1 when there are differences
    #[arg(long)]
    exit_code: bool,
    /// Print one JSON document (schema git-sparse/dataset-diff/1)
    #[arg(long)]
    json: bool,
}

/// What is compared with what: the sides, and the path in the repository where there is one.
struct Compared {
    old: Option<Table>,
    new: Option<Table>,
    name: String,
    path: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    path: &'a str,
    /// `changed`, `same`, `added` or `removed`.
    state: &'static str,
    key: &'a [String],
    rows: Option<RowCounts>,
    columns: &'a [crate::dataset::ColumnChange],
    cells: Vec<CellCount<'a>>,
    changes: Vec<Change>,
    /// Whether there are more changes than are listed.
    more: bool,
}

#[derive(Serialize)]
struct RowCounts {
    old: u64,
    new: u64,
    added: u64,
    removed: u64,
    /// Only with a key.
    changed: Option<u64>,
    moved: u64,
    reordered: bool,
}

#[derive(Serialize)]
struct CellCount<'a> {
    column: &'a str,
    changed: u64,
}

impl Diff {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let compared = self.compared()?;
        let Compared { old: Some(old), new: Some(new), name, path } = &compared else {
            return self.one_sided(&compared);
        };
        let key = if self.key.is_empty() { key::of(path.as_deref())? } else { self.key.clone() };
        let found = watch::here("diff", |progress| diff::diff(old, new, &key, progress));
        let found = found.map_err(|error| failed(&error))?;
        let details = diff::details(old, new, &found, self.limit).map_err(|error| failed(&error))?;
        if let Some(path) = &self.parquet {
            write(old, new, &found, path)?;
        }
        let total = found.changed.len() + found.removed.len() + found.added.len();
        let more = total > details.len();
        if self.json {
            report::long_json("dataset-diff", &document(name, &found, details, more));
        } else {
            print(name, &found, &details, total);
        }
        Ok(self.code(!found.is_empty()))
    }

    fn code(&self, differ: bool) -> ExitCode {
        ExitCode::from(u8::from(differ && self.exit_code))
    }

    /// A table that only one side has.
    fn one_sided(&self, compared: &Compared) -> Result<ExitCode, Failure> {
        let (state, table) = match (&compared.old, &compared.new) {
            (None, Some(table)) => ("added", table),
            (Some(table), _) => ("removed", table),
            (None, None) => {
                let told = format!("{}: no such file on either side", compared.name);
                let fix = match self.what.len() {
                    // Two revisions look like a revision and a path.
                    2 => "name the table, too: git sparse dataset diff REV REV PATH",
                    _ => "look: git ls-tree -r --name-only HEAD",
                };
                return Err(Failure::new(Kind::NotFound, told).fix(fix));
            }
        };
        let rows = table.rows().map_err(|error| super::open::unreadable(&error))?;
        if let Some(path) = &self.parquet {
            let found = diff::whole(table, state == "added").map_err(|error| failed(&error))?;
            write(table, table, &found, path)?;
        }
        let columns = table.schema().fields().len();
        if self.json {
            let document = Document {
                path: &compared.name,
                state,
                key: &[],
                rows: None,
                columns: &[],
                cells: Vec::new(),
                changes: Vec::new(),
                more: rows > 0,
            };
            report::long_json("dataset-diff", &document);
        } else {
            let (rows, columns) = (report::count(rows, "row"), report::count(columns, "column"));
            report::say(&format!("{}: {state}, {rows}, {columns}", compared.name));
        }
        Ok(self.code(true))
    }

    fn compared(&self) -> Result<Compared, Failure> {
        let is_file =
            |spec: &str| spec.contains(':') || spec.parse::<Oid>().is_ok() || Path::new(spec).exists();
        match self.what.as_slice() {
            [old, new, path] if !self.no_index => {
                let repo = Repo::here()?;
                let path = repo.path(path)?;
                let (old, new) = (open_at(&repo, old, &path)?, open_at(&repo, new, &path)?);
                Ok(Compared { old, new, name: path.clone(), path: Some(path) })
            }
            [range, path] if !self.no_index && !is_file(range) => {
                let repo = Repo::here()?;
                let path = repo.path(path)?;
                let (old, new) = match range.split_once("..") {
                    Some((old, new)) => {
                        let end = |name: &str| if name.is_empty() { "HEAD".into() } else { name.to_owned() };
                        (open_at(&repo, &end(old), &path)?, open_at(&repo, &end(new), &path)?)
                    }
                    None => (open_at(&repo, range, &path)?, work_tree(&repo, &path)?),
                };
                Ok(Compared { old, new, name: path.clone(), path: Some(path) })
            }
            [old, new] => {
                let path = in_repository(new);
                Ok(Compared { old: Some(open(old)?), new: Some(open(new)?), name: new.clone(), path })
            }
            _ => Err(Failure::new(Kind::Usage, "--no-index compares two files").fix("name two files")),
        }
    }
}

/// The table in the work tree, if it is there.
pub fn work_tree(repo: &Repo, path: &str) -> Result<Option<Table>, Failure> {
    let top = repo.git.top().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    let file = top.join(path);
    file.exists().then(|| open_path(&file, path)).transpose()
}

/// The path whose attributes count for a file that is named in any way.
fn in_repository(spec: &str) -> Option<String> {
    let repo = Repo::here().ok()?;
    match spec.split_once(':') {
        Some((_, path)) if !Path::new(spec).exists() => repo.in_tree(path).ok(),
        _ => repo.path(spec).ok(),
    }
}

fn write(old: &Table, new: &Table, found: &TableDiff, path: &Path) -> Result<(), Failure> {
    let create = File::options().write(true).create_new(true).open(path);
    let file = create.map_err(|error| crate::daemon::words::file(path, &error))?;
    let mut out = BufWriter::new(file);
    let done = watch::here("write", |progress| diff::export(old, new, found, &mut out, progress));
    let done = done.and_then(|()| out.flush().map_err(|error| ExportError::Values(error.into())));
    done.map_err(|error| {
        let _ = std::fs::remove_file(path);
        match error {
            ExportError::Compare(error) => failed(&error),
            ExportError::Cancelled(_) => Failure::new(Kind::Interrupted, "interrupted"),
            error => Failure::new(Kind::Fatal, format!("{}: {error}", path.display())),
        }
    })
}

fn document<'a>(name: &'a str, found: &'a TableDiff, changes: Vec<Change>, more: bool) -> Document<'a> {
    let rows = RowCounts {
        old: found.old_rows,
        new: found.new_rows,
        added: found.added.len() as u64,
        removed: found.removed.len() as u64,
        changed: (!found.key.is_empty()).then_some(found.changed.len() as u64),
        moved: found.moved,
        reordered: found.is_reordered(),
    };
    Document {
        path: name,
        state: if found.is_empty() { "same" } else { "changed" },
        key: &found.key,
        rows: Some(rows),
        columns: &found.columns,
        cells: found.cells.iter().map(|(column, changed)| CellCount { column, changed: *changed }).collect(),
        changes,
        more,
    }
}

fn print(name: &str, found: &TableDiff, details: &[Change], total: usize) {
    if found.is_empty() {
        return report::say(&format!("{name}: {}, the same in both", report::count(found.new_rows, "row")));
    }
    report::say(&format!("{name}: {}", words::rows(found)));
    found.columns.iter().for_each(|change| report::say(&format!("  {}", words::column(change))));
    if !found.cells.is_empty() {
        let cells = found.cells.iter().map(|(column, count)| format!("{column} {count}"));
        report::say(&format!("  changed cells: {}", cells.collect::<Vec<_>>().join(", ")));
    }
    if found.key.is_empty() && !(found.added.is_empty() && found.removed.is_empty()) {
        report::say("  no key: a row that changed is one removed and one added; --key NAMES tells cells");
    }
    details.iter().for_each(|change| report::say(&line(change)));
    if total > details.len() {
        let left = report::count(total - details.len(), "more row");
        report::say(&format!("… {left}; --limit N shows more, --parquet FILE writes all"));
    }
}

/// A changed row in a line: `~` with what was and is, `-` or `+` with all of it.
fn line(change: &Change) -> String {
    let shown =
        |value: &Option<serde_json::Value>| value.as_ref().map_or("-".into(), |value| clipped(&text(value)));
    let cell = |cell: &diff::Cell| match change.change {
        "changed" => format!("{}: {} → {}", cell.column, shown(&cell.old), shown(&cell.new)),
        "removed" => format!("{}: {}", cell.column, shown(&cell.old)),
        _ => format!("{}: {}", cell.column, shown(&cell.new)),
    };
    let sign = match change.change {
        "changed" => '~',
        "removed" => '-',
        _ => '+',
    };
    let row = change.new_row.or(change.old_row).unwrap_or_default();
    let key = match change.change {
        "changed" => change.key.iter().map(|cell| format!("{}={} ", cell.column, shown(&cell.new))).collect(),
        _ => String::new(),
    };
    let cells: Vec<_> = change.cells.iter().map(cell).collect();
    format!("{sign} {row} {key}{}", cells.join(", "))
}
