//! Files as plain clients want them: rebuilt once however many ask, sent while they are being made, and kept for a
//! while.
//!
//! Whoever reads a file that is being made stays behind its writer, and gets the last bytes only when the whole has its
//! SHA-256. A file that lies here from an earlier run is hashed before it is trusted, in the same way.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::id::Oid;

/// Bytes at the end of a file that nobody gets before it is proven.
pub const HELD_BACK: u64 = 64 << 10;
const COPY_BYTES: usize = 1 << 20;

/// How far a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes may be read.
    Bytes(u64),
    /// All of it may, and it is what its name says.
    Whole,
    Failed(String),
}

/// A file that can be read, now or soon.
pub struct Reading {
    pub file: File,
    pub progress: watch::Receiver<Progress>,
}

/// The directory of rebuilt files.
pub struct Rebuilt {
    dir: PathBuf,
    limit: u64,
    known: Mutex<HashMap<Oid, Making>>,
}

/// A file that was begun in this process.
#[derive(Clone)]
struct Making {
    path: PathBuf,
    progress: watch::Receiver<Progress>,
}

/// What makes a file: writes it to the end, or says why not.
pub type Make = dyn FnOnce(&mut (dyn Write + Send)) -> Result<(), String> + Send;

impl Rebuilt {
    pub fn new(dir: PathBuf, limit: u64) -> io::Result<Rebuilt> {
        fs::create_dir_all(&dir)?;
        // Whole files of all repositories: who may read these is the hub's affair, and no other user's of its machine.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let rebuilt = Rebuilt { dir, limit, known: Mutex::default() };
        rebuilt.shrink(&mut rebuilt.known(), limit);
        Ok(rebuilt)
    }

    /// The file, which `make` writes on a thread of its own if it is not here. May read disks.
    pub fn get(self: &Arc<Self>, oid: Oid, size: u64, make: Box<Make>) -> io::Result<Reading> {
        let mut known = self.known();
        if let Some(making) = known.get(&oid)
            && !matches!(*making.progress.borrow(), Progress::Failed(_))
            && let Ok(file) = File::open(&making.path)
        {
            let _ = file.set_modified(SystemTime::now());
            return Ok(Reading { file, progress: making.progress.clone() });
        }
        let path = self.dir.join(oid.to_string());
        let (tell, progress) = watch::channel(Progress::Bytes(0));
        // Kept from an earlier run: it is only read. Else it is made anew, under its own name: a run that is cut short
        // leaves a file that does not hash to it.
        let old =
            File::open(&path).ok().filter(|file| file.metadata().is_ok_and(|found| found.len() == size));
        let file = match old {
            Some(file) => file,
            None => {
                self.shrink(&mut known, self.limit.saturating_sub(size));
                let _ = fs::remove_file(&path);
                OpenOptions::new().read(true).write(true).create_new(true).open(&path)?
            }
        };
        let writer = file.try_clone()?;
        known.insert(oid, Making { path: path.clone(), progress: progress.clone() });
        drop(known);
        let reader = File::open(&path)?;
        let rebuilt = self.clone();
        let is_old = file.metadata().is_ok_and(|found| found.len() == size && size > 0);
        tokio::task::spawn_blocking(move || {
            let mut making = Writing { file: writer, hasher: Sha256::new(), written: 0, size, tell };
            let done = match is_old {
                true => making.read_again(),
                false => make(&mut making),
            };
            making.end(oid, done);
            rebuilt.forget_failed(oid);
            rebuilt.shrink(&mut rebuilt.known(), rebuilt.limit);
        });
        Ok(Reading { file: reader, progress })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Oid, Making>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that failed is made anew by whoever asks next.
    fn forget_failed(&self, oid: Oid) {
        let mut known = self.known();
        if let Some(making) = known.get(&oid)
            && matches!(*making.progress.borrow(), Progress::Failed(_))
        {
            let _ = fs::remove_file(&making.path);
            known.remove(&oid);
        }
    }

    /// Removes files until the rest fits, the longest unused first; who reads one reads on. Names that are none of
    /// ours are left alone.
    fn shrink(&self, known: &mut HashMap<Oid, Making>, limit: u64) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let found = entry.metadata().ok()?;
                let oid = entry.file_name().to_str()?.parse::<Oid>().ok()?;
                Some((found.modified().ok()?, oid, found.len()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, _, size)| size).sum();
        for (_, oid, size) in files {
            if total <= limit {
                return;
            }
            let is_made =
                known.get(&oid).is_some_and(|making| matches!(*making.progress.borrow(), Progress::Bytes(_)));
            if !is_made && fs::remove_file(self.dir.join(oid.to_string())).is_ok() {
                known.remove(&oid);
                total -= size;
            }
        }
    }
}

/// Writes a file, hashes it, and tells how far it is.
struct Writing {
    file: File,
    hasher: Sha256,
    written: u64,
    size: u64,
    tell: watch::Sender<Progress>,
}

