//! What a weight's surroundings say about its difference: the exponent of its base, and its row.
//!
//! Training moves weights by steps of one absolute size, more or less; in units of the last place
//! that is much for a small weight and nothing for a large one. So the *scale* of a difference is
//! the distance of the base's exponent from the largest, in half octaves, less the level of its
//! row (rows of an embedding that were seldom used moved less). Scales that look alike share a table.

use super::DecodeError;
use super::binary::{Bit, BitCoder, code_number};
use super::order::{Order, Word};
use super::rans::{GROUP, MAX_TABLES};

/// Exponents below the top one that are told apart; smaller weights count as the last.
pub(super) const BUCKETS: usize = 16;
/// Row levels: half octaves below the row that moved most.
pub(super) const LEVELS: usize = 16;
/// log2 of `LEVELS`.
const LEVEL_BITS: u32 = 4;
/// Half octaves: two a bucket, and the row levels below.
pub(super) const SCALES: usize = 2 * (BUCKETS - 1) + LEVELS;
/// Exponents of the widest float.
const EXPONENTS: usize = 2048;

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

/// The exponent of which scales are counted, and which scales share a table.
#[derive(Clone)]
pub(super) struct Scales {
    pub top: u32,
    /// The table of each scale.
    pub tables: [u8; SCALES],
}

impl Scales {
    /// Every scale for itself, to gather statistics.
    pub fn apart(top: u32) -> Self {
        Self { top, tables: std::array::from_fn(|scale| scale as u8) }
    }

    /// Codes where a new table starts. Decoding refuses more than `MAX_TABLES`.
    pub fn code<C: BitCoder>(&mut self, coder: &mut C) -> Result<usize, DecodeError> {
        let mut model = Bit::EVEN;
        let (mut before, mut table) = (self.tables[0], 0u8);
        self.tables[0] = 0;
        for found in &mut self.tables[1..] {
            let starts = coder.code(&mut model, *found != before);
            before = *found;
            table += u8::from(starts);
            *found = table;
        }
        let count = usize::from(table) + 1;
        if count <= MAX_TABLES { Ok(count) } else { Err(DecodeError::Invalid { what: "number of tables" }) }
    }
}

/// Finds the table of each weight.
pub(super) struct Contexts<'a> {
    /// For each row level: the table of each exponent.
    by_level: Vec<[u8; EXPONENTS]>,
    rows: Option<&'a Rows>,
}

impl<'a> Contexts<'a> {
    pub fn new(scales: &Scales, rows: Option<&'a Rows>) -> Self {
        let levels = rows.map_or(1, |_| LEVELS);
        let by_level = (0..levels).map(|level| {
            let mut tables = [0; EXPONENTS];
            for (exponent, table) in tables.iter_mut().enumerate() {
                let bucket = (scales.top as usize).saturating_sub(exponent).min(BUCKETS - 1);
                *table = scales.tables[2 * bucket + (LEVELS - 1 - level)];
            }
            tables
        });
        Self { by_level: by_level.collect(), rows }
    }

    /// The tables of the weights of the group with this number.
    #[inline]
    pub fn fill<W: Word>(&self, group: usize, order: &Order<W>, base: &[W; GROUP], tables: &mut [u8; GROUP]) {
        let look_up =
            |by_exponent: &[u8; EXPONENTS], base: W| by_exponent[order.exponent(base) as usize % EXPONENTS];
        let Some(rows) = self.rows else {
            for (table, &base) in tables.iter_mut().zip(base) {
                *table = look_up(&self.by_level[0], base);
            }
            return;
        };
        let position = group * GROUP;
        let (mut row, mut left) = (position / rows.row_len, rows.row_len - position % rows.row_len);
        let mut start = 0;
        while start < GROUP {
            let end = start.saturating_add(left).min(GROUP);
            // The last group may reach behind the last row.
            let level = rows.levels.get(row).copied().unwrap_or(0);
            let by_exponent = &self.by_level[usize::from(level) % LEVELS];
            for (table, &base) in tables[start..end].iter_mut().zip(&base[start..end]) {
                *table = look_up(by_exponent, base);
            }
            (row, left, start) = (row + 1, rows.row_len, end);
        }
    }
}
