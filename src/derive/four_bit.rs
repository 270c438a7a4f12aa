//! A tensor in four bits a weight: each the nearest of sixteen numbers, times the largest weight of its block.
//!
//! Sources: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs" (2023), section 3; the file format of
//! bitsandbytes, for NF4 and FP4.

use super::floats::Float;
use super::{ByRows, Unfit};

/// A slice of a tensor in four bits, two codes a byte, the first one high.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FourBit {
    pub from: Float,
    /// Weights of a block, row after row.
    pub block: u32,
    /// What each code stands for, as a share of the largest weight of its block.
    pub map: [f32; 16],
    /// Weights of the sources that lie before the slice, which begins with a block.
    pub skip: u64,
}

impl FourBit {
    pub(super) fn apply(&self, sources: &[&[u8]], len: usize) -> Result<Vec<u8>, Unfit> {
        let width = self.from.width();
        let block =
            usize::try_from(self.block).ok().filter(|block| *block > 0 && block % 2 == 0).ok_or(Unfit)?;
        let start = usize::try_from(self.skip).ok().and_then(|skip| skip.checked_mul(width)).ok_or(Unfit)?;
        let end = len.checked_mul(2 * width).and_then(|bytes| bytes.checked_add(start)).ok_or(Unfit)?;
        let weights = sources.concat();
        let weights = weights.get(start..end).ok_or(Unfit)?;
        let nearest = Nearest::of(&self.map);
        let mut out = Vec::with_capacity(len);
        for block in weights.chunks(block * width) {
            let values = self.from.values(block);
            let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            let factor = 1.0 / largest;
            let codes: Vec<u8> = values.iter().map(|value| nearest.code(value * factor)).collect();
            out.extend(codes.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
        }
        Ok(out)
    }

    /// A row is a byte: two weights.
    pub(super) fn by_rows(&self) -> ByRows {
        let width = self.from.width() as u64;
        let together = (self.block / 2).max(1).into();
        ByRows { together, row_bytes: 2 * width, before: self.skip.saturating_mul(width) }
    }
}

/// Which code a share is nearest to.
struct Nearest {
    codes: [u8; 16],
    /// Between each code and the next one; a share that lies there takes the lower one.
    borders: [f32; 15],
}

impl Nearest {
    fn of(map: &[f32; 16]) -> Nearest {
        let mut codes: [u8; 16] = std::array::from_fn(|code| code as u8);
        codes.sort_by(|a, b| map[usize::from(*a)].total_cmp(&map[usize::from(*b)]));
        let value = |at: usize| map[usize::from(codes[at])];
        let border = |at: usize| match (value(at), value(at + 1)) {
            // FP4 has both zeros, and takes the positive one.
            (0.0, 0.0) => -f32::from_bits(1),
            (low, high) => (low + high) / 2.0,
        };
        Nearest { codes, borders: std::array::from_fn(border) }
    }

    fn code(&self, share: f32) -> u8 {
        let below: usize = self.borders.iter().map(|border| usize::from(share > *border)).sum();
        self.codes[below]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From -1 to 1 in equal steps, the codes backwards.
    fn rule() -> FourBit {
        let map = std::array::from_fn(|code| 1.0 - code as f32 / 7.5);
        FourBit { from: Float::F32, block: 4, map, skip: 0 }
    }

    #[test]
    fn each_block_has_its_largest_weight() {
        let weights = [8.0, -8.0, 0.6, -0.6, 0.5, 0.25, -0.01, -0.5f32];
        let bytes = Float::F32.bytes(&weights);
        assert_eq!(rule().apply(&[&bytes], 4).unwrap(), [0x0f, 0x78, 0x04, 0x8f]);
        // Sources follow each other, and a slice begins with a block.
        let rule = FourBit { skip: 4, ..rule() };
        assert_eq!(rule.apply(&[&bytes[..12], &bytes[12..]], 2).unwrap(), [0x04, 0x8f]);
    }

    /// Of two zeros the positive one is taken, as of nothing but zeros whatever comes out.
    #[test]
    fn zeros_are_positive() {
        let mut map = [0.0; 16];
        map[1] = -0.0;
        (2..16).for_each(|code| map[code] = code as f32 / 16.0 * if code % 2 == 0 { 1.0 } else { -1.0 });
        let rule = FourBit { map, block: 2, ..rule() };
        let out = rule.apply(&[&Float::F32.bytes(&[1.0, 0.0, -0.0, 1.0])], 2).unwrap();
        assert_eq!(out, [0xe0, 0x0e]);
        assert!(rule.apply(&[&Float::F32.bytes(&[0.0, 0.0])], 1).is_ok());
    }

    /// Rules come from packs that may lie.
    #[test]
    fn what_does_not_fit_is_refused() {
        let bytes = Float::F32.bytes(&[1.0; 8]);
        assert!(rule().apply(&[&bytes], 4).is_ok());
        assert!(rule().apply(&[&bytes], 5).is_err());
        assert!(rule().apply(&[], 4).is_err());
        assert!(rule().apply(&[&bytes], usize::MAX).is_err());
        for bad in [
            FourBit { block: 0, ..rule() },
            FourBit { block: 3, ..rule() },
            FourBit { skip: 1, ..rule() },
            FourBit { skip: u64::MAX, ..rule() },
        ] {
            assert!(bad.apply(&[&bytes], 4).is_err(), "{bad:?}");
        }
        let odd = FourBit { map: [f32::NAN; 16], block: u32::MAX - 1, ..rule() };
        assert!(odd.apply(&[&bytes], 4).is_ok(), "what is no number is a code as well");
    }
}
