//! Values that are all digits of 16, as hashes are written: two digits a byte.
//!
//! zstd finds nothing in them, and pays for the search; what is packed takes half of the bytes, and no search.

use crate::table::Values;

const NONE: u8 = 0xff;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What each byte is as a digit.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// The bytes of values, two digits each; none where some value has an odd length, or another byte.
pub(super) fn pack_values(values: &Values) -> Option<Vec<u8>> {
    let Values::Variable { ends, bytes } = values else { return None };
    (!bytes.is_empty() && ends.iter().all(|end| end % 2 == 0)).then(|| pack(bytes))?
}

/// Whether no byte is anything else.
pub(super) fn are_all(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| VALUES[usize::from(*byte)] != NONE)
}

/// Two digits a byte; none where some byte is no digit.
pub(super) fn pack(digits: &[u8]) -> Option<Vec<u8>> {
    digits.len().is_multiple_of(2).then_some(())?;
    let mut packed = Vec::with_capacity(digits.len() / 2);
    // Most text is found out by its first bytes.
    for piece in digits.chunks(1 << 10) {
        let mut seen = 0;
        packed.extend(piece.chunks_exact(2).map(|pair| {
            let [high, low] = [0, 1].map(|at| VALUES[usize::from(pair[at])]);
            seen |= high | low;
            high << 4 | low & 0x0f
        }));
        (seen < DIGITS.len() as u8).then_some(())?;
    }
    Some(packed)
}

/// What `pack` packed.
pub(super) fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut digits = Vec::with_capacity(packed.len() * 2);
    for byte in packed {
        digits.extend_from_slice(&[byte >> 4, byte & 0x0f].map(|digit| DIGITS[usize::from(digit)]));
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A digit that is taken for another is another hash.
    #[test]
    fn digits_come_back_and_nothing_else_is_taken_for_them() {
        let all: Vec<u8> = (0..=255u8).collect();
        let digits = unpack(&all);
        assert_eq!(&digits[..6], b"000102");
        assert_eq!(pack(&digits).unwrap(), all);
        for byte in all {
            assert_eq!(pack(&[b'7', byte]).is_some(), DIGITS.contains(&byte), "{byte}");
            assert_eq!(pack(&[byte, b'0']).is_some(), DIGITS.contains(&byte), "{byte}");
        }
        assert_eq!(pack(b"abc"), None);
        let odd = Values::Variable { ends: vec![3, 4], bytes: b"abcd".to_vec() };
        assert_eq!(pack_values(&odd), None);
    }
}
