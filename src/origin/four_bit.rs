//! A tensor in four bits as bitsandbytes writes it, NF4 or FP4: the numbers that codes stand for lie in the file beside it.

use super::converted::{self, Reads};
use crate::derive::{Float, FourBit, Rule};
use crate::format::{Dtype, MAX_SLICE_ELEMENTS, Segment};

/// Behind the name of the tensor: what codes stand for, and one number for each block.
const MAP: &str = ".quant_map";
const SCALES: &str = ".absmax";
/// Codes that are tried, two a byte.
const TRIED_BYTES: u64 = 32 << 10;
/// Wrong bytes of what a relative gives, at most: chance alone gives fewer than a tenth of them right.
const MOST_WRONG: f64 = 0.75;
/// Sources that one slice has at most: slices of codes have twice as many weights as those of weights.
const MOST_SOURCES: u64 = 4;

/// Whether a tensor may be such codes of one with this shape.
pub(super) fn may_be_of(segment: &Segment, shape: &[u64]) -> bool {
    let weights = shape.iter().try_fold(1u64, |all, len| all.checked_mul(*len));
    may_be(segment) && weights.is_some_and(|weights| weights > 0 && weights == 2 * segment.shape[0])
}

/// Whether a tensor may be such codes: bytes in a column.
pub(super) fn may_be(segment: &Segment) -> bool {
    segment.dtype == Dtype::U8 && matches!(segment.shape[..], [codes, 1] if codes < u64::MAX / 2)
}

/// The rule for a tensor whose codes begin with a slice, without what lies before each slice.
pub(super) fn rule<H>(
    from: Float,
    segment: &Segment,
    all: &[Segment],
    reads: &Reads<'_, H>,
) -> Option<FourBit> {
    let named = |what: &str| {
        all.iter().find(|other| other.slice == 0 && other.name.strip_suffix(what) == Some(&segment.name))
    };
    let (map, scales) = (named(MAP)?, named(SCALES)?);
    (map.dtype == Dtype::F32 && map.shape == [16]).then_some(())?;
    let &[blocks] = &scales.shape[..] else { return None };
    let weights = 2 * segment.shape[0];
    // The last block may be cut off, so blocks are the next power of two.
    let block = weights.div_ceil(Some(blocks).filter(|blocks| *blocks > 0)?).checked_next_power_of_two()?;
    (weights.div_ceil(block) == blocks && block > 1).then_some(())?;
    let bytes = (reads.child)(map, size_of::<[f32; 16]>())?;
    let values: [f32; 16] = Float::F32.values(&bytes).try_into().ok()?;
    Some(FourBit { from, block: u32::try_from(block).ok()?, map: values, skip: 0 })
}

/// The share of the first codes that a rule gets wrong; none where it has nothing to do with them.
pub(super) fn share_wrong<H>(
    rule: &FourBit,
    segment: &Segment,
    source: &H,
    reads: &Reads<'_, H>,
) -> Option<f64> {
    let len = usize::try_from((segment.range.end - segment.range.start).min(TRIED_BYTES)).ok()?;
    let codes = (reads.child)(segment, len)?;
    // The first slice of the weights holds no more than their first half.
    let weights = (reads.source)(source, 2 * len * rule.from.width())?;
    let derived = Rule::FourBit(*rule).apply(&[&weights], len).ok()?;
    Some(converted::share_wrong(&derived, &codes)).filter(|wrong| *wrong <= MOST_WRONG)
}

/// Which slices of weights with this shape are the sources of codes from byte `first` on, and how many weights of them
/// lie before.
pub(super) fn sources(shape: &[u64], first: u64, bytes: u64) -> Option<(std::ops::Range<usize>, u64)> {
    let row = *shape.last().filter(|row| (1..=MAX_SLICE_ELEMENTS).contains(*row))?;
    let slice = MAX_SLICE_ELEMENTS / row * row;
    let (start, end) = (first.checked_mul(2)?, first.checked_add(bytes)?.checked_mul(2)?);
    let slices = start / slice..end.div_ceil(slice);
    (slices.end - slices.start <= MOST_SOURCES).then_some(())?;
    Some((usize::try_from(slices.start).ok()?..usize::try_from(slices.end).ok()?, start % slice))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice of codes begins where a slice of weights does only where rows fill that.
    #[test]
    fn slices_of_codes_have_several_of_weights() {
        let whole = MAX_SLICE_ELEMENTS;
        assert_eq!(sources(&[14336, 4096], 0, whole), Some((0..2, 0)));
        assert_eq!(sources(&[14336, 4096], whole, whole), Some((2..4, 0)));
        let slice = whole / 576 * 576;
        assert_eq!(sources(&[49152, 576], whole, whole), Some((2..5, 2 * whole - 2 * slice)));
        assert_eq!(sources(&[256, 256], 0, 128 * 256), Some((0..1, 0)));
        assert_eq!(sources(&[1, whole + 1], 0, 8), None);
        assert_eq!(sources(&[], 0, 8), None);
        assert_eq!(sources(&[4, 4], u64::MAX, 8), None);
    }
}
