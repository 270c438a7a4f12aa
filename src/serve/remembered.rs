//! Storage that is far, asked less: a pack that was seen is taken to be there for a while.
//!
//! A pack that goes in that time is missed when it is read, and `peer::accept` looks at what really is there after it
//! published a recipe, as every push does (docs/architecture.md, "Collecting a remote").

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::backend::{Area, Backend, Name, Staged, Tail};
use crate::id::PackId;

const WHILE: Duration = Duration::from_secs(30);

/// A far backend, and the packs that were seen there.
pub struct Remembered {
    inner: Box<dyn Backend>,
    packs: Mutex<HashMap<PackId, (u64, Instant)>>,
}

impl Remembered {
    /// The backend itself, if asking it costs little.
    pub fn over(inner: Box<dyn Backend>) -> Box<dyn Backend> {
        match inner.is_far() {
            true => Box::new(Remembered { inner, packs: Mutex::default() }),
            false => inner,
        }
    }

    fn packs(&self) -> MutexGuard<'_, HashMap<PackId, (u64, Instant)>> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, name: Name) {
        if let Name::Pack(pack) = name {
            self.packs().remove(&pack);
        }
    }
}

impl Backend for Remembered {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        self.inner.create()
    }

    fn create_as(&self, name: Name) -> io::Result<Box<dyn Staged + '_>> {
        self.inner.create_as(name)
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.inner.read(name, range).inspect_err(|_| self.forget(name))
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        let Name::Pack(pack) = name else { return self.inner.len(name) };
        let now = Instant::now();
        if let Some((len, seen)) = self.packs().get(&pack)
            && now.duration_since(*seen) < WHILE
        {
            return Ok(Some(*len));
        }
        let len = self.inner.len(name)?;
        match len {
            Some(len) => drop(self.packs().insert(pack, (len, now))),
            None => self.forget(name),
        }
        Ok(len)
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        self.inner.modified(name)
    }

    fn sweep(&self, age: Duration) -> io::Result<usize> {
        self.inner.sweep(age)
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        let names = self.inner.list(area)?;
        if area == Area::Packs {
            let there: HashSet<_> = names.iter().collect();
            self.packs().retain(|pack, _| there.contains(&Name::Pack(*pack)));
        }
        Ok(names)
    }

    fn tail(&self, name: Name, most: u64) -> io::Result<Option<Tail>> {
        self.inner.tail(name, most)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.forget(from);
        self.inner.rename(from, to)
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        self.forget(name);
        self.inner.delete(name)
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn renames_keep_age(&self) -> bool {
        self.inner.renames_keep_age()
    }

    fn is_far(&self) -> bool {
        true
    }
}
