//! A file that is being rebuilt, of which parts are there before the others.
//!
//! Whoever fetches objects decodes each to prove it: what was decoded is written at once to where the file has it, and
//! need not be decoded again. Nor need it be for the files that have this one as their base: they read it here. The file's
//! hash goes on behind what was written, while it is still in the processor's cache.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use crate::id::{ObjectId, Oid};
use crate::pipeline::in_order;
use crate::progress::Progress;
use crate::recipe::{Part, Recipe};
use crate::reconstruct::{AHEAD_BYTES, ReconstructError, check, decode};
use crate::store::Store;

/// Bytes that are read and hashed at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A new file, and what is known of it.
pub struct Draft {
    sheet: Sheet,
    front: Front,
}

/// What is written, by many threads.
pub struct Sheet {
    file: File,
    places: HashMap<ObjectId, Place>,
}

/// How far the file was hashed, from its beginning.
pub struct Front {
    /// Where its parts lie.
    parts: Vec<(u64, Part)>,
    /// Of these, how many were hashed.
    hashed: usize,
    hasher: Sha256,
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
        let front = Front { parts: Vec::new(), hashed: 0, hasher: Sha256::new() };
        Draft { sheet: Sheet { file, places: HashMap::new() }, front }
    }

    /// Makes known what the file is made of. What was written before counts no more.
    pub fn begin(&mut self, recipe: &Recipe) {
        let parts = recipe.ranges().map(|(range, part)| (range.start, *part)).collect();
        self.front = Front { parts, hashed: 0, hasher: Sha256::new() };
        let places = &mut self.sheet.places;
        places.clear();
        for (range, part) in recipe.ranges() {
            let not_yet = || AtomicBool::new(false);
            let place = || Place { len: part.len, starts: Vec::new(), written: not_yet(), begun: not_yet() };
            places.entry(part.object).or_insert_with(place).starts.push(range.start);
        }
    }

    /// What threads write to, and the front that one of them moves on.
    pub fn divided(&mut self) -> (&Sheet, &mut Front) {
        (&self.sheet, &mut self.front)
    }

    /// The bytes of an object, if the file has it by now. Whoever it was given to may have changed it: they must be
    /// proven. From any thread.
    pub fn get(&self, object: &ObjectId) -> Option<Vec<u8>> {
        self.sheet.get(object)
    }

    /// How many different objects the file has.
    pub fn objects(&self) -> usize {
        self.sheet.places.len()
    }

    /// Writes the rest, and hashes all of it: fails unless that gives the recipe's oid.
    pub fn finish(
        &self,
        store: &Store,
        recipe: &Recipe,
        progress: &Progress<'_>,
    ) -> Result<(), ReconstructError> {
        let mut hasher = self.front.hasher.clone();
        let (done, rest) = self.front.parts.split_at(self.front.hashed);
        progress(done.iter().map(|(_, part)| u64::from(part.len)).sum())?;
        let len = |(_, part): &(u64, Part)| u64::from(part.len);
        let work = |(start, part): &(u64, Part)| self.sheet.part(store, *start, part);
        let take = |_: &_, bytes: Vec<u8>| {
            hasher.update(&bytes);
            Ok(progress(bytes.len() as u64)?)
        };
        in_order(rest, len, AHEAD_BYTES, work, take)?;
        check(store, recipe, Oid::from_bytes(hasher.finalize().into()))
    }
}

impl Sheet {
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

    fn get(&self, object: &ObjectId) -> Option<Vec<u8>> {
        let place = self.places.get(object).filter(|place| place.begun.load(Ordering::Acquire))?;
        self.read(*place.starts.first()?, place.len).ok()
    }

    fn is_written(&self, part: &Part) -> bool {
        let place = self.places.get(&part.object);
        place.is_some_and(|place| place.len == part.len && place.written.load(Ordering::Acquire))
    }

    /// Not `read_exact_at`, for which the memory would have to be cleared first.
    fn read(&self, start: u64, len: u32) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len as usize);
        while bytes.len() < len as usize {
            let at = start + bytes.len() as u64;
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(len as usize);
        Ok(bytes)
    }

    /// The bytes of a part, which the file has then.
    fn part(&self, store: &Store, start: u64, part: &Part) -> Result<Vec<u8>, ReconstructError> {
        if self.is_written(part) {
            return self.read(start, part.len).map_err(ReconstructError::Write);
        }
        let bytes = decode(store, part)?;
        self.file.write_all_at(&bytes, start).map_err(ReconstructError::Write)?;
        if let Some(place) = self.places.get(&part.object).filter(|place| place.starts[0] == start) {
            place.begun.store(true, Ordering::Release);
        }
        Ok(bytes)
    }
}

impl Front {
    /// Hashes what was written next to what was hashed before.
    pub fn move_on(&mut self, sheet: &Sheet) -> io::Result<()> {
        let mut buffer = Vec::new();
        while let Some((start, part)) = self.parts.get(self.hashed).filter(|(_, part)| sheet.is_written(part))
        {
            buffer.resize(PIECE_BYTES, 0);
            let len = part.len as usize;
            for at in (0..len).step_by(PIECE_BYTES) {
                let piece = &mut buffer[..PIECE_BYTES.min(len - at)];
                sheet.file.read_exact_at(piece, start + at as u64)?;
                self.hasher.update(piece);
            }
            self.hashed += 1;
        }
        Ok(())
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
        let (sheet, front) = draft.divided();
        for (object, bytes) in put {
            sheet.put(&ObjectId::of(object), bytes).unwrap();
            front.move_on(sheet).unwrap();
        }
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
            draft.divided().0.put(&ObjectId::of(bytes), bytes).unwrap();
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
