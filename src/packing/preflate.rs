//! Deflate of writers whose library is not here: what zlib would have chosen, and where they chose otherwise.
//!
//! GNU gzip, pigz, zopfli and others search in their own way. Corrections take a thousandth of a stream of words, and
//! up to an eighth of numbers in text. Source: the method of `preflate` (D. Steinke), by the crate `preflate-rs`.

use std::panic::catch_unwind;

use preflate_rs::{PreflateConfig, preflate_whole_deflate_stream, recreate_whole_deflate_stream};

use super::deflate::{Kind, Wrapper};
use crate::varint;

/// Entries of a hash chain that are followed at most: those of any level of zlib.
const MAX_CHAIN_LENGTH: u32 = 4096;

/// What is around a deflate stream, and where its writer chose otherwise than is expected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Preflate {
    wrapper: Wrapper,
    corrections: Vec<u8>,
}

impl Preflate {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.corrections.len() as u64);
        out.extend_from_slice(&self.corrections);
        self.wrapper.encode(out);
    }

    /// Also gives what follows.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<(Self, &[u8])> {
        let len = usize::try_from(varint::take(&mut bytes)?).ok()?;
        let (corrections, rest) = bytes.split_at_checked(len)?;
        let (wrapper, rest) = Wrapper::decode(rest)?;
        Some((Self { wrapper, corrections: corrections.to_vec() }, rest))
    }

    /// What packs `plain` to `packed`; it goes through all of it, as slowly as a high level of zlib.
    pub(super) fn find(plain: &[u8], packed: &[u8], kind: Kind) -> Option<Self> {
        let wrapper = Wrapper::read(packed, kind)?;
        let stream = wrapper.within(packed)?;
        let config = PreflateConfig {
            max_chain_length: MAX_CHAIN_LENGTH,
            plain_text_limit: plain.len() + 1,
            verify_compression: false,
        };
        let found = catch_unwind(|| preflate_whole_deflate_stream(stream, &config)).ok()?.ok()?.0;
        let packer = Self { wrapper, corrections: found.corrections };
        packer.gives(plain, packed).then_some(packer)
    }

    /// Whether `plain` packs to `packed`.
    pub(super) fn gives(&self, plain: &[u8], packed: &[u8]) -> bool {
        self.pack(plain) == packed
    }

    /// Packs what the corrections are of. Those of anything else give something else, or an empty stream.
    pub fn pack(&self, plain: &[u8]) -> Vec<u8> {
        // The crate panics on corrections that it did not make, which a store may hold that others wrote.
        let stream = catch_unwind(|| recreate_whole_deflate_stream(plain, &self.corrections));
        self.wrapper.around(&stream.ok().and_then(Result::ok).unwrap_or_default(), plain)
    }

    pub(super) fn kind(&self) -> Kind {
        self.wrapper.kind()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Packer, find_stream};

    /// `gzip -6 -n` of GNU gzip 1.12, and what was found for it when it was first stored.
    const PACKED: &[u8] = include_bytes!("../../tests/data/packing/gnu-gzip.jsonl.gz");
    const PACKER: &[u8] = include_bytes!("../../tests/data/packing/gnu-gzip.packer");

    /// Stored objects have only their packer to come back by: what it gives never changes.
    #[test]
    fn gnu_gzip_comes_back() {
        let (found, plain) = find_stream(PACKED, 1 << 20, None).unwrap();
        assert!(matches!(found, Packer::Preflate(_)), "{found:?}");
        assert_eq!(found.pack(&plain), PACKED);
        let (stored, rest) = Packer::decode(PACKER).unwrap();
        assert!(rest.is_empty());
        assert_eq!(stored.pack(&plain), PACKED);
    }

    /// Corrections that nobody made, or of another text, are an error of the caller's, who holds lengths and hashes.
    #[test]
    fn damaged_corrections_give_something_else() {
        let (_, plain) = find_stream(PACKED, 1 << 20, None).unwrap();
        for at in 1..PACKER.len() {
            let mut damaged = PACKER.to_vec();
            damaged[at] ^= 1 << (at % 8);
            if let Ok((packer, _)) = Packer::decode(&damaged) {
                packer.pack(&plain[..plain.len() - at % 3 * 1000]);
            }
            assert!(Packer::decode(&PACKER[..at]).is_err());
        }
    }
}
