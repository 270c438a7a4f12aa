//! The search for matches, and the elements that it writes.
//!
//! A table maps the hash of four bytes to where they stood last. Positions are tried one by one, and in steps
//! that grow where nothing is found. All of this shows in the output, so nothing here is free to change.

use super::Snappy;

/// No match begins in the last bytes of a block: encoders read ahead.
const MARGIN_BYTES: usize = 15;
const LEAST_SLOTS: usize = 1 << 8;
/// The step is the count of tries over this, as a power of two.
const TRIES_A_STEP_BITS: u32 = 5;

const LITERAL: u8 = 0;
const COPY_NEAR: u8 = 1;
const COPY_FAR: u8 = 2;

/// How four bytes choose a slot of a table with `slots` of them.
trait Slot: Copy {
    const MOST_SLOTS: usize;

    fn of(four: u32, slots: usize) -> usize;
}

#[derive(Clone, Copy)]
struct HighBits;
#[derive(Clone, Copy)]
struct LowBits<const BITS: u32>;
#[derive(Clone, Copy)]
struct Crc;

const FACTOR: u32 = 0x1e35_a7bd;

impl Slot for HighBits {
    const MOST_SLOTS: usize = 1 << 14;

    #[inline(always)]
    fn of(four: u32, slots: usize) -> usize {
        (four.wrapping_mul(FACTOR) >> (32 - slots.trailing_zeros())) as usize
    }
}

/// The lowest of the `BITS` highest bits: the same as `HighBits` where the table has its full size.
impl<const BITS: u32> Slot for LowBits<BITS> {
    const MOST_SLOTS: usize = 1 << BITS;

    #[inline(always)]
    fn of(four: u32, slots: usize) -> usize {
        (four.wrapping_mul(FACTOR) >> (32 - BITS)) as usize & (slots - 1)
    }
}

/// The bytes are the register, and the mask of an offset into a table of `u16` is what is fed to it.
impl Slot for Crc {
    const MOST_SLOTS: usize = 1 << 15;

    #[inline(always)]
    fn of(four: u32, slots: usize) -> usize {
        let mask = 2 * (slots - 1);
        (crc32c(four ^ mask as u32) as usize & mask) / 2
    }
}

/// The register of CRC-32C after four more bytes that were already combined with it.
#[inline(always)]
fn crc32c(register: u32) -> u32 {
    let [a, b, c, d] = register.to_le_bytes().map(usize::from);
    CRC32C[3][a] ^ CRC32C[2][b] ^ CRC32C[1][c] ^ CRC32C[0][d]
}

/// For each byte: the register after it and 0..=3 zeros behind it.
static CRC32C: [[u32; 256]; 4] = crc32c_tables();

const fn crc32c_tables() -> [[u32; 256]; 4] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut zeros = 0;
        while zeros < 4 {
            let mut bit = 0;
            while bit < 8 {
                register = (register >> 1) ^ (POLYNOMIAL & (register & 1).wrapping_neg());
                bit += 1;
            }
            tables[zeros][byte] = register;
            zeros += 1;
        }
        byte += 1;
    }
    tables
}

/// Appends the elements of one block.
pub(super) fn pack_block(behaviour: Snappy, block: &[u8], out: &mut Vec<u8>) {
    match behaviour {
        Snappy::V1_1_8 => search::<HighBits>(block, out),
        Snappy::V1_1_9 => search::<LowBits<14>>(block, out),
        Snappy::V1_2 => search::<LowBits<15>>(block, out),
        Snappy::V1_2Crc => search::<Crc>(block, out),
    }
}

fn search<S: Slot>(block: &[u8], out: &mut Vec<u8>) {
    let slots = block.len().next_power_of_two().clamp(LEAST_SLOTS, S::MOST_SLOTS);
    let mut table = vec![0u16; slots];
    let mut literal = 0;
    if let Some(last) = block.len().checked_sub(MARGIN_BYTES) {
        let mut from = 1;
        while let Some((candidate, at)) = first_match::<S>(block, &mut table, from, last) {
            put_literal(out, &block[literal..at]);
            literal = put_copies::<S>(block, &mut table, (candidate, at), last, out);
            if literal >= last {
                break;
            }
            from = literal + 1;
        }
    }
    if literal < block.len() {
        put_literal(out, &block[literal..]);
    }
}

