//! Rows in the order of some of their columns: what sorting gives, and which columns a table is sorted by.

use std::cmp::Ordering;
use std::ops::Range;

use crate::format::Physical;

use super::cells::{Cells, Items};
use super::dictionary::Dictionary;
use super::row_map::{MAX_ROWS, RowMap, RowRun};
use super::values::Values;

/// How one column orders rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    pub is_descending: bool,
    pub has_nulls_first: bool,
}

impl Direction {
    pub const ALL: [Direction; 4] = [
        Direction { is_descending: false, has_nulls_first: false },
        Direction { is_descending: true, has_nulls_first: false },
        Direction { is_descending: false, has_nulls_first: true },
        Direction { is_descending: true, has_nulls_first: true },
    ];

    /// How ranks compare, of which none is missing.
    fn compare(self, a: Option<u32>, b: Option<u32>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.is_descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (None, None) => Ordering::Equal,
            (None, Some(_)) if self.has_nulls_first => Ordering::Less,
            (Some(_), None) if !self.has_nulls_first => Ordering::Less,
            _ => Ordering::Greater,
        }
    }
}

/// The ranks of a column's cells among all of them, row by row.
#[derive(Debug, Default)]
pub struct Ranks(Vec<Option<u32>>);

impl Ranks {
    /// Of the cells of a column; none where cells repeat in a row, or rows are more than a map may have.
    pub fn of(runs: &[Cells]) -> Option<Ranks> {
        let Some(first) = runs.first() else { return Some(Ranks::default()) };
        let rows: usize = runs.iter().map(|cells| cells.entries).sum();
        (rows as u64 <= MAX_ROWS).then_some(())?;
        let mut dictionary = Dictionary::of(Values::none(first.physical));
        let mut ranks = Vec::new();
        for cells in runs {
            (cells.max_repetition == 0 && cells.physical == first.physical).then_some(())?;
            let mut numbers: Vec<u32> = match &cells.items {
                Items::Plain(values) => values.iter().map(|value| dictionary.number(value)).collect(),
                Items::Coded { codes, dictionary: values } => {
                    let numbers: Vec<u32> = values.iter().map(|value| dictionary.number(value)).collect();
                    codes.iter().map(|code| numbers[*code as usize]).collect()
                }
            };
            let mut next = numbers.drain(..);
            ranks.extend(
                (0..cells.entries).map(|entry| if cells.has_value(entry) { next.next() } else { None }),
            );
        }
        let of_numbers = ranks_of(dictionary.values(), first.physical);
        ranks.iter_mut().flatten().for_each(|rank| *rank = of_numbers[*rank as usize]);
        Some(Ranks(ranks))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rank of each row's cell; none where it has no value.
    pub fn iter(&self) -> impl Iterator<Item = Option<u32>> {
        self.0.iter().copied()
    }

    /// How many ranks there are.
    pub fn count(&self) -> usize {
        self.0.iter().flatten().max().map_or(0, |most| *most as usize + 1)
    }

    /// How many of the pairs of neighbours that are tied this puts in order; none where one is in the wrong order.
    pub fn orders(&self, direction: Direction, tied: &[bool]) -> Option<usize> {
        let mut ordered = 0;
        for (pair, _) in self.0.windows(2).zip(tied).filter(|(_, tied)| **tied) {
            match direction.compare(pair[0], pair[1]) {
                Ordering::Less => ordered += 1,
                Ordering::Equal => {}
                Ordering::Greater => return None,
            }
        }
        Some(ordered)
    }

    /// Takes away from the pairs of neighbours that are tied those that this tells apart.
    pub fn untie(&self, tied: &mut [bool]) {
        self.0.windows(2).zip(tied).for_each(|(pair, tied)| *tied &= pair[0] == pair[1]);
    }
}

/// The least and the greatest value; none where there is no value.
pub fn extremes(cells: &Cells) -> Option<[&[u8]; 2]> {
    let (Items::Plain(values) | Items::Coded { dictionary: values, .. }) = &cells.items;
    extremes_of(values.iter(), cells.physical)
}

/// The same of the values at some places, which must be there.
pub fn extremes_in(cells: &Cells, places: Range<usize>) -> Option<[&[u8]; 2]> {
    match &cells.items {
        Items::Plain(all) => extremes_of(places.map(|at| all.get(at)), cells.physical),
        Items::Coded { codes, dictionary } => {
            // Each different value is compared once, in the order of the values.
            let codes = &codes[places];
            let used = if codes.len() < dictionary.len() {
                let mut used = codes.to_vec();
                used.sort_unstable();
                used.dedup();
                used
            } else {
                let mut is_used = vec![false; dictionary.len()];
                codes.iter().for_each(|code| is_used[*code as usize] = true);
                (0..dictionary.len() as u32).filter(|code| is_used[*code as usize]).collect()
            };
            extremes_of(used.iter().map(|code| dictionary.get(*code as usize)), cells.physical)
        }
    }
}

fn extremes_of<'a>(mut values: impl Iterator<Item = &'a [u8]>, physical: Physical) -> Option<[&'a [u8]; 2]> {
    let first = values.next()?;
    if matches!(physical, Physical::Bytes | Physical::Fixed(_)) {
        return Some(extremes_of_bytes(first, values));
    }
    Some(values.fold([first; 2], |[least, most], value| {
        let is_less = compare(value, least, physical) == Ordering::Less;
        let is_more = compare(value, most, physical) != Ordering::Less;
        [if is_less { value } else { least }, if is_more { value } else { most }]
    }))
}

