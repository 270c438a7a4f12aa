//! A tensor in eight bits a weight, on a scale: INT8, and FP8 of both kinds, as quantisers of checkpoints write them.
//!
//! Sources: OCP 8-bit Floating Point Specification, revision 1.0; Dettmers et al., "LLM.int8()" (2022), section 2;
//! the file formats of bitsandbytes, compressed-tensors, quanto and torchao.

use std::ops::Range;

use super::Unfit;
use super::floats::{Float, to_e4m3, to_e5m2};
use crate::format::Dtype;

/// The numbers that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    Int8,
    E4m3,
    E5m2,
}

/// How a weight and its scale become a number, before it is rounded to the nearest (ties to even).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scaling {
    /// The weight by its scale.
    Divided = 0,
    /// The weight times one by its scale.
    Inverted = 1,
    /// The weight times the grid's largest number by its scale, which is the largest weight then.
    Share = 2,
    /// The weight by its scale, the quotient rounded to the weight's type.
    Native = 3,
}

/// A slice of a tensor in eight bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    pub from: Float,
    /// The type that weights are rounded to before anything else.
    pub through: Float,
    pub to: Grid,
    pub scaling: Scaling,
    /// Elements of a row.
    pub row_len: u64,
    /// Rows and columns that have one scale.
    pub block: [u64; 2],
    /// Rows of the first block that lie before the slice.
    pub skip: u64,
    /// Block by block, row by row.
    pub scales: Vec<f32>,
}

impl Grid {
    /// The grid of a type, if it is one of these.
    pub fn of(dtype: Dtype) -> Option<Grid> {
        match dtype {
            Dtype::I8 => Some(Grid::Int8),
            Dtype::F8E4M3 => Some(Grid::E4m3),
            Dtype::F8E5M2 => Some(Grid::E5m2),
            _ => None,
        }
    }

    /// The type as others call it.
    pub fn dtype(self) -> Dtype {
        match self {
            Grid::Int8 => Dtype::I8,
            Grid::E4m3 => Dtype::F8E4M3,
            Grid::E5m2 => Dtype::F8E5M2,
        }
    }

    fn largest(self) -> f32 {
        match self {
            Grid::Int8 => 127.0,
            Grid::E4m3 => 448.0,
            Grid::E5m2 => 57344.0,
        }
    }

    /// The number that is nearest, as a byte.
    fn nearest(self, value: f32) -> u8 {
        let largest = self.largest();
        match self {
            // What is no number becomes 0.
            Grid::Int8 => value.round_ties_even().clamp(-largest - 1.0, largest) as i8 as u8,
            Grid::E4m3 => to_e4m3(value.clamp(-largest, largest)),
            Grid::E5m2 => to_e5m2(value.clamp(-largest, largest)),
        }
    }
}

impl Scaling {
    pub const ALL: [Scaling; 4] = [Scaling::Divided, Scaling::Inverted, Scaling::Share, Scaling::Native];
}

impl Scaled {
    /// Scales that a slice needs, by its number of rows.
    pub fn scales_of(row_len: u64, block: [u64; 2], skip: u64, rows: u64) -> Option<u64> {
        let rows = skip.checked_add(rows)?.checked_add(block[0].checked_sub(1)?)?.checked_div(block[0])?;
        rows.checked_mul(row_len.checked_add(block[1].checked_sub(1)?)?.checked_div(block[1])?)
    }

    /// Of rows from row `first` of a tensor on: the rows of their first block that lie before them, and which scales are theirs.
    pub fn scales_of_rows(
        row_len: u64,
        block: [u64; 2],
        first: u64,
        rows: u64,
    ) -> Option<(u64, Range<usize>)> {
        let skip = first.checked_rem(block[0])?;
        let start = (first / block[0]).checked_mul(Scaled::scales_of(row_len, block, 0, 1)?)?;
        let end = start.checked_add(Scaled::scales_of(row_len, block, skip, rows)?)?;
        Some((skip, usize::try_from(start).ok()?..usize::try_from(end).ok()?))
    }

    pub(super) fn of_rows(&self, first: u64, rows: u64) -> Option<Scaled> {
        let first = self.skip.checked_add(first)?;
        let (skip, scales) = Scaled::scales_of_rows(self.row_len, self.block, first, rows)?;
        let scales = self.scales.get(scales)?.to_vec();
        let Scaled { from, through, to, scaling, row_len, block, .. } = *self;
        Some(Scaled { from, through, to, scaling, row_len, block, skip, scales })
    }

    pub(super) fn apply(&self, sources: &[&[u8]], len: usize) -> Result<Vec<u8>, Unfit> {
        let &[source] = sources else { return Err(Unfit) };
        let row = usize::try_from(self.row_len).ok().filter(|row| *row > 0).ok_or(Unfit)?;
        let rows = len / row;
        let scales = Scaled::scales_of(self.row_len, self.block, self.skip, rows as u64).ok_or(Unfit)?;
        let fits = rows * row == len
            && len.checked_mul(self.from.width()) == Some(source.len())
            && scales == self.scales.len() as u64
            && self.skip < self.block[0];
        if !fits {
            return Err(Unfit);
        }
        let [rows_of_block, columns] = self.block.map(|side| usize::try_from(side).unwrap_or(usize::MAX));
        let mut out = Vec::with_capacity(len);
        for (number, bytes) in source.chunks_exact(row * self.from.width()).enumerate() {
            let start = (self.skip as usize + number) / rows_of_block * row.div_ceil(columns);
            let values = self.from.values(bytes);
            for (values, scale) in values.chunks(columns).zip(&self.scales[start..]) {
                self.put(values, *scale, &mut out);
            }
        }
        Ok(out)
    }

