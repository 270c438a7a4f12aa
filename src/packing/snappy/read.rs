//! The elements of a block, read back.

use super::super::NotPacked;

const WHAT: NotPacked = NotPacked { what: "snappy" };

/// What a block holds, which is at most `most` bytes.
pub(super) fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, NotPacked> {
    let (len, mut rest) = take_length(packed).ok_or(WHAT)?;
    // An element of three bytes gives 64 at most: a length beyond that is a lie, and not allocated.
    if len > most || len / 64 > rest.len() {
        return Err(WHAT);
    }
    let mut plain = Vec::with_capacity(len);
    while let Some((&tag, after)) = rest.split_first() {
        rest = element(tag, after, len, &mut plain).ok_or(WHAT)?;
    }
    if plain.len() == len { Ok(plain) } else { Err(WHAT) }
}

/// Appends what an element gives, and returns what follows it; none if it gives more than `len` bytes in all.
#[inline(always)]
fn element<'a>(tag: u8, after: &'a [u8], len: usize, plain: &mut Vec<u8>) -> Option<&'a [u8]> {
    let high = usize::from(tag >> 2);
    let (copied, offset, rest) = match tag & 3 {
        0 => {
            let (last, rest) = if high < 60 { (high, after) } else { take_integer(after, high - 59)? };
            let (literal, rest) = rest.split_at_checked(last.checked_add(1)?)?;
            if literal.len() > len - plain.len() {
                return None;
            }
            plain.extend_from_slice(literal);
            return Some(rest);
        }
        1 => {
            let (low, rest) = take_integer(after, 1)?;
            (4 + (high & 7), (high >> 3) << 8 | low, rest)
        }
        wide => {
            let (offset, rest) = take_integer(after, if wide == 2 { 2 } else { 4 })?;
            (high + 1, offset, rest)
        }
    };
    if offset == 0 || offset > plain.len() || copied > len - plain.len() {
        return None;
    }
    repeat(plain, offset, copied);
    Some(rest)
}

/// Appends `len` bytes of those from `offset` before the end on, which may reach into what is appended.
fn repeat(plain: &mut Vec<u8>, offset: usize, len: usize) {
    let from = plain.len() - offset;
    if offset >= len {
        plain.extend_from_within(from..from + len);
        return;
    }
    let end = plain.len() + len;
    while plain.len() < end {
        let more = (plain.len() - from).min(end - plain.len());
        plain.extend_from_within(from..from + more);
    }
}

fn take_integer(bytes: &[u8], len: usize) -> Option<(usize, &[u8])> {
    let (integer, rest) = bytes.split_at_checked(len)?;
    let value = integer.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte));
    Some((value, rest))
}

/// The length in LEB128, of at most 32 bits.
fn take_length(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((u32::try_from(value).ok()? as usize, bytes));
        }
    }
    None
}
