//! Cells of a run of a table's pages that are stored as they are: where a version before was not stored as cells.
//!
//! Payload (docs/format.md, "Payloads"): what packed the pages; type and levels of the column. The bases are the run, and
//! the first run of its chunk where that has the dictionary.

use super::column::{put_kind_of, take_kind};
use super::payload::{Reader, put_stream};
use super::{Codec, DecodeError, Encoded};
use crate::packing::Packer;
use crate::table::{Kind, Run};

/// The cells of a run, whose pages one packer packed, if any did.
pub fn encode(kind: Kind, packer: Option<&Packer>) -> Encoded {
    let mut payload = Vec::new();
    put_stream(&mut payload, &packer.map(Packer::encode).unwrap_or_default());
    put_kind_of(&mut payload, kind);
    Encoded { codec: Codec::Unpacked, payload }
}

/// Decodes to `decoded_len` bytes; takes some times as many more.
pub(super) fn decode(payload: &[u8], bases: &[&[u8]], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let mut reader = Reader::new(payload);
    let packer = match reader.stream("packer")? {
        [] => None,
        packer => Some(Packer::decode(packer).map_err(|_| invalid("packer"))?.0),
    };
    let kind = take_kind(&mut reader)?;
    reader.end()?;
    let (pages, first) = bases.split_first().ok_or(DecodeError::NoBase)?;
    let mut dictionary = None;
    for first in first {
        Run::read_packed_by(first, kind, &mut dictionary, packer.as_ref()).ok_or(invalid("pages"))?;
    }
    let cells = Run::read_packed_by(pages, kind, &mut dictionary, packer.as_ref()).ok_or(invalid("pages"))?;
    let cells = cells.encode();
    match cells.len() == decoded_len {
        true => Ok(cells),
        false => Err(DecodeError::Length { what: "cells", expected: decoded_len, found: cells.len() }),
    }
}
