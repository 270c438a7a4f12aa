//! A map of rows that were sorted: by which columns, instead of where each row went.
//!
//! Payload (docs/format.md, "Payloads"): for each column the direction, and how many of the bases are its cells.

use super::payload::{Reader, put_count};
use super::{Codec, DecodeError, Encoded};
use crate::table::{Cells, Direction, Ranks, sorted};

const DESCENDING: u8 = 1;
const NULLS_FIRST: u8 = 2;
/// Most columns.
const MAX_KEYS: usize = 16;

/// A map of rows sorted by columns, each of which has as many bases as told, in order.
pub fn encode(keys: &[(Direction, usize)]) -> Encoded {
    let mut payload = Vec::new();
    for (direction, bases) in keys {
        let Direction { is_descending, has_nulls_first } = direction;
        payload.push((u8::from(*is_descending) * DESCENDING) | (u8::from(*has_nulls_first) * NULLS_FIRST));
        put_count(&mut payload, *bases);
    }
    Encoded { codec: Codec::Sorted, payload }
}

pub(super) fn decode(
    payload: &[u8],
    mut bases: &[&[u8]],
    decoded_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let mut reader = Reader::new(payload);
    let mut keys = Vec::new();
    while reader.remaining() > 0 {
        let flags = reader.byte("direction")?;
        let direction =
            Direction { is_descending: flags & DESCENDING != 0, has_nulls_first: flags & NULLS_FIRST != 0 };
        let (own, rest) =
            bases.split_at_checked(reader.count("bases of a column")?).ok_or(invalid("bases of a column"))?;
        bases = rest;
        let cells: Option<Vec<Cells>> = own.iter().map(|base| Cells::decode(base)).collect();
        let ranks = cells.and_then(|cells| Ranks::of(&cells)).ok_or(invalid("cells"))?;
        keys.push((ranks, direction));
        if keys.len() > MAX_KEYS {
            return Err(invalid("columns"));
        }
    }
    let map = sorted(&keys).filter(|_| bases.is_empty()).ok_or(invalid("columns"))?.encode();
    match map.len() == decoded_len {
        true => Ok(map),
        false => Err(DecodeError::Length { what: "map of rows", expected: decoded_len, found: map.len() }),
    }
}
