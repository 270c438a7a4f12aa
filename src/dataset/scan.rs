//! One reading of a table that keeps only hashes: of its rows, of their keys, of its columns.

use super::hash::{self, Digest, Hash};
use super::pairing::{MOST_ROWS, NONE};
use super::table::{Selection, Table, TableError};
use crate::progress::{Cancelled, Progress};

/// What is kept of a table: 16 bytes a row, and as many again for a key.
pub struct Scan {
    /// Over all columns that have a salt and are not in the key.
    pub rows: Vec<Hash>,
    /// Over the columns of the key; empty without one.
    pub keys: Vec<Hash>,
    /// Of each column: in the order of its cells, or with a key by the key of each, so that rows may stand anywhere.
    pub columns: Vec<Digest>,
    pub nulls: Vec<u64>,
}

/// Why tables can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("{name}: {why}")]
    Values { name: String, why: String },
    #[error("{name}: {rows} rows are more than can be compared ({MOST_ROWS})")]
    TooMany { name: String, rows: u64 },
    #[error("{name}: the key {key} is not unique: rows {first} and {second} have the same")]
    NotAKey { name: String, key: String, first: u32, second: u32 },
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Reads a table. `salts` has for each column under which name it counts in a row's hash, `key` the numbers of
/// the columns in the key.
pub fn scan(
    table: &Table,
    salts: &[Option<Hash>],
    key: &[usize],
    progress: &Progress<'_>,
) -> Result<Scan, CompareError> {
    let width = salts.len();
    let (columns, nulls) = (vec![Digest::default(); width], vec![0; width]);
    let mut scan = Scan { rows: Vec::new(), keys: Vec::new(), columns, nulls };
    let null = hash::null();
    for batch in table.read(&Selection::default())? {
        let batch = batch?;
        let values = |error: arrow_schema::ArrowError| CompareError::Values {
            name: table.name().to_owned(),
            why: error.to_string(),
        };
        let (rows, cells) = hash::rows(&batch, salts).map_err(values)?;
        scan.rows.extend_from_slice(&rows);
        let first = scan.keys.len();
        if !key.is_empty() {
            let of_row = |row: usize| {
                let parts = key.iter().map(|column| cells[*column][row]);
                hash::sequence(parts)
            };
            scan.keys.extend((0..batch.num_rows()).map(of_row));
        }
        for (column, cells) in cells.iter().enumerate() {
            match key {
                [] => scan.columns[column].add(cells),
                _ => scan.columns[column].add_keyed(&scan.keys[first..], cells),
            }
            scan.nulls[column] += cells.iter().filter(|cell| **cell == null).count() as u64;
        }
        if scan.rows.len() as u64 > MOST_ROWS {
            let name = table.name().to_owned();
            return Err(CompareError::TooMany { name, rows: scan.rows.len() as u64 });
        }
        progress(batch.get_array_memory_size() as u64)?;
    }
    Ok(scan)
}

/// Whether two columns whose cells are the same in their order are the same in all rows that are one by `from`, too: for
/// each row of the new table one of the old, or `NONE`. Numbers of rows are, and mean something else once rows were sorted.
pub fn is_same_by_rows(
    (old, old_column): (&Table, usize),
    (new, new_column): (&Table, usize),
    from: &[u32],
    progress: &Progress<'_>,
) -> Result<bool, CompareError> {
    if from.iter().zip(0..).all(|(from, row)| [row, NONE].contains(from)) {
        return Ok(true);
    }
    let (olds, news) = (cells(old, old_column, progress)?, cells(new, new_column, progress)?);
    let mut pairs = from.iter().zip(&news).filter(|(from, _)| **from != NONE);
    Ok(news.len() == from.len() && pairs.all(|(from, cell)| olds.get(*from as usize) == Some(cell)))
}

/// The hashes of a column's cells.
fn cells(table: &Table, column: usize, progress: &Progress<'_>) -> Result<Vec<Hash>, CompareError> {
    let mut found = Vec::new();
    for batch in table.read(&Selection::columns(vec![column]))? {
        let batch = batch?;
        let values = |error: arrow_schema::ArrowError| CompareError::Values {
            name: table.name().to_owned(),
            why: error.to_string(),
        };
        found.extend(hash::cells(batch.column(0)).map_err(values)?);
        progress(batch.get_array_memory_size() as u64)?;
    }
    Ok(found)
}

/// The rows in the order of their keys, which must differ.
pub fn sorted_by_key(scan: &Scan, name: &str, key: &[String]) -> Result<Vec<u32>, CompareError> {
    let mut rows: Vec<u32> = (0..scan.keys.len() as u32).collect();
    rows.sort_unstable_by_key(|row| (scan.keys[*row as usize], *row));
    let twice = rows.windows(2).find(|pair| scan.keys[pair[0] as usize] == scan.keys[pair[1] as usize]);
    match twice {
        None => Ok(rows),
        Some(pair) => Err(CompareError::NotAKey {
            name: name.to_owned(),
            key: key.join(", "),
            first: pair[0],
            second: pair[1],
        }),
    }
}
