//! Parquet: of groups, columns and pages only those that are asked for.

use std::ops::Range;

use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::bytes::{Chunks, File};
use super::footer;
use super::table::Decoder;

/// Decoded bytes of one batch, about.
const BATCH_BYTES: u64 = 16 << 20;
const MOST_BATCH_ROWS: u64 = 8192;

/// What the footer says.
pub struct Parquet(ArrowReaderMetadata);

impl Parquet {
    pub fn open(file: &File) -> Result<Parquet, ArrowError> {
        footer::check(&**file).map_err(ArrowError::ParquetError)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        let metadata = ArrowReaderMetadata::load(&Chunks(file.clone()), options)?;
        footer::check_chunks(metadata.metadata(), file.len()).map_err(ArrowError::ParquetError)?;
        Ok(Parquet(metadata))
    }

    pub fn schema(&self) -> SchemaRef {
        self.0.schema().clone()
    }

    pub fn rows(&self) -> u64 {
        self.groups().map(|group| group.num_rows() as u64).sum()
    }

    /// Bytes of its columns, unpacked; values of dictionaries count once a group.
    pub fn bytes(&self) -> u64 {
        self.groups().map(|group| group.total_byte_size().max(0) as u64).fold(0, u64::saturating_add)
    }

    pub fn metadata(&self) -> &ParquetMetaData {
        self.0.metadata()
    }

    fn groups(&self) -> impl Iterator<Item = &parquet::file::metadata::RowGroupMetaData> {
        self.0.metadata().row_groups().iter()
    }

    pub(super) fn read(
        &self,
        file: &File,
        columns: &[usize],
        rows: Option<&[Range<u64>]>,
    ) -> Result<Decoder, ArrowError> {
        let mask = ProjectionMask::roots(self.0.parquet_schema(), columns.iter().copied());
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(file.clone()), self.0.clone())
                .with_batch_size(self.batch_rows())
                .with_projection(mask);
        let Some(rows) = rows else { return Ok(Box::new(builder.build()?)) };
        let (groups, selection) = self.select(rows);
        Ok(Box::new(builder.with_row_groups(groups).with_row_selection(selection).build()?))
    }

    /// The groups that have wanted rows, and which of their rows these are.
    fn select(&self, rows: &[Range<u64>]) -> (Vec<usize>, RowSelection) {
        let (mut groups, mut wanted) = (Vec::new(), Vec::new());
        let (mut start, mut chosen) = (0, 0);
        let mut rest = rows.iter().peekable();
        for (number, group) in self.groups().enumerate() {
            let end = start + group.num_rows() as u64;
            let before = wanted.len();
            while let Some(range) = rest.peek() {
                let part = range.start.max(start)..range.end.min(end);
                if part.start < part.end {
                    let shifted = |row: u64| (row - start + chosen) as usize;
                    wanted.push(shifted(part.start)..shifted(part.end));
                }
                if range.end > end {
                    break;
                }
                rest.next();
            }
            if wanted.len() > before {
                groups.push(number);
                chosen += end - start;
            }
            start = end;
        }
        (groups, RowSelection::from_consecutive_ranges(wanted.into_iter(), chosen as usize))
    }

    /// Fewer where rows are wide.
    fn batch_rows(&self) -> usize {
        let row_bytes = self.bytes() / self.rows().max(1);
        (BATCH_BYTES / row_bytes.max(1)).clamp(16, MOST_BATCH_ROWS) as usize
    }
}
