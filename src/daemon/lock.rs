//! One owner of a store: an flock on a file that is never deleted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::message::{Failure, Kind};

const POLL: Duration = Duration::from_millis(20);

/// Held as long as the value lives.
pub struct Lock {
    _file: File,
}

/// Takes the lock of the store at `root`, waiting up to `patience`; `role` is told to those who wait in vain.
pub fn acquire(root: &Path, role: &str, patience: Duration) -> Result<Lock, Failure> {
    let path = root.join("lock");
    let failed = |error: io::Error| {
        let fix = "make the store's directory writable, or set GIT_SPARSE_DIR to another one";
        Failure::new(Kind::Fatal, format!("store lock {}: {error}", path.display())).fix(fix)
    };
    let start = Instant::now();
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file =
            options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).open(&path).map_err(failed)?;
        match file.try_lock() {
            // Someone who deleted the file could let a second owner in: the name must still be ours.
            Ok(()) if same_file(&file, &path) => {
                write_owner(&mut file, role).map_err(failed)?;
                return Ok(Lock { _file: file });
            }
            Ok(()) => continue,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => return Err(in_use(root, &mut file)),
        }
    }
}

fn in_use(root: &Path, file: &mut File) -> Failure {
    let mut owner = String::new();
    let _ = file.take(200).read_to_string(&mut owner);
    let owner = if owner.trim().is_empty() { "another process" } else { owner.trim() };
    Failure::new(Kind::Refused, format!("store {}: in use by {owner}", root.display()))
        .fix("wait for it, or stop the daemon: git sparse daemon stop")
}

fn same_file(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

fn write_owner(file: &mut File, role: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{role} (process {})", std::process::id())
}

/// True while some process holds the store's lock.
pub fn is_held(root: &Path) -> bool {
    let file = OpenOptions::new().read(true).open(root.join("lock"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