/// The same of bytes: nearly all are told by their first eight to lie between both.
fn extremes_of_bytes<'a>(first: &'a [u8], values: impl Iterator<Item = &'a [u8]>) -> [&'a [u8]; 2] {
    let head = |value: &[u8]| match value.first_chunk() {
        Some(head) => u64::from_be_bytes(*head),
        None => value.iter().rev().fold(0, |head, byte| head >> 8 | u64::from(*byte) << 56),
    };
    let ([mut least, mut most], [mut least_head, mut most_head]) = ([first; 2], [head(first); 2]);
    for value in values {
        let own = head(value);
        if own <= least_head && value < least {
            (least, least_head) = (value, own);
        }
        if own >= most_head && value >= most {
            (most, most_head) = (value, own);
        }
    }
    [least, most]
}

/// The ranks of different values; those that compare as equal have the same.
fn ranks_of(values: &Values, physical: Physical) -> Vec<u32> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    let compare = |a: u32, b: u32| compare(values.get(a as usize), values.get(b as usize), physical);
    order.sort_by(|a, b| compare(*a, *b));
    let mut ranks = vec![0; values.len()];
    let mut rank = 0;
    for (place, number) in order.iter().enumerate() {
        if place > 0 && compare(order[place - 1], *number) != Ordering::Equal {
            rank += 1;
        }
        ranks[*number as usize] = rank;
    }
    ranks
}

fn compare(a: &[u8], b: &[u8], physical: Physical) -> Ordering {
    fn both<const N: usize>(a: &[u8], b: &[u8]) -> Option<([u8; N], [u8; N])> {
        Some((a.try_into().ok()?, b.try_into().ok()?))
    }
    let found = match physical {
        Physical::Int32 => both(a, b).map(|(a, b)| i32::from_le_bytes(a).cmp(&i32::from_le_bytes(b))),
        Physical::Int64 => both(a, b).map(|(a, b)| i64::from_le_bytes(a).cmp(&i64::from_le_bytes(b))),
        Physical::Float => {
            both(a, b).map(|(a, b)| real(f32::from_le_bytes(a).into(), f32::from_le_bytes(b).into()))
        }
        Physical::Double => both(a, b).map(|(a, b)| real(f64::from_le_bytes(a), f64::from_le_bytes(b))),
        _ => None,
    };
    found.unwrap_or_else(|| a.cmp(b))
}

