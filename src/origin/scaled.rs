//! A tensor in eight bits whose scales stand in the file beside it: INT8 and FP8 checkpoints of a model that the store has.

use super::converted::{Reads, share_wrong};
use crate::derive::{Float, Grid, Rule, Scaled, Scaling};
use crate::format::Segment;

/// What a quantiser calls the numbers of `….weight`, and their scales: bitsandbytes; compressed-tensors, vLLM,
/// ModelOpt; DeepSeek; ComfyUI; torchao; quanto.
const NAMES: [(&str, &str); 6] = [
    ("weight", "SCB"),
    ("weight", "weight_scale"),
    ("weight", "weight_scale_inv"),
    ("weight", "scale_weight"),
    ("_weight_qdata", "_weight_scale"),
    ("weight._data", "weight._scale"),
];
/// Rows on which ways are tried hold this many numbers, about.
const TRIED: u64 = 32 << 10;
/// The share of the numbers' size that the differences may have: what a relative of the model gives is worth a difference, too.
const FAR: f64 = 0.5;

/// The numbers and the scales of one tensor.
pub(super) struct Numbers<'a> {
    segment: &'a Segment,
    grid: Grid,
    scales: Vec<f32>,
    /// Rows and columns that have one scale.
    block: [u64; 2],
}

/// How the numbers of a tensor follow from its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Way {
    through: Float,
    scaling: Scaling,
}

/// The name that a tensor of numbers had as weights, if a quantiser named it.
pub(super) fn before(name: &str) -> Option<String> {
    let renamed = NAMES.iter().filter(|(numbers, _)| *numbers != "weight");
    renamed
        .filter_map(|(numbers, _)| name.strip_suffix(numbers))
        .map(|module| format!("{module}weight"))
        .next()
}

impl<'a> Numbers<'a> {
    /// The numbers of a tensor, by its first slice; none where it isn't in eight bits, or has no scales that fit.
    pub fn of<H>(segment: &'a Segment, all: &[Segment], reads: &Reads<'_, H>) -> Option<Numbers<'a>> {
        let grid = Grid::of(segment.dtype)?;
        let [rows, columns] = sides(segment)?;
        let named = |name: String| all.iter().find(|other| other.slice == 0 && other.name == name);
        let found = NAMES.iter().find_map(|(numbers, scales)| {
            let module = segment.name.strip_suffix(numbers)?;
            named(format!("{module}{scales}"))
        });
        let Some(found) = found else {
            // A plain cast.
            let is_cast = grid != Grid::Int8;
            return is_cast.then(|| Numbers { segment, grid, scales: vec![1.0], block: [rows, columns] });
        };
        let float = Float::of(found.dtype)?;
        let bytes = (reads.child)(found, usize::try_from(found.range.end - found.range.start).ok()?)?;
        let scales = float.values(&bytes);
        let block = block([rows, columns], &found.shape)?;
        let fits = Scaled::scales_of(columns, block, 0, rows) == Some(scales.len() as u64);
        fits.then_some(Numbers { segment, grid, scales, block })
    }

    /// The way that gives the first rows best, and the share of them that it gets wrong; none where all are far off.
    pub fn best<H>(&self, from: Float, source: &H, reads: &Reads<'_, H>) -> Option<(f64, Way)> {
        let row_len = self.segment.row_len;
        let len = self.segment.range.end - self.segment.range.start;
        let rows = TRIED.div_ceil(row_len).min(len / row_len);
        let len = usize::try_from(rows * row_len).ok()?;
        let numbers = (reads.child)(self.segment, len)?;
        let weights = (reads.source)(source, len.checked_mul(from.width())?)?;
        let halves = (from != Float::F16).then_some(Float::F16);
        let throughs = || std::iter::once(from).chain(halves);
        let ways = throughs().flat_map(|through| Scaling::ALL.map(|scaling| Way { through, scaling }));
        let tried = ways.filter_map(|way| {
            let derived = Rule::Scaled(self.rule(way, from, 0, rows)?).apply(&[&weights], len).ok()?;
            is_near(self.grid, &derived, &numbers).then(|| (share_wrong(&derived, &numbers), way))
        });
        tried.min_by(|(one, _), (other, _)| one.total_cmp(other))
    }

    /// The rule for some rows of the tensor.
    pub fn rule(&self, way: Way, from: Float, first: u64, rows: u64) -> Option<Scaled> {
        let row_len = self.segment.row_len;
        let (skip, scales) = Scaled::scales_of_rows(row_len, self.block, first, rows)?;
        let scales = self.scales.get(scales)?.to_vec();
        Some(Scaled {
            from,
            through: way.through,
            to: self.grid,
            scaling: way.scaling,
            row_len,
            block: self.block,
            skip,
            scales,
        })
    }
}

