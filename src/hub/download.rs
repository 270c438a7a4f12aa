//! One file of a hub → a blob in the cache, named by its hash once it has that hash.
//!
//! Until then it is `<etag>.incomplete`, or `<etag>.pid<number>.incomplete` while a process writes it: who goes
//! on with what another left takes it by renaming it, so that no two write one file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use sha2::{Digest, Sha256};

use super::http::{Answer, Client, HttpError};
use super::listing::Listed;
use crate::git::blob::BlobHasher;
use crate::progress::{Cancelled, Progress};
use crate::web;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Connections in a row that break before they bring anything.
const MOST_BROKEN: u32 = 5;
const PAUSE: Duration = Duration::from_millis(250);

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("{path}: {error}")]
    Http { path: String, error: HttpError },
    #[error("{path}: the hub names it by {found:?}, and no hash of it is known")]
    Unnamed { path: String, found: String },
    #[error("{path}: the hub does not tell its size")]
    Unsized { path: String },
    #[error("{path}: the hub lists {listed} and would send {sent}")]
    Contradiction { path: String, listed: String, sent: String },
    #[error("{path}: it came with the hash {found}, expected {expected}")]
    Hash { path: String, expected: String, found: String },
    #[error("{path}: more than its {size} bytes came")]
    TooMuch { path: String, size: u64 },
    #[error("{path}: the connection broke at byte {at} of {size}, and again when it was resumed: {why}")]
    Broken { path: String, at: u64, size: u64, why: String },
    #[error("{}: {error}", at.display())]
    Write { at: PathBuf, error: io::Error },
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    /// Its etag: the name in the cache.
    pub name: String,
    pub size: u64,
    proof: Proof,
}

/// The hash that proves a file, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    Sha256(String),
    /// Git's SHA-1 of a blob.
    Git(String),
}

impl Blob {
    /// What the head of an answer says of a file, if that is what the listing says.
    pub fn of(file: &Listed, head: &Answer) -> Result<Blob, DownloadError> {
        let path = || file.path.clone();
        let etag = head.header("x-linked-etag").or(head.header("etag")).unwrap_or_default();
        let name = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let unnamed = || DownloadError::Unnamed { path: path(), found: name.chars().take(80).collect() };
        let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "-_".contains(sign);
        if name.is_empty() || name.len() > 128 || !name.chars().all(is_plain) {
            return Err(unnamed());
        }
        let proof = proof(file, &name).ok_or_else(unnamed)?;
        let contradiction = |listed, sent| Err(DownloadError::Contradiction { path: path(), listed, sent });
        if let (Some(listed), Proof::Sha256(sent)) = (&file.sha256, &proof)
            && !listed.eq_ignore_ascii_case(sent)
        {
            return contradiction(listed.clone(), sent.clone());
        }
        // A redirect has a length of its own.
        let own = head.header("content-length").filter(|_| head.status() == 200);
        let sent = head.header("x-linked-size").or(own).and_then(|size| size.parse::<u64>().ok());
        match (file.size, sent) {
            (Some(listed), Some(sent)) if listed != sent => {
                contradiction(format!("{listed} bytes"), format!("{sent}"))
            }
            (None, None) => Err(DownloadError::Unsized { path: path() }),
            (listed, sent) => Ok(Blob { size: listed.or(sent).expect("because one is there"), name, proof }),
        }
    }
}

/// The hash in an etag, or in the listing where the etag is none.
fn proof(file: &Listed, etag: &str) -> Option<Proof> {
    let is_hash = |text: &&String| text.bytes().all(|sign| sign.is_ascii_hexdigit());
    let sha256 = |text: &String| Some(text).filter(is_hash).filter(|text| text.len() == 64).cloned();
    let git = |text: &String| Some(text).filter(is_hash).filter(|text| text.len() == 40).cloned();
    let etag = etag.to_owned();
    let listed = || file.sha256.as_ref().and_then(sha256).map(Proof::Sha256);
    let blob = || file.blob.as_ref().filter(|_| file.sha256.is_none()).and_then(git).map(Proof::Git);
    sha256(&etag).map(Proof::Sha256).or_else(|| git(&etag).map(Proof::Git)).or_else(listed).or_else(blob)
}

/// Brings a file into `blobs`, unless it is there. An interrupted one is gone on with.
pub(super) fn download(
    client: &Client,
    url: &str,
    path: &str,
    blob: &Blob,
    blobs: &Path,
    progress: &Progress<'_>,
) -> Result<(), DownloadError> {
    let place = blobs.join(&blob.name);
    if fs::metadata(&place).is_ok_and(|found| found.len() == blob.size) {
        return Ok(());
    }
    let mut coming = Coming::begin(blobs, blob)?;
    let was_begun = coming.len > 0;
    coming.receive(client, url, path, progress)?;
    let mut found = coming.hash(progress)?;
    if was_begun && !found.eq_ignore_ascii_case(blob.proof.digits()) {
        // What was left was of no use: once more, from the start.
        coming.empty()?;
        coming.receive(client, url, path, progress)?;
        found = coming.hash(progress)?;
    }
    if found.eq_ignore_ascii_case(blob.proof.digits()) {
        return coming.keep(&place);
    }
    coming.discard();
    let (path, expected) = (path.to_owned(), blob.proof.digits().to_owned());
    Err(DownloadError::Hash { path, expected, found })
}

/// A file on its way; dropped, it is left for the next who wants it.
struct Coming<'a> {
    blob: &'a Blob,
    /// Its name while this process writes it.
    own: PathBuf,
    /// Its name while nobody does.
    left: PathBuf,
    file: File,
    len: u64,
}

