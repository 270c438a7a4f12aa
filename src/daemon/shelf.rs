//! Decoded bases, kept in memory under a cap and decoded once however many ask at the same time.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use lru::LruCache;

use crate::store::{BaseKey, Decoded, Make, Shelf, StoreError};

/// Bytes of decoded objects that are kept.
const LIMIT_BYTES: usize = 96 << 20;
/// Slots, so that many small objects don't make a large table.
const LIMIT_SLOTS: usize = 4096;

type Slot = Arc<Mutex<Option<Arc<Decoded>>>>;

/// The daemon's shelf.
pub struct Recent {
    slots: Mutex<Slots>,
}

struct Slots {
    by_key: LruCache<BaseKey, Slot>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Self {
        let slots = NonZeroUsize::new(LIMIT_SLOTS).expect("because the limit is not zero");
        Recent { slots: Mutex::new(Slots { by_key: LruCache::new(slots), bytes: 0 }) }
    }
}

impl Shelf for Recent {
    fn base(&self, key: BaseKey, make: &mut Make<'_>) -> Result<Arc<Decoded>, StoreError> {
        let slot = self.slots().slot(key);
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

    fn clear(&self) {
        let mut slots = self.slots();
        slots.by_key.clear();
        slots.bytes = 0;
    }
}

impl Recent {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

impl Slots {
    fn slot(&mut self, key: BaseKey) -> Slot {
        if let Some(slot) = self.by_key.get(&key) {
            return slot.clone();
        }
        let slot = Slot::default();
        if let Some((_, evicted)) = self.by_key.push(key, slot.clone()) {
            self.bytes = self.bytes.saturating_sub(held(&evicted));
        }
        slot
    }

    /// Takes new bytes into account and lets the oldest go.
    fn account(&mut self, bytes: usize) {
        self.bytes += bytes;
        while self.bytes > LIMIT_BYTES {
            let Some((_, oldest)) = self.by_key.pop_lru() else { return self.bytes = 0 };
            self.bytes = self.bytes.saturating_sub(held(&oldest));
        }
    }
}

/// Bytes in a slot; one that is being filled counts when it is full.
fn held(slot: &Slot) -> usize {
    slot.try_lock().ok().and_then(|kept| kept.as_ref().map(|bytes| bytes.len())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;

    /// An object that lies in the store twice can be its own base's base: its maker must not wait for itself.
    #[test]
    fn two_copies_of_a_base_don_t_wait_for_each_other() {
        let shelf = Recent::default();
        let (a, b) = (ObjectId::of(b"a"), ObjectId::of(b"b"));
        let bytes = |text: &str| Ok(Decoded::new(text.as_bytes().to_vec()));
        let lowest = || shelf.base((a, 0), &mut || bytes("a"));
        let middle = || shelf.base((b, 1), &mut || lowest().and_then(|_| bytes("b")));
        let top = shelf.base((a, 2), &mut || middle().and_then(|_| bytes("a"))).unwrap();
        assert_eq!(**top, *b"a");
        assert!(shelf.base((b, 1), &mut || panic!("it is at hand")).is_ok());
    }
}
