//! Locks of files: who works on what cannot be merged. They lie in the repository's store, one file each.
//!
//! Specification: git-lfs `docs/api/locking.md`. A lock's id is the BLAKE3 of its path, so of two who lock one path
//! at the same time one is first, on whichever server, and however they came.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::backend::{Area, Name, Taken};
use crate::calendar;
use crate::id::LockId;
use crate::store::Store;

/// Longest path that can be locked.
pub const MAX_PATH_BYTES: usize = 4096;
const MAX_LOCK_BYTES: u64 = 64 << 10;
/// Locks in one answer.
const PAGE: usize = 1000;

/// One lock, as it is stored and told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub id: String,
    pub path: String,
    /// RFC 3339, in UTC.
    pub locked_at: String,
    pub owner: Owner,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub name: String,
}

/// What came of an attempt to lock a path.
#[derive(Debug)]
pub enum Attempt {
    Locked(Lock),
    /// Somebody was first; none if they have let go meanwhile.
    Held(Option<Lock>),
}

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize)]
pub struct Page {
    pub cursor: Option<String>,
    pub limit: Option<usize>,
}

/// Locks a path for `owner` from now (seconds since 1970) on.
pub fn take(store: &Store, path: &str, owner: &str, now: u64) -> io::Result<Attempt> {
    let id = id_of(path);
    let owner = Owner { name: owner.into() };
    let lock = Lock { id: id.to_string(), path: path.into(), locked_at: rfc3339(now), owner };
    match write(store, id, &lock) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => find(store, id).map(Attempt::Held),
        done => done.map(|()| Attempt::Locked(lock)),
    }
}

/// None where there is none, or one that was torn.
pub fn find(store: &Store, id: LockId) -> io::Result<Option<Lock>> {
    let name = Name::Lock(id);
    let Some(len) = store.backend().len(name)? else { return Ok(None) };
    match store.backend().read(name, 0..len.min(MAX_LOCK_BYTES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(serde_json::from_slice(&bytes?).ok()),
    }
}

/// All locks of a repository.
pub fn all(store: &Store) -> io::Result<Vec<Lock>> {
    let mut locks = Vec::new();
    for name in store.backend().list(Area::Locks)? {
        if let Name::Lock(id) = name {
            locks.extend(find(store, id)?);
        }
    }
    Ok(locks)
}

/// Takes a lock away, whoever has it.
pub fn release(store: &Store, id: LockId) -> io::Result<()> {
    store.backend().delete(Name::Lock(id))
}

impl Page {
    /// The locks of this page, and where the next one begins.
    pub fn of(&self, mut locks: Vec<Lock>) -> (Vec<Lock>, Option<String>) {
        locks.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(cursor) = &self.cursor {
            locks.retain(|lock| lock.id >= *cursor);
        }
        let limit = self.limit.unwrap_or(PAGE).clamp(1, PAGE);
        let next = locks.get(limit).map(|lock| lock.id.clone());
        locks.truncate(limit);
        (locks, next)
    }
}

fn id_of(path: &str) -> LockId {
    LockId::from_bytes(*blake3::hash(path.as_bytes()).as_bytes())
}

fn write(store: &Store, id: LockId, lock: &Lock) -> io::Result<()> {
    let mut staged = store.backend().create()?;
    staged.write_all(&serde_json::to_vec(lock)?)?;
    staged.publish(Name::Lock(id), Taken::Refuse)
}

/// A point in time as RFC 3339 has it.
fn rfc3339(seconds: u64) -> String {
    let (date, time) = calendar::utc(seconds as i64);
    format!("{date}T{time}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long list must come whole, page by page.
    #[test]
    fn pages_follow_each_other() {
        let lock = |path: &str| Lock {
            id: id_of(path).to_string(),
            path: path.into(),
            locked_at: rfc3339(0),
            owner: Owner { name: "a".into() },
        };
        let locks: Vec<_> = (0..5).map(|at| lock(&at.to_string())).collect();
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let (page, next) = Page { cursor, limit: Some(2) }.of(locks.clone());
            seen.extend(page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        seen.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(seen, locks);
    }
}
