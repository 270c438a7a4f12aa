//! Merging cell by cell, where a key tells which row is which.

use arrow_array::RecordBatch;

use super::super::gather::Gatherer;
use super::super::hash::{self, Hash};
use super::super::pairing::{self, NONE};
use super::super::scan::{self, CompareError};
use super::super::table::Table;
use super::super::values;
use super::conflict::Conflict;
use super::{Choice, Plan, Row, Scans, Sides};
use crate::progress::Progress;

/// A row that both sides changed or added.
struct Both {
    base: u32,
    ours: u32,
    theirs: u32,
    /// Its place in the plan.
    place: usize,
}

pub(super) fn decide(
    plan: &mut Plan,
    sides: Sides<'_>,
    scans: &Scans,
    key: &[String],
    progress: &Progress<'_>,
) -> Result<(), CompareError> {
    let partners = Partners::of(sides, scans, key)?;
    let (mut both, mut lost) = (Vec::new(), Vec::new());
    let mut added = partners.added_by_theirs(&mut lost, scans).into_iter().peekable();
    for ours in 0..scans.ours.rows.len() as u32 {
        let (base, theirs) = (partners.base_of_ours[ours as usize], partners.theirs_of_ours[ours as usize]);
        // What they added stands behind its neighbour, and behind what we added there.
        let is_ours_alone = base == NONE && theirs == NONE;
        while let Some((_, row)) = added.next_if(|(after, _)| !is_ours_alone && *after <= ours) {
            plan.rows.push(Row { ours: NONE, theirs: row, choice: Choice::Theirs });
        }
        let our_change =
            base != NONE && scans.base_for_ours.rows[base as usize] != scans.ours.rows[ours as usize];
        if base != NONE && theirs == NONE {
            match our_change {
                false => continue,
                true => lost.push(("deleted-by-theirs", base, ours, NONE)),
            }
        }
        let mut choice = Choice::Ours;
        if theirs != NONE {
            let their_change =
                base == NONE || scans.base_for_theirs[base as usize] != scans.theirs.rows[theirs as usize];
            if their_change && (our_change || base == NONE) {
                both.push(Both { base, ours, theirs, place: plan.rows.len() });
            } else if their_change {
                choice = Choice::Theirs;
            }
        }
        plan.rows.push(Row { ours, theirs, choice });
    }
    plan.rows.extend(added.map(|(_, theirs)| Row { ours: NONE, theirs, choice: Choice::Theirs }));
    list_lost(plan, sides, &lost, key, progress)?;
    mix_all(plan, sides, &both, key, progress)?;
    edited_and_dropped(plan, sides, scans, &partners)
}

/// Which rows of the three tables have one key.
struct Partners {
    base_of_ours: Vec<u32>,
    theirs_of_ours: Vec<u32>,
    base_of_theirs: Vec<u32>,
    ours_of_theirs: Vec<u32>,
}

impl Partners {
    fn of(sides: Sides<'_>, scans: &Scans, key: &[String]) -> Result<Partners, CompareError> {
        let base = scan::sorted_by_key(&scans.base_for_ours, sides.base.name(), key)?;
        let ours = scan::sorted_by_key(&scans.ours, sides.ours.name(), key)?;
        let theirs = scan::sorted_by_key(&scans.theirs, sides.theirs.name(), key)?;
        let [b, o, t] = [&scans.base_for_ours.keys, &scans.ours.keys, &scans.theirs.keys];
        let base_of_ours = join((&base, b), (&ours, o));
        let base_of_theirs = join((&base, b), (&theirs, t));
        let theirs_of_ours = join((&theirs, t), (&ours, o));
        let ours_of_theirs = join((&ours, o), (&theirs, t));
        Ok(Partners { base_of_ours, theirs_of_ours, base_of_theirs, ours_of_theirs })
    }

    /// Rows that they added, each with the number of our rows that it stands behind. Rows that we deleted and
    /// they changed are added to `lost`.
    fn added_by_theirs(&self, lost: &mut Vec<Lost>, scans: &Scans) -> Vec<(u32, u32)> {
        let mut added = Vec::new();
        let mut behind = 0;
        for (theirs, (base, ours)) in (0u32..).zip(self.base_of_theirs.iter().zip(&self.ours_of_theirs)) {
            if *ours != NONE {
                behind = ours + 1;
            } else if *base == NONE {
                added.push((behind, theirs));
            } else if scans.base_for_theirs[*base as usize] != scans.theirs.rows[theirs as usize] {
                lost.push(("deleted-by-ours", *base, NONE, theirs));
            }
        }
        added.sort_by_key(|(behind, _)| *behind);
        added
    }
}

