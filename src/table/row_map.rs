//! From where each row of a stretch of a table is copied, as an object: all columns share it.
//!
//! Byte layout: docs/format.md, "Row maps".

use crate::derive::Run;
use crate::varint;

const RUNS: u8 = 0;
const PACKED: u8 = 1;
const PACKED_WITH_CHANGES: u8 = 2;
/// Most rows in one map.
pub const MAX_ROWS: u64 = 4 << 20;

/// Rows of a table, each copied from a row of another one, changed from it, or new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowMap {
    pub runs: Vec<RowRun>,
}

/// Rows that stand together in both tables, or are new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRun {
    pub rows: u32,
    /// The first of them in the other table; none for new ones.
    pub from: Option<u32>,
    /// Whether each has another cell in some column.
    pub is_changed: bool,
}

impl RowMap {
    /// The map of rows that were found in a table of `old_rows`.
    ///
    /// New ones are taken for changed ones where as many old ones are missing at their place; the first of a longer
    /// gap for the first of a shorter one.
    pub fn of(runs: &[Run], old_rows: usize) -> RowMap {
        let mut map = RowMap::default();
        let mut next = 0;
        for (at, run) in runs.iter().enumerate() {
            let Some(from) = run.from else {
                let end = runs.get(at + 1).and_then(|run| run.from).map_or(old_rows, |from| from as usize);
                let changed = end.saturating_sub(next).min(run.rows as usize) as u32;
                map.push(RowRun { rows: changed, from: Some(next as u32), is_changed: true });
                map.push(RowRun { rows: run.rows - changed, from: None, is_changed: false });
                continue;
            };
            map.push(RowRun { rows: run.rows, from: Some(from), is_changed: false });
            next = (from + run.rows) as usize;
        }
        map
    }

    /// Appends rows, joined to the last run where they go on.
    pub(super) fn push(&mut self, run: RowRun) {
        if run.rows == 0 {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.goes_on_with(&run) => last.rows += run.rows,
            _ => self.runs.push(run),
        }
    }

    /// The part that tells of `rows` rows from `first` on; shorter where the map ends before.
    pub fn part(&self, first: usize, rows: usize) -> RowMap {
        let (mut at, end) = (0, first + rows);
        let mut part = RowMap::default();
        for run in self.runs.iter() {
            if at >= end {
                break;
            }
            let next = at + run.rows as usize;
            let (start, stop) = (at.max(first), next.min(end));
            if start < stop {
                let skipped = (start - at) as u32;
                let from = run.from.map(|from| from + skipped);
                part.push(RowRun { rows: (stop - start) as u32, from, ..*run });
            }
            at = next;
        }
        part
    }

    pub fn rows(&self) -> usize {
        self.runs.iter().map(|run| run.rows as usize).sum()
    }

    /// As bytes: run by run, or row by row in as few bits as the numbers need, whichever is shorter.
    pub fn encode(&self) -> Vec<u8> {
        let mut by_run = vec![RUNS];
        let mut next = 0i64;
        for run in &self.runs {
            varint::put(&mut by_run, u64::from(run.rows) << 1 | u64::from(run.is_changed));
            // Most runs begin near where the last one ended.
            let off = run.from.map_or(0, |from| {
                let off = i64::from(from) - next;
                (off << 1 ^ off >> 63) as u64 + 1
            });
            varint::put(&mut by_run, off);
            next = run.from.map_or(next, |from| i64::from(from) + i64::from(run.rows));
        }
        let form = if self.runs.iter().any(|run| run.is_changed) { PACKED_WITH_CHANGES } else { PACKED };
        let most = self.runs.iter().filter_map(|run| Some(u64::from(run.from?) + u64::from(run.rows))).max();
        let bits = u64::BITS - most.unwrap_or(0).leading_zeros();
        let all_bits = bits + u32::from(form == PACKED_WITH_CHANGES);
        if bits == 0 || self.rows() * all_bits as usize / 8 + 6 >= by_run.len() {
            return by_run;
        }
        let mut packed = vec![form, bits as u8];
        packed.extend_from_slice(&(self.rows() as u32).to_le_bytes());
        let (mut word, mut used) = (0u128, 0);
        for run in &self.runs {
            for row in 0..run.rows {
                let number = run.from.map_or(0, |from| u64::from(from) + u64::from(row) + 1);
                word |= u128::from(number | u64::from(run.is_changed) << bits) << used;
                used += all_bits;
                while used >= 8 {
                    packed.push(word as u8);
                    word >>= 8;
                    used -= 8;
                }
            }
        }
        if used > 0 {
            packed.push(word as u8);
        }
        packed
    }

    /// Reads what `encode` wrote; none where the bytes are no map.
    pub fn decode(bytes: &[u8]) -> Option<RowMap> {
        let (&form, rest) = bytes.split_first()?;
        match form {
            RUNS => decode_runs(rest),
            PACKED => decode_packed(rest, false),
            PACKED_WITH_CHANGES => decode_packed(rest, true),
            _ => None,
        }
    }
}

impl RowRun {
    fn goes_on_with(&self, next: &RowRun) -> bool {
        let here = self.from.is_some() == next.from.is_some() && self.is_changed == next.is_changed;
        here && self.from.is_none_or(|from| from.checked_add(self.rows) == next.from)
    }
}

