//! A file that is being rebuilt, of which parts are there before the others.
//!
//! Whoever fetches objects decodes each to prove it: what was decoded is written at once to where the file has it, and
//! need not be decoded again. Nor need it be for the files that have this one as their base: they read it here.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use crate::id::{ObjectId, Oid};
use crate::pipeline::in_order;
use crate::progress::Progress;
use crate::recipe::{Part, Recipe};
use crate::reconstruct::{AHEAD_BYTES, ReconstructError, check, decode};
use crate::store::Store;

/// A new file, and what is known of it.
pub struct Draft {
    file: File,
    places: HashMap<ObjectId, Place>,
}

/// Where the file has an object.
struct Place {
    len: u32,
    starts: Vec<u64>,
    /// At all of these.
    written: AtomicBool,
    /// At the first of them.
    begun: AtomicBool,
}

impl Draft {
    /// In an empty file, which can be read, too.
    pub fn into(file: File) -> Draft {
        Draft { file, places: HashMap::new() }
    }

    /// Makes known what the file is made of. What was written before counts no more.
    pub fn begin(&mut self, recipe: &Recipe) {
        self.places.clear();
        for (range, part) in recipe.ranges() {
            let not_yet = || AtomicBool::new(false);
            let place = || Place { len: part.len, starts: Vec::new(), written: not_yet(), begun: not_yet() };
            self.places.entry(part.object).or_insert_with(place).starts.push(range.start);
        }
    }

    /// Writes an object's bytes wherever the file has it, if it does. From any thread.
    pub fn put(&self, object: &ObjectId, bytes: &[u8]) -> io::Result<()> {
        let Some(place) = self.places.get(object).filter(|place| place.len as usize == bytes.len()) else {
            return Ok(());
        };
        place.starts.iter().try_for_each(|start| self.file.write_all_at(bytes, *start))?;
        place.begun.store(true, Ordering::Release);
        place.written.store(true, Ordering::Release);
        Ok(())
    }

    /// How many different objects the file has.
    pub fn objects(&self) -> usize {
        self.places.len()
    }

    /// The bytes of an object, if the file has it by now. Whoever it was given to may have changed it: they must be
    /// proven. From any thread.
    pub fn get(&self, object: &ObjectId) -> Option<Vec<u8>> {
        let place = self.places.get(object).filter(|place| place.begun.load(Ordering::Acquire))?;
        let mut bytes = vec![0; place.len as usize];
        self.file.read_exact_at(&mut bytes, *place.starts.first()?).ok()?;
        Some(bytes)
    }

    /// Writes the rest, and reads all of it: fails unless the file hashes to the recipe's oid.
    pub fn finish(
        &self,
        store: &Store,
        recipe: &Recipe,
        progress: &Progress<'_>,
    ) -> Result<(), ReconstructError> {
        let mut hasher = Sha256::new();
        let parts: Vec<(Range<u64>, &Part)> = recipe.ranges().collect();
        let len = |(_, part): &(_, &Part)| u64::from(part.len);
        let work = |(range, part): &(Range<u64>, &Part)| self.part(store, range.start, part);
        let take = |_: &_, bytes: Vec<u8>| {
            hasher.update(&bytes);
            Ok(progress(bytes.len() as u64)?)
        };
        in_order(&parts, len, AHEAD_BYTES, work, take)?;
        check(store, recipe, Oid::from_bytes(hasher.finalize().into()))
    }