/// Rows, and columns: the last dimension.
fn sides(segment: &Segment) -> Option<[u64; 2]> {
    let columns = *segment.shape.last()?;
    let elements = segment.shape.iter().try_fold(1u64, |all, len| all.checked_mul(*len))?;
    let is_plain = columns > 0 && columns == segment.row_len && elements > 0;
    is_plain.then(|| [elements / columns, columns])
}

/// The block of a tensor with these sides that has one of the scales: one of the tensor, of a row, or of a square or a
/// group whose sides are powers of two.
fn block([rows, columns]: [u64; 2], scales: &[u64]) -> Option<[u64; 2]> {
    let exact =
        |len: u64, scales: u64| len.checked_div(scales).filter(|side| *side > 0 && side * scales == len);
    let side = |len: u64, scales: u64| {
        let square =
            len.div_ceil(Some(scales).filter(|scales| (1..=len).contains(scales))?).next_power_of_two();
        let is_square = scales > 1 && len.div_ceil(square) == scales;
        if is_square { Some(square) } else { exact(len, scales) }
    };
    match *scales {
        [] | [1] => Some([rows, columns]),
        [of_rows] if of_rows == rows => Some([1, columns]),
        [_] => None,
        [of_rows, of_columns] => Some([side(rows, of_rows)?, side(columns, of_columns)?]),
        // Of experts that are stacked, rows are counted through.
        [ref of_rows @ .., of_columns] => {
            let of_rows = of_rows.iter().try_fold(1u64, |all, len| all.checked_mul(*len))?;
            Some([exact(rows, of_rows)?, side(columns, of_columns)?])
        }
    }
}

/// Whether numbers are mostly those, or beside them.
fn is_near(grid: Grid, derived: &[u8], numbers: &[u8]) -> bool {
    // Numbers of FP8 are in the order of their bits, but for the sign.
    let ordered = |byte: u8| match grid {
        Grid::Int8 => i32::from(byte as i8),
        Grid::E4m3 | Grid::E5m2 if byte & 0x80 == 0 => i32::from(byte),
        Grid::E4m3 | Grid::E5m2 => -i32::from(byte & 0x7f),
    };
    let pairs = || derived.iter().zip(numbers).map(|(derived, number)| (ordered(*derived), ordered(*number)));
    let apart: i32 = pairs().map(|(derived, number)| (derived - number).abs()).sum();
    let size: i32 = pairs().map(|(_, number)| number.abs()).sum();
    size > 0 && f64::from(apart) <= FAR * f64::from(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a side is no multiple, the last block is cut off.
    #[test]
    fn blocks_follow_from_the_shapes() {
        assert_eq!(block([576, 1536], &[]), Some([576, 1536]));
        assert_eq!(block([576, 1536], &[576, 1]), Some([1, 1536]));
        assert_eq!(block([576, 1536], &[576]), Some([1, 1536]));
        assert_eq!(block([576, 1536], &[5, 12]), Some([128, 128]));
        assert_eq!(block([576, 1536], &[576, 12]), Some([1, 128]));
        assert_eq!(block([2900, 3000], &[23, 24]), Some([128, 128]));
        assert_eq!(block([576, 1536], &[6, 1]), Some([96, 1536]));
        assert_eq!(block([576, 1536], &[1, 1]), Some([576, 1536]));
        assert_eq!(block([3 * 400, 1536], &[3, 1, 1]), Some([400, 1536]));
        assert_eq!(block([4 * 256, 1536], &[4, 2, 12]), Some([128, 128]));
        assert_eq!(block([4 * 256, 1536], &[4, 256, 1]), Some([1, 1536]));
        assert_eq!(block([4 * 256, 1536], &[4, 1, 1]), Some([256, 1536]));
        assert_eq!(block([576, 1536], &[0, 12]), None);
        assert_eq!(block([576, 1536], &[1000, 12]), None);
        assert_eq!(block([576, 1536], &[7]), None);
    }

    #[test]
    fn names_lead_to_weights() {
        assert_eq!(before("a.q_proj._weight_qdata").as_deref(), Some("a.q_proj.weight"));
        assert_eq!(before("a.q_proj.weight._data").as_deref(), Some("a.q_proj.weight"));
        assert_eq!(before("a.q_proj.weight"), None);
    }
}