fn decode_runs(mut rest: &[u8]) -> Option<RowMap> {
    let (mut runs, mut next, mut all) = (Vec::new(), 0i64, 0);
    while !rest.is_empty() {
        let head = varint::take(&mut rest)?;
        let (rows, is_changed) = (u32::try_from(head >> 1).ok().filter(|rows| *rows > 0)?, head & 1 == 1);
        let from = match varint::take(&mut rest)?.checked_sub(1) {
            None => None,
            Some(off) => {
                let off = (off >> 1) as i64 ^ -((off & 1) as i64);
                Some(u32::try_from(next.checked_add(off)?).ok()?)
            }
        };
        next = from.map_or(next, |from| i64::from(from) + i64::from(rows));
        all += u64::from(rows);
        (all <= MAX_ROWS && next <= i64::from(u32::MAX)).then_some(())?;
        runs.push(RowRun { rows, from, is_changed });
    }
    Some(RowMap { runs })
}

fn decode_packed(rest: &[u8], has_changes: bool) -> Option<RowMap> {
    let (&bits, rest) = rest.split_first()?;
    let (rows, rest) = rest.split_first_chunk::<4>()?;
    let (bits, rows) = (u32::from(bits), u32::from_le_bytes(*rows));
    let all_bits = bits + u32::from(has_changes);
    let len = (u64::from(rows) * u64::from(all_bits)).div_ceil(8);
    ((1..=33).contains(&bits) && u64::from(rows) <= MAX_ROWS && rest.len() as u64 == len).then_some(())?;
    let mut map = RowMap::default();
    let (mut word, mut have, mut bytes) = (0u64, 0, rest.iter());
    for _ in 0..rows {
        while have < all_bits {
            word |= u64::from(*bytes.next()?) << have;
            have += 8;
        }
        let is_changed = word >> bits & u64::from(has_changes) == 1;
        let from = match (word & ((1 << bits) - 1)).checked_sub(1) {
            Some(from) => Some(u32::try_from(from).ok().filter(|from| *from < u32::MAX)?),
            None => None,
        };
        word >>= all_bits;
        have -= all_bits;
        map.push(RowRun { rows: 1, from, is_changed });
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(runs: &[(u32, Option<u32>, bool)]) -> RowMap {
        RowMap {
            runs: runs.iter().map(|&(rows, from, is_changed)| RowRun { rows, from, is_changed }).collect(),
        }
    }

    /// All columns of a table hang on it.
    #[test]
    fn maps_come_back_in_all_forms() {
        let edited = [(1000, Some(0), false), (3, None, false), (20, Some(1001), true), (1, Some(2), false)];
        let scattered: Vec<_> = (0..5000u32).map(|row| (1, Some(row * 7919 % 5000), false)).collect();
        let mut changed = scattered.clone();
        changed[77].2 = true;
        let forms = [
            (map(&edited), RUNS),
            (map(&scattered), PACKED),
            (map(&changed), PACKED_WITH_CHANGES),
            (map(&[]), RUNS),
        ];
        for (map, form) in forms {
            let bytes = map.encode();
            assert_eq!(bytes[0], form);
            assert_eq!(RowMap::decode(&bytes).unwrap(), map);
            for at in 0..bytes.len().min(200) {
                let _ = RowMap::decode(&bytes[..at]);
                let mut bad = bytes.clone();
                bad[at] ^= 0x90;
                let _ = RowMap::decode(&bad);
            }
        }
        // Rows that are none would take memory, and are never written.
        assert_eq!(RowMap::decode(&[RUNS, 0, 1, 2, 0]), None);
        // 13 bits a row, and the head.
        assert!(map(&scattered).encode().len() <= 5000 * 13 / 8 + 7);
    }

    #[test]
    fn a_part_tells_of_its_rows() {
        let whole = map(&[(10, Some(5), false), (4, None, false), (6, Some(100), true)]);
        assert_eq!(whole.part(0, 20), whole);
        let middle = map(&[(2, Some(13), false), (4, None, false), (2, Some(100), true)]);
        assert_eq!(whole.part(8, 8), middle);
        assert_eq!(whole.part(18, 8), map(&[(2, Some(104), true)]));
    }

    /// A cell that was corrected is a cell; a row that is added and one that is gone cost all columns.
    #[test]
    fn gaps_of_one_length_are_changes() {
        let of = |runs: &[(u32, Option<u32>)], old_rows| {
            let runs: Vec<Run> = runs.iter().map(|&(rows, from)| Run { rows, from }).collect();
            RowMap::of(&runs, old_rows)
        };
        let found = of(&[(10, Some(0)), (2, None), (5, Some(11)), (3, None)], 18);
        let paired = [
            (10, Some(0), false),
            (1, Some(10), true),
            (1, None, false),
            (5, Some(11), false),
            (2, Some(16), true),
            (1, None, false),
        ];
        assert_eq!(found, map(&paired));
        let turned = of(&[(2, Some(5)), (1, None), (1, Some(3))], 9);
        assert_eq!(turned, map(&[(2, Some(5), false), (1, None, false), (1, Some(3), false)]));
    }
}
