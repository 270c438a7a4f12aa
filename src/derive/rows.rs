//! A tensor of rows that others have, in another order: a vocabulary that was cut down or sorted anew.

use super::Unfit;

/// Rows that stand together in a source, or are nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub rows: u32,
    /// The first of them, counted through all sources one after the other; none for rows of zeros.
    pub from: Option<u32>,
}

/// Rows of some slices put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    pub row_bytes: u32,
    pub runs: Vec<Run>,
}

impl Rows {
    pub(super) fn apply(&self, sources: &[&[u8]], len: usize) -> Result<Vec<u8>, Unfit> {
        let width = self.row_bytes as usize;
        if width == 0 || sources.iter().any(|source| source.len() % width != 0) {
            return Err(Unfit);
        }
        let mut out = Vec::with_capacity(len);
        for run in &self.runs {
            let rows = run.rows as usize;
            if rows > (len - out.len()) / width {
                return Err(Unfit);
            }
            let Some(from) = run.from else {
                out.resize(out.len() + rows * width, 0);
                continue;
            };
            for row in 0..rows {
                out.extend_from_slice(row_of(sources, width, from as usize + row).ok_or(Unfit)?);
            }
        }
        (out.len() == len).then_some(out).ok_or(Unfit)
    }
}

fn row_of<'a>(sources: &[&'a [u8]], width: usize, mut row: usize) -> Option<&'a [u8]> {
    for source in sources {
        let rows = source.len() / width;
        if row < rows {
            return source.get(row * width..(row + 1) * width);
        }
        row -= rows;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are counted through all sources; a rule from a pack may lie about all of it.
    #[test]
    fn rows_are_taken_from_all_sources() {
        let run = |rows, from| Run { rows, from };
        let apply =
            |runs: &[Run], len| Rows { row_bytes: 2, runs: runs.to_vec() }.apply(&[b"aabbcc", b"ddee"], len);
        let runs = [run(2, Some(2)), run(1, None), run(1, Some(0))];
        assert_eq!(apply(&runs, 8).unwrap(), b"ccdd\0\0aa");
        assert!(apply(&runs, 10).is_err());
        assert!(apply(&runs, 7).is_err());
        assert!(apply(&[run(2, Some(4))], 4).is_err());
        assert!(apply(&[run(u32::MAX, Some(u32::MAX))], 4).is_err());
        assert!(Rows { row_bytes: 0, runs: vec![run(1, None)] }.apply(&[b"aa"], 2).is_err());
        assert!(Rows { row_bytes: 2, runs: vec![run(1, None)] }.apply(&[b"aaa"], 2).is_err());
    }
}