    /// The bytes of a part, which the file has then.
    fn part(&self, store: &Store, start: u64, part: &Part) -> Result<Vec<u8>, ReconstructError> {
        let is_written = |place: &Place| place.len == part.len && place.written.load(Ordering::Acquire);
        if self.places.get(&part.object).is_some_and(is_written) {
            let mut bytes = vec![0; part.len as usize];
            self.file.read_exact_at(&mut bytes, start).map_err(ReconstructError::Write)?;
            return Ok(bytes);
        }
        let bytes = decode(store, part)?;
        self.file.write_all_at(&bytes, start).map_err(ReconstructError::Write)?;
        if let Some(place) = self.places.get(&part.object).filter(|place| place.starts[0] == start) {
            place.begun.store(true, Ordering::Release);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Memory;
    use crate::codec::Codec;
    use crate::format::Format;
    use crate::index::Index;
    use crate::progress::unwatched;
    use crate::store::record_for;

    const PARTS: [&[u8]; 4] = [b"once ", b"twice ", b"twice ", b"stored"];

    /// A recipe of `PARTS`, and a store with the last of them alone.
    fn setting() -> (Store, Recipe) {
        let store = Store::over(Box::new(Memory::default()), Index::in_memory());
        let mut writer = store.begin_pack().unwrap();
        let stored = PARTS[3];
        writer.add(record_for(ObjectId::of(stored), None, Codec::Raw, stored.len() as u32), stored).unwrap();
        store.admit(writer).unwrap();
        let part = |bytes: &&[u8]| Part {
            object: ObjectId::of(bytes),
            len: bytes.len() as u32,
            tensor: None,
            slice: 0,
        };
        let recipe = Recipe {
            oid: Oid::of(&PARTS.concat()),
            size: PARTS.concat().len() as u64,
            format: Format::Chunked,
            base: None,
            origin: Vec::new(),
            layout: None,
            sketch: Vec::new(),
            tensors: Vec::new(),
            parts: PARTS.iter().map(part).collect(),
        };
        (store, recipe)
    }

    fn finish(put: &[(&[u8], &[u8])]) -> (Result<(), ReconstructError>, Vec<u8>) {
        let (store, recipe) = setting();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut draft = Draft::into(file.reopen().unwrap());
        draft.begin(&recipe);
        put.iter().for_each(|(object, bytes)| draft.put(&ObjectId::of(object), bytes).unwrap());
        let done = draft.finish(&store, &recipe, &unwatched);
        (done, std::fs::read(file.path()).unwrap())
    }

    /// What was put is not looked for in the store, what was not is, and the file is whole.
    #[test]
    fn parts_come_from_where_they_are() {
        let (done, bytes) = finish(&[(b"twice ", b"twice "), (b"nowhere", b"nowhere"), (b"once ", b"once ")]);
        done.unwrap();
        assert_eq!(bytes, PARTS.concat());
        let (done, _) = finish(&[(b"once ", b"once ")]);
        assert!(matches!(done, Err(ReconstructError::Store(_))), "a part is nowhere: {done:?}");
    }

    /// Others read what is there, and nothing before it is.
    #[test]
    fn what_is_written_can_be_read() {
        let (store, recipe) = setting();
        let mut draft = Draft::into(tempfile::tempfile().unwrap());
        draft.begin(&recipe);
        let get = |draft: &Draft, bytes: &[u8]| draft.get(&ObjectId::of(bytes));
        assert_eq!(get(&draft, b"once "), None);
        for bytes in [b"once ".as_slice(), b"twice "] {
            draft.put(&ObjectId::of(bytes), bytes).unwrap();
            assert_eq!(get(&draft, bytes).as_deref(), Some(bytes));
        }
        assert_eq!(get(&draft, b"stored"), None);
        draft.finish(&store, &recipe, &unwatched).unwrap();
        assert_eq!(get(&draft, b"stored").as_deref(), Some(b"stored".as_slice()));
        assert_eq!((get(&draft, b"nowhere"), draft.objects()), (None, 3));
    }

    /// Whatever was put is proven by the file's hash all the same.
    #[test]
    fn wrong_bytes_are_found() {
        let (done, _) = finish(&[(b"twice ", b"TWICE "), (b"once ", b"once ")]);
        assert!(done.is_err(), "another file passed");
        // Of another length than the recipe says: it is taken from the store, which lacks it.
        let (done, _) = finish(&[(b"twice ", b"twice "), (b"once ", b"once once")]);
        assert!(matches!(done, Err(ReconstructError::Store(_))), "{done:?}");
    }
}
