//! Decoded bases, kept in memory under a cap and decoded once however many ask at the same time.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use lru::LruCache;

use crate::id::ObjectId;
use crate::store::{Make, Shelf, StoreError};

/// Bytes of decoded objects that are kept.
const LIMIT_BYTES: usize = 96 << 20;
/// Slots, so that many small objects don't make a large table.
const LIMIT_SLOTS: usize = 4096;

type Slot = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

/// The daemon's shelf.
pub struct Recent {
    slots: Mutex<Slots>,
}

struct Slots {
    by_object: LruCache<ObjectId, Slot>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Self {
        let slots = NonZeroUsize::new(LIMIT_SLOTS).expect("because the limit is not zero");
        Recent { slots: Mutex::new(Slots { by_object: LruCache::new(slots), bytes: 0 }) }
    }
}

impl Shelf for Recent {
    fn base(&self, object: ObjectId, make: &mut Make<'_>) -> Result<Arc<Vec<u8>>, StoreError> {
        let slot = self.slots().slot(object);
        // Whoever comes second waits here for the first one's bytes.
        let mut kept = slot.lock().unwrap_or_else(|broken| broken.into_inner());
        if let Some(bytes) = &*kept {
            return Ok(bytes.clone());
        }
        let bytes = Arc::new(make()?);
        *kept = Some(bytes.clone());
        drop(kept);
        self.slots().account(bytes.len());
        Ok(bytes)
    }
}

impl Recent {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

impl Slots {
    fn slot(&mut self, object: ObjectId) -> Slot {
        if let Some(slot) = self.by_object.get(&object) {
            return slot.clone();
        }
        let slot = Slot::default();
        if let Some((_, evicted)) = self.by_object.push(object, slot.clone()) {
            self.bytes = self.bytes.saturating_sub(held(&evicted));
        }
        slot
    }

    /// Takes new bytes into account and lets the oldest go.
    fn account(&mut self, bytes: usize) {
        self.bytes += bytes;
        while self.bytes > LIMIT_BYTES {
            let Some((_, oldest)) = self.by_object.pop_lru() else { return self.bytes = 0 };
            self.bytes = self.bytes.saturating_sub(held(&oldest));
        }
    }
}

/// Bytes in a slot; one that is being filled counts when it is full.
fn held(slot: &Slot) -> usize {
    slot.try_lock().ok().and_then(|kept| kept.as_ref().map(|bytes| bytes.len())).unwrap_or(0)
}
