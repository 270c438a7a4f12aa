//! PPMd: short text by what followed its last characters before, a sixth smaller than zstd's best and far slower.
//!
//! Each character costs a search in the model, both ways, so it is for what small files hold. Source: D. Shkarin, "PPM: one step to
//! practicality", DCC 2002; variant H with the range coder of 7-Zip.

use std::io::{Read, Write};

use ppmd_rust::{Ppmd7Decoder, Ppmd7Encoder};

use super::DecodeError;

/// Longer text is not packed: somebody waits for it, both ways.
pub(super) const MAX_BYTES: usize = 512 << 10;
/// How many characters before are looked at, at most.
const ORDER: u32 = 12;
/// What the model may hold; that of [`MAX_BYTES`] fits.
const MEMORY_BYTES: u32 = 16 << 20;

/// None where there is nothing, or too much.
pub(super) fn encode(text: &[u8]) -> Option<Vec<u8>> {
    (1..=MAX_BYTES).contains(&text.len()).then_some(())?;
    let mut encoder = Ppmd7Encoder::new(Vec::new(), ORDER, MEMORY_BYTES).ok()?;
    encoder.write_all(text).ok()?;
    encoder.finish(false).ok()
}

/// Exactly `len` bytes, or an error.
pub(super) fn decode(packed: &[u8], len: usize) -> Result<Vec<u8>, DecodeError> {
    let invalid = DecodeError::Invalid { what: "PPMd stream" };
    if len > MAX_BYTES {
        return Err(invalid);
    }
    let mut decoder = Ppmd7Decoder::new(packed, ORDER, MEMORY_BYTES).map_err(|_| invalid)?;
    let mut text = vec![0; len];
    decoder.read_exact(&mut text).map_err(|_| invalid)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A model that learns otherwise than it did is another text.
        #[test]
        fn text_comes_back(words in proptest::collection::vec("[a-d ]{1,9}|\\PC{0,3}", 1..400), times in 1..40usize) {
            let text = words.concat().repeat(times);
            match encode(text.as_bytes()) {
                Some(packed) => prop_assert_eq!(decode(&packed, text.len()).unwrap(), text.as_bytes()),
                None => prop_assert!(text.is_empty() || text.len() > MAX_BYTES),
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), len in 0..3000usize) {
            let _ = decode(&bytes, len);
        }

        /// What is cut off or changed gives other text or none.
        #[test]
        fn no_damage_panics(at in 0..40_000usize, bit in 0..8u8, cut in any::<bool>()) {
            let text = include_bytes!("../../README.md");
            let text = &text[..text.len().min(MAX_BYTES)];
            let mut packed = encode(text).unwrap();
            let at = at % packed.len();
            match cut {
                true => packed.truncate(at),
                false => packed[at] ^= 1 << bit,
            }
            let _ = decode(&packed, text.len());
        }
    }

    /// The longest text keeps to the memory that is stated, and a claim of more is refused before it is believed.
    #[test]
    fn lengths_are_bounded() {
        let text: Vec<u8> =
            (0..MAX_BYTES as u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 21) as u8).collect();
        let packed = encode(&text).unwrap();
        assert_eq!(decode(&packed, text.len()).unwrap(), text);
        assert_eq!(encode(&vec![7; MAX_BYTES + 1]), None);
        assert!(decode(&packed, MAX_BYTES + 1).is_err());
    }
}
