//! Tables by revision: read in parts, compared, committed, merged.

mod commands;
mod compared;
mod history;
mod hostile;
mod merged;
mod portable;
mod read;
mod reader;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use git_sparse::dataset::{File, Table};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// A file below tests/data.
fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn bytes(path: &str) -> Vec<u8> {
    let path = data(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A table in memory.
#[track_caller]
fn table(bytes: Vec<u8>, name: &str) -> Table {
    let file: File = Arc::new(bytes);
    Table::open(file, name).unwrap_or_else(|error| panic!("{error}"))
}

/// Columns as a Parquet file, with groups of so many rows.
fn parquet(columns: Vec<(&str, ArrayRef)>, group_rows: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, values)| (name, values, true)),
    )
    .expect("columns of one length");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(1000)
        .set_write_batch_size(1000)
        .build();
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("a table");
    writer.close().expect("a file");
    out
}