type Lost = (&'static str, u32, u32, u32);

/// For each row of the second table the one of the first with the same key.
fn join(first: (&[u32], &[Hash]), second: (&[u32], &[Hash])) -> Vec<u32> {
    let mut found = vec![NONE; second.1.len()];
    let (one, two) = (|row: u32| first.1[row as usize], |row: u32| second.1[row as usize]);
    pairing::common(first.0, second.0, one, two, |one, two| found[two[0] as usize] = one[0]);
    found
}

/// Rows that one side deleted and the other edited.
fn list_lost(
    plan: &mut Plan,
    sides: Sides<'_>,
    lost: &[Lost],
    key: &[String],
    progress: &Progress<'_>,
) -> Result<(), CompareError> {
    let mut tables = [sides.base, sides.ours, sides.theirs].map(Gatherer::whole);
    for lost in lost.chunks(plan.at_once) {
        let [base, ours, theirs] = &mut tables;
        let base = found(base, lost.iter().map(|lost| lost.1), key)?;
        let ours = found(ours, lost.iter().map(|lost| lost.2), key)?;
        let theirs = found(theirs, lost.iter().map(|lost| lost.3), key)?;
        for (((lost, base), ours), theirs) in lost.iter().zip(base).zip(ours).zip(theirs) {
            let whole = |found: Option<Found>| found.map(|found| found.whole);
            let key = ours.as_ref().or(theirs.as_ref()).map(|found| found.key.clone());
            let [base, ours, theirs] = [base, ours, theirs].map(whole);
            plan.conflicts.push(Conflict { conflict: lost.0, key, column: None, base, ours, theirs });
        }
        progress(0)?;
    }
    Ok(())
}

/// A row as JSON, and its key as text.
struct Found {
    whole: String,
    key: String,
}

/// These rows of a table; nothing for `NONE`.
fn found(
    table: &mut Gatherer<'_>,
    rows: impl Iterator<Item = u32> + Clone,
    key: &[String],
) -> Result<Vec<Option<Found>>, CompareError> {
    let batch = table.gather(&rows.clone().filter(|row| *row != NONE).collect::<Vec<_>>())?;
    let key = batch.project(&table.table().columns(key)?).map_err(|error| no_text(table.table(), &error))?;
    let keys = keys(table.table(), &key)?;
    let wholes = wholes(table.table(), &batch)?;
    let mut found = wholes.into_iter().zip(keys).map(|(whole, key)| Found { whole, key });
    Ok(rows.map(|row| if row == NONE { None } else { found.next() }).collect())
}

/// Rows as JSON.
pub(super) fn wholes(table: &Table, rows: &RecordBatch) -> Result<Vec<String>, CompareError> {
    let objects = table.objects(rows).map_err(|error| no_text(table, &error))?;
    Ok(objects.into_iter().map(|object| serde_json::Value::Object(object).to_string()).collect())
}

/// The keys of rows as texts, of the columns of the key alone.
fn keys(table: &Table, found: &RecordBatch) -> Result<Vec<String>, CompareError> {
    let texts = found.columns().iter().map(|column| values::texts(column)).collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|error| no_text(table, &error))?;
    let of_row = |row: usize| {
        let parts = texts.iter().map(|column| column[row].clone().unwrap_or_else(|| "null".into()));
        parts.collect::<Vec<_>>().join(",")
    };
    Ok((0..found.num_rows()).map(of_row).collect())
}

/// Takes each cell from the side that changed it.
fn mix_all(
    plan: &mut Plan,
    sides: Sides<'_>,
    rows: &[Both],
    key: &[String],
    progress: &Progress<'_>,
) -> Result<(), CompareError> {
    let shared = plan.columns.shared();
    let numbers = |of: fn(&super::columns::Column) -> Option<usize>| -> Vec<Option<usize>> {
        shared.iter().map(|at| of(&plan.columns.columns[*at])).collect()
    };
    let mut tables = [
        CellReader::of(sides.base, numbers(|column| column.base)),
        CellReader::of(sides.ours, numbers(|column| column.ours)),
        CellReader::of(sides.theirs, numbers(|column| column.theirs)),
    ];
    let mut names = Gatherer::of(sides.ours, sides.ours.columns(key)?);
    for rows in rows.chunks(plan.at_once) {
        mix(plan, &shared, &mut tables, &mut names, rows)?;
        progress(0)?;
    }
    Ok(())
}

