//! `git sparse textconv FILE`: what git runs to show a tracked model or table as text in `git diff`.

use std::path::PathBuf;

use clap::Args;

use super::dataset::open;
use super::{report, watch};
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::dataset::{self, Summary, Table};
use crate::format::{Format, OpenFile, Source};
use crate::git::Pointer;
use crate::git::command::Git;
use crate::git::pointer::MAX_POINTER_BYTES;
use crate::model::{self, TensorSummary};

/// Print a pointer's model or table as text, a line a tensor or column (run by git diff)
#[derive(Debug, Args)]
pub struct Textconv {
    /// A model or table, or the pointer that stands for one
    file: PathBuf,
}

impl Textconv {
    /// git gives the file itself (smudged), or its pointer where smudging is off.
    pub fn run(self) -> Result<(), Failure> {
        let failed = |error| Failure::new(Kind::Fatal, format!("{}: {error}", self.file.display()));
        let source = OpenFile::open(&self.file).map_err(failed)?;
        if source.len() < MAX_POINTER_BYTES as u64 {
            let text = std::fs::read(&self.file).map_err(failed)?;
            if let Some(pointer) = Pointer::parse(&text) {
                self.print_pointer(&pointer);
                return Ok(());
            }
        }
        if let Ok(table) = open::file(&self.file)
            && let Some(summary) = self.summary(table)
        {
            print_table(&summary);
            return Ok(());
        }
        let (format, tensors) = model::summary_of(&source).map_err(failed)?;
        if tensors.is_empty() {
            // Not a model: at least its digest tells that it changed.
            let digest = blake3_of(&source).map_err(failed)?;
            report::say(&format!("{}, blake3 {digest}", report::count(source.len(), "byte")));
        } else {
            print(format, source.len(), &tensors);
        }
        Ok(())
    }

    fn print_pointer(&self, pointer: &Pointer) {
        let table = open::here(&Git::at("."), *pointer).ok().and_then(|table| self.summary(table));
        if let Some(summary) = table {
            return print_table(&summary);
        }
        match watch::call(&Request::Summary { oid: pointer.oid }) {
            Ok(Reply::Summary { format, size, tensors }) if !tensors.is_empty() => {
                print(format, size, &tensors);
            }
            // A file that this store doesn't have shows as the pointer that it is.
            _ => report::say(pointer.to_string().trim_end()),
        }
    }

    /// Of a table that can be read; none of a model.
    fn summary(&self, table: dataset::File) -> Option<Summary> {
        let table = Table::open(table, &self.file.to_string_lossy()).ok()?;
        watch::here("summary", |progress| dataset::summary(&table, progress)).ok()
    }
}

/// A line about the table, one about its rows, and one about each column: a diff of two such texts tells
/// whether rows changed or only their order, and in which columns.
fn print_table(summary: &Summary) {
    let rows = report::count(summary.rows, "row");
    let columns = report::count(summary.columns.len(), "column");
    report::say(&format!("{}, {}, {rows}, {columns}", summary.kind, report::count(summary.size, "byte")));
    report::say(&format!("rows digest {}, in any order {}", summary.digest, summary.bag));
    for column in &summary.columns {
        let dataset::ColumnSummary { name, dtype, nulls, digest } = column;
        report::say(&format!("{name} {dtype} nulls {nulls} digest {digest}"));
    }
}

fn print(format: Format, size: u64, tensors: &[TensorSummary]) {
    report::say(
        &format!("{format:?}, {}, {}", report::count(size, "byte"), report::count(tensors.len(), "tensor"))
            .to_lowercase(),
    );
    for tensor in tensors {
        let norm = tensor.norm.map_or("-".into(), |norm| format!("{norm:.6e}"));
        let shape = super::report::shape(&tensor.shape);
        let dtype = format!("{:?}", tensor.dtype).to_lowercase();
        report::say(&format!("{} {dtype} {shape} norm {norm} digest {}", tensor.name, tensor.digest));
    }
}

fn blake3_of(source: &dyn Source) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < source.len() {
        let mut window = vec![0; (source.len() - at).min(1 << 20) as usize];
        source.read_at(&mut window, at)?;
        hasher.update(&window);
        at += window.len() as u64;
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}