/// Appends a match and those that follow it without a gap, and returns where they end.
#[inline(always)]
fn put_copies<S: Slot>(
    block: &[u8],
    table: &mut [u16],
    (mut candidate, mut at): (usize, usize),
    last: usize,
    out: &mut Vec<u8>,
) -> usize {
    loop {
        let len = 4 + equal_bytes(block, candidate + 4, at + 4);
        put_copy(out, at - candidate, len);
        at += len;
        if at >= last {
            return at;
        }
        let slots = table.len();
        table[S::of(four(block, at - 1), slots)] = (at - 1) as u16;
        match look_up::<S>(block, table, at) {
            Some(next) => candidate = next,
            None => return at,
        }
    }
}

/// The first match from `at` on, as where its bytes stood before and where they stand.
#[inline(always)]
fn first_match<S: Slot>(
    block: &[u8],
    table: &mut [u16],
    mut at: usize,
    last: usize,
) -> Option<(usize, usize)> {
    let mut tries = 1 << TRIES_A_STEP_BITS;
    loop {
        let step = tries >> TRIES_A_STEP_BITS;
        tries += step;
        if at + step > last {
            return None;
        }
        if let Some(candidate) = look_up::<S>(block, table, at) {
            return Some((candidate, at));
        }
        at += step;
    }
}

/// Where the four bytes at `at` stood before, and remembers that they stand there.
#[inline(always)]
fn look_up<S: Slot>(block: &[u8], table: &mut [u16], at: usize) -> Option<usize> {
    let wanted = four(block, at);
    let slots = table.len();
    let slot = &mut table[S::of(wanted, slots)];
    let candidate = usize::from(std::mem::replace(slot, at as u16));
    (four(block, candidate) == wanted).then_some(candidate)
}

#[inline(always)]
fn four(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(block[at..at + 4].try_into().expect("because the slice has four bytes"))
}

/// How many bytes from `a` and from `b` on are equal; `b` is the later one.
#[inline(always)]
fn equal_bytes(block: &[u8], a: usize, b: usize) -> usize {
    let (mut earlier, mut later) = (&block[a..], &block[b..]);
    let mut equal = 0;
    while let (Some((x, more_earlier)), Some((y, more_later))) =
        (earlier.split_first_chunk::<8>(), later.split_first_chunk::<8>())
    {
        let different = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if different != 0 {
            return equal + different.trailing_zeros() as usize / 8;
        }
        equal += 8;
        (earlier, later) = (more_earlier, more_later);
    }
    equal + earlier.iter().zip(later).take_while(|(x, y)| x == y).count()
}

fn put_literal(out: &mut Vec<u8>, literal: &[u8]) {
    let last = literal.len() - 1;
    match last {
        0..60 => out.push(LITERAL | (last as u8) << 2),
        60..0x100 => out.extend([LITERAL | 60 << 2, last as u8]),
        _ => {
            out.push(LITERAL | 61 << 2);
            out.extend_from_slice(&(last as u16).to_le_bytes());
        }
    }
    out.extend_from_slice(literal);
}

/// A copy of any length: in pieces of 64, and a last one that is never shorter than four.
fn put_copy(out: &mut Vec<u8>, offset: usize, mut len: usize) {
    while len >= 68 {
        put_far(out, offset, 64);
        len -= 64;
    }
    if len > 64 {
        put_far(out, offset, 60);
        len -= 60;
    }
    if len < 12 && offset < 2048 {
        out.extend([COPY_NEAR | ((len - 4) as u8) << 2 | ((offset >> 8) as u8) << 5, offset as u8]);
    } else {
        put_far(out, offset, len);
    }
}

fn put_far(out: &mut Vec<u8>, offset: usize, len: usize) {
    out.push(COPY_FAR | ((len - 1) as u8) << 2);
    out.extend_from_slice(&(offset as u16).to_le_bytes());
}
