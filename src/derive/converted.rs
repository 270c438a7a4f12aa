//! A tensor in another type: rounded, or quantised in blocks, its rows perhaps in another order.

use super::Unfit;
use super::floats::Float;
use super::quantise::Kind;

/// A slice of one tensor in another type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Converted {
    pub from: Float,
    pub to: Kind,
    /// Elements of a row.
    pub row_len: u64,
    /// Rows of one attention head, whose two halves are interleaved; 0 where rows keep their order.
    ///
    /// Converters to GGUF do so with the queries and keys of models whose rotary embedding takes a row of each
    /// half as a pair, since `ggml` takes neighbours.
    pub head: u32,
}

impl Converted {
    pub(super) fn apply(&self, sources: &[&[u8]], len: usize) -> Result<Vec<u8>, Unfit> {
        let &[source] = sources else { return Err(Unfit) };
        let row = usize::try_from(self.row_len).ok().filter(|row| *row > 0).ok_or(Unfit)?;
        let (block, packed) = (self.to.block(), self.to.packed());
        let row_bytes = row.checked_mul(self.from.width()).ok_or(Unfit)?;
        let rows = source.len() / row_bytes;
        let head = self.head as usize;
        let fits = rows * row_bytes == source.len()
            && row.is_multiple_of(block)
            && rows * (row / block) * packed == len
            && (head == 0 || head.is_multiple_of(2) && rows.is_multiple_of(head));
        if !fits {
            return Err(Unfit);
        }
        let mut out = Vec::with_capacity(len);
        for to in 0..rows {
            let from = if head == 0 { to } else { interleaved(to, head) };
            let values = self.from.values(&source[from * row_bytes..][..row_bytes]);
            self.to.quantise(&values, &mut out);
        }
        Ok(out)
    }
}

/// Which row stands at `row` after the halves of each head were interleaved.
fn interleaved(row: usize, head: usize) -> usize {
    let (start, within) = (row / head * head, row % head);
    start + within % 2 * (head / 2) + within / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 0 of both halves, row 1 of both, and so on, head by head.
    #[test]
    fn heads_are_interleaved() {
        let rows: Vec<f32> = (0..8).map(|row| row as f32).collect();
        let rule = Converted { from: Float::F32, to: Kind::F32, row_len: 1, head: 4 };
        let out = rule.apply(&[&Float::F32.bytes(&rows)], 32).unwrap();
        assert_eq!(Float::F32.values(&out), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }

    /// Rules come from packs that may lie.
    #[test]
    fn what_does_not_fit_is_refused() {
        let rule = Converted { from: Float::Bf16, to: Kind::Q8_0, row_len: 32, head: 0 };
        assert!(rule.apply(&[&[0; 128]], 68).is_ok());
        assert!(rule.apply(&[&[0; 128]], 67).is_err());
        assert!(rule.apply(&[&[0; 127]], 68).is_err());
        assert!(rule.apply(&[], 68).is_err());
        assert!(Converted { row_len: 0, ..rule }.apply(&[&[0; 128]], 68).is_err());
        assert!(Converted { row_len: 16, ..rule }.apply(&[&[0; 128]], 68).is_err());
        assert!(Converted { row_len: u64::MAX, ..rule }.apply(&[&[0; 128]], 68).is_err());
        assert!(Converted { head: 3, ..rule }.apply(&[&[0; 128]], 68).is_err());
        assert!(Converted { head: 4, ..rule }.apply(&[&[0; 128]], 68).is_err());
    }
}
