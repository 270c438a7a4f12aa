//! A source that can't be read is an error, never a file of another format.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use git_sparse::format::{Source, cut};

use crate::random::good;

/// One of its reads fails; the others don't.
struct Failing<'a> {
    bytes: &'a [u8],
    failing_read: usize,
    reads: AtomicUsize,
}

impl Source for Failing<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.reads.fetch_add(1, Relaxed) == self.failing_read {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.bytes.read_at(buf, offset)
    }
}

/// A disk that fails once must not change how a file is stored.
#[test]
fn an_error_of_the_source_is_passed_on() {
    for (format, bytes) in good() {
        let failing = |failing_read| Failing { bytes: &bytes, failing_read, reads: AtomicUsize::new(0) };
        let healthy = failing(usize::MAX);
        assert_eq!(cut(&healthy).unwrap().format(), format);
        let reads = healthy.reads.load(Relaxed);
        assert!(reads > 0, "{format:?} was cut unread");
        for read in 0..reads {
            let error = cut(&failing(read)).expect_err("because a read failed");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{format:?}, read {read} of {reads}");
        }
    }
}
