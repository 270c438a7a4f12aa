//! Tensors that follow from others by arithmetic, to the bit: merged models, merged adapters, quantisations,
//! rows in another order.
//!
//! A rule says how; which tensors are its sources is the caller's to know. What comes out depends on the
//! order of the operations and on each rounding, so every rule names them. It is the same on all machines:
//! nothing is fused or reordered that is not fused or reordered in the rule.

mod adapted;
mod converted;
mod floats;
mod linear;
mod product;
mod quantise;
mod rows;

pub use adapted::Adapted;
pub use converted::Converted;
pub use floats::{Float, element_bytes};
pub use linear::{Arithmetic, Linear, Term};
pub use product::{Product, add};
pub use quantise::Kind;
pub use rows::{Rows, Run};

/// How a slice of a tensor follows from slices of others.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    Linear(Linear),
    Adapted(Adapted),
    Converted(Converted),
    Rows(Rows),
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
        }
    }
}
