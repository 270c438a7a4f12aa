//! Cells of a table's column: alone, by the rows of other cells that they are copied from, or by another column.
//!
//! Payloads: docs/format.md, "Payloads".

mod assembled;
mod beside;
mod codes;
mod compared;
mod context;
mod digits;
mod rows;
mod sources;
mod streams;
#[cfg(test)]
mod tests;
mod written;

pub use beside::{Symbols, encode_beside};
pub use rows::{Former, MapAt, encode_rows, gives_by_rows};

use super::payload::{Reader, put_count};
use super::{Codec, DecodeError, Effort, Encoded};
use crate::format::{Dtype, Physical};
use crate::table::{Cells, Items, Kind, MAX_ENTRIES, Values};
use codes::{put_codes, take_codes};
use streams::{put_numbers, put_values, take_numbers, take_values};

/// Most bytes of one part of a column.
const MAX_BYTES: usize = 32 << 20;
/// In place of a width of codes.
const PLAIN: u8 = 0;

/// Encodes cells that are compared with none.
pub fn encode(cells: &Cells, effort: Effort) -> Encoded {
    let mut payload = Vec::new();
    put_kind(&mut payload, cells);
    put_cells(&mut payload, cells, &[], effort);
    Encoded { codec: Codec::Column, payload }
}

/// Decodes to `decoded_len` bytes; takes some times as many more.
pub(super) fn decode(payload: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let kind = take_kind(&mut reader)?;
    let cells = take_cells(&mut reader, kind, &[])?;
    reader.end()?;
    of_length(cells.encode(), decoded_len)
}

pub(super) fn decode_rows(
    payload: &[u8],
    bases: &[&[u8]],
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    of_length(rows::decode(payload, bases)?.encode(), decoded_len)
}

pub(super) fn decode_beside(
    payload: &[u8],
    bases: &[&[u8]],
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    of_length(beside::decode(payload, bases)?.encode(), decoded_len)
}

fn of_length(bytes: Vec<u8>, expected: usize) -> Result<Vec<u8>, DecodeError> {
    match bytes.len() == expected {
        true => Ok(bytes),
        false => Err(DecodeError::Length { what: "cells", expected, found: bytes.len() }),
    }
}

fn put_kind(out: &mut Vec<u8>, cells: &Cells) {
    let Cells { physical, max_definition, max_repetition, .. } = *cells;
    put_kind_of(out, Kind { physical, max_definition, max_repetition });
}

/// Appends which layout and levels a column has.
pub(super) fn put_kind_of(out: &mut Vec<u8>, kind: Kind) {
    let (tag, width) = kind.physical.tag();
    out.extend([tag, kind.max_definition, kind.max_repetition]);
    put_count(out, width as usize);
}

/// Takes what `put_kind_of` wrote.
pub(super) fn take_kind(reader: &mut Reader<'_>) -> Result<Kind, DecodeError> {
    let (tag, max_definition, max_repetition) =
        (reader.byte("layout")?, reader.byte("levels")?, reader.byte("levels")?);
    let physical = Physical::from_tag(tag, reader.count("width")? as u32);
    let physical = physical.ok_or(DecodeError::Invalid { what: "layout of values" })?;
    Ok(Kind { physical, max_definition, max_repetition })
}

/// Appends levels and values; the values may resemble `context`.
fn put_cells(out: &mut Vec<u8>, cells: &Cells, context: &[u8], effort: Effort) {
    put_count(out, cells.entries);
    put_levels(out, cells, effort);
    let dtype = dtype_of(cells.physical);
    match &cells.items {
        Items::Plain(values) => {
            out.push(PLAIN);
            put_count(out, values.len());
            put_values(out, values, dtype, context, effort);
        }
        Items::Coded { codes, dictionary } => {
            put_codes(out, codes, 0, dictionary.len(), effort);
            put_count(out, dictionary.len());
            put_values(out, dictionary, dtype, context, effort);
        }
    }
}

fn put_levels(out: &mut Vec<u8>, cells: &Cells, effort: Effort) {
    let all = [(cells.max_repetition, &cells.repetitions), (cells.max_definition, &cells.definitions)];
    for (max, levels) in all {
        if max > 0 {
            put_numbers(out, levels, Dtype::U8, effort);
        }
    }
}

/// Levels of as many entries as come first.
fn take_levels(reader: &mut Reader<'_>, kind: Kind) -> Result<(usize, Vec<u8>, Vec<u8>), DecodeError> {
    let entries = count_of(reader, "entries")?;
    let mut take = |max: u8| match max {
        0 => Ok(Vec::new()),
        _ => take_numbers(reader, entries, Dtype::U8),
    };
    let (repetitions, definitions) = (take(kind.max_repetition)?, take(kind.max_definition)?);
    Ok((entries, repetitions, definitions))
}

fn take_cells(reader: &mut Reader<'_>, kind: Kind, context: &[u8]) -> Result<Cells, DecodeError> {
    let (entries, repetitions, definitions) = take_levels(reader, kind)?;
    let Kind { physical, max_definition, max_repetition } = kind;
    let (none, dtype) = (Values::none(physical), dtype_of(physical));
    let width = reader.byte("width of codes")?;
    let items = match width {
        PLAIN => {
            let count = count_of(reader, "values")?;
            Items::Plain(take_values(reader, none, count, dtype, context)?)
        }
        width => {
            let codes = take_codes(reader, width, 0)?;
            let count = count_of(reader, "values")?;
            Items::Coded { codes, dictionary: take_values(reader, none, count, dtype, context)? }
        }
    };
    Ok(Cells { physical, max_definition, max_repetition, entries, repetitions, definitions, items })
}

fn count_of(reader: &mut Reader<'_>, what: &'static str) -> Result<usize, DecodeError> {
    Some(reader.count(what)?).filter(|count| *count <= MAX_ENTRIES).ok_or(DecodeError::Invalid { what })
}

/// What its values are for a codec of numbers.
fn dtype_of(physical: Physical) -> Dtype {
    match physical {
        Physical::Boolean => Dtype::U8,
        Physical::Int32 => Dtype::I32,
        Physical::Int64 => Dtype::I64,
        Physical::Float => Dtype::F32,
        Physical::Double => Dtype::F64,
        Physical::Int96 | Physical::Bytes | Physical::Fixed(_) => Dtype::Bytes,
    }
}
