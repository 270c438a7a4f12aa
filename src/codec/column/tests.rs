//! Cells come back, alone and from the rows of others, and no damage panics.

use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::derive::Run;
use crate::table::{Dictionary, RowMap};

/// A row: its entries, each a value or none.
type Row = Vec<Option<u8>>;

/// Cells of these rows: lists where some row has not one entry.
fn cells(rows: &[Row], physical: Physical, is_list: bool, is_coded: bool) -> Cells {
    let mut cells = Cells {
        physical,
        max_definition: 1,
        max_repetition: u8::from(is_list),
        entries: 0,
        repetitions: Vec::new(),
        definitions: Vec::new(),
        items: Items::Plain(Values::none(physical)),
    };
    let mut values = Values::none(physical);
    for row in rows {
        for (at, entry) in row.iter().enumerate() {
            cells.entries += 1;
            cells.definitions.push(u8::from(entry.is_some()));
            if is_list {
                cells.repetitions.push(u8::from(at > 0));
            }
            let Some(value) = entry else { continue };
            match physical {
                Physical::Bytes => values.push(&vec![*value; usize::from(value % 7)]),
                _ => values.push(&u64::from(*value).to_le_bytes()),
            }
        }
    }
    cells.items = if is_coded {
        let mut dictionary = Dictionary::of(values.none_like());
        let codes = values.iter().map(|value| dictionary.number(value)).collect();
        Items::Coded { codes, dictionary: dictionary.into_values() }
    } else {
        Items::Plain(values)
    };
    cells
}

fn row(is_list: bool) -> impl Strategy<Value = Row> {
    proptest::collection::vec(proptest::option::of(0..40u8), if is_list { 1..4 } else { 1..2usize })
}

/// The rows of two versions, and the map between them; which row is changed is not always true.
fn versions(is_list: bool) -> impl Strategy<Value = (Vec<Row>, Vec<Row>, RowMap)> {
    let old = proptest::collection::vec(row(is_list), 1..60);
    let steps = proptest::collection::vec((0..60usize, 1..20usize, 0..8u8, row(is_list)), 0..12);
    (old, steps).prop_map(|(old, steps)| {
        let (mut new, mut runs) = (Vec::new(), Vec::new());
        for (from, many, what, row) in steps {
            let from = from % old.len();
            let many = many.min(old.len() - from);
            if what == 0 {
                new.push(row);
                runs.push(Run { rows: 1, from: None });
                continue;
            }
            new.extend_from_slice(&old[from..from + many]);
            runs.push(Run { rows: many as u32, from: Some(from as u32) });
            if what == 1 {
                *new.last_mut().unwrap() = row;
            }
        }
        (old.clone(), new, RowMap::of(&runs, old.len()))
    })
}

fn split(old: &[Row], at: usize) -> [&[Row]; 2] {
    [&old[..at.min(old.len())], &old[at.min(old.len())..]]
}

