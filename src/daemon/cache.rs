//! Rebuilt files on disk, under a hard cap, the longest unused go first; pinned ones stay.
//!
//! A copy is handed out as a reflink where the file system has them, and never as a hard link: an
//! edit in place would write through it. What is handed out is hashed again, so a damaged cache
//! costs a rebuild.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::message::CachedFile;
use crate::id::Oid;

/// The cap, unless `gitsparse.cachesize` says otherwise.
pub const DEFAULT_LIMIT: u64 = 8 << 30;
const COPY_BYTES: usize = 1 << 20;

/// A directory of rebuilt files.
pub struct Cache {
    dir: PathBuf,
    limit: u64,
}

impl Cache {
    pub fn new(dir: &Path, limit: u64) -> Cache {
        Cache { dir: dir.join("files"), limit }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Gives a copy of a cached file at the new path `to`; false when there is none, or a damaged one.
    pub fn take(&self, oid: Oid, to: &Path) -> bool {
        let Ok(mut source) = File::open(self.path(oid)) else { return false };
        let copied = copy_hashed(&mut source, to);
        if !matches!(copied, Ok(found) if found == oid) {
            let _ = fs::remove_file(to);
            let _ = fs::remove_file(self.path(oid));
            return false;
        }
        let _ = source.set_modified(SystemTime::now());
        true
    }

    /// Keeps a reflink of a rebuilt file, where there are reflinks: elsewhere a second copy would cost
    /// more than it saves.
    pub fn offer(&self, oid: Oid, from: &Path) {
        let kept = self.make_room(from).and_then(|()| {
            let to = self.path(oid).with_extension("new");
            let done = reflink(from, &to).and_then(|()| fs::rename(&to, self.path(oid)));
            done.inspect_err(|_| drop(fs::remove_file(&to)))
        });
        // A cache that can't be written is no reason to fail.
        drop(kept);
    }

    /// Keeps a full copy until it is unpinned.
    pub fn pin(&self, oid: Oid, pinned: bool) -> io::Result<()> {
        let mark = self.path(oid).with_extension("pin");
        self.prepare()?;
        match pinned {
            true => File::create(mark).map(drop),
            false => fs::remove_file(mark).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        }
    }

    /// Where a cached file is, or would be.
    pub fn path(&self, oid: Oid) -> PathBuf {
        self.dir.join(oid.to_string())
    }

    /// Makes the cache's directory, for this user only: whole files are in it.
    pub fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }

    /// What is cached, the longest unused last.
    pub fn list(&self) -> Vec<CachedFile> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let oid: Oid = entry.file_name().to_str()?.parse().ok()?;
                let found = entry.metadata().ok()?;
                let idle_seconds = found.modified().ok()?.elapsed().map_or(0, |idle| idle.as_secs());
                let pinned = entry.path().with_extension("pin").exists();
                Some(CachedFile { oid, size: found.len(), pinned, idle_seconds })
            })
            .collect();
        files.sort_by_key(|file| (file.idle_seconds, file.oid));
        files
    }

    /// Removes files until the rest fits `limit`; pinned ones stay.
    pub fn shrink(&self, limit: u64) {
        let mut total: u64 = 0;
        for file in self.list() {
            total += file.size;
            if total > limit && !file.pinned && fs::remove_file(self.path(file.oid)).is_ok() {
                total -= file.size;
            }
        }
    }

    fn make_room(&self, from: &Path) -> io::Result<()> {
        let needed = fs::metadata(from)?.len();
        if needed > self.limit {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.prepare()?;
        self.shrink(self.limit - needed);
        Ok(())
    }
}

/// Copies the whole file, as a reflink if that is possible, and hashes what was copied.
fn copy_hashed(source: &mut File, to: &Path) -> io::Result<Oid> {
    let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
    let shared = clone_range(source, &target).is_ok();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = io::Read::read(source, &mut buffer)?;
        if count == 0 {
            return Ok(Oid::from_bytes(hasher.finalize().into()));
        }
        hasher.update(&buffer[..count]);
        if !shared {
            io::Write::write_all(&mut target, &buffer[..count])?;
        }
    }
}

/// Makes `to` share the blocks of `from`; an error where the file system can't.
pub fn reflink(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let target = OpenOptions::new().write(true).create_new(true).open(to)?;
    clone_range(&source, &target).inspect_err(|_| drop(fs::remove_file(to)))
}

#[cfg(target_os = "linux")]
fn clone_range(source: &File, target: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(target, source)?)
}

#[cfg(not(target_os = "linux"))]
fn clone_range(_source: &File, _target: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
