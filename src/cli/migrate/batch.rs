//! How many files are on their way at once: bounded in number and in bytes, so that disk use is.

use std::ops::Range;

use super::told::Missing;
use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::git::Appearance;

/// Most files of one batch: git-lfs itself asks servers for so many at once.
const MOST_FILES: usize = 100;
/// Most bytes of one batch, where the disk has room.
const MOST_BYTES: u64 = 4 << 30;
/// The share of free space that a batch may take.
const SHARE_OF_FREE: u64 = 4;
/// Batches in a row that bring nothing before the server counts as away.
const MOST_EMPTY: usize = 3;

/// The most bytes of one batch: what the user says, or what a disk with so much space has room for. A larger file has a
/// batch of its own.
pub fn most_bytes(said: Option<u64>, free_bytes: Option<u64>) -> u64 {
    said.unwrap_or_else(|| free_bytes.map_or(MOST_BYTES, |free| MOST_BYTES.min(free / SHARE_OF_FREE)))
}

/// The same for people.
pub fn words(said: Option<u64>, free_bytes: Option<u64>) -> String {
    let most = report::bytes(most_bytes(said, free_bytes));
    let free = free_bytes.map(|free| format!(", with {} free", report::bytes(free))).unwrap_or_default();
    format!("at once on this disk: at most {most}{free} (--batch-bytes), or one larger file")
}

/// Cuts a list of sizes into batches, in order.
pub fn cut(sizes: &[u64], most_bytes: u64) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0_u64);
    for (at, size) in sizes.iter().enumerate() {
        if at > start && (at - start >= MOST_FILES || bytes.saturating_add(*size) > most_bytes) {
            batches.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(*size);
    }
    if start < sizes.len() {
        batches.push(start..sizes.len());
    }
    batches
}

/// Refuses what no batch has room for: a file of `sizes` that is larger than the disk has free.
pub fn refuse_too_large(files: &[&Appearance], sizes: &[u64], free: Option<u64>) -> Result<(), Failure> {
    let Some(free) = free else { return Ok(()) };
    let largest = files.iter().zip(sizes).max_by_key(|(_, size)| **size);
    let Some((file, size)) = largest.filter(|(_, size)| **size > free) else { return Ok(()) };
    let (size, free) = (report::bytes(*size), report::bytes(free));
    Err(Failure::new(
        Kind::Refused,
        format!("{} has {size}, and the disk of .git/lfs only {free} free", file.path),
    )
    .fix("free some space, or clone the repository to another disk"))
}

/// Tells one file that does not come from a server that is away.
#[derive(Default)]
pub struct Luck {
    empty: usize,
}

impl Luck {
    /// Counts a batch by what it brought and what is missing; an error when there is no use in going on.
    pub fn count(&mut self, brought: usize, missing: &[Missing]) -> Result<(), Failure> {
        let is_empty = brought == 0 && missing.iter().all(|file| !file.lost);
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        match missing.last().filter(|_| self.empty >= MOST_EMPTY) {
            None => Ok(()),
            Some(last) => Err(away(&last.why)),
        }
    }
}

/// There is no use in going on.
pub fn away(why: &str) -> Failure {
    Failure::new(Kind::Remote, format!("git-lfs moves no more files: {why}"))
        .fix("what is done is done; once the server answers, run it again: it goes on from here")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch that is too large fills the disk; a file that is left out is lost.
    #[test]
    fn batches_are_bounded_and_leave_nothing_out() {
        assert!(cut(&[], 10).is_empty());
        assert_eq!(cut(&[4, 4, 4, 20, 1], 10), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(cut(&[0; 250], 10), [0..100, 100..200, 200..250]);
        assert_eq!(cut(&[u64::MAX, u64::MAX], 10), [0..1, 1..2]);
        assert_eq!(most_bytes(None, Some(400)), 100);
    }
}
