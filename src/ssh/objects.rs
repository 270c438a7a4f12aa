//! Whole files: which ones are here (`batch`), down (`get-object`), up (`put-object`, `verify-object`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::Operation;
use super::pktline::PacketWriter;
use super::session::{Asked, Session, SessionError, Stop, plain_number, text};
use crate::base::Hints;
use crate::codec::Effort;
use crate::format::OpenFile;
use crate::id::Oid;
use crate::ingest::ingest;
use crate::progress::unwatched;
use crate::reconstruct::reconstruct;
use crate::store;
use crate::sync;

/// Most files of one `batch`; clients ask for 100.
const MAX_FILES: usize = 10_000;
/// How often a file is stored anew because a gc took away what it relies on.
const ROUNDS: usize = 8;
/// Bytes at the end of a file that nobody gets before the whole is proven.
const HELD_BACK: usize = 64 << 10;

impl<R: Read, W: Write + Send> Session<R, W> {
    /// Which files can be had or are wanted.
    ///
    /// The answer has no errors for single files. So what is missing is offered where others are not, and refused by
    /// `get-object`: clients ask once more for what they did not get, and that request is refused as a whole, at once.
    pub(super) fn batch(&mut self, asked: &Asked) -> Result<(), Stop> {
        if asked.argument("hash-algo").is_some_and(|name| name != "sha256") {
            return Err(Stop::Refused(409, "only sha256 is known here".into()));
        }
        let mut wanted = Vec::new();
        while let Some(line) = self.more()? {
            if wanted.len() == MAX_FILES {
                return Err(Stop::Refused(413, format!("more than {MAX_FILES} files; ask for less at once")));
            }
            wanted.push(file_in(&text(line)?)?);
        }
        let is_upload = match self.operation {
            Operation::Upload => true,
            Operation::Download => false,
            Operation::Lock => return Err(Stop::Refused(403, "this connection is for locks".into())),
        };
        let (mut lines, mut missing) = (Vec::new(), Vec::new());
        for (oid, size) in &wanted {
            let action = match self.store.size(oid).map_err(unreadable)? {
                Some(found) if found != *size => {
                    return Err(Stop::Refused(422, format!("file {oid} has {found} bytes, not {size}")));
                }
                // A recipe alone proves nothing: a store that lost a pack is mended by pushing again.
                Some(_) if is_upload && sync::is_settled(&mut self.shared, oid).map_err(unreadable)? => {
                    "noop"
                }
                Some(_) if is_upload => "upload",
                Some(_) => "download",
                None if is_upload => "upload",
                None => {
                    missing.push(*oid);
                    "download"
                }
            };
            lines.push(format!("{oid} {size} {action}"));
        }
        if let Some(oid) = missing.first()
            && missing.len() == lines.len()
        {
            return Err(not_here(*oid));
        }
        let send = |to: &mut PacketWriter<W>| -> io::Result<()> {
            to.line("status 200")?;
            to.line("hash-algo=sha256")?;
            to.delimiter()?;
            lines.iter().try_for_each(|line| to.line(line))?;
            to.flush()
        };
        send(&mut self.to).map_err(|error| Stop::Broken(error.into()))
    }

    /// Sends a file while it is rebuilt; its end only when all of it has the right hash.
    pub(super) fn get(&mut self, asked: &Asked) -> Result<(), Stop> {
        if self.operation != Operation::Download {
            return Err(Stop::Refused(403, "this connection is not for downloads".into()));
        }
        let oid = asked.oid()?;
        self.read_to_end()?;
        let recipe = self.store.recipe(&oid).map_err(unreadable)?.ok_or_else(|| not_here(oid))?;
        let mut out = Sending { to: &mut self.to, size: recipe.size, held: Vec::new(), begun: false };
        match reconstruct(&self.store, &recipe, &mut out, &unwatched) {
            Ok(()) => out.end().map_err(|error| Stop::Broken(error.into())),
            Err(error) if out.begun => Err(SessionError::BrokenOff { oid, why: error.to_string() }.into()),
            Err(error) => Err(Stop::Refused(500, format!("file {oid}: {error}"))),
        }
    }

    /// Takes a file: hashed while it comes, then stored durably and proven before the answer.
    ///
    /// Clients wait for the answer as long as it takes (`git-lfs` reads from ssh without a limit).
    pub(super) fn put(&mut self, asked: &Asked) -> Result<(), Stop> {
        self.may_upload()?;
        let (oid, size) = (asked.oid()?, asked.number("size")?);
        store::check_config(self.store.backend()).map_err(unreadable)?;
        let begun = fs::create_dir_all(&self.received).and_then(|()| Received::begin(&self.received));
        let mut received = begun.map_err(|error| no_room(&error))?;
        let (mut hasher, mut total) = (Sha256::new(), 0);
        while let Some(bytes) = self.more()? {
            total += bytes.len() as u64;
            if total > size {
                return Err(Stop::Refused(400, format!("expected {size} bytes, and more came")));
            }
            hasher.update(bytes);
            received.file.write_all(bytes).map_err(|error| no_room(&error))?;
        }
        let found = Oid::from_bytes(hasher.finalize().into());
        if found != oid || total != size {
            let words = format!("expected {size} bytes of {oid}, received {total} of {found}");
            return Err(Stop::Refused(400, words));
        }
        self.keep(oid, &received.path)?;
        Ok(self.agree(200, &[])?)
    }

