//! Hashes of rows, column by column.
//!
//! They last as long as one comparison: nothing that is stored depends on them.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use super::cells::{Cells, Items};
use super::rows::Rows;

/// Adds the hashes of a column's cells to those of their rows; false where the rows don't fit.
///
/// The order in which columns are added does not matter. `column` tells them apart.
pub fn add_hashes(cells: &Cells, column: &str, rows: &mut [u64]) -> bool {
    let Some(places) = Rows::of(cells).filter(|places| places.len() == rows.len()) else { return false };
    let state = FixedState::with_seed(FixedState::default().hash_one(column));
    let hash = |value: &[u8]| {
        let mut hasher = state.build_hasher();
        hasher.write(value);
        hasher.finish()
    };
    let of_values: Vec<u64> = match &cells.items {
        Items::Plain(values) => values.iter().map(hash).collect(),
        Items::Coded { codes, dictionary } => {
            let hashes: Vec<u64> = dictionary.iter().map(hash).collect();
            codes.iter().map(|code| hashes[*code as usize]).collect()
        }
    };
    for (row, sum) in rows.iter_mut().enumerate() {
        let entries = places.entries(row..row + 1);
        let mut values = of_values[places.values(entries.clone())].iter();
        let of_row = entries.fold(0u64, |of_row, entry| {
            let definition = cells.definitions.get(entry).copied().unwrap_or(cells.max_definition);
            let level =
                u64::from(definition) << 8 | u64::from(cells.repetitions.get(entry).copied().unwrap_or(0));
            let value = if cells.has_value(entry) { values.next().copied().unwrap_or(0) } else { !0 };
            (of_row.rotate_left(23) ^ value ^ level).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        *sum = sum.wrapping_add((of_row ^ of_row >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    }
    true
}