impl<'a> Coming<'a> {
    fn begin(blobs: &Path, blob: &'a Blob) -> Result<Coming<'a>, DownloadError> {
        let own = blobs.join(format!("{}.pid{}.incomplete", blob.name, std::process::id()));
        let left = blobs.join(format!("{}.incomplete", blob.name));
        take_over(blobs, &blob.name, &own);
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let file = File::options().read(true).append(true).create(true).custom_flags(flags).open(&own);
        let file = file.map_err(|error| DownloadError::Write { at: own.clone(), error })?;
        let len = file.metadata().map_or(0, |found| found.len());
        Ok(Coming { blob, own, left, file, len })
    }

    fn failed(&self, error: io::Error) -> DownloadError {
        DownloadError::Write { at: self.own.clone(), error }
    }

    /// Asks for what is missing until nothing is.
    fn receive(
        &mut self,
        client: &Client,
        url: &str,
        path: &str,
        progress: &Progress<'_>,
    ) -> Result<(), DownloadError> {
        let size = self.blob.size;
        if self.len > size {
            self.empty()?;
        }
        let mut broken = 0;
        while self.len < size {
            let answer = client.get(url, self.len, progress);
            let answer = answer.map_err(|error| DownloadError::Http { path: path.to_owned(), error })?;
            let from = begins_at(&answer);
            if from != Some(self.len) {
                // All of it comes, or what is here is no part of it.
                self.empty()?;
            }
            let before = self.len;
            let taken = match from == Some(before) {
                true => self.take(answer, path, progress)?,
                false => Err(io::Error::other("the server sends another part than was asked for")),
            };
            let Err(why) = taken else { continue };
            broken = if self.len > before { 0 } else { broken + 1 };
            if broken == MOST_BROKEN {
                let (path, at) = (path.to_owned(), self.len);
                return Err(DownloadError::Broken { path, at, size, why: why.to_string() });
            }
            web::pause(PAUSE * (1 << broken), progress)?;
        }
        Ok(())
    }

    /// Appends a body. The inner error is the connection's.
    fn take(
        &mut self,
        answer: Answer,
        path: &str,
        progress: &Progress<'_>,
    ) -> Result<io::Result<()>, DownloadError> {
        let mut body = answer.into_body();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = match body.read(&mut piece) {
                Ok(0) if self.len < self.blob.size => return Ok(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(0) => return Ok(Ok(())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Ok(Err(error)),
            };
            if read as u64 > self.blob.size - self.len {
                let size = self.blob.size;
                self.discard();
                return Err(DownloadError::TooMuch { path: path.to_owned(), size });
            }
            self.file.write_all(&piece[..read]).map_err(|error| self.failed(error))?;
            self.len += read as u64;
            progress(read as u64)?;
        }
    }

    fn hash(&self, progress: &Progress<'_>) -> Result<String, DownloadError> {
        let mut file = File::open(&self.own).map_err(|error| self.failed(error))?;
        let mut hasher = Hasher::of(self.blob);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece).map_err(|error| self.failed(error))? {
                0 => return Ok(hasher.finish()),
                read => hasher.update(&piece[..read]),
            }
            progress(0)?;
        }
    }

    fn empty(&mut self) -> Result<(), DownloadError> {
        self.file.set_len(0).map_err(|error| self.failed(error))?;
        self.len = 0;
        Ok(())
    }

    /// Gives it its name, durably.
    fn keep(self, place: &Path) -> Result<(), DownloadError> {
        let keep = || {
            self.file.sync_all()?;
            fs::rename(&self.own, place)?;
            File::open(place.parent().expect("because it lies among blobs"))?.sync_all()
        };
        keep().map_err(|error| DownloadError::Write { at: place.to_owned(), error })
    }

    fn discard(&self) {
        let _ = fs::remove_file(&self.own);
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        // Not there any more where it was kept, or of no use.
        let _ = match self.len {
            0 => fs::remove_file(&self.own),
            _ => fs::rename(&self.own, &self.left),
        };
    }
}

/// Makes what another process left of a file our own, if there is any.
fn take_over(blobs: &Path, name: &str, own: &Path) {
    let entries = fs::read_dir(blobs).into_iter().flatten().flatten();
    for entry in entries {
        let file = entry.file_name();
        let rest = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_suffix("incomplete"));
        let is_left = match rest {
            Some(".") => true,
            Some(rest) => {
                rest.strip_prefix(".pid").and_then(|pid| pid.strip_suffix('.')).is_some_and(is_gone)
            }
            None => false,
        };
        if is_left && fs::rename(entry.path(), own).is_ok() {
            return;
        }
    }
}

fn is_gone(pid: &str) -> bool {
    let pid = pid.parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// Where in the file a body begins.
fn begins_at(answer: &Answer) -> Option<u64> {
    if answer.status() == 200 {
        return Some(0);
    }
    let range = answer.header("content-range").filter(|_| answer.status() == 206)?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

impl Proof {
    fn digits(&self) -> &str {
        match self {
            Proof::Sha256(digits) | Proof::Git(digits) => digits,
        }
    }
}

enum Hasher {
    Sha256(Sha256),
    Git(BlobHasher),
}

impl Hasher {
    fn of(blob: &Blob) -> Hasher {
        match blob.proof {
            Proof::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Proof::Git(_) => Hasher::Git(BlobHasher::new(blob.size)),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Git(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Hasher::Sha256(hasher) => crate::id::Oid::from_bytes(hasher.finalize().into()).to_string(),
            Hasher::Git(hasher) => hasher.finish().unwrap_or_else(|| "of a collision".into()),
        }
    }
}