    /// Stores a file that was received, so that it is there whatever a gc did meanwhile.
    fn keep(&mut self, oid: Oid, path: &Path) -> Result<(), Stop> {
        for _ in 0..ROUNDS {
            if sync::is_settled(&mut self.shared, &oid).map_err(unreadable)? {
                return Ok(());
            }
            let source = OpenFile::open(path).map_err(|error| no_room(&error))?;
            let done = ingest(&self.store, &source, oid, &Hints::default(), Effort::Push, &unwatched);
            done.map_err(|error| match error.is_full() {
                true => no_room(&io::ErrorKind::StorageFull.into()),
                false => Stop::Refused(500, format!("file {oid}: not stored: {error}")),
            })?;
        }
        Err(Stop::Refused(500, format!("file {oid}: a gc took away what it needs; push again")))
    }

    /// Whether a file that was uploaded is stored.
    pub(super) fn verify(&mut self, asked: &Asked) -> Result<(), Stop> {
        self.may_upload()?;
        let (oid, size) = match asked.of.split_once(' ') {
            Some(_) => file_in(&asked.of)?,
            None => (asked.oid()?, asked.number("size")?),
        };
        self.read_to_end()?;
        match self.store.size(&oid).map_err(unreadable)? {
            Some(found) if found == size => Ok(self.agree(200, &[])?),
            Some(found) => Err(Stop::Refused(409, format!("file {oid} has {found} bytes, not {size}"))),
            None => Err(not_here(oid)),
        }
    }

    fn may_upload(&self) -> Result<(), Stop> {
        match self.operation {
            Operation::Upload => Ok(()),
            _ => Err(Stop::Refused(403, "this connection is not for uploads".into())),
        }
    }

    /// Passes over what is left of a request.
    pub(super) fn read_to_end(&mut self) -> Result<(), Stop> {
        while self.more()?.is_some() {}
        Ok(())
    }
}

/// A file on its way to the client. Nothing is said before there is more than is held back, so that what fails early
/// is an answer like any other.
struct Sending<'a, W> {
    to: &'a mut PacketWriter<W>,
    size: u64,
    held: Vec<u8>,
    begun: bool,
}

impl<W: Write> Sending<'_, W> {
    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.to.line("status 200")?;
            self.to.line(&format!("size={}", self.size))?;
            self.to.delimiter()?;
        }
        Ok(())
    }

    /// Sends what was held back: the file is proven.
    fn end(mut self) -> io::Result<()> {
        self.begin()?;
        self.to.data(&self.held)?;
        self.to.flush()
    }
}

impl<W: Write> Write for Sending<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The last bytes of what there is now are held back.
        let ready = (self.held.len() + bytes.len()).saturating_sub(HELD_BACK);
        if ready > 0 {
            self.begin()?;
            let old = ready.min(self.held.len());
            self.to.data(&self.held[..old])?;
            self.to.data(&bytes[..ready - old])?;
            self.held.drain(..old);
            self.held.extend_from_slice(&bytes[ready - old..]);
        } else {
            self.held.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is being received; gone when it is dropped.
struct Received {
    path: PathBuf,
    file: File,
}

impl Received {
    fn begin(dir: &Path) -> io::Result<Received> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{}-received-{number}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok(Received { file: file?, path }),
            }
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// `OID SIZE`, and whatever follows.
fn file_in(line: &str) -> Result<(Oid, u64), Stop> {
    let mut words = line.split(' ');
    let oid = words.next().and_then(|oid| oid.parse().ok());
    let size = words.next().filter(|size| !size.is_empty()).and_then(plain_number);
    let malformed = || Stop::Refused(422, "expected 64 lower-case hexadecimal digits and a size".into());
    oid.zip(size).ok_or_else(malformed)
}

fn not_here(oid: Oid) -> Stop {
    let words = "is not here; push it from a clone that has it: git lfs push --all";
    Stop::Refused(404, format!("file {oid} {words}"))
}

fn unreadable(error: impl std::fmt::Display) -> Stop {
    Stop::Refused(500, format!("the store: {error}"))
}

fn no_room(error: &io::Error) -> Stop {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Stop::Refused(507, "the disk of the ssh host is full; tell whoever runs it".into())
        }
        _ => Stop::Refused(500, format!("the ssh host can't keep the file: {error}")),
    }
}
