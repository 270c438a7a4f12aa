//! One file on its way into a bucket: a single request, or parts that travel while the next is written.
//!
//! It appears under its name when it is complete, which is the server's promise for both ways. When
//! `publish` is done, what lies there was hashed: by the server, whose MD5 is compared (S3, and Google's for
//! small files), or, where the server gives no MD5, by us, who read it back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::TryStreamExt;
use md5::{Digest, Md5};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutPayload, PutResult};
use tokio::task::JoinSet;

use super::Bucket;
use super::error::{Cause, found, in_words};
use super::runtime::wait;
use crate::backend::{Backend, Name, Staged, Taken};

/// What is sent by one request; S3 takes no less than 5 MiB and no more than 10,000 parts.
const PART_BYTES: usize = 8 << 20;
/// Parts that travel at a time: with the one that is written, 40 MiB of memory.
const PARTS_UNDER_WAY: usize = 4;
/// How often a file is made that must be new.
const TRIES: u32 = 5;
/// Cleaning up is a courtesy: a server that is gone must not hold up the end.
const ABORT: Duration = Duration::from_secs(10);

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file that is written.
pub(super) struct Upload<'a> {
    bucket: &'a Bucket,
    name: Option<Name>,
    /// Bytes of the part that is written.
    part: Vec<u8>,
    len: u64,
    hash: blake3::Hasher,
    /// Parts before this one, of a file whose name is known.
    sent: Option<Sent<'a>>,
    /// Parts before this one, of a file without a name.
    spooled: Option<File>,
}

/// The parts of a file that are sent.
struct Sent<'a> {
    bucket: &'a Bucket,
    path: Path,
    id: String,
    under_way: JoinSet<object_store::Result<(usize, PartId)>>,
    done: Vec<Option<PartId>>,
    /// The MD5 of each, whose MD5 is what S3 calls the file.
    sums: Vec<u8>,
    complete: bool,
}

impl<'a> Upload<'a> {
    pub fn new(bucket: &'a Bucket, name: Option<Name>) -> Upload<'a> {
        let hash = blake3::Hasher::new();
        Upload { bucket, name, part: Vec::new(), len: 0, hash, sent: None, spooled: None }
    }

    /// Puts a full part where the ones before it are.
    fn pass_on(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        match (self.name, &mut self.spooled) {
            (Some(name), _) => self.sent_to(name)?.send(part),
            (None, Some(file)) => file.write_all(&part),
            (None, none) => {
                let mut file = spool(&self.bucket.scratch)?;
                file.write_all(&part)?;
                *none = Some(file);
                Ok(())
            }
        }
    }

    fn sent_to(&mut self, name: Name) -> io::Result<&mut Sent<'a>> {
        match &mut self.sent {
            Some(sent) => Ok(sent),
            none => Ok(none.insert(Sent::begin(self.bucket, name)?)),
        }
    }

    fn publish_small(self, name: Name, taken: Taken) -> io::Result<()> {
        let bucket = self.bucket;
        let doing = || bucket.doing("write", name);
        let path = bucket.path(name);
        let sum = hex(&Md5::digest(&self.part));
        let payload = PutPayload::from(self.part.clone());
        let connection = bucket.connection()?;
        if taken != Taken::Replace {
            let put = put_new(bucket, &path, payload.clone(), &self.part);
            match wait(put)? {
                Err(Error::AlreadyExists { .. }) if taken == Taken::Keep => {
                    if bucket.len(name)? == Some(self.len) {
                        return Ok(());
                    }
                    // Torn, by whatever wrote it.
                }
                Err(error) => return Err(in_words(&error, doing())),
                Ok(put) => return self.prove(name, &put, &sum),
            }
        }
        let put = wait(connection.store.put(&path, payload))?;
        let put = put.map_err(|error| in_words(&error, doing()))?;
        self.prove(name, &put, &sum)
    }

