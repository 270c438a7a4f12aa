//! Finds what of some bytes stands in others: windows of the bases at even distances in a table, looked up at each byte.
//!
//! As in the delta coders since MacDonald's xdelta: what is found is extended to both sides. A window that comes often
//! (the names of fields) leads to a wrong line at first; the copy that is right reaches back over such ones, and they
//! are dropped.

use super::{MIN_COPY_BYTES, MOST_BASE_BYTES};

/// Bytes that are hashed together: a copy is found by one of its windows.
const WINDOW_BYTES: usize = 24;
/// Distance of the windows in the table.
const STEP: usize = 8;
/// Shortest copy from another place: a shorter one costs as much as its literals.
const LEAST_BYTES: usize = 32;
/// Shortest copy that goes on where the last one would, after as many other bytes.
const LEAST_STRAIGHT_BYTES: usize = 12;
/// Windows with one hash that are kept.
const WAYS: usize = 4;
/// After so many bytes without a copy, fewer places are looked at.
const PATIENCE_BYTES: usize = 256;
/// Less than the distance in the table, so that each place of it is met at some time.
const MOST_STRIDE: usize = STEP - 1;
/// A copy reaches back over others for so many bytes at most.
const MOST_BACK_BYTES: usize = 64 << 10;

/// Some bytes as they are, then a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    pub literals: usize,
    /// Where it comes from, counted through all bases.
    pub from: usize,
    pub len: usize,
}

/// The copies that make up `bytes`, in order.
pub(super) fn copies(bytes: &[u8], bases: &[&[u8]]) -> Vec<Copy> {
    let bases = Bases::of(bases);
    let mut found = Finding { bytes, bases: &bases, copies: Vec::new(), done: 0 };
    // What was changed in one place, or got something at its end, needs no table.
    let head = bases.common(bytes, 0, 0);
    if head >= LEAST_STRAIGHT_BYTES {
        found.push(0, 0, head);
    }
    let tail = bases.common_end(&bytes[found.done..]);
    let tail = if tail >= LEAST_STRAIGHT_BYTES { tail } else { 0 };
    let end = bytes.len() - tail;
    if end - found.done >= WINDOW_BYTES {
        found.search(&Table::of(&bases), end);
    }
    if tail > 0 {
        let at = end.max(found.done);
        found.push(at, bases.len - (bytes.len() - at), bytes.len() - at);
    }
    found.copies
}

/// The bases one after another.
struct Bases<'a> {
    parts: Vec<(usize, &'a [u8])>,
    len: usize,
}

