//! Locks of files over HTTP. Specification: git-lfs `docs/api/locking.md`.

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::access::{Caller, May};
use super::replies::{Refusal, Reply, json};
use super::router::{Asked, run};
use super::signature::now;
use crate::id::LockId;
use crate::locks::{self, Attempt, Lock, MAX_PATH_BYTES, Page};

#[derive(Deserialize)]
struct Wanted {
    path: String,
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
        let (repo, name) = (self.open().await?, self.name());
        let outcome = run(move || locks::take(&repo.store, &path, &name, now()));
        let (status, lock, words) = match outcome.await?.map_err(Refusal::internal)? {
            Attempt::Locked(lock) => (StatusCode::CREATED, Some(lock), ""),
            Attempt::Held(lock) => (StatusCode::CONFLICT, lock, "already locked"),
        };
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
            move || locks::find(&repo.store, id)
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
        run(move || locks::release(&repo.store, id)).await?.map_err(Refusal::internal)?;
        Ok(json(StatusCode::OK, &serde_json::json!({ "lock": lock })))
    }

    fn name(&self) -> String {
        match &self.caller {
            Caller::Token(name) => name.clone(),
            _ => "anonymous".into(),
        }
    }
}

fn no_lock() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such lock")
}

async fn all(asked: &Asked) -> Result<Vec<Lock>, Refusal> {
    let repo = asked.open().await?;
    run(move || locks::all(&repo.store)).await?.map_err(Refusal::internal)
}
