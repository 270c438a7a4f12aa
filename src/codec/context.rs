//! What a weight's surroundings say about its difference: the exponent of its base, its row and column.
//!
//! Training moves weights by steps of one absolute size, more or less; in units of the last place
//! that is much for a small weight and nothing for a large one. Some rows and columns move more than
//! others: those of an embedding that were seldom used hardly move at all. So weights lie in *cells*: by
//! the octaves of their base below the largest, and by the levels of their row and column.

use std::ops::Range;

use super::binary::{Bit, BitCoder, code_number};
use super::cells::{BUCKETS, COLUMN_LEVELS, CellMap, Detail, PLANE, ROW_LEVELS};
use super::lanes::{Each, GROUP, Lanes};
use super::order::{Order, Word};

/// log2 of `ROW_LEVELS`.
const ROW_LEVEL_BITS: u32 = 4;
/// log2 of `COLUMN_LEVELS`.
const COLUMN_LEVEL_BITS: u32 = 3;

/// The level of every row: half octaves below the row that moved most.
#[derive(Clone)]
pub(super) struct Rows {
    pub row_len: usize,
    pub levels: Vec<u8>,
    pub columns: Option<Columns>,
}

impl Rows {
    /// What as much of this as `detail` has costs, about, in bits.
    pub fn cost_bits(&self, detail: Detail) -> f64 {
        let rows = if detail.has_rows() { level_bits(&self.levels) } else { 0.0 };
        let columns = self.columns.as_ref().filter(|_| detail.has_columns());
        rows + columns.map_or(0.0, |columns| level_bits(&columns.levels()))
    }

    /// What `map` has for the weights of a row by their buckets, with the levels of their columns above these.
    #[inline(always)]
    fn tables<L: Lanes>(&self, lanes: L, map: &CellMap, row: usize, indices: &Each<u8>) -> Each<u8> {
        // The last group may reach behind the last row.
        let level = self.levels.get(row).map_or(0, |&level| usize::from(level) % ROW_LEVELS);
        match &self.columns {
            Some(_) => lanes.look_up_wide(map.plane(level), indices),
            None => lanes.look_up(map.buckets(level), indices),
        }
    }

    /// Codes the levels; decoding replaces them.
    pub fn code<C: BitCoder>(&mut self, coder: &mut C) {
        code_levels(coder, ROW_LEVEL_BITS, &mut self.levels);
        if let Some(columns) = &mut self.columns {
            columns.code(coder);
        }
    }
}

/// What is told apart by these levels.
pub(super) fn detail(rows: Option<&Rows>) -> Detail {
    match rows {
        None => Detail::Buckets,
        Some(Rows { columns: None, .. }) => Detail::Rows,
        Some(Rows { columns: Some(_), .. }) => Detail::RowsAndColumns,
    }
}

/// What levels cost, about, in bits.
fn level_bits(levels: &[u8]) -> f64 {
    let mut counts = [0u32; 1 << ROW_LEVEL_BITS];
    levels.iter().for_each(|&level| counts[usize::from(level)] += 1);
    let total = levels.len() as f64;
    let present = counts.iter().filter(|count| **count > 0);
    present.map(|&count| f64::from(count) * (total / f64::from(count)).log2()).sum::<f64>() + 48.0
}

/// The level of every column: half octaves below one that moved much.
#[derive(Clone)]
pub(super) struct Columns {
    len: usize,
    /// Above the bits of the bucket; as many as a group has come again behind the last.
    shifted: Vec<u8>,
}

impl Columns {
    pub fn new(levels: &[u8]) -> Self {
        let mut columns = Self { len: levels.len(), shifted: vec![0; levels.len() + GROUP] };
        columns.set(levels);
        columns
    }

    fn set(&mut self, levels: &[u8]) {
        let cycle = levels.iter().cycle();
        self.shifted
            .iter_mut()
            .zip(cycle)
            .for_each(|(shifted, level)| *shifted = level % COLUMN_LEVELS as u8 * BUCKETS as u8);
    }

    fn levels(&self) -> Vec<u8> {
        self.shifted[..self.len].iter().map(|shifted| shifted / BUCKETS as u8).collect()
    }

