//! Which row of a table is which of another: by their hashes, whatever order they are in.
//!
//! A diff that people read counts rows as a bag: each old row is found again at most once.

use super::hash::Hash;
use crate::alignment::{Uses, align};
use crate::derive::Run;

/// Stands for a row that has no partner.
pub const NONE: u32 = u32::MAX;
/// Rows of a table that can be compared: their numbers are kept in 32 bits.
pub const MOST_ROWS: u64 = u32::MAX as u64 - 1;

/// For each new row the old one that it is, or `NONE`; no old row is named twice.
pub fn pair(old: &[Hash], new: &[Hash]) -> Vec<u32> {
    let halves = |hashes: &[Hash]| hashes.iter().map(|hash| *hash as u64).collect::<Vec<_>>();
    let mut from = Vec::with_capacity(new.len());
    for Run { rows, from: start } in align(&halves(old), &halves(new), Uses::Once) {
        from.extend((0..rows).map(|row| start.map_or(NONE, |start| start + row)));
    }
    // The other half tells rows apart whose first halves are the same by chance.
    for (new, from) in new.iter().zip(&mut from) {
        if *from != NONE && old[*from as usize] != *new {
            *from = NONE;
        }
    }
    from
}

/// Calls `both` with the rows of each hash that two sorted lists of rows share.
pub fn common(
    old: &[u32],
    new: &[u32],
    old_hash: impl Fn(u32) -> Hash,
    new_hash: impl Fn(u32) -> Hash,
    mut both: impl FnMut(&[u32], &[u32]),
) {
    let mut news = new.chunk_by(|a, b| new_hash(*a) == new_hash(*b)).peekable();
    for olds in old.chunk_by(|a, b| old_hash(*a) == old_hash(*b)) {
        let hash = old_hash(olds[0]);
        while news.next_if(|news| new_hash(news[0]) < hash).is_some() {}
        if let Some(news) = news.next_if(|news| new_hash(news[0]) == hash) {
            both(olds, news);
        }
    }
}

/// Of the rows that have a partner, the most that are in one order in both tables: the numbers of new rows.
///
/// The longest ascending subsequence, by patience sorting (Fredman 1975), in `n log n` steps.
pub fn in_order(from: &[u32]) -> Vec<u32> {
    let matched: Vec<u32> = (0..from.len() as u32).filter(|row| from[*row as usize] != NONE).collect();
    if matched.windows(2).all(|pair| from[pair[0] as usize] < from[pair[1] as usize]) {
        return matched;
    }
    // The row at the end of the best sequence of each length, and the row before each.
    let mut ends: Vec<u32> = Vec::new();
    let mut before = vec![NONE; from.len()];
    for row in matched {
        let length = ends.partition_point(|end| from[*end as usize] < from[row as usize]);
        before[row as usize] = length.checked_sub(1).map_or(NONE, |length| ends[length]);
        match ends.get_mut(length) {
            Some(end) => *end = row,
            None => ends.push(row),
        }
    }
    let mut sequence = Vec::with_capacity(ends.len());
    let mut row = ends.last().copied().unwrap_or(NONE);
    while row != NONE {
        sequence.push(row);
        row = before[row as usize];
    }
    sequence.reverse();
    sequence
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(text: &str) -> Vec<Hash> {
        text.bytes().map(Hash::from).collect()
    }

    fn moved(from: &[u32]) -> usize {
        from.iter().filter(|from| **from != NONE).count() - in_order(from).len()
    }

    /// What a reader of a diff expects: an insertion is one row, and equal rows don't change their places.
    #[test]
    fn rows_find_their_neighbours() {
        let from = pair(&hashes("pAxAyAq"), &hashes("rxAyAs"));
        assert_eq!(from, [NONE, 2, 3, 4, 5, NONE]);
        assert_eq!(moved(&from), 0);
        assert_eq!(pair(&hashes("abc"), &hashes("abxc")), [0, 1, NONE, 2]);
        assert_eq!(pair(&hashes("aaa"), &hashes("aa")), [0, 1]);
        let from = pair(&hashes("abcd"), &hashes("dabc"));
        assert_eq!((moved(&from), from), (1, vec![3, 0, 1, 2]));
        assert_eq!(pair(&[], &hashes("a")), [NONE]);
    }

    proptest! {
        /// As many rows find a partner as two bags share, each an equal one, and none twice.
        #[test]
        fn bags_share_what_they_share(old in "[a-e]{0,20}", new in "[a-e]{0,20}") {
            let (old, new) = (hashes(&old), hashes(&new));
            let from = pair(&old, &new);
            let mut seen = std::collections::HashSet::new();
            let mut left = old.clone();
            let mut shared = 0;
            for hash in &new {
                if let Some(at) = left.iter().position(|other| other == hash) {
                    left.swap_remove(at);
                    shared += 1;
                }
            }
            for (row, from) in from.iter().enumerate().filter(|(_, from)| **from != NONE) {
                prop_assert!(seen.insert(*from));
                prop_assert_eq!(old[*from as usize], new[row]);
            }
            prop_assert_eq!(seen.len(), shared);
            let order = in_order(&from);
            let ascends = |pair: &[u32]| pair[0] < pair[1] && from[pair[0] as usize] < from[pair[1] as usize];
            prop_assert!(order.windows(2).all(ascends));
        }
    }
}
