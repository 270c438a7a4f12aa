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
    let (mut plain, mut at) = (vec![0; len], 0);
    while let Some((&tag, after)) = rest.split_first() {
        rest = element(tag, after, &mut plain, &mut at).ok_or(WHAT)?;
    }
    if at == len { Ok(plain) } else { Err(WHAT) }
}

/// So many bytes are copied at one go where there is room, and what is too much of that is written over.
const SHORT: usize = 16;

/// Writes what an element gives to `plain` from `at` on, and returns what follows it; none if that has no room.
#[inline(always)]
fn element<'a>(tag: u8, after: &'a [u8], plain: &mut [u8], at: &mut usize) -> Option<&'a [u8]> {
    let high = usize::from(tag >> 2);
    let (copied, offset, rest) = match tag & 3 {
        0 => {
            if let (0..SHORT, Some(long)) = (high, after.first_chunk::<SHORT>())
                && let Some(room) = plain.get_mut(*at..*at + SHORT)
            {
                room.copy_from_slice(long);
                *at += high + 1;
                return Some(&after[high + 1..]);
            }
            let (last, rest) = if high < 60 { (high, after) } else { take_integer(after, high - 59)? };
            let (literal, rest) = rest.split_at_checked(last.checked_add(1)?)?;
            plain.get_mut(*at..*at + literal.len())?.copy_from_slice(literal);
            *at += literal.len();
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
    if offset == 0 || offset > *at || copied > plain.len() - *at {
        return None;
    }
    repeat(plain, *at, offset, copied);
    *at += copied;
    Some(rest)
}

/// Writes `len` bytes of those from `offset` before `at` on, which may reach into what is written.
#[inline(always)]
fn repeat(plain: &mut [u8], at: usize, offset: usize, len: usize) {
    let from = at - offset;
    if offset >= SHORT && at + len.next_multiple_of(SHORT) <= plain.len() {
        for done in (0..len).step_by(SHORT) {
            plain.copy_within(from + done..from + done + SHORT, at + done);
        }
        return;
    }
    for done in 0..len {
        plain[at + done] = plain[from + done];
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
