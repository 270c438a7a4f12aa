//! The rows of a diff with what is in them, for people and as JSON.

use arrow_schema::ArrowError;
use serde::Serialize;
use serde_json::Value;

use super::super::gather::gather;
use super::super::scan::CompareError;
use super::super::table::Table;
use super::{TableDiff, cells};

/// One row that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// The number of the row in each table that has it, from 0.
    pub old_row: Option<u32>,
    pub new_row: Option<u32>,
    /// The key, where there is one.
    pub key: Vec<Cell>,
    /// All cells, or of a changed row those that differ.
    pub cells: Vec<Cell>,
}

/// A cell, as it was and as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    pub column: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// The first changes, at most `limit`: changed rows, then removed ones, then added ones.
pub fn details(
    old: &Table,
    new: &Table,
    diff: &TableDiff,
    limit: usize,
) -> Result<Vec<Change>, CompareError> {
    let both = [old, new].map(|typed| Side { typed, written: None });
    let written = super::as_written(old, new);
    let both = match &written {
        Some([old, new]) => [Side { written: Some(old), ..both[0] }, Side { written: Some(new), ..both[1] }],
        None => both,
    };
    let [old, new] = both;
    let changed = &diff.changed[..limit.min(diff.changed.len())];
    let mut found = changed_rows(old, new, diff, changed)?;
    let left = limit - found.len();
    let removed = &diff.removed[..left.min(diff.removed.len())];
    found.extend(whole_rows(old, diff, removed, true)?);
    let left = limit - found.len();
    let added = &diff.added[..left.min(diff.added.len())];
    found.extend(whole_rows(new, diff, added, false)?);
    Ok(found)
}

/// A table, and where it is text, the same with its cells as they are written.
#[derive(Clone, Copy)]
struct Side<'a> {
    typed: &'a Table,
    written: Option<&'a Table>,
}

impl<'a> Side<'a> {
    /// What tells whether cells differ.
    fn compared(self) -> &'a Table {
        self.written.unwrap_or(self.typed)
    }
}

fn changed_rows(
    old: Side<'_>,
    new: Side<'_>,
    diff: &TableDiff,
    rows: &[(u32, u32)],
) -> Result<Vec<Change>, CompareError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let differ = cells::differing(&mut cells::gatherers(old.compared(), new.compared(), diff), rows)?;
    let (olds, news): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    let (before, after) = (objects(old, &olds)?, objects(new, &news)?);
    let mut changes = Vec::with_capacity(rows.len());
    for (at, ((old_row, new_row), (before, after))) in rows.iter().zip(before.iter().zip(&after)).enumerate()
    {
        let differing = diff.pairs.iter().zip(&differ).filter(|(_, differ)| differ[at]);
        let cells = differing.map(|((before_column, column), _)| {
            let name = new.typed.schema().field(*column).name();
            let old_name = old.typed.schema().field(*before_column).name();
            Cell { column: name.clone(), old: before.get(old_name).cloned(), new: after.get(name).cloned() }
        });
        changes.push(Change {
            change: "changed",
            old_row: Some(*old_row),
            new_row: Some(*new_row),
            key: diff.key.iter().map(|name| both_cells(name, before, after)).collect(),
            cells: cells.collect(),
        });
    }
    Ok(changes)
}

fn whole_rows(
    table: Side<'_>,
    diff: &TableDiff,
    rows: &[u32],
    is_old: bool,
) -> Result<Vec<Change>, CompareError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let cell = |name: &String, object: &Object| match is_old {
        true => Cell { column: name.clone(), old: object.get(name).cloned(), new: None },
        false => new_cell(name, object),
    };
    let change = |(row, object): (&u32, Object)| Change {
        change: if is_old { "removed" } else { "added" },
        old_row: is_old.then_some(*row),
        new_row: (!is_old).then_some(*row),
        key: diff.key.iter().map(|name| cell(name, &object)).collect(),
        cells: table.typed.schema().fields().iter().map(|field| cell(field.name(), &object)).collect(),
    };
    Ok(rows.iter().zip(objects(table, rows)?).map(change).collect())
}

fn new_cell(name: &str, object: &Object) -> Cell {
    Cell { column: name.to_owned(), old: None, new: object.get(name).cloned() }
}

/// A cell of a key, whose columns have one name in both tables.
fn both_cells(name: &str, before: &Object, after: &Object) -> Cell {
    Cell { column: name.to_owned(), old: before.get(name).cloned(), new: after.get(name).cloned() }
}

type Object = serde_json::Map<String, Value>;

/// Cells in the types that they fit, or as they are written, where that is another text: 7, but "007".
fn objects(side: Side<'_>, rows: &[u32]) -> Result<Vec<Object>, CompareError> {
    let of = |table: &Table| {
        let columns: Vec<_> = (0..table.schema().fields().len()).collect();
        let failed = |error: ArrowError| CompareError::Values {
            name: table.name().to_owned(),
            why: error.to_string(),
        };
        table.objects(&gather(table, rows, &columns)?).map_err(failed)
    };
    // JSON says itself what its values are.
    if let Some(written) = side.written.filter(|written| super::is_json(written)) {
        return of(written);
    }
    let mut typed = of(side.typed)?;
    let Some(written) = side.written else { return Ok(typed) };
    for (typed, written) in typed.iter_mut().zip(of(written)?) {
        for (name, text) in written {
            let is_same = typed.get(&name).is_some_and(|value| match (value, &text) {
                (Value::String(value), Value::String(text)) => value == text,
                (value, Value::String(text)) => {
                    let shown = value.to_string();
                    shown == *text
                }
                (_, text) => text.is_null(),
            });
            if !is_same {
                typed.insert(name, text);
            }
        }
    }
    Ok(typed)
}
