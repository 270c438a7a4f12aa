//! A store in a directory. All bytes are written by one function, `StagedFile::publish`.
//!
//! The order there is what makes "acknowledged" mean "survives a power cut": file fsync, rename,
//! directory fsync, and the parent's fsync when the directory is new.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::{Area, Backend, Name, Staged, Taken, writeback};

/// The kernel is asked to begin with so many bytes of a new file, while more are written.
const BEGUN_BYTES: u64 = 8 << 20;

/// Who may look into the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// The user's own store: directories 0700.
    Private,
    /// A store beside a git remote: the umask decides, as it does for the remote's own files, and a group may what it
    /// may in the directory above.
    Shared,
}

/// A directory with a store's files.
pub struct Local {
    root: PathBuf,
    privacy: Privacy,
    staged: AtomicU64,
}

struct StagedFile<'a> {
    local: &'a Local,
    file: File,
    path: PathBuf,
    published: bool,
    written: u64,
    /// Of these, what the kernel was asked to write to the disk.
    begun: u64,
}

impl Local {
    /// The store directory at `root`; nothing is created before the first write.
    pub fn new(root: impl Into<PathBuf>, privacy: Privacy) -> Local {
        Local { root: root.into(), privacy, staged: AtomicU64::new(0) }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: Name) -> PathBuf {
        self.root.join(name.to_string())
    }

    /// What the directory says of a file, if it is there.
    fn metadata(&self, name: Name) -> io::Result<Option<fs::Metadata>> {
        let path = self.path(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(found)),
            Ok(_) => Err(at(&path, "stat", io::Error::other("not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path, "stat", error)),
        }
    }

    /// Makes `dir` and what is missing above it, each made durable in its parent.
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().expect("because a store directory is not the root directory");
        self.make_dir(parent)?;
        let mode = if self.privacy == Privacy::Private { 0o700 } else { 0o777 };
        match DirBuilder::new().mode(mode).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(at(dir, "create", error));
            }
            Ok(()) if self.privacy == Privacy::Shared => share(dir, parent)?,
            _ => {}
        }
        sync_dir(parent)
    }
}

