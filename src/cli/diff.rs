//! `git sparse diff REV REV [PATH]`: which tensors changed, and by how much.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::repo::{self, Repo};
use super::{report, watch};
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::dataset::Kind as Table;
use crate::id::Oid;
use crate::model::{Change, TensorDiff};

/// Which tensors changed between two revisions: fraction of the weights, norm, maximum
#[derive(Debug, Args)]
pub struct Diff {
    /// The earlier revision (REV), or one file: REV:PATH or its SHA-256
    old: String,
    /// The later revision, or the file to compare with the first
    new: String,
    /// Only this file or folder
    path: Option<String>,
    /// Also list tensors that are the same
    #[arg(long)]
    all: bool,
    /// Exit with 1 when there are differences
    #[arg(long)]
    exit_code: bool,
    /// Print one JSON document (schema git-sparse/diff/1)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct FileDiff {
    path: String,
    old: Option<Oid>,
    new: Option<Oid>,
    tensors: Vec<TensorDiff>,
}

/// Path, old oid, new oid.
type Pair = (String, Option<Oid>, Option<Oid>);

impl Diff {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let mut diffs = Vec::new();
        for (path, old, new) in self.pairs()? {
            let tensors = match (old, new) {
                (Some(old), Some(new)) if Table::named(&path).is_none() => tensors(old, new)?,
                _ => Vec::new(),
            };
            diffs.push(FileDiff { path, old, new, tensors });
        }
        if self.json {
            report::json("diff", serde_json::json!({ "old": self.old, "new": self.new, "files": diffs }));
        } else {
            diffs.iter().for_each(|diff| self.print(diff));
        }
        let differ = self.exit_code && !diffs.is_empty();
        Ok(if differ { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }

    /// Files that differ. Two single files may have different paths.
    fn pairs(&self) -> Result<Vec<Pair>, Failure> {
        let is_file = |spec: &str| spec.contains(':') || spec.parse::<Oid>().is_ok();
        if is_file(&self.old) && is_file(&self.new) {
            let (old, new) = (repo::file(&self.old)?, repo::file(&self.new)?);
            let same = old.pointer.oid == new.pointer.oid;
            let path = if new.path.is_empty() { self.new.clone() } else { new.path };
            let pair = (path, Some(old.pointer.oid), Some(new.pointer.oid));
            return Ok(if same { Vec::new() } else { vec![pair] });
        }
        let repo = Repo::here()?;
        let wanted = self.path.as_ref().map(|path| repo.path(path)).transpose()?;
        let wants = |path: &str| {
            wanted.as_ref().is_none_or(|w| w.is_empty() || path == w || path.starts_with(&format!("{w}/")))
        };
        let (old, new) = (repo.files(&self.old)?, repo.files(&self.new)?);
        let find = |places: &[repo::Place], path: &str| {
            places.iter().find(|place| place.path == path).map(|place| place.pointer.oid)
        };
        let mut paths: Vec<_> = old.iter().chain(&new).map(|place| place.path.clone()).collect();
        paths.sort();
        paths.dedup();
        if let Some(path) = self.path.as_ref().filter(|_| !paths.iter().any(|path| wants(path))) {
            let nowhere = format!("{path}: no large file there in {} or {}", self.old, self.new);
            return Err(Failure::new(Kind::NotFound, nowhere));
        }
        let pairs = paths.into_iter().filter(|path| wants(path)).map(|path| {
            let (before, after) = (find(&old, &path), find(&new, &path));
            (path, before, after)
        });
        Ok(pairs.filter(|(_, old, new)| old != new).collect())
    }

    fn print(&self, diff: &FileDiff) {
        match (diff.old, diff.new) {
            (None, _) => return report::say(&format!("{}: added", diff.path)),
            (_, None) => return report::say(&format!("{}: removed", diff.path)),
            _ => {}
        }
        let same = diff.tensors.iter().filter(|tensor| tensor.change == Change::Same).count();
        let (changed, total) = (diff.tensors.len() - same, diff.tensors.len());
        if Table::named(&diff.path).is_some() {
            let how = match self.path {
                None if self.old.contains(':') => format!("{} {}", self.old, self.new),
                _ => format!("{} {} {}", self.old, self.new, diff.path),
            };
            return report::say(&format!(
                "{}: changed; it is a table: git sparse dataset diff {how}",
                diff.path
            ));
        }
        if total == 0 {
            return report::say(&format!("{}: changed; it has no tensors to compare", diff.path));
        }
        report::say(&format!("{}: {changed} of {} changed", diff.path, report::count(total, "tensor")));
        let shown = diff.tensors.iter().filter(|tensor| self.all || tensor.change != Change::Same);
        report::table(&["tensor", "type", ">weights changed", ">|Δ|/|W|", ">max |Δ|"], shown.map(row));
    }
}

fn row(tensor: &TensorDiff) -> Vec<String> {
    let numbers = match &tensor.change {
        Change::Same => ["=".into(), "".into(), "".into()],
        Change::Added => ["added".into(), "".into(), "".into()],
        Change::Removed => ["removed".into(), "".into(), "".into()],
        Change::Reshaped { old_shape, old_dtype } => {
            [format!("was {old_dtype:?} {old_shape:?}").to_lowercase(), "".into(), "".into()]
        }
        Change::Changed { elements, changed, norm, old_norm, max } => [
            report::share(*changed, *elements),
            if *old_norm > 0.0 { format!("{:.2e}", norm / old_norm) } else { "-".into() },
            format!("{max:.2e}"),
        ],
    };
    let mut row = vec![tensor.name.clone(), format!("{:?}", tensor.dtype).to_lowercase()];
    row.extend(numbers);
    row
}

fn tensors(old: Oid, new: Oid) -> Result<Vec<TensorDiff>, Failure> {
    match watch::call(&Request::Diff { old, new })? {
        Reply::Diff { tensors } => Ok(tensors),
        _ => Err(super::unexpected()),
    }
}
