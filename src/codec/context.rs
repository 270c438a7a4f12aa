//! What a weight's surroundings say about its difference: the exponent of its base, and its row.
//!
//! Training moves weights by steps of one absolute size, more or less; in units of the last place
//! that is much for a small weight and nothing for a large one. So the *scale* of a difference is
//! the distance of the base's exponent from the largest, in half octaves, less the level of its
//! row (rows of an embedding that were seldom used moved less). Scales that look alike share a table.

use std::ops::Range;

use super::DecodeError;
use super::binary::{Bit, BitCoder, code_number};
use super::lanes::{GROUP, Lanes, MAX_TABLES};
use super::order::{Order, Word};

/// Exponents below the top one that are told apart; smaller weights count as the last.
pub(super) const BUCKETS: usize = 16;
/// Row levels: half octaves below the row that moved most.
pub(super) const LEVELS: usize = 16;
/// log2 of `LEVELS`.
const LEVEL_BITS: u32 = 4;
/// Half octaves: two a bucket, and the row levels below.
pub(super) const SCALES: usize = 2 * (BUCKETS - 1) + LEVELS;

/// The level of every row.
#[derive(Clone)]
pub(super) struct Rows {
    pub row_len: usize,
    pub levels: Vec<u8>,
}

impl Rows {
    /// Codes the levels; decoding replaces them.
    pub fn code<C: BitCoder>(&mut self, coder: &mut C) {
        let mut models = [Bit::EVEN; LEVELS];
        for level in &mut self.levels {
            *level = code_number(coder, &mut models, LEVEL_BITS, u32::from(*level)) as u8;
        }
    }
}

/// The exponent from which scales are counted, and which of them share a table.
#[derive(Clone)]
pub(super) struct Scales {
    pub top: u32,
    /// The lowest scale of each table but the first, in order.
    pub starts: Vec<u8>,
}

impl Scales {
    /// Codes where tables start; decoding replaces them, and refuses more than `MAX_TABLES`.
    pub fn code<C: BitCoder>(&mut self, coder: &mut C) -> Result<(), DecodeError> {
        let mut model = Bit::EVEN;
        let starts = (1..SCALES as u8).filter(|scale| coder.code(&mut model, self.starts.contains(scale)));
        self.starts = starts.collect();
        let few = self.tables() <= MAX_TABLES;
        if few { Ok(()) } else { Err(DecodeError::Invalid { what: "number of tables" }) }
    }

    pub fn tables(&self) -> usize {
        self.starts.len() + 1
    }
}

/// Finds the scale of each weight, and its table.
pub(super) struct Contexts<W> {
    order: Order<W>,
    top: W,
    rows: Option<Rows>,
}

impl<W: Word> Contexts<W> {
    pub fn new(order: &Order<W>, top: u32, rows: Option<Rows>) -> Self {
        Self { order: *order, top: W::from_u64(u64::from(top)), rows }
    }

    /// Octaves that each weight lies below the top exponent.
    #[inline(always)]
    pub fn buckets(&self, base: &[W; GROUP]) -> [u8; GROUP] {
        let mut buckets = [0; GROUP];
        for (bucket, &base) in buckets.iter_mut().zip(base) {
            // An exponent above the top one, which only a payload that lies has, counts as small.
            let below = self.top.minus(self.order.exponent(base));
            *bucket = below.min(W::from_u64(BUCKETS as u64 - 1)).low_byte();
        }
        buckets
    }

    /// What `map` has for the weights of the group with this number.
    #[inline(always)]
    pub fn map<L: Lanes>(&self, lanes: L, map: &ScaleMap, group: usize, base: &[W; GROUP]) -> [u8; GROUP] {
        let buckets = self.buckets(base);
        let Some(rows) = &self.rows else { return lanes.look_up(&map.0[0], &buckets) };
        let mut found = [0; GROUP];
        for (row, weights) in row_parts(group, rows.row_len) {
            // The last group may reach behind the last row.
            let level = rows.levels.get(row).map_or(0, |&level| usize::from(level) % LEVELS);
            let own = lanes.look_up(&map.0[level], &buckets);
            if weights.len() == GROUP {
                return own;
            }
            found[weights.clone()].copy_from_slice(&own[weights]);
        }
        found
    }

    pub fn rows(&self) -> Option<&Rows> {
        self.rows.as_ref()
    }
}

/// The rows that a group touches, and which of its weights lie in each.
#[inline(always)]
pub(super) fn row_parts(group: usize, row_len: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let position = group * GROUP;
    let (mut row, mut left) = (position / row_len, row_len - position % row_len);
    let mut start = 0usize;
    std::iter::from_fn(
        #[inline(always)]
        move || {
            let weights = start..start.saturating_add(left).min(GROUP);
            let part = (row, weights.clone());
            (row, left, start) = (row + 1, row_len, weights.end);
            (!weights.is_empty()).then_some(part)
        },
    )
}

/// Something about each scale: by the level of a row, and by the octaves below the top exponent.
pub(super) struct ScaleMap([[u8; BUCKETS]; LEVELS]);

impl ScaleMap {
    /// The scales themselves.
    pub fn scales() -> Self {
        let scale = |level, bucket| (2 * bucket + LEVELS - 1 - level) as u8;
        Self(std::array::from_fn(|level| std::array::from_fn(|bucket| scale(level, bucket))))
    }

    /// The table of each scale: how many tables start at it or below.
    pub fn tables(starts: &[u8]) -> Self {
        let table = |scale| starts.iter().filter(|&&start| start <= scale).count() as u8;
        Self(Self::scales().0.map(|level| level.map(table)))
    }
}