impl Writing {
    /// Hashes what is there already.
    fn read_again(&mut self) -> Result<(), String> {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.account(&buffer[..count]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn account(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        let safe = self.written.min(self.size.saturating_sub(HELD_BACK));
        self.tell.send_replace(Progress::Bytes(safe));
    }

    fn end(mut self, oid: Oid, done: Result<(), String>) {
        let found = Oid::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        let outcome = match done {
            Err(why) => Progress::Failed(why),
            Ok(()) if found == oid && self.written == self.size => Progress::Whole,
            Ok(()) => Progress::Failed(format!("it hashes to {found}")),
        };
        self.tell.send_replace(outcome);
    }
}

/// Who panics while a file is made says nothing more, and those that wait for it would wait for ever.
impl Drop for Writing {
    fn drop(&mut self) {
        if matches!(*self.tell.borrow(), Progress::Bytes(_)) {
            self.tell.send_replace(Progress::Failed("its maker broke off".into()));
        }
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.account(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn end(mut reading: Reading) -> Result<Vec<u8>, String> {
        let over = reading.progress.wait_for(|at| !matches!(at, Progress::Bytes(_))).await;
        match over.expect("because the writer says how it ended").clone() {
            Progress::Failed(why) => Err(why),
            _ => {
                let mut bytes = Vec::new();
                reading.file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
                Ok(bytes)
            }
        }
    }

    fn writes(bytes: &'static [u8], runs: &Arc<AtomicUsize>) -> Box<Make> {
        let runs = runs.clone();
        Box::new(move |out| {
            runs.fetch_add(1, Ordering::SeqCst);
            out.write_all(bytes).map_err(|error| error.to_string())
        })
    }

    /// Fifty clients of one file must cost one rebuild, and what is not the file must never end as if it were.
    #[tokio::test]
    async fn a_file_is_made_once_and_only_the_right_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Arc::new(AtomicUsize::new(0));
        let rebuilt = Arc::new(Rebuilt::new(dir.path().into(), 1 << 20).unwrap());
        let oid = Oid::of(b"right");
        let wrong = rebuilt.get(oid, 5, writes(b"wrong", &runs)).unwrap();
        assert!(end(wrong).await.unwrap_err().contains("hashes to"));
        while dir.path().join(oid.to_string()).exists() {
            tokio::task::yield_now().await;
        }
        let readings: Vec<_> =
            (0..50).map(|_| rebuilt.get(oid, 5, writes(b"right", &runs)).unwrap()).collect();
        for reading in readings {
            assert_eq!(end(reading).await.unwrap(), b"right");
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        // Another run trusts nothing that it did not hash.
        let again = Arc::new(Rebuilt::new(dir.path().into(), 1 << 20).unwrap());
        assert_eq!(end(again.get(oid, 5, writes(b"right", &runs)).unwrap()).await.unwrap(), b"right");
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        fs::write(dir.path().join(oid.to_string()), b"wrong").unwrap();
        let again = Arc::new(Rebuilt::new(dir.path().into(), 1 << 20).unwrap());
        assert!(end(again.get(oid, 5, writes(b"right", &runs)).unwrap()).await.is_err());
    }

    /// One file that can't be made must not block its name.
    #[tokio::test]
    async fn a_file_whose_maker_panics_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let rebuilt = Arc::new(Rebuilt::new(dir.path().into(), 1 << 20).unwrap());
        let oid = Oid::of(b"right");
        let broken = rebuilt.get(oid, 5, Box::new(|_| panic!("as it must"))).unwrap();
        assert!(end(broken).await.is_err());
        let runs = Arc::new(AtomicUsize::new(0));
        assert_eq!(end(rebuilt.get(oid, 5, writes(b"right", &runs)).unwrap()).await.unwrap(), b"right");
    }

    /// Other users of the machine must not read what the hub would not give them, nor from a directory of an older version.
    #[tokio::test]
    async fn nobody_else_reads_rebuilt_files() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        fs::create_dir(&files).unwrap();
        fs::set_permissions(&files, fs::Permissions::from_mode(0o755)).unwrap();
        Rebuilt::new(files.clone(), 1 << 20).unwrap();
        assert_eq!(fs::metadata(&files).unwrap().permissions().mode() & 0o777, 0o700);
    }

    /// The directory must not fill the disk.
    #[tokio::test]
    async fn files_are_kept_under_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Arc::new(AtomicUsize::new(0));
        let rebuilt = Arc::new(Rebuilt::new(dir.path().into(), 8).unwrap());
        for bytes in [&b"first"[..], b"later", b"third"] {
            let reading = rebuilt.get(Oid::of(bytes), 5, writes(bytes, &runs)).unwrap();
            assert_eq!(end(reading).await.unwrap(), bytes);
        }
        assert!(fs::read_dir(dir.path()).unwrap().count() <= 2, "more than the limit is kept");
    }
}