impl<'a> Bases<'a> {
    fn of(bases: &[&'a [u8]]) -> Bases<'a> {
        let mut len = 0;
        let place = |base: &&'a [u8]| {
            len += base.len();
            (len - base.len(), *base)
        };
        Bases { parts: bases.iter().map(place).collect(), len }
    }

    /// The base that has this place, and where it starts.
    fn part(&self, at: usize) -> (usize, &'a [u8]) {
        let behind = self.parts.partition_point(|(start, _)| *start <= at);
        self.parts[behind - 1]
    }

    /// How many bytes from `at` on are those of the bases from `from` on, in one base.
    fn common(&self, bytes: &[u8], at: usize, from: usize) -> usize {
        if from >= self.len {
            return 0;
        }
        let (start, part) = self.part(from);
        let (mine, theirs) = (&bytes[at..], &part[from - start..]);
        // Most differ in the first byte.
        if mine.first() == theirs.first() { common(mine, theirs) } else { 0 }
    }

    fn common_end(&self, bytes: &[u8]) -> usize {
        self.parts.last().map_or(0, |(_, part)| common_end(bytes, part))
    }
}

/// Compared at once.
const BLOCK: usize = 32;

/// How many bytes are the same at the beginning of both.
fn common(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.as_chunks::<BLOCK>().0.iter().zip(b.as_chunks::<BLOCK>().0);
    let equal = blocks.take_while(|(a, b)| a == b).count() * BLOCK;
    equal + a[equal..].iter().zip(&b[equal..]).take_while(|(a, b)| a == b).count()
}

fn common_end(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.as_rchunks::<BLOCK>().1.iter().rev().zip(b.as_rchunks::<BLOCK>().1.iter().rev());
    let equal = blocks.take_while(|(a, b)| a == b).count() * BLOCK;
    let (a, b) = (&a[..a.len() - equal], &b[..b.len() - equal]);
    equal + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// Where the windows of the bases lie, by their hashes: some places for each, the last ones.
struct Table {
    /// The place in steps, plus 1, and in the highest byte more of the hash; 0 for none.
    places: Vec<[u32; WAYS]>,
    bits: u32,
}

impl Table {
    fn of(bases: &Bases<'_>) -> Table {
        let slots = (bases.len / STEP / WAYS).next_power_of_two().max(16);
        let mut table = Table { places: vec![[0; WAYS]; slots], bits: slots.trailing_zeros() };
        for (start, part) in &bases.parts {
            // Windows at whole steps of the place that is counted through.
            let first = start.next_multiple_of(STEP) - start;
            for at in (first..(part.len() + 1).saturating_sub(WINDOW_BYTES)).step_by(STEP) {
                let hash = hash(&part[at..]);
                let place = ((start + at) / STEP + 1) as u32 | tag(hash);
                let slot = table.slot(hash);
                let ways = &mut table.places[slot];
                let [a, b, c, _] = *ways;
                *ways = [place, a, b, c];
            }
        }
        table
    }

    fn slot(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.bits)) as usize
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = usize> {
        let ways = &self.places[self.slot(hash)];
        let alike = ways.iter().filter(move |place| **place > 0 && **place & TAG == tag(hash));
        alike.map(|place| ((*place & !TAG) as usize - 1) * STEP)
    }
}

/// What of a hash stands beside a place, so that most others need no look at the bases.
const TAG: u32 = 0xff << 24;
const _: () = assert!(MOST_BASE_BYTES / STEP < 1 << 24, "places and tags share 32 bits");

fn tag(hash: u64) -> u32 {
    (hash as u32) << 24
}

/// Of the first [`WINDOW_BYTES`], the highest bits the best.
fn hash(bytes: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("because 8 bytes"));
    let [a, b, c] = [word(0), word(8), word(16)];
    let mixed = (a ^ b.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ c;
    (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// The copies so far, which reach up to `done`.
struct Finding<'a> {
    bytes: &'a [u8],
    bases: &'a Bases<'a>,
    copies: Vec<Copy>,
    done: usize,
}

impl Finding<'_> {
    /// Looks for copies up to `end`; the last one may reach further.
    fn search(&mut self, table: &Table, end: usize) {
        let mut at = self.done;
        while at + WINDOW_BYTES <= end {
            let found = self.straight(at).or_else(|| self.elsewhere(table, at));
            if found.is_some_and(|(from, len)| self.take(at, from, len)) {
                at = self.done;
            } else {
                at += (1 + (at - self.done) / PATIENCE_BYTES).min(MOST_STRIDE);
            }
        }
    }

    /// A copy that goes on where the last one would have, after as many other bytes.
    fn straight(&self, at: usize) -> Option<(usize, usize)> {
        let from = self.expected(at);
        let len = self.bases.common(self.bytes, at, from);
        (len >= LEAST_STRAIGHT_BYTES).then_some((from, len))
    }

    /// The longest copy from one of the places that the table has.
    fn elsewhere(&self, table: &Table, at: usize) -> Option<(usize, usize)> {
        let hash = hash(&self.bytes[at..]);
        let found = table.places(hash).map(|from| (self.bases.common(self.bytes, at, from), from));
        let found = found.max().filter(|(len, _)| *len >= WINDOW_BYTES);
        found.map(|(len, from)| (from, len))
    }

    /// Takes a copy with what is the same before it, unless that is too little.
    fn take(&mut self, at: usize, from: usize, len: usize) -> bool {
        let (start, part) = self.bases.part(from);
        let (mine, theirs) = (&self.bytes[..at], &part[..from - start]);
        let near = |bytes: &[u8]| bytes.len().saturating_sub(MOST_BACK_BYTES);
        let back = common_end(&mine[near(mine)..], &theirs[near(theirs)..]);
        // Copies that lie in this one were mistakes.
        while self.copies.last().is_some_and(|last| self.done - last.len >= at - back) {
            let last = self.copies.pop().expect("because it was just there");
            self.done -= last.len + last.literals;
        }
        let begin = (at - back).max(self.done);
        let (from, len) = (from - (at - begin), at + len - begin);
        let least = if from == self.expected(begin) { LEAST_STRAIGHT_BYTES } else { LEAST_BYTES };
        if len < least {
            return false;
        }
        self.push(begin, from, len);
        true
    }

    fn expected(&self, at: usize) -> usize {
        self.copies.last().map_or(0, |last| last.from + last.len) + (at - self.done)
    }

    fn push(&mut self, at: usize, from: usize, len: usize) {
        if len >= MIN_COPY_BYTES {
            self.copies.push(Copy { literals: at - self.done, from, len });
            self.done = at + len;
        }
    }
}
