//! Codes: numbers of values in a list, in which they stand in the order in which they come first.
//!
//! Where most values come once or twice, a code is mostly that of the next value, or lies near it. So codes are also
//! tried as how far they lie behind the next value, of which 0 is the next value itself.

use super::super::payload::{Reader, put_count};
use super::super::{DecodeError, Effort};
use super::count_of;
use super::streams::{BEHIND, Form, put_forms, take_forms};
use crate::format::Dtype;

/// Appends codes below `most`, their width and count before them; values up to `known` were there before.
pub(super) fn put_codes(out: &mut Vec<u8>, codes: &[u32], known: usize, most: usize, effort: Effort) {
    let dtype = match most {
        0..=0x100 => Dtype::U8,
        0x101..=0x1_0000 => Dtype::U16,
        _ => Dtype::U32,
    };
    out.push(dtype.width() as u8);
    put_count(out, codes.len());
    let as_they_are = Form { flags: 0, bytes: narrow(codes.iter().copied(), dtype).into() };
    let behind = Form { flags: BEHIND, bytes: narrow(behind(codes, known), dtype).into() };
    put_forms(out, vec![as_they_are, behind], dtype, effort);
}

/// Takes what `put_codes` wrote.
pub(super) fn take_codes(reader: &mut Reader<'_>, width: u8, known: usize) -> Result<Vec<u32>, DecodeError> {
    let count = count_of(reader, "codes")?;
    let dtype = match width {
        1 => Dtype::U8,
        2 => Dtype::U16,
        4 => Dtype::U32,
        _ => return Err(DecodeError::Invalid { what: "width of codes" }),
    };
    let (bytes, flags) = take_forms(reader, count * dtype.width(), dtype, BEHIND)?;
    let mut codes = wide(&bytes, dtype);
    if flags & BEHIND != 0 {
        let (mut next, all) = (known as u64, 1u64 << (8 * dtype.width()));
        for code in &mut codes {
            if *code == 0 && next < all {
                *code = next as u32;
                next += 1;
            } else {
                *code = (next.wrapping_sub(u64::from(*code)) & (all - 1)) as u32;
            }
        }
    }
    Ok(codes)
}

/// How far each lies behind the next value.
fn behind(codes: &[u32], known: usize) -> impl Iterator<Item = u32> {
    let mut next = known as u32;
    codes.iter().map(move |code| {
        let behind = next.wrapping_sub(*code);
        next = next.wrapping_add(u32::from(behind == 0));
        behind
    })
}

fn narrow(codes: impl Iterator<Item = u32>, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::U8 => codes.map(|code| code as u8).collect(),
        Dtype::U16 => codes.flat_map(|code| (code as u16).to_le_bytes()).collect(),
        _ => codes.flat_map(u32::to_le_bytes).collect(),
    }
}

fn wide(bytes: &[u8], dtype: Dtype) -> Vec<u32> {
    match dtype {
        Dtype::U8 => bytes.iter().map(|code| u32::from(*code)).collect(),
        Dtype::U16 => {
            bytes.chunks_exact(2).map(|code| u32::from(u16::from_le_bytes([code[0], code[1]]))).collect()
        }
        _ => bytes
            .chunks_exact(4)
            .map(|code| u32::from_le_bytes([code[0], code[1], code[2], code[3]]))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As values come: known ones, and new ones in their order. `most` is what a width just holds, or one more.
    fn codes() -> impl Strategy<Value = (Vec<u32>, usize, usize)> {
        let most = prop_oneof![1..40usize, 250..260usize, Just(0x1_0000), Just(0x1_0001)];
        let picks = proptest::collection::vec(any::<(bool, prop::sample::Index)>(), 0..400);
        (most, any::<prop::sample::Index>(), picks).prop_map(|(most, known, picks)| {
            // Near the end of a width its last numbers come into play.
            let known = if most > 0x100 { most - 1 - known.index(200) } else { known.index(most) };
            let mut next = known;
            let mut codes = Vec::new();
            for (is_new, pick) in picks {
                let code = if (is_new || next == 0) && next < most { next } else { pick.index(next) };
                next += usize::from(code == next);
                codes.push(code as u32);
            }
            (codes, known, most)
        })
    }

    proptest! {
        /// A code that is off by one is another value.
        #[test]
        fn codes_come_back((codes, known, most) in codes(), repack in any::<bool>()) {
            let effort = if repack { Effort::Repack } else { Effort::Push };
            let mut out = Vec::new();
            put_codes(&mut out, &codes, known, most, effort);
            let mut reader = Reader::new(&out);
            let width = reader.byte("width").unwrap();
            prop_assert_eq!(take_codes(&mut reader, width, known).unwrap(), codes);
            reader.end().unwrap();
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), known in 0..70_000usize) {
            for width in [1, 2, 4] {
                let _ = take_codes(&mut Reader::new(&bytes), width, known);
            }
        }
    }

    /// A column whose values are all different says nothing by its codes.
    #[test]
    fn codes_of_new_values_take_nothing() {
        let codes: Vec<u32> = (0..50_000).collect();
        let mut out = Vec::new();
        put_codes(&mut out, &codes, 0, 50_000, Effort::Push);
        assert!(out.len() < 20, "{}", out.len());
    }
}
