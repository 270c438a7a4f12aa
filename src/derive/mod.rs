//! Tensors that follow from others by arithmetic, to the bit: merged models, merged adapters, quantisations,
//! rows in another order.
//!
//! A rule says how; which tensors are its sources is the caller's to know. What comes out depends on the
//! order of the operations and on each rounding, so every rule names them. It is the same on all machines:
//! nothing is fused or reordered that is not fused or reordered in the rule. But for NaN, whose sign and payload
//! IEEE 754 leaves to the processor: what has one is not stored by arithmetic (`Rule::is_portable`).

mod adapted;
mod converted;
mod floats;
mod four_bit;
mod linear;
mod product;
mod quantise;
mod rows;
mod scaled;

pub use adapted::Adapted;
pub use converted::Converted;
pub use floats::{Float, element_bytes, from_bf16, from_e4m3, from_f16};
pub use four_bit::FourBit;
pub use linear::{Arithmetic, Linear, Term};
pub use product::{Product, add};
pub use quantise::Kind;
pub use rows::{Rows, Run};
pub use scaled::{Grid, Scaled, Scaling};

/// How a slice of a tensor follows from slices of others.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    Linear(Linear),
    Adapted(Adapted),
    Converted(Converted),
    Rows(Rows),
    Scaled(Scaled),
    FourBit(FourBit),
}

/// What of a slice follows from what of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByRows {
    /// Rows that are taken in groups of this many.
    pub together: u64,
    /// Bytes of a row of the source.
    pub row_bytes: u64,
    /// Bytes of the first source before the first row.
    pub before: u64,
}

/// Sources that a rule can't be applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sources do not fit the rule")]
pub struct Unfit;

impl Rule {
    /// The `len` bytes that follow from the sources.
    ///
    /// # Errors
    /// Sources that are too few, or not of the length that the rule needs for `len` bytes.
    pub fn apply(&self, sources: &[&[u8]], len: usize) -> Result<Vec<u8>, Unfit> {
        match self {
            Rule::Linear(rule) => rule.apply(sources, len),
            Rule::Adapted(rule) => rule.apply(sources, len),
            Rule::Converted(rule) => rule.apply(sources, len),
            Rule::Rows(rule) => rule.apply(sources, len),
            Rule::Scaled(rule) => rule.apply(sources, len),
            Rule::FourBit(rule) => rule.apply(sources, len),
        }
    }

    /// How some rows of the slice follow by the rule, where rows follow from rows at the same place.
    pub fn by_rows(&self) -> Option<ByRows> {
        let of = |from: Float, row_len: u64, head: u32| {
            let row_bytes = row_len.checked_mul(from.width() as u64)?;
            Some(ByRows { together: head.max(1).into(), row_bytes, before: 0 })
        };
        match self {
            Rule::Converted(rule) => of(rule.from, rule.row_len, rule.head),
            Rule::Scaled(rule) => of(rule.from, rule.row_len, 0),
            Rule::FourBit(rule) => Some(rule.by_rows()),
            Rule::Linear(_) | Rule::Adapted(_) | Rule::Rows(_) => None,
        }
    }

    /// The rule for `rows` rows from row `first` on; none where they do not follow from rows at the same place.
    pub fn of_rows(&self, first: u64, rows: u64) -> Option<Rule> {
        let ByRows { together, .. } = self.by_rows()?;
        (first.is_multiple_of(together) && rows.is_multiple_of(together)).then_some(())?;
        match self {
            Rule::Scaled(rule) => rule.of_rows(first, rows).map(Rule::Scaled),
            Rule::FourBit(rule) => Some(Rule::FourBit(FourBit { skip: 0, ..*rule })),
            rule => Some(rule.clone()),
        }
    }

    /// Whether what the rule gave is the same on all machines.
    pub fn is_portable(&self, derived: &[u8]) -> bool {
        match self {
            Rule::Linear(rule) => !rule.to.has_open_nan(derived),
            Rule::Adapted(rule) => !rule.to.has_open_nan(derived),
            // Bits are moved, scales of blocks are never NaN, a NaN of eight bits is written in one way, and of four bits none.
            Rule::Converted(_) | Rule::Rows(_) | Rule::Scaled(_) | Rule::FourBit(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Infinity less infinity is NaN with the sign bit set on x86, and without it on ARM.
    #[test]
    fn what_the_processor_chooses_is_not_portable() {
        let derived = |to: Float, values: [f32; 2]| {
            let term = |weight| Term { from: Float::F32, weight };
            let rule = Linear { to, terms: vec![term(0.5), term(0.5)], arithmetic: Arithmetic::Steps };
            let rule = Rule::Linear(rule);
            let sources = values.map(f32::to_le_bytes);
            let bytes = rule.apply(&[&sources[0], &sources[1]], to.width()).unwrap();
            rule.is_portable(&bytes)
        };
        for to in [Float::F32, Float::F16] {
            assert!(derived(to, [1.0, f32::INFINITY]));
            assert!(!derived(to, [f32::INFINITY; 2]), "{to:?}");
        }
        assert!(derived(Float::Bf16, [f32::INFINITY; 2]), "all are written alike");
    }
}