impl Backend for Local {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        let dir = self.root.join("tmp");
        self.make_dir(&dir)?;
        loop {
            let number = self.staged.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{}-{number}", std::process::id()));
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
                .open(&path);
            match opened {
                Ok(file) => {
                    let staged =
                        StagedFile { local: self, file, path, published: false, written: 0, begun: 0 };
                    return Ok(Box::new(staged));
                }
                // Another process had our number before: take the next.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(at(&path, "create", error)),
            }
        }
    }

    fn sweep(&self, age: Duration) -> io::Result<usize> {
        let Ok(entries) = fs::read_dir(self.root.join("tmp")) else { return Ok(0) };
        let mut swept = 0;
        for entry in entries {
            let entry = entry?;
            let old = entry.metadata()?.modified()?.elapsed().is_ok_and(|found| found >= age);
            if old && fs::remove_file(entry.path()).is_ok() {
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        let path = self.path(name);
        let mut file = open(&path)?;
        let end = file.metadata().map_err(|e| at(&path, "stat", e))?.len();
        if range.end > end {
            let short = format!("expected at least {} bytes, file has {end}", range.end);
            return Err(at(&path, "read", io::Error::new(io::ErrorKind::UnexpectedEof, short)));
        }
        let len = range.end.saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(len as usize);
        // Not `read_exact`, for which the memory would have to be cleared first.
        let read =
            file.seek(SeekFrom::Start(range.start)).and_then(|_| file.take(len).read_to_end(&mut bytes));
        match read.map_err(|e| at(&path, "read", e))? as u64 == len {
            true => Ok(bytes),
            false => Err(at(&path, "read", io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        Ok(self.metadata(name)?.map(|found| found.len()))
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        let found = self.metadata(name)?.map(|found| found.modified());
        found.transpose().map_err(|e| at(&self.path(name), "stat", e))
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        walk(&self.root.join(area.folder()), &mut |path| {
            let relative = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            names.extend(relative.and_then(|text| text.parse::<Name>().ok()));
        })?;
        Ok(names)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        let (source, target) = (self.path(from), self.path(to));
        let dir = target.parent().expect("because every name has a folder");
        self.make_dir(dir)?;
        fs::rename(&source, &target).map_err(|e| at(&source, "rename", e))?;
        sync_dir(dir)?;
        sync_dir(source.parent().expect("because every name has a folder"))
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path, "delete", error)),
            Err(_) => Ok(()),
            Ok(()) => {
                let dir = path.parent().expect("because every name has a folder");
                if let Name::Trash(..) | Name::Removed(..) | Name::Forgotten(..) = name {
                    // Only an emptied epoch goes away; a full one refuses, which is right.
                    let _ = fs::remove_dir(dir);
                    return Ok(());
                }
                sync_dir(dir)
            }
        }
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn file(&self, name: Name) -> Option<PathBuf> {
        Some(self.path(name))
    }

    fn may_link(&self, file: &Path) -> bool {
        // A store that is not there yet is made where it can be linked to, or `link` says so.
        let is_here =
            |found: &fs::Metadata| fs::metadata(&self.root).map_or(true, |own| own.dev() == found.dev());
        fs::symlink_metadata(file).is_ok_and(|found| is_own(&found) && is_here(&found))
    }

    fn link(&self, file: &Path, name: Name) -> io::Result<bool> {
        let source = open(file)?;
        let found = source.metadata().map_err(|e| at(file, "stat", e))?;
        if !is_own(&found) {
            return Ok(false);
        }
        source.sync_all().map_err(|e| at(file, "fsync", e))?;
        let target = self.path(name);
        let dir = target.parent().expect("because every name has a folder");
        self.make_dir(dir)?;
        // Another file system, one without links, or a name that is taken: the caller copies.
        if fs::hard_link(file, &target).is_err() {
            return Ok(false);
        }
        let linked = fs::symlink_metadata(&target).map_err(|e| at(&target, "stat", e))?;
        if (linked.dev(), linked.ino()) != (found.dev(), found.ino()) {
            // Somebody put another file in its place meanwhile.
            fs::remove_file(&target).map_err(|e| at(&target, "delete", e))?;
            return Ok(false);
        }
        sync_dir(dir)?;
        Ok(true)
    }
}

impl Write for StagedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes).map_err(|e| at(&self.path, "write", e))?;
        self.written += count as u64;
        if self.written - self.begun >= BEGUN_BYTES {
            writeback::begin(&self.file, self.begun..self.written);
            self.begun = self.written;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for StagedFile<'_> {
    fn publish(mut self: Box<Self>, name: Name, taken: Taken) -> io::Result<()> {
        let target = self.local.path(name);
        let dir = target.parent().expect("because every name has a folder");
        self.local.make_dir(dir)?;
        let readable =
            fs::Permissions::from_mode(if self.local.privacy == Privacy::Private { 0o400 } else { 0o444 });
        self.file.set_permissions(readable).map_err(|e| at(&self.path, "chmod", e))?;
        // A failed fsync is never tried again: the kernel may have dropped the bytes and forgotten.
        self.file.sync_all().map_err(|e| at(&self.path, "fsync", e))?;
        let len = self.file.metadata().map_err(|e| at(&self.path, "stat", e))?.len();
        if taken == Taken::Keep && self.local.len(name)? == Some(len) {
            return sync_dir(dir);
        }
        if taken == Taken::Refuse {
            // The staged name goes when this is dropped.
            take_name(&self.path, &target).map_err(|e| at(&target, "link to", e))?;
            return sync_dir(dir);
        }
        fs::rename(&self.path, &target).map_err(|e| at(&target, "rename to", e))?;
        self.published = true;
        sync_dir(dir)
    }
}

impl Drop for StagedFile<'_> {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives a file a name that nobody has, of many who want it at once to one.
fn take_name(path: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(path, target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // A file system without links.
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            renameat_with(CWD, path, CWD, target, RenameFlags::NOREPLACE).map_err(io::Error::from)
        }
        done => done,
    }
}

/// Whether a file is this user's alone: one that others may write to could change its bytes.
fn is_own(found: &fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

/// Gives a group what the directory above gives it, whatever the umask: `git init --shared` asks for that. A sticky
/// directory is everybody's and shares nothing.
fn share(dir: &Path, parent: &Path) -> io::Result<()> {
    const GROUP: u32 = 0o2070;
    const STICKY: u32 = 0o1000;
    let mode =
        |dir: &Path| fs::metadata(dir).map(|found| found.mode() & 0o7777).map_err(|e| at(dir, "stat", e));
    let (own, above) = (mode(dir)?, mode(parent)?);
    let wanted = if above & STICKY == 0 { own | above & GROUP } else { own };
    match own == wanted {
        true => Ok(()),
        false => {
            fs::set_permissions(dir, fs::Permissions::from_mode(wanted)).map_err(|e| at(dir, "chmod", e))
        }
    }
}

/// Opens a regular file for reading, and nothing that a link points to.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(|e| at(path, "open", e))?;
    match file.metadata().map_err(|e| at(path, "stat", e))?.is_file() {
        true => Ok(file),
        false => Err(at(path, "open", io::Error::other("not a regular file"))),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| at(dir, "fsync", e))
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| at(dir, "list", e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| at(dir, "list", e))?;
        let kind = entry.file_type().map_err(|e| at(dir, "list", e))?;
        if kind.is_dir() {
            walk(&entry.path(), visit)?;
        } else if kind.is_file() {
            visit(&entry.path());
        }
    }
    Ok(())
}

/// The error with the path and what was being done to it.
fn at(path: &Path, doing: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}