proptest! {
    /// Cells are the only way back to pages that have nothing else.
    #[test]
    fn cells_alone_come_back(
        (rows, _, _) in versions(true),
        is_coded: bool,
        is_bytes: bool,
    ) {
        let physical = if is_bytes { Physical::Bytes } else { Physical::Int64 };
        let cells = cells(&rows, physical, true, is_coded);
        let bytes = cells.encode();
        prop_assert_eq!(Cells::decode(&bytes).unwrap(), cells.clone());
        let Encoded { codec, payload } = encode(&cells, Effort::Push);
        prop_assert_eq!(codec::decode(codec, &payload, &[], bytes.len()).unwrap(), bytes);
    }

    /// Whatever the map says, and however the old cells are divided and written, the new ones come back.
    #[test]
    fn cells_come_back_from_the_rows_of_others(
        (is_list, (old, new, map)) in any::<bool>().prop_flat_map(|is_list| (Just(is_list), versions(is_list))),
        [is_bytes, is_coded, first_is_coded, second_is_coded, has_object]: [bool; 5],
        at in 0..60usize,
    ) {
        let physical = if is_bytes { Physical::Bytes } else { Physical::Int64 };
        let [first, second] = split(&old, at);
        let first_cells = cells(first, physical, is_list, first_is_coded);
        let second_cells = cells(second, physical, is_list, second_is_coded);
        let new = cells(&new, physical, is_list, is_coded);
        let formers = [
            Former { cells: &first_cells, start: 0, is_cast: false },
            Former { cells: &second_cells, start: first.len() as u32, is_cast: false },
        ];
        let at = if has_object { MapAt::Object(0) } else { MapAt::Here };
        let found = encode_rows(&new, &map, at, &formers, Effort::Push);
        let Some(Encoded { codec, payload }) = found else {
            return Err(TestCaseError::fail("not encoded"));
        };
        let (map, first, second) = (map.encode(), first_cells.encode(), second_cells.encode());
        let bases: &[&[u8]] = if has_object { &[&map, &first, &second] } else { &[&first, &second] };
        let bytes = new.encode();
        prop_assert_eq!(codec::decode(codec, &payload, bases, bytes.len()).unwrap(), bytes);
    }

    /// Whatever the other column holds, and however it is divided and written, the cells come back.
    #[test]
    fn cells_come_back_from_another_column(
        rows in proptest::collection::vec((row(false), row(false), any::<bool>()), 1..200),
        [is_bytes, is_coded, first_is_coded, second_is_coded]: [bool; 4],
        before in 0..20usize,
        at in 0..200usize,
    ) {
        let physical = if is_bytes { Physical::Bytes } else { Physical::Int64 };
        // Most follow from the other column.
        let follows = |row: &Row| vec![row[0].map(|value| value % 5).filter(|value| *value > 0)];
        let own: Vec<Row> = rows
            .iter()
            .skip(before.min(rows.len() - 1))
            .map(|(other, own, is_free)| if *is_free { own.clone() } else { follows(other) })
            .collect();
        let other: Vec<Row> = rows.iter().map(|(other, ..)| other.clone()).collect();
        let [first, second] = split(&other, at);
        let own = cells(&own, physical, false, is_coded);
        let first = cells(first, Physical::Bytes, false, first_is_coded);
        let second = cells(second, Physical::Bytes, false, second_is_coded);
        let before = rows.len() - own.entries;
        let Encoded { codec, payload } = encode_beside(&own, &[&first, &second], before, Effort::Push).unwrap();
        let (first, second, bytes) = (first.encode(), second.encode(), own.encode());
        prop_assert_eq!(codec::decode(codec, &payload, &[&first, &second], bytes.len()).unwrap(), bytes);
        prop_assert!(codec::decode(codec, &payload, &[&first], own.encode().len()).is_err() || at >= rows.len());
    }

    /// A payload may come from anywhere.
    #[test]
    fn no_damage_panics_beside(
        rows in proptest::collection::vec((row(false), row(false)), 1..60),
        [is_coded, is_bytes]: [bool; 2],
        place: proptest::sample::Index,
        bit in 0..8u8,
    ) {
        let physical = if is_bytes { Physical::Bytes } else { Physical::Int64 };
        let (other, own): (Vec<Row>, Vec<Row>) = rows.into_iter().unzip();
        let [other, own] = [other, own].map(|rows| cells(&rows, physical, false, is_coded));
        let Encoded { codec, mut payload } = encode_beside(&own, &[&other], 0, Effort::Push).unwrap();
        let (base, len) = (other.encode(), own.encode().len());
        let at = place.index(payload.len());
        payload[at] ^= 1 << bit;
        let _ = codec::decode(codec, &payload, &[&base], len);
        payload.truncate(at);
        let _ = codec::decode(codec, &payload, &[&base], len);
    }

    /// A payload may come from anywhere.
    #[test]
    fn no_damage_panics(
        (old, new, map) in versions(true),
        is_coded: bool,
        place: proptest::sample::Index,
        bit in 0..8u8,
    ) {
        let former = cells(&old, Physical::Bytes, true, is_coded);
        let new = cells(&new, Physical::Bytes, true, is_coded);
        let formers = [Former { cells: &former, start: 0, is_cast: false }];
        let by_rows = encode_rows(&new, &map, MapAt::Here, &formers, Effort::Push).unwrap();
        let (base, len) = (former.encode(), new.encode().len());
        for Encoded { codec, mut payload } in [by_rows, encode(&new, Effort::Push)] {
            let at = place.index(payload.len());
            payload[at] ^= 1 << bit;
            let _ = codec::decode(codec, &payload, &[&base], len);
            payload.truncate(at);
            let _ = codec::decode(codec, &payload, &[&base], len);
        }
        let mut damaged = base.clone();
        let at = place.index(damaged.len());
        damaged[at] ^= 1 << bit;
        let _ = Cells::decode(&damaged);
        let _ = Cells::decode(&damaged[..at]);
    }
}

/// A page of a dictionary may name a value twice, and cells that are not those that were encoded are another object: they
/// are stored in another way.
#[test]
fn a_dictionary_with_a_value_twice_is_not_told_beside_another_column() {
    let other = cells(&[vec![Some(1)], vec![Some(2)], vec![Some(1)]], Physical::Int64, false, true);
    let of = |values: [u64; 2]| {
        let mut dictionary = Values::none(Physical::Int64);
        values.iter().for_each(|value| dictionary.push(&value.to_le_bytes()));
        Cells { items: Items::Coded { codes: vec![0, 1, 0], dictionary }, ..other.clone() }
    };
    assert!(encode_beside(&of([7, 8]), &[&other], 0, Effort::Push).is_some());
    assert!(encode_beside(&of([7, 7]), &[&other], 0, Effort::Push).is_none());
}

/// A column that says nothing new takes next to nothing, whichever values come first.
#[test]
fn what_follows_from_another_column_takes_next_to_nothing() {
    let number = |at: u64| {
        let x = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
    };
    let other: Vec<Row> = (0..20_000).map(|at| vec![Some((number(at) % 40) as u8)]).collect();
    let own: Vec<Row> =
        other.iter().map(|row| vec![row[0].filter(|value| *value % 7 > 0).map(|value| value / 3)]).collect();
    let [other, own] = [other, own].map(|rows| cells(&rows, Physical::Int64, false, true));
    let alone = encode(&own, Effort::Push).payload.len();
    let beside = encode_beside(&own, &[&other], 0, Effort::Push).unwrap().payload.len();
    assert!(alone > 5_000 && beside < 300, "{alone} {beside}");
}
