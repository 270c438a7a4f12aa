//! Rows that are left of a table because of what one of their cells is: a filter, as a set of ranks.

use super::cells::{Cells, Items};
use super::dictionary::Dictionary;
use super::order::Ranks;
use super::row_map::{RowMap, RowRun};

/// Which rows are kept, by the rank of their cell in one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whether rows without a value are.
    pub nulls: bool,
    /// Neighbouring ranks by turns: so many that are not, then so many that are. Those behind them are not.
    pub ranks: Vec<u32>,
}

impl Kept {
    /// Whether a column may decide, as far as its first rows tell: most don't, and are found out by two equal cells.
    pub fn may_be(first: &Cells, is_kept: &[bool]) -> bool {
        let numbers: Vec<u32> = match &first.items {
            Items::Coded { codes, .. } => codes.clone(),
            Items::Plain(values) => {
                let mut dictionary = Dictionary::of(values.none_like());
                values.iter().map(|value| dictionary.number(value)).collect()
            }
        };
        let mut of_number: Vec<Option<bool>> =
            vec![None; numbers.iter().max().map_or(0, |most| *most as usize + 1)];
        let (mut next, mut nulls) = (numbers.iter(), None);
        first.max_repetition == 0
            && (0..first.entries).zip(is_kept).all(|(entry, is_kept)| {
                let number = if first.has_value(entry) { next.next() } else { None };
                let known = number.map_or(&mut nulls, |number| &mut of_number[*number as usize]);
                *known.get_or_insert(*is_kept) == *is_kept
            })
    }

    /// The rule that keeps exactly these rows; none where two rows have the same cell, and only one is kept.
    pub fn of(ranks: &Ranks, is_kept: &[bool]) -> Option<Kept> {
        (ranks.len() == is_kept.len()).then_some(())?;
        let mut of_rank: Vec<Option<bool>> = vec![None; ranks.count()];
        let mut nulls = None;
        for (rank, is_kept) in ranks.iter().zip(is_kept) {
            let known = rank.map_or(&mut nulls, |rank| &mut of_rank[rank as usize]);
            (*known.get_or_insert(*is_kept) == *is_kept).then_some(())?;
        }
        let mut turns = Vec::new();
        for ranks in of_rank.chunk_by(|a, b| a == b) {
            let is_kept = ranks[0] == Some(true);
            if is_kept && turns.is_empty() {
                turns.push(0);
            }
            turns.push(ranks.len() as u32);
        }
        if turns.len() % 2 == 1 {
            turns.pop();
        }
        Some(Kept { nulls: nulls == Some(true), ranks: turns })
    }

    /// The map of the rows that are kept; none where the rule tells of more ranks than there are.
    pub fn map(&self, ranks: &Ranks) -> Option<RowMap> {
        let mut is_kept = Vec::new();
        for (turn, many) in self.ranks.iter().enumerate() {
            let end = is_kept.len().checked_add(*many as usize).filter(|end| *end <= ranks.count())?;
            is_kept.resize(end, turn % 2 == 1);
        }
        let mut map = RowMap::default();
        for (row, rank) in ranks.iter().enumerate() {
            let here = rank.map_or(self.nulls, |rank| is_kept.get(rank as usize).copied().unwrap_or(false));
            if here {
                map.push(RowRun { rows: 1, from: Some(row as u32), is_changed: false });
            }
        }
        Some(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Physical;
    use crate::table::Values;

    /// Numbers of one column, some of which are missing.
    fn cells(values: &[Option<i32>]) -> Cells {
        let mut numbers = Values::none(Physical::Int32);
        values.iter().flatten().for_each(|value| numbers.push(&value.to_le_bytes()));
        Cells {
            physical: Physical::Int32,
            max_definition: 1,
            max_repetition: 0,
            entries: values.len(),
            repetitions: Vec::new(),
            definitions: values.iter().map(|value| u8::from(value.is_some())).collect(),
            items: Items::Plain(numbers),
        }
    }

    fn ranks(values: &[Option<i32>]) -> Ranks {
        Ranks::of(&[cells(values)]).unwrap()
    }

    /// All columns hang on the map that the rule gives.
    #[test]
    fn a_filter_is_told_by_its_values() {
        let column = ranks(&[Some(7), Some(-3), None, Some(9), Some(7), Some(20), Some(9), None]);
        let kept = [true, false, false, true, true, false, true, false];
        let rule = Kept::of(&column, &kept).unwrap();
        assert_eq!(rule, Kept { nulls: false, ranks: vec![1, 2] });
        let rows = |rule: &Kept| -> Vec<u32> {
            let map = rule.map(&column).unwrap();
            map.runs.iter().flat_map(|run| (0..run.rows).map(|row| run.from.unwrap() + row)).collect()
        };
        assert_eq!(rows(&rule), [0, 3, 4, 6]);
        let without_nines = [true, true, true, false, true, true, false, true];
        let rule = Kept::of(&column, &without_nines).unwrap();
        assert_eq!(rule, Kept { nulls: true, ranks: vec![0, 2, 1, 1] });
        assert_eq!(rows(&rule), [0, 1, 2, 4, 5, 7]);
        let first = cells(&[Some(7), Some(-3), None, Some(9), Some(7)]);
        assert!(Kept::may_be(&first, &kept) && !Kept::may_be(&first, &without_nines[..].repeat(2)[3..]));
        let mut one_of_two = kept;
        one_of_two[4] = false;
        assert_eq!(Kept::of(&column, &one_of_two), None);
        assert_eq!(Kept { nulls: true, ranks: vec![2, 3] }.map(&column), None);
    }
}
