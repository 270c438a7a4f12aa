//! A file of which only what is asked for is fetched, and the last of it kept.
//!
//! Readers of tables jump: a footer, then a column here and there, headers before bodies. Fetching is dear
//! (objects are decoded, a daemon is asked), so pieces stay for a while.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::format::Source;

/// Bytes of pieces that are kept, besides the last one.
const KEPT_BYTES: usize = 64 << 20;

/// Some bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where they begin in the file.
    pub start: u64,
    pub bytes: Vec<u8>,
}

impl Piece {
    fn from(&self, at: u64) -> Option<&[u8]> {
        let skipped = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.bytes.get(skipped..).filter(|rest| !rest.is_empty())
    }
}

/// What was fetched so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    pub pieces: u64,
    pub bytes: u64,
}

/// A file behind a function that fetches the piece at the beginning of a range, and more if it likes.
pub struct Cached<F> {
    len: u64,
    state: Mutex<State<F>>,
}

struct State<F> {
    fetch: F,
    pieces: BTreeMap<u64, Piece>,
    /// Where the pieces begin, the oldest first.
    order: VecDeque<u64>,
    kept_bytes: usize,
    fetched: Fetched,
}

impl<F: FnMut(Range<u64>) -> io::Result<Piece> + Send> Cached<F> {
    /// A file of `len` bytes.
    pub fn new(len: u64, fetch: F) -> Cached<F> {
        let (pieces, order) = (BTreeMap::new(), VecDeque::new());
        let state = State { fetch, pieces, order, kept_bytes: 0, fetched: Fetched::default() };
        Cached { len, state: Mutex::new(state) }
    }

    /// What reading took so far.
    pub fn fetched(&self) -> Fetched {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fetched
    }
}

impl<F: FnMut(Range<u64>) -> io::Result<Piece> + Send> Source for Cached<F> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let found = state.at(at..end)?;
            let count = found.len().min(buf.len() - done);
            buf[done..done + count].copy_from_slice(&found[..count]);
            done += count;
        }
        Ok(())
    }
}

impl<F: FnMut(Range<u64>) -> io::Result<Piece>> State<F> {
    /// The bytes from the beginning of `wanted` on that are in one piece: never none.
    fn at(&mut self, wanted: Range<u64>) -> io::Result<&[u8]> {
        let at = wanted.start;
        let known = self.pieces.range(..=at).next_back().filter(|(_, piece)| piece.from(at).is_some());
        let start = match known {
            Some((start, _)) => *start,
            None => self.fetch(wanted)?,
        };
        let found = self.pieces.get(&start).and_then(|piece| piece.from(at));
        found.ok_or_else(|| io::Error::other(format!("nothing was fetched at {at}")))
    }

    fn fetch(&mut self, wanted: Range<u64>) -> io::Result<u64> {
        let piece = (self.fetch)(wanted)?;
        let (start, len) = (piece.start, piece.bytes.len());
        self.fetched.pieces += 1;
        self.fetched.bytes += len as u64;
        while self.kept_bytes + len > KEPT_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.pieces.remove(&oldest);
            self.kept_bytes -= gone.map_or(0, |piece| piece.bytes.len());
        }
        if let Some(again) = self.pieces.insert(start, piece) {
            self.kept_bytes -= again.bytes.len();
        } else {
            self.order.push_back(start);
        }
        self.kept_bytes += len;
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is asked in whatever order is what the file has, and nothing is fetched beside it.
    #[test]
    fn ranges_are_put_together_from_pieces() {
        let file: Vec<u8> = (0..250).collect();
        let fetch = |wanted: Range<u64>| {
            let start = wanted.start / 10 * 10;
            Ok(Piece { start, bytes: file[start as usize..start as usize + 10].to_vec() })
        };
        let cached = Cached::new(250, fetch);
        for (start, end) in [(0, 1), (5, 25), (249, 250), (30, 30), (8, 12)] {
            let mut found = vec![0; end - start];
            cached.read_at(&mut found, start as u64).unwrap();
            assert_eq!(found, file[start..end]);
        }
        assert_eq!(cached.fetched(), Fetched { pieces: 4, bytes: 40 });
        assert!(cached.read_at(&mut [0; 2], 249).is_err());
    }
}
