//! A map of the rows that are left of a table: by which values of a column, instead of row by row.
//!
//! Payload (docs/format.md, "Payloads"): whether rows without a value are kept, and which ranks are.

use super::payload::{Reader, put_count};
use super::{Codec, DecodeError, Encoded};
use crate::table::{Cells, Kept, Ranks};

const NULLS: u8 = 1;

/// A map of the rows whose cell in a column, whose cells are the bases in order, is one that is kept.
pub fn encode(kept: &Kept) -> Encoded {
    let mut payload = vec![u8::from(kept.nulls) * NULLS];
    kept.ranks.iter().for_each(|many| put_count(&mut payload, *many as usize));
    Encoded { codec: Codec::Filtered, payload }
}

pub(super) fn decode(payload: &[u8], bases: &[&[u8]], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let mut reader = Reader::new(payload);
    let nulls = match reader.byte("form")? {
        flags @ (0 | NULLS) => flags == NULLS,
        _ => return Err(invalid("form")),
    };
    let mut ranks = Vec::new();
    while reader.remaining() > 0 {
        ranks.push(reader.count("ranks")? as u32);
    }
    let cells: Option<Vec<Cells>> = bases.iter().map(|base| Cells::decode(base)).collect();
    let of_rows = cells.and_then(|cells| Ranks::of(&cells)).ok_or(invalid("cells"))?;
    let map = Kept { nulls, ranks }.map(&of_rows).ok_or(invalid("ranks"))?.encode();
    match map.len() == decoded_len {
        true => Ok(map),
        false => Err(DecodeError::Length { what: "map of rows", expected: decoded_len, found: map.len() }),
    }
}
