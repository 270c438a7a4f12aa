//! Any payload of a table's column, of its pages or of a map of its rows, over bases that are sound cells and maps: an error, or
//! bytes of the length that was asked for; and what is encoded from such cells comes back.
//!
//! Input: codec, decoded length (2 bytes), payload length (2 bytes), payload, cells. `decode` has any bytes as bases, of which
//! most are refused before a payload is looked at.

#![no_main]

use git_sparse::codec::column::{self, Former, MapAt};
use git_sparse::codec::{self, Codec, Effort, Encoded};
use git_sparse::format::Physical;
use git_sparse::table::{Cells, Dictionary, Items, RowMap, RowRun, Values};
use libfuzzer_sys::fuzz_target;

const CODECS: [Codec; 7] = [
    Codec::Column,
    Codec::ColumnRows,
    Codec::ColumnBeside,
    Codec::Pages,
    Codec::Sorted,
    Codec::Filtered,
    Codec::Unpacked,
];

/// A row for each byte: none, or a value.
fn cells(rows: &[u8], is_coded: bool) -> Cells {
    let mut values = Values::none(Physical::Bytes);
    rows.iter().filter(|row| **row > 0).for_each(|row| values.push(&vec![*row; usize::from(row % 5)]));
    let items = if is_coded {
        let mut dictionary = Dictionary::of(values.none_like());
        let codes = values.iter().map(|value| dictionary.number(value)).collect();
        Items::Coded { codes, dictionary: dictionary.into_values() }
    } else {
        Items::Plain(values)
    };
    Cells {
        physical: Physical::Bytes,
        max_definition: 1,
        max_repetition: 0,
        entries: rows.len(),
        repetitions: Vec::new(),
        definitions: rows.iter().map(|row| u8::from(*row > 0)).collect(),
        items,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((head, rest)) = input.split_first_chunk::<5>() else { return };
    let len = usize::from(u16::from_le_bytes([head[1], head[2]]));
    let (payload, rows) = rest.split_at(usize::from(u16::from_le_bytes([head[3], head[4]])).min(rest.len()));
    let (first, second) = rows.split_at(rows.len() / 2);
    let is_coded = head[0] & 0x80 == 0;
    let [one, two] = [cells(first, is_coded), cells(second, !is_coded)];
    let map = RowMap { runs: vec![RowRun { rows: first.len() as u32, from: Some(0), is_changed: false }] };
    let [a, b, c] = [map.encode(), one.encode(), two.encode()];
    let codec = CODECS[usize::from(head[0] & 0x7f) % CODECS.len()];
    for bases in [&[&b[..], &c][..], &[&a, &b, &c], &[&c]] {
        if let Ok(bytes) = codec::decode(codec, payload, bases, len) {
            assert_eq!(bytes.len(), len);
        }
    }
    let _ = RowMap::decode(payload);
    let back = |Encoded { codec, payload }: Encoded, bases: &[&[u8]], cells: &Cells| {
        let bytes = cells.encode();
        assert_eq!(codec::decode(codec, &payload, bases, bytes.len()).as_deref(), Ok(&bytes[..]));
    };
    if let Some(found) = column::encode_beside(&one, &[&two], 0, Effort::Push) {
        back(found, &[&c], &one);
    }
    let formers = [Former { cells: &one, start: 0, is_cast: false }];
    let whole = cells(first, !is_coded);
    if let Some(found) = column::encode_rows(&whole, &map, MapAt::Here, &formers, Effort::Push) {
        back(found, &[&b], &whole);
    }
});
