//! Locks of files: who works on what cannot be merged. They lie in the repository's store, one file each.
//!
//! Specification: git-lfs `docs/api/locking.md`. A lock's id is the BLAKE3 of its path, so of two who lock one path
//! at the same time one is first, on whichever server of a hub.

use std::io::{self, Write};

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::access::{Caller, May};
use super::replies::{Refusal, Reply, json};
use super::repos::Repo;
use super::router::{Asked, run};
use super::signature::now;
use crate::backend::{Area, Name, Taken};
use crate::calendar;
use crate::id::LockId;

const MAX_PATH_BYTES: usize = 4096;
const MAX_LOCK_BYTES: u64 = 64 << 10;
/// Locks in one answer.
const PAGE: usize = 1000;

/// One lock, as it is stored and told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lock {
    id: String,
    path: String,
    /// RFC 3339, in UTC.
    locked_at: String,
    owner: Owner,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    name: String,
}

#[derive(Deserialize)]
struct Wanted {
    path: String,
}

#[derive(Deserialize)]
struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Unlock {
    #[serde(default)]
    force: bool,
}

impl Asked {
    pub(super) async fn lock(mut self) -> Result<Reply, Refusal> {
        self.need(May::Write)?;
        let Wanted { path } = self.body().await?;
        if path.is_empty() || path.len() > MAX_PATH_BYTES {
            return Err(Refusal::bad(format!("a path has 1 to {MAX_PATH_BYTES} bytes")));
        }
        let id = id_of(&path);
        let owner = Owner { name: self.name() };
        let lock = Lock { id: id.to_string(), path, locked_at: rfc3339(now()), owner };
        let repo = self.open().await?;
        let outcome = run(move || match write(&repo, id, &lock) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                read(&repo, id).map(|present| (StatusCode::CONFLICT, present))
            }
            done => done.map(|()| (StatusCode::CREATED, Some(lock))),
        });
        let (status, lock) = outcome.await?.map_err(Refusal::internal)?;
        let words = if status == StatusCode::CONFLICT { "already locked" } else { "" };
        Ok(json(status, &serde_json::json!({ "lock": lock, "message": words })))
    }

    pub(super) async fn list_locks(self) -> Result<Reply, Refusal> {
        self.need(May::Read)?;
        let decoded = |key| {
            let value: Option<&str> = self.query(key);
            value.map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        let (path, id) = (decoded("path"), decoded("id"));
        let limit = self.query("limit").and_then(|limit| limit.parse().ok());
        let page = Page { cursor: decoded("cursor"), limit };
        let mut locks = all(&self).await?;
        locks.retain(|lock| path.as_ref().is_none_or(|path| *path == lock.path));
        locks.retain(|lock| id.as_ref().is_none_or(|id| *id == lock.id));
        let (locks, next) = page.of(locks);
        Ok(json(StatusCode::OK, &serde_json::json!({ "locks": locks, "next_cursor": next })))
    }

    pub(super) async fn verify_locks(mut self) -> Result<Reply, Refusal> {
        self.need(May::Write)?;
        let page: Page = self.body().await?;
        let (locks, next) = page.of(all(&self).await?);
        let name = self.name();
        let (ours, theirs): (Vec<_>, Vec<_>) = locks.into_iter().partition(|lock| lock.owner.name == name);
        let answer = serde_json::json!({ "ours": ours, "theirs": theirs, "next_cursor": next });
        Ok(json(StatusCode::OK, &answer))
    }

    pub(super) async fn unlock(mut self, id: String) -> Result<Reply, Refusal> {
        self.need(May::Write)?;
        let Unlock { force } = self.body().await?;
        let id: LockId = id.parse().map_err(|_| no_lock())?;
        let repo = self.open().await?;
        let lock = run({
            let repo = repo.clone();
            move || read(&repo, id)
        });
        // Looked for in this repository alone, whatever the id.
        let lock = lock.await?.map_err(Refusal::internal)?.ok_or_else(no_lock)?;
        let is_ours = lock.owner.name == self.name();
        let may_break = force && self.may == Some(May::Admin);
        if !is_ours && !may_break {
            let words = format!(
                "{} has locked this file; only an administrator can break that: --force",
                lock.owner.name
            );
            return Err(Refusal::new(StatusCode::FORBIDDEN, words));
        }
        run(move || repo.store.backend().delete(Name::Lock(id))).await?.map_err(Refusal::internal)?;
        Ok(json(StatusCode::OK, &serde_json::json!({ "lock": lock })))
    }

    fn name(&self) -> String {
        match &self.caller {
            Caller::Token(name) => name.clone(),
            _ => "anonymous".into(),
        }
    }
}

impl Page {
    /// The locks of this page, and where the next one begins.
    fn of(&self, mut locks: Vec<Lock>) -> (Vec<Lock>, Option<String>) {
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

fn no_lock() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such lock")
}

fn id_of(path: &str) -> LockId {
    LockId::from_bytes(*blake3::hash(path.as_bytes()).as_bytes())
}

async fn all(asked: &Asked) -> Result<Vec<Lock>, Refusal> {
    let repo = asked.open().await?;
    let locks = run(move || -> io::Result<Vec<Lock>> {
        let mut locks = Vec::new();
        for name in repo.store.backend().list(Area::Locks)? {
            if let Name::Lock(id) = name {
                locks.extend(read(&repo, id)?);
            }
        }
        Ok(locks)
    });
    locks.await?.map_err(Refusal::internal)
}

/// None where there is none, or one that was torn.
fn read(repo: &Repo, id: LockId) -> io::Result<Option<Lock>> {
    let name = Name::Lock(id);
    let Some(len) = repo.store.backend().len(name)? else { return Ok(None) };
    match repo.store.backend().read(name, 0..len.min(MAX_LOCK_BYTES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(serde_json::from_slice(&bytes?).ok()),
    }
}

fn write(repo: &Repo, id: LockId, lock: &Lock) -> io::Result<()> {
    let mut staged = repo.store.backend().create()?;
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
