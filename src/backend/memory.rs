//! A store in memory, for tests and for the contract suite to have a model to compare with.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam_skiplist::SkipMap;

use super::{Area, Backend, Name, Staged, Taken};

/// Files in a map. A clone sees the same files.
#[derive(Clone, Default)]
pub struct Memory {
    files: Arc<SkipMap<Name, Kept>>,
}

#[derive(Clone)]
struct Kept {
    bytes: Arc<Vec<u8>>,
    /// Nanoseconds since 1970.
    written: Arc<AtomicU64>,
}

struct StagedBytes<'a> {
    bytes: Vec<u8>,
    files: &'a SkipMap<Name, Kept>,
}

impl Kept {
    fn now(bytes: Vec<u8>) -> Kept {
        Kept { bytes: Arc::new(bytes), written: Arc::new(AtomicU64::new(nanoseconds())) }
    }
}

impl Memory {
    fn file(&self, name: Name) -> io::Result<Kept> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{name}: no such file in memory"));
        self.files.get(&name).map(|entry| entry.value().clone()).ok_or_else(missing)
    }
}

impl Backend for Memory {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        Ok(Box::new(StagedBytes { bytes: Vec::new(), files: &self.files }))
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        let file = self.file(name)?;
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name}: ends before {range:?}"));
        let bytes = file.bytes.get(range.start as usize..range.end as usize).ok_or_else(short)?;
        Ok(bytes.to_vec())
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        Ok(self.files.get(&name).map(|entry| entry.value().bytes.len() as u64))
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        let written = self.files.get(&name).map(|entry| entry.value().written.load(Ordering::Relaxed));
        Ok(written.map(|nanoseconds| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)))
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        let folder = format!("{}/", area.folder());
        Ok(self.files.iter().map(|e| *e.key()).filter(|name| name.to_string().starts_with(&folder)).collect())
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.files.insert(to, self.file(from)?);
        self.delete(from)
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        self.files.remove(&name);
        Ok(())
    }

    fn place(&self) -> String {
        "memory".into()
    }
}

impl Write for StagedBytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for StagedBytes<'_> {
    fn publish(self: Box<Self>, name: Name, taken: Taken) -> io::Result<()> {
        if taken == Taken::Refuse {
            let kept = Kept::now(self.bytes);
            let entry = self.files.get_or_insert(name, kept.clone());
            return match Arc::ptr_eq(&entry.value().bytes, &kept.bytes) {
                true => Ok(()),
                false => Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name}: it is taken"))),
            };
        }
        match self.files.get(&name).map(|entry| entry.value().clone()) {
            Some(present) if taken == Taken::Keep && present.bytes.len() == self.bytes.len() => {}
            // The map takes the old file away before it puts the new one in: never for nothing.
            Some(present) if *present.bytes == self.bytes => {
                present.written.store(nanoseconds(), Ordering::Relaxed);
            }
            _ => drop(self.files.insert(name, Kept::now(self.bytes))),
        }
        Ok(())
    }
}

/// Since 1970.
fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
