//! Which table each cell of weights takes (see `context`), and how that is written.
//!
//! A cell is a level and a bucket. Its table follows from a rule: a cell has a *scale*, and each table takes
//! a range of scales; that costs a few bytes. Or each cell has its own, written as its distance from what
//! its neighbours let expect.

use super::DecodeError;
use super::binary::{Bit, BitCoder, SignedModel, code_number};
use super::lanes::MAX_TABLES;

/// Octaves of the base below the largest that are told apart; smaller weights count as the last.
pub(super) const BUCKETS: usize = 16;
pub(super) const ROW_LEVELS: usize = 16;
pub(super) const COLUMN_LEVELS: usize = 8;
/// The level of a weight is that of its row and that of its column together.
const LEVELS: usize = ROW_LEVELS + COLUMN_LEVELS - 1;
/// Cell numbers: level, bucket.
pub(super) const CELLS: usize = LEVELS * BUCKETS;
/// Cells of one row level: by column level, then by bucket.
pub(super) const PLANE: usize = COLUMN_LEVELS * BUCKETS;
/// Place numbers: row level, column level, bucket.
pub(super) const PLACES: usize = ROW_LEVELS * PLANE;
/// Half octaves: two a bucket, and the row levels below.
pub(super) const SCALES: usize = 2 * (BUCKETS - 1) + ROW_LEVELS;
/// log2 of `MAX_TABLES`.
const TABLE_BITS: u32 = 4;

/// What is told apart, beside buckets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Buckets,
    Rows,
    RowsAndColumns,
}

impl Detail {
    pub fn has_rows(self) -> bool {
        self != Detail::Buckets
    }

    pub fn has_columns(self) -> bool {
        self == Detail::RowsAndColumns
    }

    /// The cell of a place.
    pub fn cell(self, place: usize) -> usize {
        let (row, column, bucket) = (place / PLANE, place / BUCKETS % COLUMN_LEVELS, place % BUCKETS);
        let level = match self {
            Detail::Buckets => 0,
            Detail::Rows => row,
            Detail::RowsAndColumns => row + column,
        };
        level * BUCKETS + bucket
    }

    /// All cells.
    fn cells(self) -> std::ops::Range<usize> {
        match self {
            Detail::Buckets => 0..BUCKETS,
            Detail::Rows => 0..ROW_LEVELS * BUCKETS,
            Detail::RowsAndColumns => 0..CELLS,
        }
    }
}

/// How far the weights of a cell move in comparison to others of the same bucket, by its level alone.
pub(super) fn by_level(cell: usize) -> f64 {
    f64::exp2((cell / BUCKETS) as f64 / -2.0)
}

/// A table for each cell.
#[derive(Clone)]
pub(super) struct CellMap(Box<[u8; CELLS]>);

impl CellMap {
    /// By rule: the number of tables that start at the scale of a cell or below.
    pub fn by_scale(starts: &[u8]) -> Self {
        let mut map = Box::new([0; CELLS]);
        for cell in Detail::Rows.cells() {
            let scale = scale(cell);
            map[cell] = starts.iter().filter(|&&start| start <= scale).count() as u8;
        }
        Self(map)
    }

    /// Cell by cell; those for which `table` has none take what costs nothing.
    pub fn by_cell(detail: Detail, tables: usize, table: impl Fn(usize) -> Option<u8>) -> Self {
        let mut map = Self(Box::new([0; CELLS]));
        for cell in detail.cells() {
            map.0[cell] = table(cell).unwrap_or_else(|| map.expected(cell, tables));
        }
        map
    }

    /// Codes a map by cell and the number of its tables; decoding replaces both.
    pub fn code<C: BitCoder>(&mut self, coder: &mut C, detail: Detail, tables: usize) -> usize {
        let models = &mut [Bit::EVEN; MAX_TABLES];
        let tables = 1 + code_number(coder, models, TABLE_BITS, tables as u32 - 1) as usize;
        let mut models = [SignedModel::new(), SignedModel::new()];
        for cell in detail.cells() {
            let expected = i32::from(self.expected(cell, tables));
            let model = &mut models[usize::from(cell >= BUCKETS)];
            let change = model.code(coder, i32::from(self.0[cell]) - expected, MAX_TABLES as u32);
            self.0[cell] = (expected + change).clamp(0, tables as i32 - 1) as u8;
        }
        tables
    }

    /// What the cells before it let expect: the step from one bucket to the next is alike on all levels.
    fn expected(&self, cell: usize, tables: usize) -> u8 {
        let get = |cell: usize| i32::from(self.0[cell]);
        let expected = match (cell / BUCKETS, cell % BUCKETS) {
            (0, 0) => 0,
            (0, _) => get(cell - 1),
            (_, 0) => get(cell - BUCKETS),
            _ => get(cell - BUCKETS) + get(cell - 1) - get(cell - BUCKETS - 1),
        };
        expected.clamp(0, tables as i32 - 1) as u8
    }

    /// The table of a cell.
    pub fn table(&self, cell: usize) -> u8 {
        self.0[cell]
    }

    /// The tables of the places of a row level.
    #[inline(always)]
    pub fn plane(&self, row_level: usize) -> &[u8; PLANE] {
        let start = row_level % ROW_LEVELS * BUCKETS;
        self.0[start..].first_chunk().expect("because all column levels lie behind a row level")
    }

    /// The tables of a row level's cells where columns are not told apart.
    #[inline(always)]
    pub fn buckets(&self, row_level: usize) -> &[u8; BUCKETS] {
        self.plane(row_level).first_chunk().expect("because buckets are a part of a plane")
    }
}

/// The scale of a cell: where steps have one absolute size, as large as the differences are. Columns are
/// not told apart by scale.
pub(super) fn scale(cell: usize) -> u8 {
    let level = (cell / BUCKETS).min(ROW_LEVELS - 1);
    (2 * (cell % BUCKETS) + (ROW_LEVELS - 1) - level) as u8
}

/// Codes the lowest of so many scales of each table but the first, in order; decoding replaces them, and
/// refuses more tables than can be.
pub(super) fn code_starts<C: BitCoder>(
    coder: &mut C,
    scales: usize,
    starts: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut model = Bit::EVEN;
    let found = (1..scales as u8).filter(|scale| coder.code(&mut model, starts.contains(scale)));
    *starts = found.collect();
    if starts.len() < MAX_TABLES { Ok(()) } else { Err(DecodeError::Invalid { what: "number of tables" }) }
}
