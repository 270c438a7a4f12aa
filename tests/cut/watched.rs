//! Watches what a cut costs: memory of this thread, and what it reads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use git_sparse::format::Source;

thread_local! {
    static LIVE_BYTES: Cell<usize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated(bytes: usize) {
    // A thread that ends has lost its counters; nobody asks it any more.
    let _ = LIVE_BYTES.try_with(|live| {
        live.set(live.get().saturating_add(bytes));
        let _ = PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn freed(bytes: usize) {
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get().saturating_sub(bytes)));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        freed(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What `work` allocates at its peak beyond what was allocated before it.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    let result = work();
    (result, PEAK_BYTES.get() - before)
}

/// A file of one byte repeated behind a head, of any length, that counts what is read of it.
#[derive(Default)]
pub struct Sparse {
    pub head: Vec<u8>,
    pub fill: u8,
    pub len: u64,
    pub read_bytes: AtomicU64,
    pub longest_read: AtomicU64,
}

impl Sparse {
    /// A file that is only its head.
    pub fn full(head: Vec<u8>) -> Self {
        Sparse { len: head.len() as u64, head, ..Sparse::default() }
    }
}

impl Source for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let len = buf.len() as u64;
        let end = offset.checked_add(len).filter(|&end| end <= self.len);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.read_bytes.fetch_add(len, Relaxed);
        self.longest_read.fetch_max(len, Relaxed);
        buf.fill(self.fill);
        if offset < self.head.len() as u64 {
            let found = &self.head[offset as usize..];
            let len = found.len().min(buf.len());
            buf[..len].copy_from_slice(&found[..len]);
        }
        Ok(())
    }
}
