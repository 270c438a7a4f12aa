//! Merging cell by cell, where a key tells which row is which.

use super::super::gather::{AT_ONCE, gather};
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
    for rows in lost.chunks(AT_ONCE) {
        list_lost(plan, sides, rows, key)?;
    }
    for rows in both.chunks(AT_ONCE) {
        mix(plan, sides, rows, key)?;
        progress(0)?;
    }
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
fn list_lost(plan: &mut Plan, sides: Sides<'_>, rows: &[Lost], key: &[String]) -> Result<(), CompareError> {
    for (kind, base, ours, theirs) in rows {
        let table = |table: &Table, row: u32| match row {
            NONE => Ok(None),
            row => whole(table, row).map(Some),
        };
        let (keyed, row) = if *ours == NONE { (sides.theirs, *theirs) } else { (sides.ours, *ours) };
        plan.conflicts.push(Conflict {
            conflict: kind,
            key: keys(keyed, &[row], key)?.pop(),
            column: None,
            base: table(sides.base, *base)?,
            ours: table(sides.ours, *ours)?,
            theirs: table(sides.theirs, *theirs)?,
        });
    }
    Ok(())
}

/// A row as JSON.
pub(super) fn whole(table: &Table, row: u32) -> Result<String, CompareError> {
    let columns: Vec<_> = (0..table.schema().fields().len()).collect();
    let found = values::objects(&gather(table, &[row], &columns)?).map_err(|error| no_text(table, &error))?;
    Ok(serde_json::Value::Object(found.into_iter().next().unwrap_or_default()).to_string())
}

/// The keys of rows as texts.
fn keys(table: &Table, rows: &[u32], key: &[String]) -> Result<Vec<String>, CompareError> {
    let found = gather(table, rows, &table.columns(key)?)?;
    let texts = found.columns().iter().map(|column| values::texts(column)).collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|error| no_text(table, &error))?;
    let of_row = |row: usize| {
        let parts = texts.iter().map(|column| column[row].clone().unwrap_or_else(|| "null".into()));
        parts.collect::<Vec<_>>().join(",")
    };
    Ok((0..rows.len()).map(of_row).collect())
}

/// Takes each cell from the side that changed it.
fn mix(plan: &mut Plan, sides: Sides<'_>, rows: &[Both], key: &[String]) -> Result<(), CompareError> {
    let shared = plan.columns.shared();
    let numbers = |of: &dyn Fn(&super::columns::Column) -> Option<usize>| -> Vec<Option<usize>> {
        shared.iter().map(|at| of(&plan.columns.columns[*at])).collect()
    };
    let with_base: Vec<u32> = rows.iter().map(|row| row.base).filter(|row| *row != NONE).collect();
    let base = Cells::read(sides.base, &with_base, &numbers(&|column| column.base))?;
    let of = |row: &dyn Fn(&Both) -> u32| rows.iter().map(row).collect::<Vec<_>>();
    let ours = Cells::read(sides.ours, &of(&|row| row.ours), &numbers(&|column| column.ours))?;
    let theirs = Cells::read(sides.theirs, &of(&|row| row.theirs), &numbers(&|column| column.theirs))?;
    let names = keys(sides.ours, &of(&|row| row.ours), key)?;
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

/// Cells of some rows, with their hashes.
struct Cells<'a> {
    table: &'a Table,
    columns: Vec<Option<(arrow_array::ArrayRef, Vec<Hash>)>>,
}

impl Cells<'_> {
    fn read<'a>(
        table: &'a Table,
        rows: &[u32],
        numbers: &[Option<usize>],
    ) -> Result<Cells<'a>, CompareError> {
        if rows.is_empty() {
            return Ok(Cells { table, columns: vec![None; numbers.len()] });
        }
        let wanted: Vec<usize> = numbers.iter().flatten().copied().collect();
        let found = gather(table, rows, &wanted)?;
        let mut found = found.columns().iter();
        let columns = numbers.iter().map(|number| {
            let Some(column) = number.and_then(|_| found.next()) else { return Ok(None) };
            let hashes = hash::cells(column).map_err(|error| no_text(table, &error))?;
            Ok(Some((column.clone(), hashes)))
        });
        Ok(Cells { table, columns: columns.collect::<Result<_, CompareError>>()? })
    }

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
            for rows in rows.chunks(AT_ONCE) {
                let (before, after): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
                let before = Cells::read(sides.base, &before, &[Some(base_column)])?;
                let after = Cells::read(side, &after, &[Some(column)])?;
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
