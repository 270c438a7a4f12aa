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

/// Searches blocks one after the other, each with an empty table, and keeps the elements of the last one.
pub(super) struct Search {
    table: Vec<u16>,
    elements: Vec<u8>,
    len: usize,
}

/// A literal of so many bytes at most is copied at one go, and what is too much of that is written over.
const SHORT_LITERAL: usize = 16;

impl Search {
    /// For blocks of that length, or shorter ones.
    pub fn of_blocks(block_bytes: usize) -> Search {
        // A copy of three bytes stands for four at least; a literal has a byte for sixty, or three.
        let most = block_bytes + block_bytes / 6 + 32 + SHORT_LITERAL;
        Search { table: Vec::new(), elements: vec![0; most], len: 0 }
    }

    /// The elements of one block.
    pub fn pack(&mut self, behaviour: Snappy, block: &[u8]) -> &[u8] {
        self.len = 0;
        match behaviour {
            Snappy::V1_1_8 => self.search::<HighBits>(block),
            Snappy::V1_1_9 => self.search::<LowBits<14>>(block),
            Snappy::V1_2 => self.search::<LowBits<15>>(block),
            Snappy::V1_2Crc => self.search::<Crc>(block),
        }
        &self.elements[..self.len]
    }

    fn search<S: Slot>(&mut self, block: &[u8]) {
        let slots = block.len().next_power_of_two().clamp(LEAST_SLOTS, S::MOST_SLOTS);
        let mut table = std::mem::take(&mut self.table);
        table.clear();
        table.resize(slots, 0);
        let mut literal = 0;
        if let Some(last) = block.len().checked_sub(MARGIN_BYTES) {
            let mut from = 1;
            while let Some((candidate, at)) = first_match::<S>(block, &mut table, from, last) {
                self.put_literal(block, literal, at);
                literal = self.put_copies::<S>(block, &mut table, (candidate, at), last);
                if literal >= last {
                    break;
                }
                from = literal + 1;
            }
        }
        if literal < block.len() {
            self.put_literal(block, literal, block.len());
        }
        self.table = table;
    }

    /// Appends a match and those that follow it without a gap, and returns where they end.
    #[inline(always)]
    fn put_copies<S: Slot>(
        &mut self,
        block: &[u8],
        table: &mut [u16],
        (mut candidate, mut at): (usize, usize),
        last: usize,
    ) -> usize {
        loop {
            let len = 4 + equal_bytes(block, candidate + 4, at + 4);
            self.put_copy(at - candidate, len);
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

    /// Appends the bytes from one place to another one.
    #[inline(always)]
    fn put_literal(&mut self, block: &[u8], start: usize, end: usize) {
        let last = end - start - 1;
        if let (0..SHORT_LITERAL, Some(long)) = (last, block.get(start..start + SHORT_LITERAL)) {
            let room = &mut self.elements[self.len..self.len + 1 + SHORT_LITERAL];
            room[0] = LITERAL | (last as u8) << 2;
            room[1..].copy_from_slice(long);
            self.len += 2 + last;
            return;
        }
        match last {
            0..60 => self.put([LITERAL | (last as u8) << 2]),
            60..0x100 => self.put([LITERAL | 60 << 2, last as u8]),
            _ => self.put([LITERAL | 61 << 2, last as u8, (last >> 8) as u8]),
        }
        self.elements[self.len..][..last + 1].copy_from_slice(&block[start..end]);
        self.len += last + 1;
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.elements[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    /// A copy of any length: in pieces of 64, and a last one that is never shorter than four.
    #[inline(always)]
    fn put_copy(&mut self, offset: usize, mut len: usize) {
        while len >= 68 {
            self.put_far(offset, 64);
            len -= 64;
        }
        if len > 64 {
            self.put_far(offset, 60);
            len -= 60;
        }
        if len < 12 && offset < 2048 {
            self.put([COPY_NEAR | ((len - 4) as u8) << 2 | ((offset >> 8) as u8) << 5, offset as u8]);
        } else {
            self.put_far(offset, len);
        }
    }

    #[inline(always)]
    fn put_far(&mut self, offset: usize, len: usize) {
        self.put([COPY_FAR | ((len - 1) as u8) << 2, offset as u8, (offset >> 8) as u8]);
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
