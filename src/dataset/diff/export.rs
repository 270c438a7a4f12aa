//! All rows of a diff as a Parquet table: `change`, `row`, then the columns of both tables.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};

use super::super::gather::Gatherer;
use super::super::scan::CompareError;
use super::super::table::Table;
use super::super::values;
use super::TableDiff;
use crate::progress::Progress;

/// Why a diff can't be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error("write the diff: {0}")]
    Write(#[from] ParquetError),
    #[error("write the diff: {0}")]
    Values(#[from] ArrowError),
    #[error("{0}")]
    Cancelled(#[from] crate::progress::Cancelled),
}

/// Writes removed rows, then changed ones (as they were, as they are), then added ones.
pub fn export(
    old: &Table,
    new: &Table,
    diff: &TableDiff,
    out: &mut (dyn Write + Send),
    progress: &Progress<'_>,
) -> Result<(), ExportError> {
    let layout = Layout::of(old, new, diff);
    let packed = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(packed).build();
    let mut writer = ArrowWriter::try_new(out, layout.schema.clone(), Some(properties))?;
    let (mut old_rows, mut new_rows) = (layout.gatherer(old, true), layout.gatherer(new, false));
    let at_once = diff.at_once(old, new);
    for rows in diff.removed.chunks(at_once) {
        writer.write(&layout.batch(&mut old_rows, rows, "removed", true)?)?;
        progress(0)?;
    }
    for rows in diff.changed.chunks(at_once) {
        let (olds, news): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
        let before = layout.batch(&mut old_rows, &olds, "old", true)?;
        let after = layout.batch(&mut new_rows, &news, "new", false)?;
        let turns: Vec<_> = (0..rows.len()).flat_map(|row| [(0, row), (1, row)]).collect();
        writer.write(&interleave_record_batch(&[&before, &after], &turns)?)?;
        progress(0)?;
    }
    for rows in diff.added.chunks(at_once) {
        writer.write(&layout.batch(&mut new_rows, rows, "added", false)?)?;
        progress(0)?;
    }
    writer.close()?;
    Ok(())
}

/// Where each column of the output comes from.
struct Layout {
    schema: SchemaRef,
    /// Numbers in the old and the new table.
    columns: Vec<(Option<usize>, Option<usize>)>,
}

impl Layout {
    fn of(old: &Table, new: &Table, diff: &TableDiff) -> Layout {
        let before = |at: usize| diff.pairs.iter().find(|(_, new)| *new == at).map(|(old, _)| *old);
        let news = (0..new.schema().fields().len()).map(|at| (before(at), Some(at)));
        let mut columns: Vec<_> = news.collect();
        let is_dropped = |at: &usize| diff.pairs.iter().all(|(old, _)| old != at);
        columns.extend((0..old.schema().fields().len()).filter(is_dropped).map(|at| (Some(at), None)));
        let head = [("change", DataType::Utf8), ("row", DataType::UInt64)];
        let mut fields: Vec<_> =
            head.map(|(name, dtype)| Field::new(free(name, old, new), dtype, false)).to_vec();
        fields.extend(columns.iter().map(|(before, after)| {
            let before = before.map(|at| old.schema().field(at));
            let after = after.map(|at| new.schema().field(at));
            let name = after.or(before).expect("because a column is in one of them").name();
            let dtype = match (before, after) {
                (Some(before), Some(after)) if before.data_type() != after.data_type() => DataType::Utf8,
                _ => after.or(before).expect("because a column is in one of them").data_type().clone(),
            };
            Field::new(name, dtype, true)
        }));
        Layout { schema: Arc::new(Schema::new(fields)), columns }
    }

    /// The number in the old or the new table of each column.
    fn places(&self, is_old: bool) -> impl Iterator<Item = Option<usize>> {
        self.columns.iter().map(move |pair| if is_old { pair.0 } else { pair.1 })
    }

    fn gatherer<'a>(&self, table: &'a Table, is_old: bool) -> Gatherer<'a> {
        Gatherer::of(table, self.places(is_old).flatten().collect())
    }

    fn batch(
        &self,
        table: &mut Gatherer<'_>,
        rows: &[u32],
        change: &str,
        is_old: bool,
    ) -> Result<RecordBatch, ExportError> {
        let found = table.gather(rows)?;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![change; rows.len()])),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| u64::from(*row)))),
        ];
        let mut next = found.columns().iter();
        for (place, field) in self.places(is_old).zip(self.schema.fields().iter().skip(2)) {
            columns.push(match place {
                None => new_null_array(field.data_type(), rows.len()),
                Some(_) => {
                    let column = next.next().expect("because each place was asked for");
                    match column.data_type() == field.data_type() {
                        true => column.clone(),
                        false => texts(column)?,
                    }
                }
            });
        }
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// Cells of a column that got another type, as people see them: what is nested as JSON.
fn texts(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !column.data_type().is_nested() {
        return Ok(Arc::new(StringArray::from(values::texts(column)?)));
    }
    let batch = RecordBatch::try_from_iter_with_nullable([("cell", column.clone(), true)])?;
    let text = |mut row: Map<String, Value>| row.remove("cell").filter(|cell| !cell.is_null());
    let texts = values::objects(&batch)?.into_iter().map(|row| text(row).map(|cell| cell.to_string()));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// A name that no column of either table has.
fn free(name: &str, old: &Table, new: &Table) -> String {
    let mut name = name.to_owned();
    let is_taken = |name: &str| [old, new].iter().any(|table| table.schema().index_of(name).is_ok());
    while is_taken(&name) {
        name.insert(0, '_');
    }
    name
}
