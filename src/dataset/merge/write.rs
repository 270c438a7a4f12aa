//! Carries a plan out: the merged table, written as ours is.

use std::io::Write;

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::interleave::interleave;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::super::gather::Gatherer;
use super::super::hash;
use super::super::kind::Kind;
use super::super::pairing::NONE;
use super::super::scan::CompareError;
use super::super::schema::shown;
use super::super::table::Table;
use super::{Choice, Plan, Row, Sides, lines};
use crate::progress::{Cancelled, Progress};

/// Why a merged table can't be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error("write the merged table: {0}")]
    Values(#[from] ArrowError),
    #[error("write the merged table: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("column {column} became {dtype} on one side, which does not hold a value of the other")]
    Lossy { column: String, dtype: String },
    #[error("a {0} table is merged with tables of its own kind only")]
    Lines(Kind),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Writes the merged table: its kind, codec and size of row groups are those of ours.
pub fn write(
    plan: &Plan,
    sides: Sides<'_>,
    out: &mut (dyn Write + Send),
    progress: &Progress<'_>,
) -> Result<(), WriteError> {
    if lines::may_write(sides) {
        return lines::write(plan, sides, out, progress);
    }
    let mut writer = Writer::like(sides.ours, plan.columns.schema.clone(), out)?;
    let numbers = |of: &dyn Fn(&super::columns::Column) -> Option<usize>| -> Vec<usize> {
        plan.columns.columns.iter().filter_map(of).collect()
    };
    let mut ours = Gatherer::of(sides.ours, numbers(&|column| column.ours));
    let mut theirs = Gatherer::of(sides.theirs, numbers(&|column| column.theirs));
    for rows in plan.rows.chunks(plan.at_once) {
        let batch = plan.batch(&mut ours, &mut theirs, rows)?;
        progress(batch.get_array_memory_size() as u64)?;
        writer.write(&batch)?;
    }
    writer.close()
}

impl Plan {
    fn batch(
        &self,
        ours: &mut Gatherer<'_>,
        theirs: &mut Gatherer<'_>,
        rows: &[Row],
    ) -> Result<RecordBatch, WriteError> {
        let places = |of: &dyn Fn(&Row) -> u32| {
            let wanted: Vec<u32> = rows.iter().map(of).filter(|row| *row != NONE).collect();
            let mut next = 0;
            let place = |row: &Row| (of(row) != NONE).then(|| (next, next += 1).0);
            (rows.iter().map(place).collect::<Vec<Option<usize>>>(), wanted)
        };
        let (our_places, our_rows) = places(&|row| row.ours);
        let (their_places, their_rows) = places(&|row| row.theirs);
        let (ours, theirs) = (ours.gather(&our_rows)?, theirs.gather(&their_rows)?);
        let (mut ours, mut theirs) = (ours.columns().iter(), theirs.columns().iter());
        let mut columns = Vec::with_capacity(self.columns.columns.len());
        for (at, (column, field)) in self.columns.columns.iter().zip(self.columns.schema.fields()).enumerate()
        {
            let our = Cells::of(column.ours.and_then(|_| ours.next()), field.data_type())?;
            let their = Cells::of(column.theirs.and_then(|_| theirs.next()), field.data_type())?;
            let null = new_null_array(field.data_type(), 1);
            let cell = |(row, (our, their)): (&Row, (&Option<usize>, &Option<usize>))| {
                let our = our.filter(|_| column.ours.is_some()).map(|place| (0, place));
                let their = their.filter(|_| column.theirs.is_some()).map(|place| (1, place));
                let (first, second) = if self.is_theirs(row, at) { (their, our) } else { (our, their) };
                first.or(second).unwrap_or((2, 0))
            };
            let cells: Vec<_> = rows.iter().zip(our_places.iter().zip(&their_places)).map(cell).collect();
            if cells.iter().any(|(side, place)| [&our, &their].get(*side).is_some_and(|of| of.lost(*place))) {
                return Err(WriteError::Lossy {
                    column: field.name().clone(),
                    dtype: shown(field.data_type()),
                });
            }
            columns.push(interleave(&[&our.cells as &dyn Array, &their.cells, &null], &cells)?);
        }
        let count = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.columns.schema.clone(), columns, &count)?)
    }

    pub(super) fn is_theirs(&self, row: &Row, column: usize) -> bool {
        match row.choice {
            Choice::Ours => false,
            Choice::Theirs => true,
            Choice::Mixed(mask) => self.mixed[mask as usize][column],
        }
    }
}