    fn publish_parts(mut self, name: Name, taken: Taken) -> io::Result<()> {
        let bucket = self.bucket;
        let present = if taken == Taken::Replace { None } else { bucket.len(name)? };
        match (taken, present) {
            (Taken::Refuse, Some(_)) => {
                return Err(found(ErrorKind::AlreadyExists, bucket.doing("write", name), "it is taken"));
            }
            (Taken::Refuse, None) => {
                let why = format!("{} bytes are too many for a name that is had by one", self.len);
                return Err(found(ErrorKind::Unsupported, bucket.doing("write", name), why));
            }
            (Taken::Keep, Some(len)) if len == self.len => return Ok(()),
            _ => {}
        }
        if let Some(mut file) = self.spooled.take() {
            file.rewind()?;
            loop {
                let mut part = Vec::new();
                (&mut file).take(PART_BYTES as u64).read_to_end(&mut part)?;
                if part.is_empty() {
                    break;
                }
                self.sent_to(name)?.send(part)?;
            }
        }
        let last = std::mem::take(&mut self.part);
        let sent = self.sent_to(name)?;
        if !last.is_empty() {
            sent.send(last)?;
        }
        let sum = sent.sum();
        match sent.complete()? {
            Ok(put) => self.prove(name, &put, &sum),
            Err(error) => {
                let failed = Err(in_words(&error, bucket.doing("complete", name)));
                // The answer to the first try may have been lost, and the second one finds no upload.
                let is_gone = !Cause::of(&error).may_pass();
                let Some(meta) = bucket.head(name).ok().flatten().filter(|_| is_gone) else { return failed };
                let put = PutResult { e_tag: meta.e_tag, version: None, extensions: Default::default() };
                self.prove(name, &put, &sum).or(failed)
            }
        }
    }

