//! What a compressed stream holds that is stored as it is: where a version before was not stored by what it holds.
//!
//! Unlike `stream` it needs no packer: whoever wrote the stream, it holds the same bytes.
//!
//! Payload (docs/format.md, "Payloads"): bytes of the base before the stream and behind it; where in what the stream holds
//! the object begins.

use super::payload::{Reader, put_count};
use super::{Codec, DecodeError, Encoded, MOST_STREAM_BYTES};
use crate::packing;

/// The object that begins at `start` of what a stream holds, around which the base has so many bytes.
pub fn encode(before: usize, behind: usize, start: usize) -> Encoded {
    let mut payload = Vec::new();
    [before, behind, start].into_iter().for_each(|count| put_count(&mut payload, count));
    Encoded { codec: Codec::Plain, payload }
}

/// Decodes to `decoded_len` bytes; takes as many more as the stream holds, `MOST_STREAM_BYTES` at most.
pub(super) fn decode(payload: &[u8], base: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let (before, behind) = (reader.count("bytes before")?, reader.count("bytes behind")?);
    let start = reader.count("start")?;
    reader.end()?;
    let invalid = |what| DecodeError::Invalid { what };
    let end = base.len().checked_sub(behind).ok_or(invalid("bytes behind"))?;
    let packed = base.get(before..end).ok_or(invalid("bytes before"))?;
    let plain = packing::unpack_stream(packed, MOST_STREAM_BYTES).ok_or(invalid("what is packed"))?;
    let found = plain.len().saturating_sub(start);
    let object = start.checked_add(decoded_len).and_then(|end| plain.get(start..end));
    let object =
        object.ok_or(DecodeError::Truncated { what: "unpacked bytes", expected: decoded_len, found })?;
    Ok(object.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::{Deflate, Encoder, Packer, Wrapper};

    /// A base may be damaged, and a payload may lie: either gives the bytes or an error.
    #[test]
    fn a_part_of_a_stream_comes_back() {
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        let packer = Packer::Zstd(packing::Zstd::new(3, true, false).unwrap());
        let plain = b"one line\nanother line\n".repeat(50);
        let base = [b"head".as_slice(), &packer.pack(&plain), b"tail"].concat();
        let decode =
            |Encoded { codec, payload }, base, len| super::super::decode(codec, &payload, &[base], len);
        assert_eq!(decode(encode(4, 4, 100), &base, 333).unwrap(), plain[100..433]);
        assert_eq!(decode(encode(4, 4, 0), &base, plain.len()).unwrap(), plain);
        assert!(decode(encode(4, 4, 1), &base, plain.len()).is_err());
        assert!(decode(encode(4, 4, u32::MAX as usize), &base, 1).is_err());
        assert!(decode(encode(0, 4, 0), &base, 1).is_err());
        assert!(decode(encode(4, u32::MAX as usize, 0), &base, 1).is_err());
        let wrapper = Wrapper::read(&header, packing::Kind::Gzip);
        let gzip = wrapper.and_then(|wrapper| Deflate::new(Encoder::Zlib { level: 6, memory: 8 }, wrapper));
        let gzip = Packer::Deflate(gzip.expect("because it is the usual header")).pack(&plain);
        assert_eq!(decode(encode(0, 0, 9), &gzip, 8).unwrap(), plain[9..17]);
        let Encoded { codec, payload } = encode(4, 4, 100);
        for end in 0..payload.len() {
            assert!(super::super::decode(codec, &payload[..end], &[&base], 333).is_err());
        }
        assert!(super::super::decode(codec, &payload, &[], 333).is_err());
        let bomb =
            Packer::Zstd(packing::Zstd::new(19, true, false).unwrap()).pack(&vec![0; MOST_STREAM_BYTES + 1]);
        assert!(decode(encode(0, 0, 0), &bomb, 1).is_err());
    }
}
