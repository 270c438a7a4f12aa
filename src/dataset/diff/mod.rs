//! What changed between two tables: columns, rows, and with a key, cells.
//!
//! Both are read once for hashes, which bound the memory: 16 bytes a row, 32 with a key. Rows that changed are
//! read a second time, some thousand at a time.

mod cells;
mod detail;
mod export;

use super::gather;
use super::hash::{self, Hash};
use super::kind::Kind;
use super::pairing::{self, MOST_ROWS, NONE};
use super::scan::{self, CompareError, Scan};
use super::schema::{self, ColumnChange, Pairs};
use super::table::Table;
use crate::progress::Progress;

pub use detail::{Cell, Change, details};
pub use export::{ExportError, export};

/// What is told of a table that only one side has: all of its rows are added, or removed.
pub fn whole(table: &Table, is_added: bool) -> Result<TableDiff, CompareError> {
    let columns = table.with_distinct_names()?.schema().fields().len();
    let rows = table.rows()?;
    if rows > MOST_ROWS {
        return Err(CompareError::TooMany { name: table.name().to_owned(), rows });
    }
    let all: Vec<u32> = (0..rows as u32).collect();
    let (added, removed) = if is_added { (all, Vec::new()) } else { (Vec::new(), all) };
    Ok(TableDiff {
        columns: Vec::new(),
        pairs: (0..columns).map(|at| (at, at)).collect(),
        key: Vec::new(),
        old_rows: removed.len() as u64,
        new_rows: added.len() as u64,
        from: vec![NONE; added.len()],
        added,
        removed,
        changed: Vec::new(),
        moved: 0,
        cells: Vec::new(),
    })
}

/// How one table became another.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDiff {
    pub columns: Vec<ColumnChange>,
    /// The columns that both have, by their numbers; in the order of the new table.
    pub pairs: Pairs,
    /// Columns of the key; without one, a changed row is one that was removed and one that was added.
    pub key: Vec<String>,
    pub old_rows: u64,
    pub new_rows: u64,
    /// For each row of the new table the one that it was, or `NONE`.
    pub from: Vec<u32>,
    /// Rows of the new table.
    pub added: Vec<u32>,
    /// Rows of the old table.
    pub removed: Vec<u32>,
    /// Rows of the old and the new table with one key and different cells.
    pub changed: Vec<(u32, u32)>,
    /// Rows that stand elsewhere among those that both have: the fewest that explain the order.
    pub moved: u64,
    /// Columns with changed cells, by their new names, and how many.
    pub cells: Vec<(String, u64)>,
}

/// Stands in `TableDiff::from` for a row that was not there.
pub const NEW: u32 = NONE;

impl TableDiff {
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.same_rows() && self.moved == 0
    }

    /// Whether nothing but the order of rows changed.
    pub fn is_reordered(&self) -> bool {
        self.columns.is_empty() && self.same_rows() && self.moved > 0
    }

    /// How many changed rows are in memory at a time, on each side.
    fn at_once(&self, old: &Table, new: &Table) -> usize {
        gather::at_once(&[(old, self.old_rows), (new, self.new_rows)])
    }

    fn same_rows(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Compares two tables; `key` names the columns that tell which row is which.
pub fn diff(
    old: &Table,
    new: &Table,
    key: &[String],
    progress: &Progress<'_>,
) -> Result<TableDiff, CompareError> {
    let (old_schema, new_schema) = (old.with_distinct_names()?.schema(), new.with_distinct_names()?.schema());
    let mut pairs = schema::by_name(old_schema, new_schema);
    let written = as_written(old, new);
    let [old, new] = written.as_ref().map_or([old, new], |[old, new]| [old, new]);
    let keys = (old.columns(key)?, new.columns(key)?);
    let before = scan::scan(old, &salts(old, pairs.iter().map(|pair| pair.0), &keys.0), &keys.0, progress)?;
    let after = scan::scan(new, &salts(new, pairs.iter().map(|pair| pair.1), &keys.1), &keys.1, progress)?;
    let from = match key {
        [] => pairing::pair(&before.rows, &after.rows),
        key => by_key(&before, &after, [old.name(), new.name()], key)?,
    };
    let same_length = before.rows.len() == after.rows.len() && !before.rows.is_empty();
    schema::add_renamed(&mut pairs, old_schema, new_schema, |one, other| {
        let is_same = same_length && before.columns[one] == after.columns[other];
        let by_rows = || scan::is_same_by_rows((old, one), (new, other), &from, progress);
        Ok::<_, CompareError>(is_same && (!key.is_empty() || by_rows()?))
    })?;
    let mut columns = schema::changes(old_schema, new_schema, &pairs);
    // Members of JSON stand in no order.
    let has_order = !is_json(old) && !is_json(new);
    columns.retain(|change| has_order || !matches!(change, ColumnChange::Moved { .. }));
    let mut found = TableDiff {
        columns,
        pairs,
        key: key.to_vec(),
        old_rows: before.rows.len() as u64,
        new_rows: after.rows.len() as u64,
        added: (0..from.len() as u32).filter(|row| from[*row as usize] == NONE).collect(),
        removed: left(&from, before.rows.len()),
        changed: changed(&from, &before.rows, &after.rows),
        moved: 0,
        cells: Vec::new(),
        from,
    };
    let shared = found.from.len() - found.added.len();
    found.moved = (shared - pairing::in_order(&found.from).len()) as u64;
    drop((before, after));
    found.cells = cells::count(old, new, &found, progress)?;
    Ok(found)
}

/// Both tables with their cells as they are written, where both are CSV or TSV, or both JSON Lines: 007 is not 7 there, and
/// a column in which one cell is no number does not change as a whole. What their columns are is told by what their cells
/// fit.
fn as_written(old: &Table, new: &Table) -> Option<[Table; 2]> {
    let is_alike = is_json(old) == is_json(new);
    is_alike.then(|| Some([old.as_written()?, new.as_written()?])).flatten()
}

fn is_json(table: &Table) -> bool {
    table.kind() == Kind::JsonLines
}

/// A salt for each column that both tables have and the key has not.
fn salts(table: &Table, common: impl Iterator<Item = usize>, key: &[usize]) -> Vec<Option<Hash>> {
    let mut salts = vec![None; table.schema().fields().len()];
    for column in common.filter(|column| !key.contains(column)) {
        salts[column] = Some(hash::salt(table.schema().field(column).name()));
    }
    salts
}

fn by_key(before: &Scan, after: &Scan, names: [&str; 2], key: &[String]) -> Result<Vec<u32>, CompareError> {
    let (old, new) =
        (scan::sorted_by_key(before, names[0], key)?, scan::sorted_by_key(after, names[1], key)?);
    let mut from = vec![NONE; after.rows.len()];
    let (olds, news) = (|row: u32| before.keys[row as usize], |row: u32| after.keys[row as usize]);
    pairing::common(&old, &new, olds, news, |old, new| from[new[0] as usize] = old[0]);
    Ok(from)
}

/// Old rows that no new one is.
fn left(from: &[u32], rows: usize) -> Vec<u32> {
    let mut used = vec![false; rows];
    from.iter().filter(|from| **from != NONE).for_each(|from| used[*from as usize] = true);
    (0..rows as u32).filter(|row| !used[*row as usize]).collect()
}

fn changed(from: &[u32], before: &[Hash], after: &[Hash]) -> Vec<(u32, u32)> {
    let pairs = from.iter().zip(0u32..).filter(|(from, _)| **from != NONE);
    let differ = pairs.filter(|(from, row)| before[**from as usize] != after[*row as usize]);
    differ.map(|(from, row)| (*from, row)).collect()
}
