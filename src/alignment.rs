//! Which rows of a table are rows of another one, by their hashes alone.
//!
//! No key is needed: most rows follow the row that they followed before, so two cursors walk through both tables,
//! and only where they lose each other a hash table says where a row went. Hashes may collide; whoever relies on
//! equal rows compares them.

use std::ops::Range;

use crate::derive::Run;

/// Rows that are looked at behind a cursor before the hash table is asked.
const AHEAD: usize = 8;

/// How often one old row may stand in the new table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uses {
    /// Once: what is left over was removed or added.
    Once,
    /// As often as the new table has it: for who only wants to know where to copy it from.
    Any,
}

/// The new table as runs of old rows, and of rows that are new; there are fewer than 2³² of both.
pub fn align(old: &[u64], new: &[u64], uses: Uses) -> Vec<Run> {
    let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let left = (old.len() - same).min(new.len() - same);
    let end = old.iter().rev().zip(new.iter().rev()).take(left).take_while(|(old, new)| old == new).count();
    let mut runs = Runs::default();
    runs.extend(same, Some(0));
    let middle = &new[same..new.len() - end];
    let range = if uses == Uses::Once { same..old.len() - end } else { 0..old.len() };
    let used = vec![false; range.len()];
    let mut walk = Walk { old, range, next: same, used, places: None, uses };
    middle.iter().for_each(|hash| runs.push(walk.step(*hash)));
    runs.extend(end, Some(old.len() - end));
    runs.0
}

/// Runs that join where they can.
#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    fn push(&mut self, from: Option<usize>) {
        self.extend(1, from);
    }

    fn extend(&mut self, rows: usize, from: Option<usize>) {
        let (rows, from) = (rows as u32, from.map(|from| from as u32));
        if rows == 0 {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.from.map(|from| from + last.rows) == from => last.rows += rows,
            _ => self.0.push(Run { rows, from }),
        }
    }
}

/// The cursor in the old table.
struct Walk<'a> {
    old: &'a [u64],
    /// What may be used: not what both ends have, unless rows may be used again.
    range: Range<usize>,
    next: usize,
    /// Of the rows in the range.
    used: Vec<bool>,
    /// Made when it is first needed.
    places: Option<Places>,
    uses: Uses,
}

impl Walk<'_> {
    /// The old row that is this one.
    fn step(&mut self, hash: u64) -> Option<usize> {
        let at = self.near(hash).or_else(|| self.far(hash))?;
        self.used[at - self.range.start] = true;
        self.next = at + 1;
        Some(at)
    }

    fn near(&self, hash: u64) -> Option<usize> {
        let near = self.next..self.range.end.min(self.next + AHEAD);
        near.into_iter().find(|&at| self.old[at] == hash && !self.is_taken(at))
    }

    fn far(&mut self, hash: u64) -> Option<usize> {
        let old = &self.old[self.range.clone()];
        let places = self.places.get_or_insert_with(|| Places::of(old));
        let slot = places.slot(old, hash);
        let (mut at, mut last) = (places.first[slot], NOWHERE);
        while at != NOWHERE && self.used[at as usize] {
            (last, at) = (at, places.next[at as usize]);
        }
        // What is used stays used: it is passed over once, but for the last, which may be used again.
        places.first[slot] = if at == NOWHERE { last } else { at };
        let at = if at == NOWHERE && self.uses == Uses::Any { last } else { at };
        (at != NOWHERE).then(|| self.range.start + at as usize)
    }

    fn is_taken(&self, at: usize) -> bool {
        self.uses == Uses::Once && self.used[at - self.range.start]
    }
}

const NOWHERE: u32 = u32::MAX;

/// Where the rows of each hash lie.
struct Places {
    /// By hash, with open addressing: the first row that has it.
    first: Vec<u32>,
    /// The next row of the same hash.
    next: Vec<u32>,
}

impl Places {
    fn of(old: &[u64]) -> Places {
        let slots = (old.len() * 2).next_power_of_two();
        let mut places = Places { first: vec![NOWHERE; slots], next: vec![NOWHERE; old.len()] };
        for at in (0..old.len()).rev() {
            let slot = places.slot(old, old[at]);
            places.next[at] = std::mem::replace(&mut places.first[slot], at as u32);
        }
        places
    }

    /// The slot of that hash, or the one where it would be.
    fn slot(&self, old: &[u64], hash: u64) -> usize {
        let mask = self.first.len() - 1;
        let mut slot = (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        while self.first[slot] != NOWHERE && old[self.first[slot] as usize] != hash {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(rows: u32, from: Option<u32>) -> Run {
        Run { rows, from }
    }

    /// What people do to tables gives few runs: each costs bytes in every column.
    #[test]
    fn edits_give_few_runs() {
        let old: Vec<u64> = (0..100).map(|at| at * at + 7).collect();
        let aligned = |new: &[u64]| align(&old, new, Uses::Once);
        assert_eq!(aligned(&old), [run(100, Some(0))]);
        assert_eq!(aligned(&[&old[..], &[1, 2]].concat()), [run(100, Some(0)), run(2, None)]);
        assert_eq!(
            aligned(&[&old[..10], &[1], &old[11..50], &old[60..]].concat()),
            [run(10, Some(0)), run(1, None), run(39, Some(11)), run(40, Some(60))]
        );
        let turned = aligned(&[&old[70..], &old[..70]].concat());
        assert_eq!(turned, [run(30, Some(70)), run(70, Some(0))]);
        assert_eq!(align(&[], &[1], Uses::Once), [run(1, None)]);
        assert_eq!(align(&[1], &[], Uses::Once), []);
    }

    /// A row that stands twice in the new table and once in the old one was added once.
    #[test]
    fn rows_are_used_as_often_as_they_may() {
        let new = [5, 1, 5, 2, 5];
        assert_eq!(align(&[1, 2, 5], &new, Uses::Once).iter().filter(|run| run.from.is_none()).count(), 2);
        assert!(align(&[1, 2, 5], &new, Uses::Any).iter().all(|run| run.from.is_some()));
    }

    proptest! {
        /// Both tables are as long as told, equal rows are equal, and none is used twice that may be used once.
        #[test]
        fn runs_tell_the_truth(
            old in proptest::collection::vec(0..40u64, 0..200),
            new in proptest::collection::vec(0..40u64, 0..200),
        ) {
            for uses in [Uses::Once, Uses::Any] {
                let runs = align(&old, &new, uses);
                let mut used = vec![0; old.len()];
                let mut at = 0;
                for run in &runs {
                    for row in 0..run.rows {
                        if let Some(from) = run.from {
                            prop_assert_eq!(old[(from + row) as usize], new[at]);
                            used[(from + row) as usize] += 1;
                        } else if uses == Uses::Any {
                            prop_assert!(!old.contains(&new[at]));
                        }
                        at += 1;
                    }
                }
                prop_assert_eq!(at, new.len());
                if uses == Uses::Once {
                    prop_assert!(used.iter().all(|count| *count <= 1));
                    // None is new of which an old one is left.
                    let left = |hash: u64| old.iter().zip(&used).any(|(old, used)| *old == hash && *used == 0);
                    let mut at = 0;
                    for run in &runs {
                        if run.from.is_none() {
                            prop_assert!(new[at..at + run.rows as usize].iter().all(|hash| !left(*hash)));
                        }
                        at += run.rows as usize;
                    }
                }
            }
        }
    }
}
