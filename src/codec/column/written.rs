//! The cells that are in none of the rows that others are copied from.

use super::super::payload::{Reader, put_count};
use super::super::{DecodeError, Effort};
use super::codes::{put_codes, take_codes};
use super::sources::Sources;
use super::streams::{put_values, take_values};
use super::{count_of, dtype_of, put_levels, take_levels};
use crate::table::{Cells, Dictionary, Items, Kind, Rows, Values};

/// Rows that are written, and the values that their codes are numbers of: the old ones, then new ones.
pub(super) struct Written {
    pub cells: Cells,
    pub dictionary: Values,
}

pub(super) fn put_written(
    payload: &mut Vec<u8>,
    cells: &Cells,
    own: &Rows,
    written: &[usize],
    dictionary: Option<Dictionary>,
    context: &[u8],
    effort: Effort,
) {
    let rows = written.iter().map(|row| own.entries(*row..row + 1));
    let mut new = cells.without_items();
    let mut places = Vec::new();
    for range in rows {
        new.extend_levels(cells, range.clone());
        places.push(own.values(range));
    }
    put_count(payload, new.entries);
    put_levels(payload, &new, effort);
    let dtype = dtype_of(cells.physical);
    match (&cells.items, dictionary) {
        (Items::Coded { codes, dictionary: values }, Some(mut dictionary)) => {
            let old = dictionary.values().len();
            let mut numbers = vec![u32::MAX; values.len()];
            let codes: Vec<u32> = places
                .into_iter()
                .flatten()
                .map(|place| {
                    let code = codes[place] as usize;
                    if numbers[code] == u32::MAX {
                        numbers[code] = dictionary.number(values.get(code));
                    }
                    numbers[code]
                })
                .collect();
            put_codes(payload, &codes, old, dictionary.values().len(), effort);
            let mut new = values.none_like();
            new.extend(dictionary.values(), old..dictionary.values().len());
            put_count(payload, new.len());
            put_values(payload, &new, dtype, context, effort);
        }
        (items, _) => {
            let mut values = Values::none(cells.physical);
            places.into_iter().flatten().for_each(|place| values.push(items.get(place)));
            put_count(payload, values.len());
            put_values(payload, &values, dtype, context, effort);
        }
    }
}

/// No rows that are written: all are copied.
pub(super) fn nothing_written(kind: Kind, is_coded: bool, sources: &Sources<'_>) -> Written {
    let Kind { physical, max_definition, max_repetition } = kind;
    let none = Values::none(physical);
    let (items, dictionary) = match is_coded {
        true => {
            let dictionary = sources.dictionary(none.clone()).into_values();
            (Items::Coded { codes: Vec::new(), dictionary: none }, dictionary)
        }
        false => (Items::Plain(none.clone()), none),
    };
    let (repetitions, definitions) = (Vec::new(), Vec::new());
    let cells =
        Cells { physical, max_definition, max_repetition, entries: 0, repetitions, definitions, items };
    Written { cells, dictionary }
}

pub(super) fn take_written(
    reader: &mut Reader<'_>,
    kind: Kind,
    is_coded: bool,
    sources: &Sources<'_>,
    context: &[u8],
) -> Result<Written, DecodeError> {
    let (entries, repetitions, definitions) = take_levels(reader, kind)?;
    let Kind { physical, max_definition, max_repetition } = kind;
    let (none, dtype) = (Values::none(physical), dtype_of(physical));
    let (items, dictionary) = if is_coded {
        let width = reader.byte("width of codes")?;
        let mut dictionary = sources.dictionary(none.clone()).into_values();
        let codes = take_codes(reader, width, dictionary.len())?;
        let count = count_of(reader, "values")?;
        let more = take_values(reader, none.clone(), count, dtype, context)?;
        dictionary.extend(&more, 0..more.len());
        if codes.iter().any(|code| *code as usize >= dictionary.len()) {
            return Err(DecodeError::Invalid { what: "codes" });
        }
        (Items::Coded { codes, dictionary: none }, dictionary)
    } else {
        let count = count_of(reader, "values")?;
        (Items::Plain(take_values(reader, none.clone(), count, dtype, context)?), none)
    };
    let cells = Cells { physical, max_definition, max_repetition, entries, repetitions, definitions, items };
    match cells.values_in(0..entries) == cells.items.len() {
        true => Ok(Written { cells, dictionary }),
        false => Err(DecodeError::Invalid { what: "levels" }),
    }
}
