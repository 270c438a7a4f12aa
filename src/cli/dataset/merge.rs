//! `git sparse dataset merge`, and the driver that `git merge` runs for tables.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use sha2::{Digest, Sha256};

use super::key;
use super::open::{failed, file, open, table};
use super::show::clipped;
use crate::cli::repo::Repo;
use crate::cli::{report, watch};
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::dataset::merge::{self, Conflict, Sides, WriteError};
use crate::dataset::{Kind as Format, Table};
use crate::format::Source;
use crate::git::Pointer;
use crate::git::pointer::object_path;
use crate::id::Oid;

/// Merge two tables that were made from a third: cell by cell with a key, by runs of rows without
///
/// What both sides changed is a conflict: nothing is written then but OUT.conflicts.parquet, which lists them,
/// and the exit code is 1.
#[derive(Debug, Args)]
pub struct Merge {
    /// The table that both were made from: REV:PATH or a file
    base: String,
    /// Our table, named in the same ways; the result is written as it is
    ours: String,
    /// Their table
    theirs: String,
    /// The merged table, a new file
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Columns that tell which row is which [default: the attribute sparse-key of OUT]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    key: Vec<String>,
    /// Print one JSON document (schema git-sparse/dataset-merge/1)
    #[arg(long)]
    json: bool,
}

/// Merge a table for git merge, which names the three versions and the path
#[derive(Debug, Args)]
pub struct MergeDriver {
    /// %O: the version that both were made from
    base: PathBuf,
    /// %A: our version, which becomes the merged one
    ours: PathBuf,
    /// %B: their version
    theirs: PathBuf,
    /// %P: the path in the repository
    path: String,
}

/// Conflicts that are printed.
const MOST_PRINTED: usize = 20;

impl Merge {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let [base, ours, theirs] = [&self.base, &self.ours, &self.theirs].map(|spec| open(spec));
        let path = Repo::here().ok().and_then(|repo| repo.path(self.output.to_str()?).ok());
        let key = if self.key.is_empty() { key::of(path.as_deref())? } else { self.key.clone() };
        let found = merged([base?, ours?, theirs?], &key, &self.output)?;
        let conflicts = found.listed(&self.output)?;
        if self.json {
            let document = serde_json::json!({
                "output": found.conflicts.is_empty().then_some(&self.output),
                "rows": found.rows,
                "key": key,
                "conflicts": found.conflicts,
                "listed": conflicts,
            });
            report::json("dataset-merge", document);
        } else {
            found.print(&self.output.display().to_string(), conflicts.as_deref());
        }
        Ok(found.code())
    }
}

impl MergeDriver {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let keep_ours = |why: &str| {
            report::note(&format!("{}: {why}; ours stays", self.path));
            Ok(ExitCode::FAILURE)
        };
        if fs::metadata(&self.base).is_ok_and(|found| found.len() == 0) {
            return keep_ours("both sides added it, there is no version that both were made from");
        }
        let open = |place: &Path| table(file(place)?, &self.path);
        let (base, ours, theirs) = match (open(&self.base), open(&self.ours), open(&self.theirs)) {
            (Ok(base), Ok(ours), Ok(theirs)) => (base, ours, theirs),
            (Err(failure), ..) | (_, Err(failure), _) | (.., Err(failure)) => {
                return keep_ours(&failure.to_string());
            }
        };
        let key = key::of(Some(&self.path))?;
        let repo = Repo::here()?;
        let lfs = repo.git.lfs_dir().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        let scratch = lfs.join("tmp");
        fs::create_dir_all(&scratch).map_err(|error| words::file(&scratch, &error))?;
        let out = scratch.join(format!("git-sparse-merge-{}", std::process::id()));
        let _ = fs::remove_file(&out);
        let found = match merged([base, ours, theirs], &key, &out) {
            Ok(found) => found,
            Err(failure) => return keep_ours(&failure.to_string()),
        };
        if !found.conflicts.is_empty() {
            let conflicts = found.listed(Path::new(&self.path))?;
            found.print(&self.path, conflicts.as_deref());
            return Ok(found.code());
        }
        let done = self.hand_over(&out, &lfs);
        let _ = fs::remove_file(&out);
        done.map_err(|error| words::file(&self.ours, &error))?;
        Ok(found.code())
    }

    /// Gives git what it stores: the pointer, with the file in git-lfs' cache, from where a push takes it; or
    /// the file, where it is none of git-lfs'.
    fn hand_over(&self, merged: &Path, lfs: &Path) -> std::io::Result<()> {
        let is_pointer = fs::read(&self.ours).is_ok_and(|text| Pointer::parse(&text).is_some());
        if !is_pointer {
            return fs::copy(merged, &self.ours).map(drop);
        }
        let mut hasher = Sha256::new();
        let size = std::io::copy(&mut File::open(merged)?, &mut Hashing(&mut hasher))?;
        let oid = Oid::from_bytes(hasher.finalize().into());
        let place = object_path(&lfs.join("objects"), oid);
        fs::create_dir_all(place.parent().expect("because it lies below objects"))?;
        fs::rename(merged, &place)?;
        fs::write(&self.ours, Pointer { oid, size }.to_string())
    }
}

struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What became of a merge: a file, or conflicts.
struct Merged {
    rows: Option<u64>,
    conflicts: Vec<Conflict>,
    /// Lines with git's conflict marks, where lines were merged.
    marked: Option<Vec<u8>>,
}

impl Merged {
    fn code(&self) -> ExitCode {
        ExitCode::from(u8::from(!self.conflicts.is_empty()))
    }

    /// Writes the conflicts beside `path`; where.
    fn listed(&self, path: &Path) -> Result<Option<PathBuf>, Failure> {
        if self.conflicts.is_empty() {
            return Ok(None);
        }
        let ending = if self.marked.is_some() { "conflicts" } else { "conflicts.parquet" };
        let beside = PathBuf::from(format!("{}.{ending}", path.display()));
        let written = match &self.marked {
            Some(lines) => fs::write(&beside, lines),
            None => File::create(&beside).and_then(|out| {
                let mut out = BufWriter::new(out);
                merge::write_conflicts(&self.conflicts, &mut out).map_err(std::io::Error::other)?;
                out.flush()
            }),
        };
        written.map_err(|error| words::file(&beside, &error))?;
        Ok(Some(beside))
    }

    fn print(&self, path: &str, conflicts: Option<&Path>) {
        let Some(beside) = conflicts else {
            let rows =
                self.rows.map_or("merged".into(), |rows| format!("merged, {}", report::count(rows, "row")));
            return report::say(&format!("{path}: {rows}"));
        };
        report::say(&format!("{path}: {}", report::count(self.conflicts.len(), "conflict")));
        if self.marked.is_some() {
            report::say("  no key: merged line by line, as git merges text; --key NAMES merges cells");
            report::say(&format!("  ours stays; the lines with git's marks: {}", beside.display()));
            return;
        }
        for conflict in self.conflicts.iter().take(MOST_PRINTED) {
            let value = |value: &Option<String>| value.as_deref().map_or("null".into(), clipped);
            let place = [&conflict.key, &conflict.column].into_iter().flatten().map(String::as_str);
            report::say(&format!(
                "  {} {}: base {}, ours {}, theirs {}",
                conflict.conflict,
                place.collect::<Vec<_>>().join(" "),
                value(&conflict.base),
                value(&conflict.ours),
                value(&conflict.theirs)
            ));
        }
        report::say(&format!("  ours stays; all conflicts: {}", beside.display()));
    }
}

