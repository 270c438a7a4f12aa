//! Some rows of a table in any order, read a second time.

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;

use super::rows::ranges;
use super::scan::CompareError;
use super::table::{Selection, Table};

/// Rows that are in memory at a time, on each side.
pub const AT_ONCE: usize = 32_768;

/// These rows of these columns, in the order in which they are named.
pub fn gather(table: &Table, rows: &[u32], columns: &[usize]) -> Result<RecordBatch, CompareError> {
    let mut sorted = rows.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let wanted = ranges(sorted.iter().map(|row| u64::from(*row)));
    let selection = Selection { columns: Some(columns.to_vec()), rows: Some(wanted) };
    let batches = table.read(&selection)?;
    let schema = batches.schema();
    let batches: Vec<_> = batches.collect::<Result<_, _>>()?;
    let failed = |why: String| CompareError::Values { name: table.name().to_owned(), why };
    let found = concat_batches(&schema, &batches).map_err(|error| failed(error.to_string()))?;
    if found.num_rows() != sorted.len() {
        let why = format!("{} rows are there, {} were", found.num_rows(), sorted.len());
        return Err(failed(format!("it changed while it was read: {why}")));
    }
    let place = |row: &u32| sorted.binary_search(row).expect("because it is in it") as u32;
    let places = UInt32Array::from(rows.iter().map(place).collect::<Vec<_>>());
    take_record_batch(&found, &places).map_err(|error| failed(error.to_string()))
}
