//! Transfer `basic`, down: whole files, in ranges, by a link or by a token.

use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::time::timeout;

use super::access::May;
use super::bodies::{Pieces, pipe};
use super::memory::{REBUILD_BYTES, Share};
use super::rebuilt::{HELD_BACK, Progress, Reading};
use super::replies::{Refusal, Reply, empty, stream};
use super::repos::Repo;
use super::router::{Asked, Hub, run};
use super::signature::Purpose;
use crate::id::Oid;
use crate::recipe::Recipe;
use crate::reconstruct::{decode, reconstruct};

/// Bytes that are read at a time.
const PIECE_BYTES: u64 = 512 << 10;
/// A longer file waits for its turn among the large ones.
const SMALL_BYTES: u64 = 1 << 20;
/// Bytes that are sent one by one while a file waits for its turn.
const DRIPS: u64 = 1 << 10;

/// What of a file is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Span {
    Whole,
    /// From the first to before the second byte.
    Part(u64, u64),
    Beyond,
}

impl Asked {
    pub(super) async fn download(self, oid: Oid) -> Result<Reply, Refusal> {
        let size_in_link = self.query("size").and_then(|size| size.parse().ok()).unwrap_or(0);
        if !self.proves(Purpose::Get, &oid.to_string(), size_in_link) {
            self.need_without_link(May::Read)?;
        }
        let repo = self.open().await?;
        let size = run({
            let repo = repo.clone();
            move || repo.store.size(&oid)
        });
        let size = size.await?.map_err(Refusal::internal)?.ok_or_else(Refusal::not_found)?;
        let tag = format!("\"{oid}\"");
        let is_same = self.header(header::IF_RANGE).is_none_or(|known| known == tag);
        let span = match self.header(header::RANGE).filter(|_| is_same) {
            Some(range) => span(range, size),
            None => Span::Whole,
        };
        let (from, to) = match span {
            Span::Whole => (0, size),
            Span::Part(from, to) => (from, to),
            Span::Beyond => (0, 0),
        };
        if !matches!(span, Span::Beyond) && self.head.method != Method::HEAD {
            self.index_of(&repo).await?;
        }
        // A HEAD rebuilds nothing.
        let mut reply = match span {
            Span::Beyond => empty(StatusCode::RANGE_NOT_SATISFIABLE),
            _ if self.head.method == Method::HEAD => empty(StatusCode::OK),
            _ => stream(self.hub.clone().read(repo, self.client.clone(), oid, size, from..to).await?),
        };
        let headers = reply.headers_mut();
        let number = |text: String| HeaderValue::from_str(&text).expect("because it is ASCII");
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::ETAG, number(tag));
        headers.insert(header::CONTENT_LENGTH, number((to - from).to_string()));
        match span {
            Span::Whole => {}
            Span::Part(..) => {
                headers.insert(header::CONTENT_RANGE, number(format!("bytes {from}-{}/{size}", to - 1)));
                *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            Span::Beyond => {
                headers.insert(header::CONTENT_RANGE, number(format!("bytes */{size}")));
            }
        }
        Ok(reply)
    }
}

impl Hub {
    /// A body with these bytes of a file, sent as they are made.
    async fn read(
        self: Arc<Hub>,
        repo: Arc<Repo>,
        client: String,
        oid: Oid,
        size: u64,
        range: Range<u64>,
    ) -> Result<super::bodies::Sent, Refusal> {
        let hub = self.clone();
        let make = Box::new(move |out: &mut (dyn Write + Send)| {
            let mut dripping =
                Dripping { out, repo: &repo, oid, size, head: Vec::new(), dripped: 0, again: 0 };
            let _share = tokio::runtime::Handle::current().block_on(hub.turn(&client, &mut dripping))?;
            hub.metrics.rebuilds.fetch_add(1, Ordering::Relaxed);
            let recipe = recipe(&repo, &oid)?;
            reconstruct(&repo.store, &recipe, &mut dripping, &|_| Ok(())).map_err(|error| error.to_string())
        });
        let rebuilt = self.rebuilt.clone();
        let reading = run(move || rebuilt.get(oid, size, make)).await?.map_err(|error| full(&error))?;
        let (pieces, sent) = pipe(self.limits.silence);
        tokio::spawn(async move {
            if let Err(why) = send(reading, range.start, range.end, pieces).await {
                self.tell(&format!("file {oid}: not sent to its end: {why}"));
            }
        });
        Ok(sent)
    }
}

/// A file that is rebuilt. Clients give up one that is silent for half a minute (git-lfs), so while it waits for its turn its
/// first bytes leave, one now and then.
struct Dripping<'a> {
    out: &'a mut (dyn Write + Send),
    repo: &'a Repo,
    oid: Oid,
    size: u64,
    /// The first bytes, once they were needed.
    head: Vec<u8>,
    dripped: usize,
    /// Of these, how many were written again by the rebuild.
    again: usize,
}

