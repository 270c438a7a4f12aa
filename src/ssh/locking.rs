//! Locks: `lock`, `list-lock`, `unlock`.

use std::io::{self, Read, Write};

use super::Operation;
use super::session::{Asked, Session, Stop, plain_number};
use crate::id::LockId;
use crate::locks::{self, Attempt, Lock, MAX_PATH_BYTES, Page};

impl<R: Read, W: Write + Send> Session<R, W> {
    pub(super) fn lock(&mut self, asked: &Asked) -> Result<(), Stop> {
        self.may_lock()?;
        let path = asked.argument("path").unwrap_or_default();
        if path.is_empty() || path.len() > MAX_PATH_BYTES {
            return Err(Stop::Refused(400, format!("a path has 1 to {MAX_PATH_BYTES} bytes")));
        }
        self.read_to_end()?;
        match locks::take(&self.store, path, &self.user, (self.now)()).map_err(failed)? {
            Attempt::Locked(lock) => Ok(self.agree(201, &told(&lock))?),
            Attempt::Held(Some(lock)) => self.held(&lock).map_err(|error| Stop::Broken(error.into())),
            // 409 goes with the lock that is in the way, and there is none any more.
            Attempt::Held(None) => Err(Stop::Refused(500, "it was just unlocked: lock it again".into())),
        }
    }

    /// Without words git-lfs takes the lock for its own.
    fn held(&mut self, lock: &Lock) -> io::Result<()> {
        self.to.line("status 409")?;
        told(lock).iter().try_for_each(|argument| self.to.line(argument))?;
        self.to.delimiter()?;
        self.to.line(&format!("already locked by {}", lock.owner.name))?;
        self.to.flush()
    }

    pub(super) fn list_locks(&mut self, asked: &Asked) -> Result<(), Stop> {
        self.read_to_end()?;
        let cursor = asked.argument("cursor").map(str::to_owned);
        let limit = asked.argument("limit").and_then(plain_number).map(|limit| limit as usize);
        let mut found = locks::all(&self.store).map_err(failed)?;
        found.retain(|lock| asked.argument("path").is_none_or(|path| *path == lock.path));
        found.retain(|lock| asked.argument("id").is_none_or(|id| *id == lock.id));
        let (found, next) = Page { cursor, limit }.of(found);
        let send = |session: &mut Session<R, W>| -> io::Result<()> {
            session.to.line("status 200")?;
            next.iter().try_for_each(|next| session.to.line(&format!("next-cursor={next}")))?;
            session.to.delimiter()?;
            for Lock { id, path, locked_at, owner } in &found {
                let whose = if owner.name == session.user { "ours" } else { "theirs" };
                session.to.line(&format!("lock {id}"))?;
                session.to.line(&format!("path {id} {path}"))?;
                session.to.line(&format!("locked-at {id} {locked_at}"))?;
                session.to.line(&format!("ownername {id} {}", owner.name))?;
                session.to.line(&format!("owner {id} {whose}"))?;
            }
            session.to.flush()
        };
        send(self).map_err(|error| Stop::Broken(error.into()))
    }

    pub(super) fn unlock(&mut self, asked: &Asked) -> Result<(), Stop> {
        self.may_lock()?;
        self.read_to_end()?;
        let no_lock = || Stop::Refused(404, "there is no such lock".into());
        let id: LockId = asked.of.parse().map_err(|_| no_lock())?;
        let lock = locks::find(&self.store, id).map_err(failed)?.ok_or_else(no_lock)?;
        let is_forced = asked.argument("force").is_some_and(|value| value != "false");
        if lock.owner.name != self.user && !is_forced {
            return Err(Stop::Refused(403, format!("{} has locked this file", lock.owner.name)));
        }
        locks::release(&self.store, id).map_err(failed)?;
        Ok(self.agree(200, &told(&lock))?)
    }

    fn may_lock(&self) -> Result<(), Stop> {
        match self.operation {
            Operation::Upload | Operation::Lock => Ok(()),
            Operation::Download => Err(Stop::Refused(403, "locks need the right to upload".into())),
        }
    }
}

/// A lock as arguments.
fn told(lock: &Lock) -> [String; 4] {
    [
        format!("id={}", lock.id),
        format!("path={}", lock.path),
        format!("locked-at={}", lock.locked_at),
        format!("ownername={}", lock.owner.name),
    ]
}

fn failed(error: io::Error) -> Stop {
    Stop::Refused(500, error.to_string())
}
