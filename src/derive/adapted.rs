//! A tensor with a low-rank adapter merged in, as PEFT's `merge_and_unload` does it on a CPU.

use super::Unfit;
use super::floats::Float;
use super::product::{Product, add};

/// Largest rank, since the work grows with it; real ones are below 1024.
const MAX_RANK: u32 = 2048;

/// `W + scale · B A`. Sources: the slice of `W`, all of `A` (rank × inputs), all of `B` (outputs × rank).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adapted {
    /// Type of `W`, and of what comes out.
    pub to: Float,
    pub a: Float,
    pub b: Float,
    pub rank: u32,
    pub scale: f32,
    /// `W` lies with a row an input.
    pub transposed: bool,
    /// The product is rounded to the type before it is added.
    pub rounded: bool,
    /// Which element of the whole `W` the slice begins with.
    pub first: u64,
}

impl Adapted {
    pub(super) fn apply(&self, sources: &[&[u8]], len: usize) -> Result<Vec<u8>, Unfit> {
        let &[base, a, b] = sources else { return Err(Unfit) };
        let first = usize::try_from(self.first).map_err(|_| Unfit)?;
        let product = self.product(a, b)?;
        let end = first.checked_add(len / self.to.width()).ok_or(Unfit)?;
        if base.len() != len || !len.is_multiple_of(self.to.width()) || end > product.len() {
            return Err(Unfit);
        }
        Ok(add(&product, base, self.to, first, self.rounded))
    }

    /// The product of the two factors.
    pub fn product(&self, a: &[u8], b: &[u8]) -> Result<Product, Unfit> {
        let rank = self.rank as usize;
        let whole = |bytes: &[u8], float: Float| {
            !bytes.is_empty() && bytes.len().is_multiple_of(rank * float.width())
        };
        if !(1..=MAX_RANK).contains(&self.rank) || !whole(a, self.a) || !whole(b, self.b) {
            return Err(Unfit);
        }
        Ok(Product::new(self.b.values(b), self.a.values(a), rank, self.scale, self.transposed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Adapted = Adapted {
        to: Float::F32,
        a: Float::F32,
        b: Float::F32,
        rank: 1,
        scale: 0.5,
        transposed: false,
        rounded: false,
        first: 0,
    };

    fn bytes(values: &[f32]) -> Vec<u8> {
        Float::F32.bytes(values)
    }

    /// A slice knows where in the whole it lies.
    #[test]
    fn a_slice_takes_its_part_of_the_product() {
        let (a, b) = (bytes(&[1.0, 2.0, 3.0]), bytes(&[10.0, 20.0]));
        let slice = |first, base: &[f32]| {
            let rule = Adapted { first, ..RULE };
            rule.apply(&[&bytes(base), &a, &b], base.len() * 4).map(|out| Float::F32.values(&out))
        };
        assert_eq!(slice(0, &[0.0; 6]).unwrap(), [5.0, 10.0, 15.0, 10.0, 20.0, 30.0]);
        assert_eq!(slice(3, &[1.0; 3]).unwrap(), [11.0, 21.0, 31.0]);
        let turned = Adapted { transposed: true, ..RULE };
        let turned = turned.apply(&[&bytes(&[0.0; 6]), &a, &b], 24).unwrap();
        assert_eq!(Float::F32.values(&turned), [5.0, 10.0, 10.0, 20.0, 15.0, 30.0]);
        assert!(slice(4, &[1.0; 3]).is_err());
        assert!(slice(u64::MAX, &[1.0; 3]).is_err());
    }

    /// Rules come from packs that may lie.
    #[test]
    fn factors_that_do_not_fit_are_refused() {
        let apply = |rule: Adapted, a: usize, b: usize| rule.apply(&[&[0; 8], &vec![0; a], &vec![0; b]], 8);
        assert!(apply(RULE, 8, 4).is_ok());
        assert!(apply(RULE, 4, 4).is_err(), "the product is smaller than the slice");
        assert!(apply(RULE, 7, 4).is_err());
        assert!(apply(RULE, 8, 0).is_err());
        assert!(apply(Adapted { rank: 0, ..RULE }, 8, 4).is_err());
        assert!(apply(Adapted { rank: u32::MAX, ..RULE }, 8, 4).is_err());
    }
}