/// Cells of one side in the merged column's type.
struct Cells {
    cells: ArrayRef,
    /// Cells that this type can't hold as they were; empty where it is their own.
    lost: Vec<bool>,
}

impl Cells {
    fn of(cells: Option<&ArrayRef>, dtype: &DataType) -> Result<Cells, ArrowError> {
        let Some(cells) = cells else {
            return Ok(Cells { cells: new_null_array(dtype, 0), lost: Vec::new() });
        };
        if cells.data_type() == dtype {
            return Ok(Cells { cells: cells.clone(), lost: Vec::new() });
        }
        let cast = cast_with_options(cells, dtype, &CastOptions::default())?;
        let (before, after) = (hash::cells(cells)?, hash::cells(&cast)?);
        let lost = before.iter().zip(&after).map(|(before, after)| before != after).collect();
        Ok(Cells { cells: cast, lost })
    }

    fn lost(&self, place: usize) -> bool {
        self.lost.get(place).copied().unwrap_or(false)
    }
}

/// A writer of each kind of table.
enum Writer<'a> {
    Parquet(Box<ArrowWriter<Out<'a>>>),
    File(FileWriter<Out<'a>>),
    Stream(StreamWriter<Out<'a>>),
    Text(arrow_csv::Writer<Out<'a>>),
}

type Out<'a> = &'a mut (dyn Write + Send);

impl<'a> Writer<'a> {
    fn like(table: &Table, schema: SchemaRef, out: Out<'a>) -> Result<Self, WriteError> {
        let packed = || IpcWriteOptions::default().try_with_compression(table.arrow_codec());
        Ok(match table.kind() {
            Kind::Parquet => {
                let properties = properties(table, &schema);
                Writer::Parquet(Box::new(ArrowWriter::try_new(out, schema, Some(properties))?))
            }
            Kind::ArrowFile => Writer::File(FileWriter::try_new_with_options(out, &schema, packed()?)?),
            Kind::ArrowStream => Writer::Stream(StreamWriter::try_new_with_options(out, &schema, packed()?)?),
            kind @ (Kind::Csv | Kind::Tsv) => {
                let delimiter = if kind == Kind::Tsv { b'\t' } else { b',' };
                Writer::Text(arrow_csv::WriterBuilder::new().with_delimiter(delimiter).build(out))
            }
            kind @ Kind::JsonLines => return Err(WriteError::Lines(kind)),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        match self {
            Writer::Parquet(writer) => Ok(writer.write(batch)?),
            Writer::File(writer) => Ok(writer.write(batch)?),
            Writer::Stream(writer) => Ok(writer.write(batch)?),
            Writer::Text(writer) => Ok(writer.write(batch)?),
        }
    }

    fn close(self) -> Result<(), WriteError> {
        match self {
            Writer::Parquet(writer) => {
                writer.close()?;
            }
            Writer::File(mut writer) => writer.finish()?,
            Writer::Stream(mut writer) => writer.finish()?,
            Writer::Text(writer) => writer.into_inner().flush().map_err(ArrowError::from)?,
        }
        Ok(())
    }
}

fn properties(table: &Table, schema: &SchemaRef) -> WriterProperties {
    let known = schema.metadata().iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    // Days that are milliseconds in Arrow are days in Parquet.
    let has_days = schema.fields().iter().any(|field| *field.data_type() == DataType::Date64);
    let builder =
        WriterProperties::builder().set_key_value_metadata(Some(known.collect())).set_coerce_types(has_days);
    let Some(metadata) = table.parquet().map(|parquet| parquet.metadata()) else { return builder.build() };
    let groups = metadata.row_groups();
    let rows = groups.iter().map(|group| group.num_rows().max(0) as usize).max().filter(|rows| *rows > 0);
    let column = groups.first().and_then(|group| group.columns().first());
    let builder = match rows {
        Some(rows) => builder.set_max_row_group_row_count(Some(rows)),
        None => builder,
    };
    match column {
        Some(column) => builder.set_compression(column.compression()).build(),
        None => builder.build(),
    }
}
