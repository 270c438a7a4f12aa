//! Transfer `basic`, up: a whole file, hashed while it comes, then stored and proven before anyone hears that it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Bytes;
use hyper::{StatusCode, header};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::access::May;
use super::basic::full;
use super::bodies::{BodyReader, pipe};
use super::replies::{Refusal, Reply, empty, json, stream};
use super::repos::Repo;
use super::router::{Asked, HEARTBEAT, Hub, run};
use super::signature::Purpose;
use crate::base::Hints;
use crate::codec::Effort;
use crate::format::OpenFile;
use crate::id::Oid;
use crate::ingest::ingest;
use crate::peer;
use crate::store::{self, StoreError};

const COPY_BYTES: usize = 256 << 10;
/// How often a file is stored anew because a gc took away what it needs.
const ROUNDS: usize = 5;

/// A file that is being received; gone when it is dropped.
pub(super) struct Received(PathBuf);

impl Received {
    pub(super) fn read(&self) -> Result<BufReader<File>, StoreError> {
        Ok(BufReader::new(File::open(&self.0)?))
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(Deserialize)]
struct Uploaded {
    oid: String,
    size: u64,
}

impl Asked {
    /// Storing may take longer than clients wait in silence (30 seconds). So after a while the answer begins, and goes
    /// on with blanks until the file is stored. Whether it was is what `verify` says, which clients ask next.
    pub(super) async fn upload(mut self, oid: Oid) -> Result<Reply, Refusal> {
        let size = self.query("size").and_then(|size| size.parse().ok());
        let size: u64 = size.ok_or_else(|| Refusal::bad("the link has no size"))?;
        if !self.proves(Purpose::Put, &oid.to_string(), size) {
            return Err(Refusal::bad_link());
        }
        let announced = self.header(header::CONTENT_LENGTH).and_then(|len| len.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced != size) {
            return Err(Refusal::bad(format!("expected {size} bytes")));
        }
        let repo = self.open().await?;
        self.index_of(&repo).await?;
        let (hub, body) = (self.hub.clone(), self.body_reader(size)?);
        let received = run(move || hub.receive(body, oid, size)).await??;
        let (hub, client) = (self.hub.clone(), self.client);
        let mut job = tokio::task::spawn_blocking(move || hub.keep(&repo, &received, oid, &client));
        if let Ok(done) = tokio::time::timeout(HEARTBEAT, &mut job).await {
            done.map_err(Refusal::internal)??;
            return Ok(empty(StatusCode::OK));
        }
        let (pieces, sent) = pipe(self.hub.limits.silence);
        let hub = self.hub.clone();
        tokio::spawn(async move {
            let done = loop {
                match tokio::time::timeout(HEARTBEAT, &mut job).await {
                    Ok(done) => break done,
                    // Who hangs up is not waited for, and the file is stored all the same.
                    Err(_) => drop(pieces.send(Bytes::from_static(b" ")).await),
                }
            };
            let _ = pieces.finish().await;
            if matches!(done, Ok(Ok(()))) {
                hub.tell(&format!("file {oid}: stored after its client was told to wait"));
            }
        });
        Ok(stream(sent))
    }

    /// Whether a file that was uploaded is stored.
    pub(super) async fn verify(mut self) -> Result<Reply, Refusal> {
        self.accepts_lfs()?;
        let file: Uploaded = self.body().await?;
        let oid: Oid = file.oid.parse().map_err(|error| Refusal::bad(format!("{error}")))?;
        if !self.proves(Purpose::Verify, &file.oid, file.size) {
            self.need_without_link(May::Read)?;
        }
        let repo = self.open().await?;
        let found = run(move || repo.store.size(&oid)).await?.map_err(Refusal::internal)?;
        match found {
            Some(size) if size == file.size => Ok(json(StatusCode::OK, &serde_json::json!({}))),
            Some(size) => {
                let words = format!("the hub has this file with {size} bytes, not {}", file.size);
                Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, words))
            }
            None => {
                let words = "the hub could not store this file; its log says why. Push again";
                Err(Refusal::new(StatusCode::NOT_FOUND, words))
            }
        }
    }
}

impl Hub {
    /// Writes the body to a file, which has then the right hash.
    fn receive(&self, body: BodyReader, oid: Oid, size: u64) -> Result<Received, Refusal> {
        let mut hasher = Sha256::new();
        let (received, total) = self.spool(body, |piece| hasher.update(piece))?;
        self.metrics.received_bytes.fetch_add(total, Ordering::Relaxed);
        let found = Oid::from_bytes(hasher.finalize().into());
        // Never 422 nor 401: one makes a push succeed without the file, the other makes clients try for ever.
        match found == oid && total == size {
            true => Ok(received),
            false => {
                Err(Refusal::bad(format!("expected {size} bytes of {oid}, received {total} of {found}")))
            }
        }
    }

    /// Writes a body to a file, whatever it is.
    pub(super) fn receive_all(&self, body: BodyReader) -> Result<Received, Refusal> {
        self.spool(body, |_| {}).map(|(received, _)| received)
    }

    fn spool(&self, mut body: BodyReader, mut watch: impl FnMut(&[u8])) -> Result<(Received, u64), Refusal> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let received = Received(self.uploads.join(number.to_string()));
        let file = OpenOptions::new().write(true).create_new(true).open(&received.0);
        let mut file = file.map_err(|error| full(&error))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut total = 0;
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok((received, total)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    return Err(Refusal::bad("more bytes came than were announced, or are taken at once"));
                }
                Err(error) => return Err(Refusal::bad(format!("the upload broke off: {error}"))),
            };
            watch(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(|error| full(&error))?;
            total += count as u64;
        }
    }

    /// Stores a received file as deltas, durably.
    fn keep(&self, repo: &Arc<Repo>, received: &Received, oid: Oid, client: &str) -> Result<(), Refusal> {
        let _share = tokio::runtime::Handle::current().block_on(self.job(client));
        store::check_config(repo.store.backend()).map_err(Refusal::internal)?;
        let source = OpenFile::open(&received.0).map_err(Refusal::internal)?;
        for _ in 0..ROUNDS {
            // Also after it was stored here: a gc by another process may have taken what it was compared with.
            if peer::stands(&repo.store, &oid).map_err(Refusal::internal)? {
                if !repo.freshen(&oid) {
                    return Ok(());
                }
                continue;
            }
            let done = ingest(&repo.store, &source, oid, &Hints::default(), Effort::Push, &|_| Ok(()));
            done.map_err(|error| {
                self.tell(&format!("file {oid}: not stored: {error}"));
                match error.is_full() {
                    true => full(&io::ErrorKind::StorageFull.into()),
                    false => Refusal::internal(error),
                }
            })?;
        }
        Err(Refusal::internal(format!("file {oid}: what it needs was taken away each time it was stored")))
    }
}