    fn code<C: BitCoder>(&mut self, coder: &mut C) {
        let mut levels = self.levels();
        code_levels(coder, COLUMN_LEVEL_BITS, &mut levels);
        self.set(&levels);
    }

    /// Those of the weights from `position` in their row on, in the bits above the bucket's.
    #[inline(always)]
    fn from(&self, position: usize) -> &[u8; GROUP] {
        self.shifted[position..].first_chunk().expect("because a position in a row has a group behind it")
    }
}

fn code_levels<C: BitCoder>(coder: &mut C, bits: u32, levels: &mut [u8]) {
    let mut models = [Bit::EVEN; 1 << ROW_LEVEL_BITS];
    for level in levels {
        *level = code_number(coder, &mut models, bits, u32::from(*level)) as u8;
    }
}

/// Finds the cell of each weight, and what a map has for it.
pub(super) struct Contexts<W> {
    order: Order<W>,
    top: W,
    rows: Option<Rows>,
}

impl<W: Word> Contexts<W> {
    pub fn new(order: &Order<W>, top: u32, rows: Option<Rows>) -> Self {
        Self { order: *order, top: W::from_u64(u64::from(top)), rows }
    }

    /// The same with no more detail than this.
    pub fn with(mut self, detail: Detail) -> Self {
        self.rows = self.rows.filter(|_| detail.has_rows());
        if let Some(rows) = self.rows.as_mut().filter(|_| !detail.has_columns()) {
            rows.columns = None;
        }
        self
    }

    pub fn detail(&self) -> Detail {
        detail(self.rows())
    }

    /// Octaves that each weight lies below the top exponent.
    #[inline(always)]
    pub fn buckets(&self, base: &Each<W>) -> Each<u8> {
        let mut buckets = Each::of(0);
        for (bucket, &base) in buckets.iter_mut().zip(base) {
            // An exponent above the top one, which only a payload that lies has, counts as small.
            let below = self.top.minus(self.order.exponent(base));
            *bucket = below.min(W::from_u64(BUCKETS as u64 - 1)).low_byte();
        }
        buckets
    }

    /// What `map` has for the weights of the group with this number.
    #[inline(always)]
    pub fn map<L: Lanes>(&self, lanes: L, map: &CellMap, group: usize, base: &Each<W>) -> Each<u8> {
        let buckets = self.buckets(base);
        let Some(rows) = &self.rows else { return lanes.look_up(map.buckets(0), &buckets) };
        let (row, position) = (group * GROUP / rows.row_len, group * GROUP % rows.row_len);
        let indices = match &rows.columns {
            Some(columns) => self.with_columns(columns, position, buckets),
            None => buckets,
        };
        if position + GROUP <= rows.row_len {
            return rows.tables(lanes, map, row, &indices);
        }
        let mut found = Each::of(0);
        for (row, weights) in row_parts(group, rows.row_len) {
            found[weights.clone()].copy_from_slice(&rows.tables(lanes, map, row, &indices)[weights]);
        }
        found
    }

    #[inline(always)]
    fn with_columns(&self, columns: &Columns, position: usize, mut buckets: Each<u8>) -> Each<u8> {
        buckets.iter_mut().zip(columns.from(position)).for_each(|(bucket, column)| *bucket |= column);
        buckets
    }

    /// The places of the weights of the group with this number.
    #[inline(always)]
    pub fn places(&self, group: usize, base: &Each<W>) -> Each<u16> {
        let buckets = self.buckets(base);
        let Some(rows) = &self.rows else { return buckets.map(u16::from) };
        let own = match &rows.columns {
            Some(columns) => self.with_columns(columns, group * GROUP % rows.row_len, buckets),
            None => buckets,
        };
        let mut places = own.map(u16::from);
        for (row, weights) in row_parts(group, rows.row_len) {
            let level = rows.levels.get(row).map_or(0, |&level| u16::from(level) % ROW_LEVELS as u16);
            places[weights].iter_mut().for_each(|place| *place += level * PLANE as u16);
        }
        places
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
