//! Memory for what decodes and encodes: each job takes its share of one amount before it begins, and waits until there is
//! one. However many clients come at once, the hub needs no more.
//!
//! One client gets at most two thirds of it at a time: its further jobs wait for its own, and not before those of others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// What a job may hold that works on many objects at a time: 48 MiB under way, 32 MiB kept for what comes later, and bases.
pub const JOB_BYTES: u64 = 128 << 20;
/// And one that rebuilds a file for plain clients, who must not wait long for its first byte: 48 MiB under way and the
/// object that is written, where bases are on the shelf.
pub const REBUILD_BYTES: u64 = 64 << 20;
/// What a share is counted in.
const UNIT_BYTES: u64 = 1 << 20;

/// Clients that are known before those are forgotten that have nothing under way.
const CLIENTS: usize = 1 << 10;

/// The amount, of which jobs take shares.
#[derive(Clone)]
pub struct Memory {
    free: Arc<Semaphore>,
    units: u32,
    /// What each client may take of it.
    own: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
    peak_bytes: Arc<AtomicU64>,
}

/// A job's share, until it is dropped.
pub struct Share {
    _own: OwnedSemaphorePermit,
    _units: OwnedSemaphorePermit,
}

impl Memory {
    pub fn of(bytes: u64) -> Memory {
        let units = (bytes / UNIT_BYTES).clamp(1, u32::MAX.into()) as u32;
        let free = Arc::new(Semaphore::new(units as usize));
        Memory { free, units, own: Arc::default(), peak_bytes: Arc::default() }
    }

    /// Waits for so many bytes, or for all where that is less. Whoever has a share must wait for no other one.
    pub async fn share(&self, client: &str, bytes: u64) -> Share {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, self.units.into()) as u32;
        let _own = taken(self.own_of(client).acquire_many_owned(units.min(self.most_of_one())).await);
        let _units = taken(self.free.clone().acquire_many_owned(units).await);
        let used = u64::from(self.units) - self.free.available_permits() as u64;
        self.peak_bytes.fetch_max(used * UNIT_BYTES, Ordering::Relaxed);
        Share { _own, _units }
    }

    fn most_of_one(&self) -> u32 {
        (self.units - self.units / 3).max(1)
    }

    fn own_of(&self, client: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = own.get(client).and_then(Weak::upgrade) {
            return known;
        }
        if own.len() >= CLIENTS {
            own.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(self.most_of_one() as usize));
        own.insert(client.to_owned(), Arc::downgrade(&new));
        new
    }

    /// Most bytes that were shared out at a time.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

fn taken(permit: Result<OwnedSemaphorePermit, AcquireError>) -> OwnedSemaphorePermit {
    permit.expect("because it is never closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is served must leave room to the others, and who wants more than there is gets all in the end.
    #[tokio::test]
    async fn shares_are_waited_for() {
        let memory = Memory::of(3 << 20);
        let first = memory.share("a", 2 << 20).await;
        let all = tokio::spawn({
            let memory = memory.clone();
            async move { drop(memory.share("b", 100 << 20).await) }
        });
        tokio::task::yield_now().await;
        assert!(!all.is_finished());
        drop(first);
        all.await.unwrap();
        assert_eq!(memory.peak_bytes(), 3 << 20);
        // Also where the amount is none.
        drop(Memory::of(0).share("a", 5).await);
    }

    /// Who comes with many jobs waits for them alone: the next client's first job begins before their last.
    #[tokio::test]
    async fn one_client_leaves_room_to_others() {
        let memory = Memory::of(3 << 20);
        let first = memory.share("many", 2 << 20).await;
        let own: Vec<_> = (0..10)
            .map(|_| {
                let memory = memory.clone();
                tokio::spawn(async move { memory.share("many", 2 << 20).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let other =
            tokio::time::timeout(std::time::Duration::from_secs(10), memory.share("one", 1 << 20)).await;
        assert!(other.is_ok(), "it waits behind all jobs of another");
        assert!(own.iter().all(|job| !job.is_finished()));
        drop(first);
        for job in own {
            drop(job.await.unwrap());
        }
        for number in 0..3 * CLIENTS {
            drop(memory.share(&number.to_string(), 1).await);
        }
        assert!(memory.own.lock().unwrap().len() <= CLIENTS + 1, "clients that are gone are kept");
    }
}