impl Dripping<'_> {
    /// Writes the next byte, if one is known.
    fn drip(&mut self) -> Result<(), String> {
        if self.dripped == 0 {
            // Its chain is short, as is its object where the format has a head; and one is decoded at a time.
            let recipe = recipe(self.repo, &self.oid)?;
            let first = recipe.parts.first().map(|part| decode(&self.repo.store, part)).transpose();
            let first = first.map_err(|error| error.to_string())?.unwrap_or_default();
            let most = DRIPS.min(self.size.saturating_sub(HELD_BACK)) as usize;
            self.head = first[..most.min(first.len())].to_vec();
        }
        if let Some(byte) = self.head.get(self.dripped) {
            self.out.write_all(&[*byte]).map_err(|error| error.to_string())?;
            self.dripped += 1;
        }
        Ok(())
    }
}

/// Passes on what was not sent yet.
impl Write for Dripping<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let known = bytes.len().min(self.dripped - self.again);
        if known > 0 {
            self.again += known;
            return Ok(known);
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Hub {
    /// Waits until a file may be rebuilt.
    async fn turn(&self, client: &str, file: &mut Dripping<'_>) -> Result<Share, String> {
        if file.size <= SMALL_BYTES {
            return Ok(self.small.share(client, REBUILD_BYTES).await);
        }
        let mut share = pin!(self.memory.share(client, REBUILD_BYTES));
        loop {
            if let Ok(share) = timeout(self.limits.pulse, &mut share).await {
                return Ok(share);
            }
            let _alone = self.small.share(client, REBUILD_BYTES).await;
            file.drip()?;
        }
    }
}

fn recipe(repo: &Repo, oid: &Oid) -> Result<Recipe, String> {
    let recipe = repo.store.recipe(oid).map_err(|error| error.to_string())?;
    recipe.ok_or_else(|| "its recipe is gone".to_owned())
}

/// Sends bytes of a file as far as it is made, and the last ones when it is proven.
async fn send(mut reading: Reading, from: u64, to: u64, pieces: Pieces) -> Result<(), String> {
    let file = Arc::new(reading.file);
    let mut at = from;
    while at < to {
        let progress = reading.progress.wait_for(|progress| match progress {
            Progress::Bytes(ready) => *ready > at,
            Progress::Whole | Progress::Failed(_) => true,
        });
        let ready = match &*progress.await.map_err(|_| "its maker is gone".to_owned())? {
            Progress::Bytes(ready) => (*ready).min(to),
            Progress::Whole => to,
            Progress::Failed(why) => return Err(why.clone()),
        };
        let (file, len) = (file.clone(), (ready - at).min(PIECE_BYTES));
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, at).map(|()| bytes)
        });
        let bytes = read.await.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())?;
        pieces.send(Bytes::from(bytes)).await.map_err(|error| error.to_string())?;
        at += len;
    }
    pieces.finish().await.map_err(|error| error.to_string())
}

/// A failure of the disk, in the words of the protocol.
pub fn full(error: &std::io::Error) -> Refusal {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "the hub's disk is full; tell whoever runs it")
        }
        _ => Refusal::internal(error),
    }
}

/// One range, as RFC 9110 section 14.2 has it; what is several ranges or none of ours gets the whole file.
fn span(text: &str, size: u64) -> Span {
    let Some(range) = text.strip_prefix("bytes=").filter(|range| !range.contains(',')) else {
        return Span::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Span::Whole };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), _) if first >= size => Span::Beyond,
        (Some(first), Some(last)) if last >= first => Span::Part(first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => Span::Part(first, size),
        (None, Some(0)) => Span::Beyond,
        (None, Some(_)) if size == 0 => Span::Beyond,
        (None, Some(last)) if first.is_empty() => Span::Part(size.saturating_sub(last), size),
        _ => Span::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients resume by ranges: a wrong one would join two halves of different places.
    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        for (text, expected) in [
            ("bytes=0-0", Span::Part(0, 1)),
            ("bytes=5-", Span::Part(5, 10)),
            ("bytes=5-99", Span::Part(5, 10)),
            ("bytes=-3", Span::Part(7, 10)),
            ("bytes=-30", Span::Part(0, 10)),
            ("bytes=10-", Span::Beyond),
            ("bytes=-0", Span::Beyond),
            ("bytes=99999999999999999999999-", Span::Beyond),
            ("bytes=6-5", Span::Whole),
            ("bytes=0-1,3-4", Span::Whole),
            ("bytes=a-b", Span::Whole),
            ("bytes=+1-2", Span::Whole),
            ("bytes=-", Span::Whole),
            ("lines=1-2", Span::Whole),
        ] {
            assert_eq!(span(text, 10), expected, "{text}");
        }
        assert_eq!(span("bytes=0-", 0), Span::Beyond);
    }
}
