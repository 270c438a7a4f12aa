//! Merging runs of rows, where nothing tells which row is which but their order: diff3 on hashes.
//!
//! After Khanna, Kunal and Pierce, "A formal investigation of diff3" (2007): rows that all three have in order
//! are stable; what lies between two of them is taken from the side that changed it.

use std::ops::Range;

use super::super::gather::Gatherer;
use super::super::hash::Hash;
use super::super::pairing::{self, NONE};
use super::super::scan::CompareError;
use super::conflict::Conflict;
use super::keyed::wholes;
use super::{Choice, Plan, Row, Scans, Sides};

/// Rows of a conflict that are listed of each side.
const MOST_LISTED: usize = 100;

pub(super) fn decide(plan: &mut Plan, sides: Sides<'_>, scans: &Scans) -> Result<(), CompareError> {
    let (base, ours, theirs) = (&scans.base_for_ours.rows, &scans.ours.rows, &scans.theirs.rows);
    let (to_ours, to_theirs) = (stable(base, ours), stable(&scans.base_for_theirs, theirs));
    let (mut b, mut o, mut t) = (0, 0, 0);
    let mut tables = [sides.base, sides.ours, sides.theirs].map(Gatherer::whole);
    for at in (0..base.len()).filter(|at| to_ours[*at] != NONE && to_theirs[*at] != NONE) {
        let (our, their) = (to_ours[at] as usize, to_theirs[at] as usize);
        between(plan, &mut tables, scans, [b..at, o..our, t..their])?;
        plan.rows.push(Row { ours: our as u32, theirs: their as u32, choice: Choice::Ours });
        (b, o, t) = (at + 1, our + 1, their + 1);
    }
    between(plan, &mut tables, scans, [b..base.len(), o..ours.len(), t..theirs.len()])?;
    edited_and_dropped(plan, sides, scans);
    Ok(())
}

/// Rows that one side rewrote may have new cells in a column that the other dropped: without a key nobody can tell.
fn edited_and_dropped(plan: &mut Plan, sides: Sides<'_>, scans: &Scans) {
    let rewrote = |base: &[Hash], side: &[Hash]| {
        let to = stable(base, side);
        to.contains(&NONE) && side.len() > to.iter().filter(|row| **row != NONE).count()
    };
    let columns = &plan.columns;
    let sides_of = [
        (sides.ours, &columns.dropped_by_theirs, rewrote(&scans.base_for_ours.rows, &scans.ours.rows)),
        (sides.theirs, &columns.dropped_by_ours, rewrote(&scans.base_for_theirs, &scans.theirs.rows)),
    ];
    for (side, dropped, rewrote) in sides_of {
        for (_, column) in dropped.iter().filter(|_| rewrote) {
            let told = Some("dropped by one side; the other rewrote rows".to_owned());
            let name = side.schema().field(*column).name();
            plan.conflicts.push(Conflict::of_column("column-dropped", name, [told, None, None]));
        }
    }
}

/// For each row of the base where it is in another table, in order; or `NONE`.
fn stable(base: &[Hash], other: &[Hash]) -> Vec<u32> {
    let from = pairing::pair(base, other);
    let mut to = vec![NONE; base.len()];
    pairing::in_order(&from).into_iter().for_each(|row| to[from[row as usize] as usize] = row);
    to
}

/// For each row of a side the row of the base that it is, in order; or `NONE`.
pub(super) fn from_base(scans: &Scans, is_ours: bool) -> Vec<u32> {
    let (to, rows) = match is_ours {
        true => (stable(&scans.base_for_ours.rows, &scans.ours.rows), scans.ours.rows.len()),
        false => (stable(&scans.base_for_theirs, &scans.theirs.rows), scans.theirs.rows.len()),
    };
    let mut from = vec![NONE; rows];
    to.iter().zip(0..).filter(|(row, _)| **row != NONE).for_each(|(row, base)| from[*row as usize] = base);
    from
}

/// For each of their rows that one of ours which both have from the base; or `NONE`.
pub(super) fn from_ours(scans: &Scans) -> Vec<u32> {
    let to_ours = stable(&scans.base_for_ours.rows, &scans.ours.rows);
    let ours = |base: u32| if base == NONE { NONE } else { to_ours[base as usize] };
    from_base(scans, false).into_iter().map(ours).collect()
}

fn between(
    plan: &mut Plan,
    tables: &mut [Gatherer<'_>; 3],
    scans: &Scans,
    rows: [Range<usize>; 3],
) -> Result<(), CompareError> {
    let [base, ours, theirs] = rows;
    let our_change = scans.base_for_ours.rows[base.clone()] != scans.ours.rows[ours.clone()];
    let their_change = scans.base_for_theirs[base.clone()] != scans.theirs.rows[theirs.clone()];
    let is_same = scans.ours.rows[ours.clone()] == scans.theirs.rows[theirs.clone()];
    // Rows that stand at the same place of runs of one length are one row, whose new columns belong to it.
    let pairs = ours.len() == theirs.len() && (is_same || ours.len() == base.len());
    let adds = |added: bool| added && !base.is_empty();
    let (choice, wanted, other, lost) = match (our_change, their_change) {
        (false, true) => (Choice::Theirs, theirs.clone(), ours.clone(), adds(added_columns(plan, true))),
        _ => (Choice::Ours, ours.clone(), theirs.clone(), adds(added_columns(plan, false))),
    };
    let is_conflict = our_change && their_change && !is_same;
    // Cells of a column that one side added must not get lost with the rows that the other rewrote.
    if is_conflict || (!pairs && lost && !wanted.is_empty()) {
        plan.conflicts.push(listed(tables, [&base, &ours, &theirs])?);
    }
    let (wanted, other, choice) =
        if is_conflict { (ours, theirs, Choice::Ours) } else { (wanted, other, choice) };
    for (at, row) in wanted.enumerate() {
        let beside = if pairs && !is_conflict { (other.start + at) as u32 } else { NONE };
        plan.rows.push(match choice {
            Choice::Theirs => Row { ours: beside, theirs: row as u32, choice },
            _ => Row { ours: row as u32, theirs: beside, choice },
        });
    }
    Ok(())
}

/// Whether one side has columns that the other has not.
fn added_columns(plan: &Plan, ours: bool) -> bool {
    let mut columns = plan.columns.columns.iter();
    columns.any(|column| if ours { column.theirs.is_none() } else { column.ours.is_none() })
}

fn listed(tables: &mut [Gatherer<'_>; 3], rows: [&Range<usize>; 3]) -> Result<Conflict, CompareError> {
    let list = |table: &mut Gatherer<'_>, rows: &Range<usize>| -> Result<Option<String>, CompareError> {
        let numbers: Vec<u32> = rows.clone().take(MOST_LISTED).map(|row| row as u32).collect();
        let lines = wholes(table.table(), &table.gather(&numbers)?)?.join("\n");
        Ok(Some(lines).filter(|lines| !lines.is_empty()))
    };
    let [base, ours, theirs] = rows;
    let [base_table, our_table, their_table] = tables;
    let key = format!(
        "rows {}..{} of base, {}..{} of ours, {}..{} of theirs",
        base.start, base.end, ours.start, ours.end, theirs.start, theirs.end
    );
    Ok(Conflict {
        conflict: "rows",
        key: Some(key),
        column: None,
        base: list(base_table, base)?,
        ours: list(our_table, ours)?,
        theirs: list(their_table, theirs)?,
    })
}