/// Merges three tables into a new file, which is not there after conflicts.
fn merged(tables: [Table; 3], key: &[String], out: &Path) -> Result<Merged, Failure> {
    if let Some(packed) = tables.iter().find(|table| table.is_packed()) {
        let told = format!("{}: packed text is not merged: it would come out in another way", packed.name());
        return Err(
            Failure::new(Kind::Refused, told).fix("unpack all three, merge them, and pack the result")
        );
    }
    let text = [Format::Csv, Format::Tsv, Format::JsonLines];
    let is_text = tables.iter().any(|table| text.contains(&table.kind()));
    if is_text && let Some(other) = tables.iter().find(|table| table.kind() != tables[1].kind()) {
        let (ours, kind) = (&tables[1], tables[1].kind());
        let told = format!("{} is {}, {} is {kind}", other.name(), other.kind(), ours.name());
        return Err(Failure::new(
            Kind::Refused,
            format!("{told}: text is merged with text of its own kind only"),
        )
        .fix(format!("write all three as {kind}, and name them as such")));
    }
    if is_text && key.is_empty() {
        return by_lines(&tables, out);
    }
    let [base, ours, theirs] = merge::as_written(tables);
    let sides = Sides { base: &base, ours: &ours, theirs: &theirs };
    let plan = watch::here("merge", |progress| merge::plan(sides, key, progress));
    let plan = plan.map_err(|error| failed(&error))?;
    if plan.conflicts.is_empty() {
        let create = File::options().write(true).create_new(true).open(out);
        let mut file = BufWriter::new(create.map_err(|error| words::file(out, &error))?);
        let done = watch::here("write", |progress| merge::write(&plan, sides, &mut file, progress));
        let done = done.and_then(|()| file.flush().map_err(|error| WriteError::Values(error.into())));
        done.map_err(|error| {
            let _ = fs::remove_file(out);
            match error {
                WriteError::Compare(error) => failed(&error),
                WriteError::Cancelled(_) => Failure::new(Kind::Interrupted, "interrupted"),
                error => Failure::new(Kind::Refused, format!("{}: {error}", ours.name())),
            }
        })?;
    }
    Ok(Merged { rows: Some(plan.rows()), conflicts: plan.conflicts, marked: None })
}

/// Text as git merges text, so that no line is written in another way.
fn by_lines(tables: &[Table; 3], out: &Path) -> Result<Merged, Failure> {
    let beside = |side: &str| PathBuf::from(format!("{}.{side}-{}", out.display(), std::process::id()));
    let places = ["base", "ours", "theirs"].map(beside);
    let copied = tables.iter().zip(&places).try_for_each(|(table, place)| copy(&**table.file(), place));
    let run = || -> Result<(i32, Vec<u8>), Failure> {
        copied.map_err(|error| words::file(out, &error))?;
        let [base, ours, theirs] = &places;
        let labels = ["-L", "ours", "-L", "base", "-L", "theirs"];
        let done = Command::new("git")
            .args(["merge-file", "--stdout", "--diff3"])
            .args(labels)
            .args([ours, base, theirs])
            .output()
            .map_err(|error| Failure::new(Kind::Fatal, format!("git can't be run: {error}")))?;
        match done.status.code() {
            Some(code @ 0..=127) => Ok((code, done.stdout)),
            _ => {
                let said = String::from_utf8_lossy(&done.stderr);
                Err(Failure::new(Kind::Fatal, format!("git merge-file: {}", said.trim())))
            }
        }
    };
    let done = run();
    places.iter().for_each(|place| drop(fs::remove_file(place)));
    let (conflicts, lines) = done?;
    if conflicts == 0 {
        let create = File::options().write(true).create_new(true).open(out);
        let written = create.and_then(|mut file| file.write_all(&lines));
        written.map_err(|error| words::file(out, &error))?;
        return Ok(Merged { rows: None, conflicts: Vec::new(), marked: None });
    }
    let conflict = |at: i32| Conflict {
        conflict: "rows",
        key: Some(format!("lines, place {}", at + 1)),
        column: None,
        base: None,
        ours: None,
        theirs: None,
    };
    Ok(Merged { rows: None, conflicts: (0..conflicts).map(conflict).collect(), marked: Some(lines) })
}

fn copy(source: &dyn Source, place: &Path) -> std::io::Result<()> {
    let mut out = File::options().write(true).create_new(true).open(place)?;
    let mut at = 0;
    while at < source.len() {
        let mut window = vec![0; (source.len() - at).min(1 << 20) as usize];
        source.read_at(&mut window, at)?;
        out.write_all(&window)?;
        at += window.len() as u64;
    }
    Ok(())
}
