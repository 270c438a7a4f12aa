//! Changes of tables in words.

use crate::cli::report;
use crate::dataset::ColumnChange;
use crate::dataset::diff::TableDiff;

/// What happened to the rows: `63440 → 64074 rows, +634 -0 ~12`.
pub fn rows(found: &TableDiff) -> String {
    let head = match found.old_rows == found.new_rows {
        true => report::count(found.new_rows, "row"),
        false => format!("{} → {}", found.old_rows, report::count(found.new_rows, "row")),
    };
    let mut parts = vec![head];
    let (added, removed, changed) = (found.added.len(), found.removed.len(), found.changed.len());
    if added + removed + changed > 0 {
        let changed = if found.key.is_empty() { String::new() } else { format!(" ~{changed}") };
        parts.push(format!("+{added} -{removed}{changed}"));
    }
    if found.moved > 0 && added + removed + changed == 0 {
        parts.push(format!("the same in another order ({} moved)", found.moved));
    } else if found.moved > 0 {
        parts.push(format!("{} moved", found.moved));
    }
    if !found.key.is_empty() {
        parts.push(format!("key {}", found.key.join(", ")));
    }
    parts.join(", ")
}

/// What happened to a column.
pub fn column(change: &ColumnChange) -> String {
    match change {
        ColumnChange::Added { name, dtype } => format!("+ column {name} {dtype}"),
        ColumnChange::Dropped { name, dtype } => format!("- column {name} {dtype}"),
        ColumnChange::Renamed { name, old_name } => format!("~ column {old_name} → {name}"),
        ColumnChange::Retyped { name, dtype, old_dtype } => {
            format!("~ column {name}: {old_dtype} → {dtype}")
        }
        ColumnChange::Moved { name } => format!("~ column {name} stands elsewhere"),
    }
}
