//! Three versions of a table made one: what either side changed, or a list of what both did.
//!
//! With a key, cells are merged; without one, runs of rows, as diff3 merges lines. First all is decided and
//! kept as a plan over hashes; then the plan is carried out, some thousand rows at a time. A plan with
//! conflicts has our state where they are, so that whoever takes it loses nothing of theirs but what is listed.

mod columns;
mod conflict;
mod keyed;
mod lines;
mod sequence;
mod write;

use super::gather;
use super::hash::{self, Hash};
use super::kind::Kind;
use super::scan::{self, CompareError, Scan};
use super::table::{Table, TableError};
use crate::progress::Progress;

use columns::Columns;
pub use conflict::{Conflict, write_conflicts};
pub use write::{WriteError, write};

/// The three versions.
#[derive(Clone, Copy)]
pub struct Sides<'a> {
    pub base: &'a Table,
    pub ours: &'a Table,
    pub theirs: &'a Table,
}

/// The three versions with their cells as they are written, where they are text: whoever writes such a table again must not
/// write 7 for 007. Cells of JSON are not written as those of another kind, so that beside one they are what they say.
pub fn as_written(tables: [Table; 3]) -> [Table; 3] {
    let is_json = |table: &Table| table.kind() == Kind::JsonLines;
    let are_json = tables.iter().all(is_json);
    tables.map(|table| match is_json(&table) && !are_json {
        true => table,
        false => table.as_written().unwrap_or(table),
    })
}

/// What the merged table is made of.
pub struct Plan {
    columns: Columns,
    rows: Vec<Row>,
    /// For rows whose cells come from both: which are theirs, by the columns of the plan.
    mixed: Vec<Vec<bool>>,
    pub conflicts: Vec<Conflict>,
    /// How many rows are in memory at a time, on each side.
    at_once: usize,
}

/// A row of the merged table: its numbers on both sides, or `NONE`, and whose cells count where both have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    ours: u32,
    theirs: u32,
    choice: Choice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Ours,
    Theirs,
    /// By the cells at this number.
    Mixed(u32),
}

impl Plan {
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }
}

/// Decides what the merged table is. `key` names columns that tell which row is which in all three.
pub fn plan(sides: Sides<'_>, key: &[String], progress: &Progress<'_>) -> Result<Plan, CompareError> {
    let scans = Scans::of(sides, key, progress)?;
    let (columns, conflicts) = Columns::merge(sides, &scans, progress)?;
    let rows = [&scans.base_for_ours, &scans.ours, &scans.theirs].map(|scan| scan.rows.len() as u64);
    let at_once = gather::at_once(&[(sides.base, rows[0]), (sides.ours, rows[1]), (sides.theirs, rows[2])]);
    let mut plan = Plan { columns, rows: Vec::new(), mixed: Vec::new(), conflicts, at_once };
    match key {
        [] => sequence::decide(&mut plan, sides, &scans)?,
        key => keyed::decide(&mut plan, sides, &scans, key, progress)?,
    }
    Ok(plan)
}

/// The hashes of the three. Rows are compared with the base's over the columns that both have, so that the base
/// has hashes of its rows for each side.
struct Scans {
    base_for_ours: Scan,
    base_for_theirs: Vec<Hash>,
    ours: Scan,
    theirs: Scan,
}

impl Scans {
    fn of(sides: Sides<'_>, key: &[String], progress: &Progress<'_>) -> Result<Scans, CompareError> {
        let Sides { base, ours, theirs } = sides;
        for table in [base, ours, theirs] {
            table.with_distinct_names()?;
        }
        let read = |table: &Table, other: &Table| -> Result<Scan, CompareError> {
            scan::scan(table, &salts(table, other, key)?, &table.columns(key)?, progress)
        };
        let base_for_ours = read(base, ours)?;
        let base_for_theirs = match salts(base, ours, key)? == salts(base, theirs, key)? {
            true => base_for_ours.rows.clone(),
            false => read(base, theirs)?.rows,
        };
        let (ours, theirs) = (read(ours, base)?, read(theirs, base)?);
        Ok(Scans { base_for_ours, base_for_theirs, ours, theirs })
    }

    /// Whether a key tells which row is which.
    fn are_keyed(&self) -> bool {
        !self.ours.keys.is_empty()
    }
}

/// A salt for each column that the other table has, too, and the key has not.
fn salts(table: &Table, other: &Table, key: &[String]) -> Result<Vec<Option<Hash>>, TableError> {
    let fields = table.schema().fields().iter();
    let counts = |name: &String| !key.contains(name) && other.schema().index_of(name).is_ok();
    Ok(fields.map(|field| counts(field.name()).then(|| hash::salt(field.name()))).collect())
}