/// What is no number comes last.
fn real(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The map of rows that are sorted by these columns, the first one first; equal rows keep their order. None where
/// the columns don't fit each other, or rows are more than a map may have.
pub fn sorted(keys: &[(Ranks, Direction)]) -> Option<RowMap> {
    let rows = keys.first()?.0.len();
    (rows as u64 <= MAX_ROWS).then_some(())?;
    (keys.iter().all(|(ranks, _)| ranks.len() == rows)).then_some(())?;
    let mut order: Vec<u32> = (0..u32::try_from(rows).ok()?).collect();
    order.sort_by(|a, b| {
        keys.iter().fold(Ordering::Equal, |found, (ranks, direction)| {
            found.then_with(|| direction.compare(ranks.0[*a as usize], ranks.0[*b as usize]))
        })
    });
    let mut map = RowMap::default();
    order.iter().for_each(|row| map.push(RowRun { rows: 1, from: Some(*row), is_changed: false }));
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// The map is what the sort gives, or all columns are wrong together.
    #[test]
    fn rows_are_sorted_by_several_columns() {
        let first = || Ranks::of(&[cells(&[Some(2), None, Some(-1)]), cells(&[Some(2), Some(-1)])]).unwrap();
        let second = || Ranks::of(&[cells(&[Some(1), Some(5), Some(3), Some(9), Some(2)])]).unwrap();
        let rows = |keys: &[(Ranks, Direction)]| -> Vec<u32> {
            let map = sorted(keys).unwrap();
            map.runs.iter().flat_map(|run| (0..run.rows).map(|row| run.from.unwrap() + row)).collect()
        };
        let [up, down, up_nulls, _] = Direction::ALL;
        assert_eq!(rows(&[(first(), up)]), [2, 4, 0, 3, 1]);
        assert_eq!(rows(&[(first(), up_nulls)]), [1, 2, 4, 0, 3]);
        assert_eq!(rows(&[(first(), up), (second(), up)]), [4, 2, 0, 3, 1]);
        assert_eq!(rows(&[(first(), down), (second(), down)]), [3, 0, 2, 4, 1]);
    }

    /// Statistics of text follow from it, or are stored.
    #[test]
    fn extremes_of_text_are_those_of_its_bytes() {
        let texts = ["abcdefgh", "b", "abcdefg", "", "abcdefgh\0", "b\0", "\0", "abcdefghz", "\u{e9}"];
        for many in 1..=texts.len() {
            let mut values = Values::none(Physical::Bytes);
            texts[..many].iter().for_each(|text| values.push(text.as_bytes()));
            let found = extremes_of(values.iter(), Physical::Bytes).unwrap();
            let [least, most] = [texts[..many].iter().min(), texts[..many].iter().max()];
            assert_eq!(found, [least.unwrap().as_bytes(), most.unwrap().as_bytes()]);
        }
    }

    /// A stretch is short or long against the dictionary; of values that compare as equal the first is the least and the
    /// last the greatest in both cases, or a header gets another zero than it had.
    #[test]
    fn extremes_of_codes_are_those_of_their_values() {
        let all = [0.0f32, 7.0, -0.0, -2.0, 9.0];
        let mut dictionary = Values::none(Physical::Float);
        all.iter().for_each(|value| dictionary.push(&value.to_le_bytes()));
        let codes = vec![2, 0, 1, 3, 3, 0, 2, 4, 1];
        let items = Items::Coded { codes, dictionary };
        let cells = Cells { physical: Physical::Float, items, ..cells(&[Some(0); 9]) };
        let found = |places| extremes_in(&cells, places).map(|both| both.map(|value| value.to_vec()));
        let of = |least: f32, most: f32| Some([least, most].map(|value| value.to_le_bytes().to_vec()));
        assert_eq!(found(0..2), of(0.0, -0.0));
        assert_eq!(found(2..4), of(-2.0, 7.0));
        assert_eq!(found(0..9), of(-2.0, 9.0));
        assert_eq!(found(4..4), None);
    }

    #[test]
    fn a_sorted_column_is_told() {
        let ranks = Ranks::of(&[cells(&[Some(1), Some(1), Some(7), None])]).unwrap();
        let mut tied = vec![true; 3];
        let [up, down, up_nulls, _] = Direction::ALL;
        assert_eq!(ranks.orders(up, &tied), Some(2));
        assert_eq!((ranks.orders(down, &tied), ranks.orders(up_nulls, &tied)), (None, None));
        ranks.untie(&mut tied);
        assert_eq!(tied, [true, false, false]);
        let found = cells(&[Some(3), None, Some(-2), Some(300)]);
        assert_eq!(extremes(&found).unwrap(), [&(-2i32).to_le_bytes()[..], &300i32.to_le_bytes()]);
        assert_eq!(extremes_in(&found, 0..2).unwrap(), [&(-2i32).to_le_bytes()[..], &3i32.to_le_bytes()]);
        assert_eq!(extremes_in(&found, 1..1), None);
    }
}