    /// Finds out that the server has what was written.
    fn prove(&self, name: Name, put: &PutResult, sum: &str) -> io::Result<()> {
        if put.e_tag.as_deref().is_some_and(|tag| tag.trim_matches('"').eq_ignore_ascii_case(sum)) {
            return Ok(());
        }
        let bucket = self.bucket;
        let store = bucket.store()?;
        let path = bucket.path(name);
        let read = async {
            let mut stream = store.get(&path).await?.into_stream();
            let (mut hash, mut len) = (blake3::Hasher::new(), 0);
            while let Some(bytes) = stream.try_next().await? {
                hash.update(&bytes);
                len += bytes.len() as u64;
                if len > self.len {
                    break;
                }
            }
            Ok((hash.finalize(), len))
        };
        let (hash, len) = wait(read)?.map_err(|error| in_words(&error, bucket.doing("read back", name)))?;
        match hash == self.hash.finalize() && len == self.len {
            true => Ok(()),
            false => {
                let why = "the server keeps other bytes than were sent";
                Err(found(ErrorKind::InvalidData, bucket.doing("read back", name), why))
            }
        }
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() == PART_BYTES {
            self.pass_on()?;
        }
        let taken = &bytes[..bytes.len().min(PART_BYTES - self.part.len())];
        self.part.extend_from_slice(taken);
        self.hash.update(taken);
        self.len += taken.len() as u64;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for Upload<'_> {
    fn publish(self: Box<Self>, name: Name, taken: Taken) -> io::Result<()> {
        if self.name.is_some_and(|own| own != name) {
            let why = "it was begun under another name";
            return Err(found(ErrorKind::InvalidInput, self.bucket.doing("write", name), why));
        }
        match self.sent.is_none() && self.spooled.is_none() {
            true => self.publish_small(name, taken),
            false => self.publish_parts(name, taken),
        }
    }
}

impl<'a> Sent<'a> {
    fn begin(bucket: &'a Bucket, name: Name) -> io::Result<Sent<'a>> {
        let path = bucket.path(name);
        let id = wait(bucket.connection()?.parts.create_multipart(&path))?;
        let id = id.map_err(|error| in_words(&error, bucket.doing("begin to write", name)))?;
        let (under_way, done, sums) = (JoinSet::new(), Vec::new(), Vec::new());
        Ok(Sent { bucket, path, id, under_way, done, sums, complete: false })
    }

    /// Sends a part, and waits while as many travel as may.
    fn send(&mut self, part: Vec<u8>) -> io::Result<()> {
        let parts = self.bucket.connection()?.parts.clone();
        let number = self.done.len();
        self.done.push(None);
        self.sums.extend_from_slice(&Md5::digest(&part));
        let (path, id) = (self.path.clone(), self.id.clone());
        wait(async {
            while self.under_way.len() >= PARTS_UNDER_WAY {
                self.arrive().await?;
            }
            self.under_way.spawn(async move {
                Ok((number, parts.put_part(&path, &id, number, PutPayload::from(part)).await?))
            });
            Ok(())
        })?
    }

    /// Waits for any part to have arrived.
    async fn arrive(&mut self) -> io::Result<()> {
        let Some(arrived) = self.under_way.join_next().await else { return Ok(()) };
        let doing = || {
            format!(
                "write {}://{}/{}",
                self.bucket.address.scheme.name(),
                self.bucket.address.bucket,
                self.path
            )
        };
        let arrived = arrived.map_err(|error| found(ErrorKind::Other, doing(), error.to_string()))?;
        let (number, id) = arrived.map_err(|error| in_words(&error, doing()))?;
        self.done[number] = Some(id);
        Ok(())
    }

    /// What S3 calls a file of these parts.
    fn sum(&self) -> String {
        format!("{}-{}", hex(&Md5::digest(&self.sums)), self.done.len())
    }

    /// Makes one file of the parts.
    fn complete(&mut self) -> io::Result<object_store::Result<PutResult>> {
        let connection = self.bucket.connection()?;
        let done = wait(async {
            while !self.under_way.is_empty() {
                self.arrive().await?;
            }
            let parts = std::mem::take(&mut self.done).into_iter().flatten().collect();
            Ok::<_, io::Error>(connection.parts.complete_multipart(&self.path, &self.id, parts).await)
        })??;
        self.complete = done.is_ok();
        Ok(done)
    }
}

impl Drop for Sent<'_> {
    /// Parts without a file cost money and are in no list.
    fn drop(&mut self) {
        let Ok(connection) = self.bucket.connection() else { return };
        if self.complete {
            return;
        }
        let abort = async {
            self.under_way.shutdown().await;
            let _ = connection.parts.abort_multipart(&self.path, &self.id).await;
        };
        let _ = wait(async { tokio::time::timeout(ABORT, abort).await });
    }
}

/// Makes a file whose name is free.
///
/// The first answer counts: a second try that finds the name taken has to see whether the first one took it.
async fn put_new(
    bucket: &Bucket,
    path: &Path,
    payload: PutPayload,
    bytes: &[u8],
) -> object_store::Result<PutResult> {
    let connection =
        bucket.connection().map_err(|error| Error::Generic { store: "", source: error.into() })?;
    let mut rest = Duration::from_millis(200);
    let mut number = 0;
    loop {
        number += 1;
        let put = connection.once.put_opts(path, payload.clone(), PutMode::Create.into()).await;
        match put {
            Err(Error::AlreadyExists { .. }) if number > 1 => {
                let found = connection.store.get(path).await?;
                let (e_tag, is_ours) = (found.meta.e_tag.clone(), found.meta.size == bytes.len() as u64);
                if is_ours && found.bytes().await? == bytes {
                    return Ok(PutResult { e_tag, version: None, extensions: Default::default() });
                }
                return put;
            }
            Err(error) if number < TRIES && Cause::of(&error).may_pass() => {
                tokio::time::sleep(rest).await;
                rest *= 2;
            }
            done => return done,
        }
    }
}

/// A file without a name, for parts that can't be sent yet.
fn spool(dir: &std::path::Path) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{}-part-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