fn mix(
    plan: &mut Plan,
    shared: &[usize],
    [base, ours, theirs]: &mut [CellReader<'_>; 3],
    names: &mut Gatherer<'_>,
    rows: &[Both],
) -> Result<(), CompareError> {
    let with_base: Vec<u32> = rows.iter().map(|row| row.base).filter(|row| *row != NONE).collect();
    let of = |row: fn(&Both) -> u32| rows.iter().map(row).collect::<Vec<_>>();
    let base = base.read(&with_base)?;
    let (ours, theirs) = (ours.read(&of(|row| row.ours))?, theirs.read(&of(|row| row.theirs))?);
    let names = keys(names.table(), &names.gather(&of(|row| row.ours))?)?;
    let mut next_base = 0;
    for (at, row) in rows.iter().enumerate() {
        let before = (row.base != NONE).then_some(next_base);
        next_base += usize::from(before.is_some());
        let mut mask = vec![false; plan.columns.columns.len()];
        for (place, column) in shared.iter().enumerate() {
            let (our, their) = (ours.hash(place, Some(at)), theirs.hash(place, Some(at)));
            let old = base.hash(place, before);
            if our == their || their == old {
                continue;
            }
            if our == old {
                mask[*column] = true;
                continue;
            }
            plan.conflicts.push(Conflict {
                conflict: if before.is_some() { "cell" } else { "added-twice" },
                key: Some(names[at].clone()),
                column: Some(plan.columns.schema.field(*column).name().clone()),
                base: base.text(place, before)?,
                ours: ours.text(place, Some(at))?,
                theirs: theirs.text(place, Some(at))?,
            });
        }
        if mask.contains(&true) {
            plan.rows[row.place].choice = Choice::Mixed(plan.mixed.len() as u32);
            plan.mixed.push(mask);
        }
    }
    Ok(())
}

/// Reads cells of some columns; of those without a number there are none.
struct CellReader<'a> {
    rows: Gatherer<'a>,
    numbers: Vec<Option<usize>>,
}

impl<'a> CellReader<'a> {
    fn of(table: &'a Table, numbers: Vec<Option<usize>>) -> CellReader<'a> {
        CellReader { rows: Gatherer::of(table, numbers.iter().flatten().copied().collect()), numbers }
    }

    fn read(&mut self, rows: &[u32]) -> Result<Cells<'a>, CompareError> {
        let table = self.rows.table();
        let found = self.rows.gather(rows)?;
        let mut found = found.columns().iter();
        let columns = self.numbers.iter().map(|number| {
            let Some(column) = number.and_then(|_| found.next()) else { return Ok(None) };
            let hashes = hash::cells(column).map_err(|error| no_text(table, &error))?;
            Ok(Some((column.clone(), hashes)))
        });
        Ok(Cells { table, columns: columns.collect::<Result<_, CompareError>>()? })
    }
}

/// Cells of some rows, with their hashes.
struct Cells<'a> {
    table: &'a Table,
    columns: Vec<Option<(arrow_array::ArrayRef, Vec<Hash>)>>,
}

impl Cells<'_> {
    fn hash(&self, column: usize, row: Option<usize>) -> Option<Hash> {
        let (_, hashes) = self.columns[column].as_ref()?;
        Some(hashes[row?])
    }

    fn text(&self, column: usize, row: Option<usize>) -> Result<Option<String>, CompareError> {
        let (Some((cells, _)), Some(row)) = (&self.columns[column], row) else { return Ok(None) };
        let mut texts = values::texts(&cells.slice(row, 1)).map_err(|error| no_text(self.table, &error))?;
        Ok(texts.pop().flatten())
    }
}

/// A column that one side dropped while the other wrote into it: told once a column.
fn edited_and_dropped(
    plan: &mut Plan,
    sides: Sides<'_>,
    scans: &Scans,
    partners: &Partners,
) -> Result<(), CompareError> {
    let changed = |of: &[u32], before: &[Hash], after: &[Hash]| -> Vec<(u32, u32)> {
        let pairs = of.iter().copied().zip(0u32..).filter(|(base, _)| *base != NONE);
        pairs.filter(|(base, row)| before[*base as usize] != after[*row as usize]).collect()
    };
    let ours = changed(&partners.base_of_ours, &scans.base_for_ours.rows, &scans.ours.rows);
    let theirs = changed(&partners.base_of_theirs, &scans.base_for_theirs, &scans.theirs.rows);
    let sides_of = [
        (sides.ours, ours, plan.columns.dropped_by_theirs.clone(), "dropped by theirs"),
        (sides.theirs, theirs, plan.columns.dropped_by_ours.clone(), "dropped by ours"),
    ];
    for (side, rows, dropped, told) in sides_of {
        for (base_column, column) in dropped {
            let name = side.schema().field(column).name();
            let mut is_edited = false;
            let mut base = CellReader::of(sides.base, vec![Some(base_column)]);
            let mut side = CellReader::of(side, vec![Some(column)]);
            for rows in rows.chunks(plan.at_once) {
                let (before, after): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
                let (before, after) = (base.read(&before)?, side.read(&after)?);
                let differs = |row| before.hash(0, Some(row)) != after.hash(0, Some(row));
                is_edited |= (0..rows.len()).any(differs);
            }
            if is_edited {
                let values = [Some(told.to_owned()), None, None];
                plan.conflicts.push(Conflict::of_column("column-dropped", name, values));
            }
        }
    }
    Ok(())
}

fn no_text(table: &Table, error: &arrow_schema::ArrowError) -> CompareError {
    CompareError::Values { name: table.name().to_owned(), why: error.to_string() }
}
