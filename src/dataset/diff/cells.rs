//! Which cells of changed rows differ.

use super::super::gather::Gatherer;
use super::super::hash;
use super::super::scan::CompareError;
use super::super::table::Table;
use super::TableDiff;
use crate::progress::Progress;

/// How many cells differ in each column that has such.
pub(super) fn count(
    old: &Table,
    new: &Table,
    diff: &TableDiff,
    progress: &Progress<'_>,
) -> Result<Vec<(String, u64)>, CompareError> {
    let mut counts = vec![0u64; diff.pairs.len()];
    let mut readers = gatherers(old, new, diff);
    for rows in diff.changed.chunks(diff.at_once(old, new)) {
        for (count, differ) in counts.iter_mut().zip(differing(&mut readers, rows)?) {
            *count += differ.iter().filter(|differs| **differs).count() as u64;
        }
        progress(0)?;
    }
    let names = diff.pairs.iter().map(|(_, column)| new.schema().field(*column).name().clone());
    Ok(names.zip(counts).filter(|(_, count)| *count > 0).collect())
}

/// What reads the columns that both tables have: the old ones, the new ones.
pub(super) fn gatherers<'a>(old: &'a Table, new: &'a Table, diff: &TableDiff) -> [Gatherer<'a>; 2] {
    let (old_columns, new_columns): (Vec<_>, Vec<_>) = diff.pairs.iter().copied().unzip();
    [Gatherer::of(old, old_columns), Gatherer::of(new, new_columns)]
}

/// For each pair of columns and each of these pairs of rows, whether the cells differ.
pub(super) fn differing(
    [old, new]: &mut [Gatherer<'_>; 2],
    rows: &[(u32, u32)],
) -> Result<Vec<Vec<bool>>, CompareError> {
    let (olds, news): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    let (before, after) = (old.gather(&olds)?, new.gather(&news)?);
    let failed = |error: arrow_schema::ArrowError| CompareError::Values {
        name: new.table().name().to_owned(),
        why: error.to_string(),
    };
    let columns = before.columns().iter().zip(after.columns());
    let differ = columns.map(|(before, after)| {
        let (before, after) = (hash::cells(before).map_err(failed)?, hash::cells(after).map_err(failed)?);
        Ok(before.iter().zip(&after).map(|(before, after)| before != after).collect())
    });
    differ.collect()
}
