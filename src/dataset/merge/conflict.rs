//! What both sides changed, as a list and as a table beside the file.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use serde::Serialize;

/// Conflicts that are copied at a time: one may be a hundred rows on each side.
const AT_ONCE: usize = 1024;

/// One thing that both sides changed. Values are texts: they may be of any type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// `cell`; `deleted-by-ours`, `deleted-by-theirs` (and edited by the other); `added-twice`; `rows` (without a key);
    /// `column-name`, `column-type`, `column-added`, `column-dropped`.
    pub conflict: &'static str,
    /// The row's key, or which rows these are.
    pub key: Option<String>,
    pub column: Option<String>,
    pub base: Option<String>,
    pub ours: Option<String>,
    pub theirs: Option<String>,
}

impl Conflict {
    pub(super) fn of_column(conflict: &'static str, column: &str, values: [Option<String>; 3]) -> Conflict {
        let [base, ours, theirs] = values;
        Conflict { conflict, key: None, column: Some(column.to_owned()), base, ours, theirs }
    }
}

/// Writes conflicts as a Parquet table: `conflict`, `key`, `column`, `base`, `ours`, `theirs`.
pub fn write_conflicts(conflicts: &[Conflict], out: &mut (dyn Write + Send)) -> Result<(), ParquetError> {
    let names = ["conflict", "key", "column", "base", "ours", "theirs"];
    let fields: Vec<_> =
        names.iter().map(|name| Field::new(*name, DataType::Utf8, *name != "conflict")).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut writer = ArrowWriter::try_new(out, schema.clone(), None)?;
    for conflicts in conflicts.chunks(AT_ONCE) {
        let column = |value: fn(&Conflict) -> Option<&str>| -> ArrayRef {
            Arc::new(conflicts.iter().map(value).collect::<StringArray>())
        };
        let columns = vec![
            column(|conflict| Some(conflict.conflict)),
            column(|conflict| conflict.key.as_deref()),
            column(|conflict| conflict.column.as_deref()),
            column(|conflict| conflict.base.as_deref()),
            column(|conflict| conflict.ours.as_deref()),
            column(|conflict| conflict.theirs.as_deref()),
        ];
        writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
    }
    writer.close().map(drop)
}
