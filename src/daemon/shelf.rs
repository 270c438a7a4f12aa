//! Decoded bases, kept in memory under a cap and decoded once however many ask at the same time.
//!
//! What is no longer in memory may still lie in a file that was rebuilt not long ago: reading and hashing it there costs
//! less than decoding it again.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use lru::LruCache;

use crate::draft::Draft;
use crate::id::ObjectId;
use crate::store::{BaseKey, Decoded, Make, Shelf, StoreError};

/// Bytes of decoded objects that are kept.
const LIMIT_BYTES: usize = 96 << 20;
/// Slots, so that many small objects don't make a large table.
const LIMIT_SLOTS: usize = 4096;
/// Rebuilt files that bases are read from. Each is kept open.
const LIMIT_FILES: usize = 16;
/// And objects that they have in all.
const LIMIT_OBJECTS: usize = 1 << 18;

type Slot = Arc<Mutex<Option<Arc<Decoded>>>>;

/// The daemon's shelf.
pub struct Recent {
    slots: Mutex<Slots>,
    /// The latest first.
    files: Mutex<VecDeque<Arc<Draft>>>,
}

struct Slots {
    by_key: LruCache<BaseKey, Slot>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Self {
        let slots = NonZeroUsize::new(LIMIT_SLOTS).expect("because the limit is not zero");
        let slots = Slots { by_key: LruCache::new(slots), bytes: 0 };
        Recent { slots: Mutex::new(slots), files: Mutex::default() }
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
        let bytes = Arc::new(self.in_a_file(&key.0).map_or_else(make, Ok)?);
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
    /// Notes a file that is being rebuilt, or was: bases may be read there.
    pub fn note(&self, file: Arc<Draft>) {
        let mut files = self.files();
        files.push_front(file);
        let objects = |files: &VecDeque<Arc<Draft>>| files.iter().map(|file| file.objects()).sum::<usize>();
        while files.len() > LIMIT_FILES || objects(&files) > LIMIT_OBJECTS {
            files.pop_back();
        }
    }

    /// Closes all files: one that was deleted since would take its room on the disk as long as it is open.
    pub fn let_go(&self) {
        self.files().clear();
    }

    /// The bytes of an object, if a file has them and they are still the right ones.
    fn in_a_file(&self, object: &ObjectId) -> Option<Decoded> {
        let files: Vec<_> = self.files().iter().cloned().collect();
        files.iter().filter_map(|file| file.get(object)).find_map(|bytes| Decoded::proven(bytes, object))
    }

    fn files(&self) -> MutexGuard<'_, VecDeque<Arc<Draft>>> {
        self.files.lock().unwrap_or_else(|broken| broken.into_inner())
    }

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
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::format::Format;
    use crate::id::Oid;
    use crate::recipe::{Part, Recipe};

    /// A base is read from the file that has it, and decoded where somebody changed that file.
    #[test]
    fn a_file_stands_in_for_decoding() {
        let bytes = b"the base of others";
        let object = ObjectId::of(bytes);
        let file = tempfile::tempfile().unwrap();
        let mut draft = Draft::into(file.try_clone().unwrap());
        draft.begin(&Recipe {
            oid: Oid::of(bytes),
            size: bytes.len() as u64,
            format: Format::Chunked,
            base: None,
            origin: Vec::new(),
            layout: None,
            sketch: Vec::new(),
            tensors: Vec::new(),
            parts: vec![Part { object, len: bytes.len() as u32, tensor: None, slice: 0 }],
        });
        draft.divided().0.put(&object, bytes).unwrap();
        let shelf = Recent::default();
        let decoded = |shelf: &Recent| {
            let mut decoded = false;
            let made = shelf.base((object, 0), &mut || {
                decoded = true;
                Ok(Decoded::new(bytes.to_vec()))
            });
            assert_eq!(**made.unwrap(), *bytes);
            decoded
        };
        let draft = Arc::new(draft);
        shelf.note(draft.clone());
        assert!(!decoded(&shelf), "it lies in a file");
        shelf.clear();
        file.write_all_at(b"X", 3).unwrap();
        assert!(decoded(&shelf), "the file is another one by now");
        shelf.clear();
        file.write_all_at(bytes, 0).unwrap();
        assert!(!decoded(&shelf));
        shelf.clear();
        shelf.let_go();
        assert!(decoded(&shelf), "no file is open");
        assert_eq!(Arc::strong_count(&draft), 1);
        (0..2 * LIMIT_FILES).for_each(|_| shelf.note(draft.clone()));
        assert_eq!(shelf.files().len(), LIMIT_FILES);
    }

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
