//! Bytes that another program packed, from what they are when they are unpacked: read, and written no more (`pages`,
//! `stream`).
//!
//! The object in a file is the packed one, which nothing can be compared with; its base is the unpacked one, which
//! stands in no file, and may itself be a difference to another.
//!
//! Payload (docs/format.md, "Payloads"): how many bytes stand before what is packed; the packer.

use super::DecodeError;
use super::payload::Reader;
use crate::packing::Packer;

/// Decodes to `decoded_len` bytes; a packer may take some times as many more.
pub(super) fn decode(payload: &[u8], unpacked: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let head = reader.count("bytes before what is packed")?;
    let packer = reader.take(reader.remaining(), "packer")?;
    let packer = Packer::decode(packer).ok().filter(|(_, rest)| rest.is_empty());
    let (packer, _) = packer.ok_or(DecodeError::Invalid { what: "packer" })?;
    let (head, plain) = unpacked
        .split_at_checked(head)
        .ok_or(DecodeError::Invalid { what: "bytes before what is packed" })?;
    let mut bytes = head.to_vec();
    bytes.extend(packer.pack(plain));
    match bytes.len() == decoded_len {
        true => Ok(bytes),
        false => Err(DecodeError::Length { what: "packed bytes", expected: decoded_len, found: bytes.len() }),
    }
}
