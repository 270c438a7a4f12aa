//! Bodies of requests and answers, between the runtime and threads that read and write.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// A body that neither comes nor goes for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// And one that comes slower than this after so long: who drips holds what others wait for.
const LEAST_BYTES_PER_SECOND: u64 = 1 << 10;
/// Pieces that a sender may be ahead of the network.
const AHEAD: usize = 4;
/// Small writes are sent together up to this.
const PIECE_BYTES: usize = 128 << 10;

/// A request's body, read on a thread of its own.
pub struct BodyReader {
    body: Incoming,
    rest: Bytes,
    runtime: Handle,
    /// Bytes that may still come.
    allowed: u64,
    start: Instant,
    came: u64,
}

impl BodyReader {
    pub fn new(body: Incoming, most: u64) -> BodyReader {
        let runtime = Handle::current();
        BodyReader { body, rest: Bytes::new(), runtime, allowed: most, start: Instant::now(), came: 0 }
    }

    /// The next piece; none at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let BodyReader { body, runtime, .. } = self;
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "the client sent nothing for a minute");
        loop {
            let frame = runtime.block_on(timeout(SILENCE, body.frame())).map_err(|_| silent())?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| io::Error::new(io::ErrorKind::ConnectionReset, error))?;
            if let Ok(bytes) = frame.into_data() {
                self.came += bytes.len() as u64;
                let took = self.start.elapsed();
                if took > SILENCE && self.came / took.as_secs() < LEAST_BYTES_PER_SECOND {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends too slowly"));
                }
                return Ok(Some(bytes));
            }
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.next()? {
                None => return Ok(0),
                Some(bytes) => self.rest = bytes,
            }
        }
        let count = into.len().min(self.rest.len());
        self.allowed = self.allowed.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "the body is longer than it may be")
        })?;
        into[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// The whole of a small body; none when it is longer than `most` bytes.
pub async fn collect(body: Incoming, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut body = body;
    let mut bytes = Vec::new();
    let silent = || io::Error::new(io::ErrorKind::TimedOut, "the client sent nothing for a minute");
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_| silent())? {
        let frame = frame.map_err(|error| io::Error::new(io::ErrorKind::ConnectionReset, error))?;
        let Ok(piece) = frame.into_data() else { continue };
        if bytes.len() + piece.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes))
}

/// An answer's body that a thread writes.
pub struct Sent {
    pieces: mpsc::Receiver<Piece>,
    over: bool,
}

enum Piece {
    Bytes(Bytes),
    /// The body is whole. Without it the connection is cut, so that nobody takes a part for the whole.
    End,
}

/// The other end of it.
pub struct Pieces(mpsc::Sender<Piece>);

/// Both ends of a body.
pub fn pipe() -> (Pieces, Sent) {
    let (to, pieces) = mpsc::channel(AHEAD);
    (Pieces(to), Sent { pieces, over: false })
}

impl Pieces {
    pub async fn send(&self, bytes: Bytes) -> io::Result<()> {
        self.pass(Piece::Bytes(bytes)).await
    }

    /// Ends the body as a whole one.
    pub async fn finish(self) -> io::Result<()> {
        self.pass(Piece::End).await
    }

    async fn pass(&self, piece: Piece) -> io::Result<()> {
        let slow = || io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for a minute");
        let sent = timeout(SILENCE, self.0.send(piece)).await.map_err(|_| slow())?;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The same for a thread of its own, which waits.
pub struct Sender {
    to: Pieces,
    runtime: Handle,
    gathered: Vec<u8>,
    turn: Option<Turn>,
}

/// The right to work, of which there are a few. It is given back while the thread waits for its client.
struct Turn {
    workers: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Sender {
    pub fn new(to: Pieces) -> Sender {
        Sender { to, runtime: Handle::current(), gathered: Vec::new(), turn: None }
    }

    /// One that works by turns with others; waits for its first.
    pub fn by_turns(to: Pieces, workers: &Arc<Semaphore>) -> Sender {
        let mut sender = Sender::new(to);
        sender.turn = Some(Turn { workers: workers.clone(), held: None });
        sender.take_turn();
        sender
    }

    fn take_turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.held = self.runtime.block_on(turn.workers.clone().acquire_owned()).ok();
        }
    }

    fn pass(&mut self, piece: Piece) -> io::Result<()> {
        match self.to.0.try_send(piece) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(TrySendError::Full(piece)) => {
                if let Some(turn) = &mut self.turn {
                    turn.held = None;
                }
                self.runtime.block_on(self.to.pass(piece))?;
                self.take_turn();
                Ok(())
            }
        }
    }

    /// Ends the body as a whole one.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.pass(Piece::End)
    }
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.gathered) {
            empty if empty.is_empty() => Ok(()),
            piece => self.pass(Piece::Bytes(piece.into())),
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.pieces.poll_recv(context)) {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.over = true;
                None
            }
            None => Some(Err(io::Error::other("the answer broke off"))),
        })
    }
}
