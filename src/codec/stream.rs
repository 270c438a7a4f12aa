//! What another program compressed as a whole, from what it holds: a file, or a buffer of a table.
//!
//! As `packed`, but what it holds may be more than one object: its bases, one after another, are it. None of them stands
//! in a file, and each may itself be a difference to others.
//!
//! Payload (docs/format.md, "Payloads"): the bytes before it; those behind it; the packer.

use super::payload::{Reader, put_stream};
use super::{Codec, DecodeError, Encoded};
use crate::packing::Packer;

/// Most bytes that the bases have together: all of them are in memory at once.
pub const MOST_STREAM_BYTES: usize = 128 << 20;

/// An object that is `head`, what `packer` makes of the bases, and `tail`.
pub fn encode(head: &[u8], packer: &Packer, tail: &[u8]) -> Encoded {
    let mut payload = Vec::new();
    put_stream(&mut payload, head);
    put_stream(&mut payload, tail);
    payload.extend(packer.encode());
    Encoded { codec: Codec::Stream, payload }
}

/// Decodes to `decoded_len` bytes; a packer may take some times as many more as the bases have.
pub(super) fn decode(payload: &[u8], bases: &[&[u8]], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let (head, tail) = (reader.stream("bytes before")?, reader.stream("bytes behind")?);
    let packer = Packer::decode(reader.take(reader.remaining(), "packer")?).ok();
    let packer = packer.filter(|(_, rest)| rest.is_empty()).ok_or(DecodeError::Invalid { what: "packer" })?.0;
    if bases.iter().map(|base| base.len()).sum::<usize>() > MOST_STREAM_BYTES {
        return Err(DecodeError::Invalid { what: "length of what was packed" });
    }
    let packed = match bases {
        [] => return Err(DecodeError::NoBase),
        [one] => packer.pack(one),
        several => packer.pack(&several.concat()),
    };
    match head.len() + packed.len() + tail.len() == decoded_len {
        true => Ok([head, &packed, tail].concat()),
        false => {
            Err(DecodeError::Length { what: "packed bytes", expected: decoded_len, found: packed.len() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::{Deflate, Encoder, Wrapper};

    /// Bases are taken in their order, and what is around the stream stays.
    #[test]
    fn a_stream_comes_back_from_its_pieces() {
        let deflate = Deflate::new(Encoder::Zlib { level: 6, memory: 8 }, Wrapper::raw()).unwrap();
        let packer = Packer::Deflate(deflate);
        let plain = b"one line\nanother line\n".repeat(50);
        let whole = [b"head", &packer.pack(&plain)[..], b"tail"].concat();
        let Encoded { codec, payload } = encode(b"head", &packer, b"tail");
        let (first, second) = plain.split_at(333);
        let decode = |bases: &[&[u8]], len| super::super::decode(codec, &payload, bases, len);
        assert_eq!(decode(&[first, second], whole.len()).unwrap(), whole);
        assert_eq!(decode(&[&plain], whole.len()).unwrap(), whole);
        assert!(decode(&[second, first], whole.len()).is_err_and(|_| true) || first != second);
        assert!(decode(&[], whole.len()).is_err());
        assert!(decode(&[&plain], whole.len() + 1).is_err());
        let zeros = vec![0; 32 << 20];
        assert!(decode(&[&zeros[..]; 5], whole.len()).is_err());
        for end in 0..payload.len() {
            let _ = super::super::decode(codec, &payload[..end], &[&plain], whole.len());
        }
    }
}