    fn put(&self, values: &[f32], scale: f32, out: &mut Vec<u8>) {
        let factor = if self.scaling == Scaling::Share { self.to.largest() / scale } else { 1.0 / scale };
        for value in values {
            let value = self.through.round(*value);
            let scaled = match self.scaling {
                Scaling::Divided => value / scale,
                Scaling::Inverted | Scaling::Share => value * factor,
                Scaling::Native => self.through.round(value / scale),
            };
            out.push(self.to.nearest(scaled));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Scaled = Scaled {
        from: Float::F32,
        through: Float::F32,
        to: Grid::Int8,
        scaling: Scaling::Divided,
        row_len: 3,
        block: [2, 2],
        skip: 1,
        scales: Vec::new(),
    };

    fn apply(rule: &Scaled, values: &[f32]) -> Result<Vec<u8>, Unfit> {
        rule.apply(&[&Float::F32.bytes(values)], values.len())
    }

    /// The first row of the slice is the second of its block; the third column has a block of its own.
    #[test]
    fn each_block_has_its_scale() {
        let rule = Scaled { scales: vec![1.0, 2.0, 4.0, 8.0], ..RULE };
        let out = apply(&rule, &[8.0, -8.0, 8.0, 8.0, 8.0, 800.0]).unwrap();
        assert_eq!(out, [8, -8, 4, 2, 2, 100].map(|number: i8| number as u8));
        assert_eq!(apply(&rule, &[f32::NAN, 1e9, -1e9, 0.5, 6.0, -0.0]).unwrap(), [0, 127, 128, 0, 2, 0]);
    }

    /// Rows give what they give among the others.
    #[test]
    fn some_rows_follow_as_all_do() {
        let scales: Vec<f32> = (1..=8).map(|scale| scale as f32 / 4.0).collect();
        let rule = Scaled { scales, ..RULE };
        let values: Vec<f32> = (0..7 * 3).map(|value| value as f32).collect();
        let all = apply(&rule, &values).unwrap();
        for (first, rows) in [(0, 7), (0, 1), (1, 2), (2, 3), (3, 1), (6, 1)] {
            let part = rule.of_rows(first, rows).unwrap();
            let [start, end] = [first, first + rows].map(|row| row as usize * 3);
            assert_eq!(apply(&part, &values[start..end]).unwrap(), all[start..end], "{rows} from {first}");
        }
        assert_eq!(rule.of_rows(6, 3), None, "there are no more scales");
        assert_eq!(rule.of_rows(u64::MAX, 1), None);
    }

    /// Rules come from packs that may lie.
    #[test]
    fn what_does_not_fit_is_refused() {
        let rule = Scaled { scales: vec![1.0; 4], ..RULE };
        assert!(apply(&rule, &[1.0; 6]).is_ok());
        assert!(apply(&rule, &[1.0; 5]).is_err());
        assert!(apply(&rule, &[1.0; 12]).is_err(), "more blocks than scales");
        assert!(rule.apply(&[], 6).is_err());
        assert!(rule.apply(&[&[0; 23]], 6).is_err());
        for bad in [
            Scaled { row_len: 0, ..rule.clone() },
            Scaled { row_len: u64::MAX, ..rule.clone() },
            Scaled { block: [0, 2], ..rule.clone() },
            Scaled { block: [2, 0], ..rule.clone() },
            Scaled { block: [u64::MAX; 2], ..rule.clone() },
            Scaled { skip: 2, ..rule.clone() },
            Scaled { skip: u64::MAX, ..rule.clone() },
            Scaled { scales: vec![1.0; 3], ..rule.clone() },
        ] {
            assert!(apply(&bad, &[1.0; 6]).is_err(), "{bad:?}");
        }
        let whole = Scaled { block: [u64::MAX; 2], skip: 0, scales: vec![1.0], ..RULE };
        assert!(apply(&whole, &[1.0; 6]).is_err(), "a sum that has no room is refused");
    }

    /// All four differ where quotients are rounded twice, or lie beside half a step.
    #[test]
    fn how_it_is_scaled_makes_a_difference() {
        let outs = Scaling::ALL.map(|scaling| {
            let rule = Scaled {
                through: Float::Bf16,
                row_len: 4096,
                block: [1, 4096],
                skip: 0,
                scales: vec![0.013],
                scaling,
                ..RULE
            };
            let values: Vec<f32> =
                (0..4096).map(|at| Float::Bf16.round((at - 2048) as f32 * 0.0007)).collect();
            apply(&rule, &values).unwrap()
        });
        assert_eq!(outs[0], outs[1], "one in millions differs");
        assert_ne!(outs[0], outs[2]);
        assert_ne!(outs[0], outs[3]);
    }
}
