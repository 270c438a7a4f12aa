//! Memory for what decodes and encodes: each job takes its share of one amount before it begins, and waits until there is
//! one. However many clients come at once, the hub needs no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a job may hold that works on many objects at a time: 48 MiB under way, 32 MiB kept for what comes later, and bases.
pub const JOB_BYTES: u64 = 128 << 20;
/// And one that rebuilds a file for plain clients, who must not wait long for its first byte: 48 MiB under way and the
/// object that is written, where bases are on the shelf.
pub const REBUILD_BYTES: u64 = 64 << 20;
/// What a share is counted in.
const UNIT_BYTES: u64 = 1 << 20;

/// The amount, of which jobs take shares.
#[derive(Clone)]
pub struct Memory {
    free: Arc<Semaphore>,
    units: u32,
    peak_bytes: Arc<AtomicU64>,
}

/// A job's share, until it is dropped.
pub struct Share {
    _units: OwnedSemaphorePermit,
}

impl Memory {
    pub fn of(bytes: u64) -> Memory {
        let units = (bytes / UNIT_BYTES).clamp(1, u32::MAX.into()) as u32;
        Memory { free: Arc::new(Semaphore::new(units as usize)), units, peak_bytes: Arc::default() }
    }

    /// Waits for so many bytes, or for all where that is less. Whoever has a share must wait for no other one.
    pub async fn share(&self, bytes: u64) -> Share {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, self.units.into()) as u32;
        let taken = self.free.clone().acquire_many_owned(units).await;
        let _units = taken.expect("because it is never closed");
        let used = u64::from(self.units) - self.free.available_permits() as u64;
        self.peak_bytes.fetch_max(used * UNIT_BYTES, Ordering::Relaxed);
        Share { _units }
    }

    /// Most bytes that were shared out at a time.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is served must leave room to the others, and who wants more than there is gets all in the end.
    #[tokio::test]
    async fn shares_are_waited_for() {
        let memory = Memory::of(3 << 20);
        let first = memory.share(2 << 20).await;
        let all = tokio::spawn({
            let memory = memory.clone();
            async move { drop(memory.share(100 << 20).await) }
        });
        tokio::task::yield_now().await;
        assert!(!all.is_finished());
        drop(first);
        all.await.unwrap();
        assert_eq!(memory.peak_bytes(), 3 << 20);
        // Also where the amount is none.
        drop(Memory::of(0).share(5).await);
    }
}
