//! Which cells of changed rows differ.

use super::super::gather::{AT_ONCE, gather};
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
    for rows in diff.changed.chunks(AT_ONCE) {
        for (count, differ) in counts.iter_mut().zip(differing(old, new, diff, rows)?) {
            *count += differ.iter().filter(|differs| **differs).count() as u64;
        }
        progress(0)?;
    }
    let names = diff.pairs.iter().map(|(_, column)| new.schema().field(*column).name().clone());
    Ok(names.zip(counts).filter(|(_, count)| *count > 0).collect())
}

/// For each pair of columns and each of these pairs of rows, whether the cells differ.
pub(super) fn differing(
    old: &Table,
    new: &Table,
    diff: &TableDiff,
    rows: &[(u32, u32)],
) -> Result<Vec<Vec<bool>>, CompareError> {
    let (olds, news): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    let (old_columns, new_columns): (Vec<_>, Vec<_>) = diff.pairs.iter().copied().unzip();
    let (before, after) = (gather(old, &olds, &old_columns)?, gather(new, &news, &new_columns)?);
    let failed = |error: arrow_schema::ArrowError| CompareError::Values {
        name: new.name().to_owned(),
        why: error.to_string(),
    };
    let columns = before.columns().iter().zip(after.columns());
    let differ = columns.map(|(before, after)| {
        let (before, after) = (hash::cells(before).map_err(failed)?, hash::cells(after).map_err(failed)?);
        Ok(before.iter().zip(&after).map(|(before, after)| before != after).collect())
    });
    differ.collect()
}
