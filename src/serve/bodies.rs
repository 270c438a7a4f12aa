//! Bodies of requests and answers, between the runtime and threads that read and write.
//!
//! Small ones are held whole, under one budget of bytes for all requests (`Budget`); all others are pieces that come and go.

use std::io::{self, Read, Write};
use std::ops::Deref;
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
pub const SILENCE: Duration = Duration::from_secs(60);
/// And one that comes slower than this after so long: who drips holds what others wait for.
const LEAST_BYTES_PER_SECOND: u64 = 1 << 10;
/// The same where its bytes are held in memory.
const LEAST_HELD_PER_SECOND: u64 = 16 << 10;
/// What a budget is counted in.
const UNIT_BYTES: usize = 1 << 10;
/// What is made of a body is about as long as it, and there beside it.
const COPIES: usize = 2;
/// Pieces that a sender may be ahead of the network.
const AHEAD: usize = 4;
/// Small writes are sent together up to this.
const PIECE_BYTES: usize = 128 << 10;

/// How fast a body has to come.
struct Pace {
    silence: Duration,
    least_per_second: u64,
    /// Waited for the client since its pace was last looked at, and bytes that came meanwhile.
    waited: Duration,
    came: u64,
}

impl Pace {
    fn new(silence: Duration, least_per_second: u64) -> Pace {
        Pace { silence, least_per_second, waited: Duration::ZERO, came: 0 }
    }

    /// The next piece of a body; none at its end. The pace is looked at anew each time that the client was waited for
    /// long enough: a fast beginning buys no slow end, and what the hub itself takes is not the client's.
    async fn next(&mut self, body: &mut Incoming) -> io::Result<Option<Bytes>> {
        let late = |words: &str| io::Error::new(io::ErrorKind::TimedOut, words.to_owned());
        loop {
            let asked = Instant::now();
            let frame = timeout(self.silence, body.frame()).await;
            self.waited += asked.elapsed();
            let Some(frame) = frame.map_err(|_| late("the client sent nothing for a minute"))? else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| io::Error::new(io::ErrorKind::ConnectionReset, error))?;
            if let Ok(bytes) = frame.into_data() {
                self.came += bytes.len() as u64;
                if self.waited > self.silence {
                    if (self.came as f64) < self.waited.as_secs_f64() * self.least_per_second as f64 {
                        return Err(late("the client sends too slowly"));
                    }
                    (self.waited, self.came) = (Duration::ZERO, 0);
                }
                return Ok(Some(bytes));
            }
        }
    }
}

/// A request's body, read on a thread of its own.
pub struct BodyReader {
    body: Incoming,
    rest: Bytes,
    runtime: Handle,
    /// Bytes that may still come.
    allowed: u64,
    pace: Pace,
}

impl BodyReader {
    pub fn new(body: Incoming, most: u64, silence: Duration) -> BodyReader {
        let pace = Pace::new(silence, LEAST_BYTES_PER_SECOND);
        BodyReader { body, rest: Bytes::new(), runtime: Handle::current(), allowed: most, pace }
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.runtime.block_on(self.pace.next(&mut self.body))? {
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

/// Bytes of bodies that all requests together may hold in memory.
pub struct Budget(Arc<Semaphore>);

impl Budget {
    pub fn of(bytes: usize) -> Budget {
        Budget(Arc::new(Semaphore::new(bytes / UNIT_BYTES)))
    }
}

/// A body that is held whole. Its bytes count until it is dropped: it stays beside what is made of it.
pub struct Held {
    bytes: Vec<u8>,
    counted: Option<OwnedSemaphorePermit>,
}

/// Why a body is not held whole.
pub enum CollectError {
    TooLong,
    /// Others hold as much as may be held.
    Busy,
    /// It did not come.
    Broken(io::Error),
}

impl Held {
    /// Adds a piece, if the budget has room for it.
    fn add(&mut self, piece: &[u8], budget: &Budget) -> Result<(), CollectError> {
        self.bytes.extend_from_slice(piece);
        let held = self.counted.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (self.bytes.len() * COPIES).div_ceil(UNIT_BYTES).saturating_sub(held) as u32;
        let more = budget.0.clone().try_acquire_many_owned(more).map_err(|_| CollectError::Busy)?;
        match &mut self.counted {
            Some(counted) => counted.merge(more),
            None => self.counted = Some(more),
        }
        Ok(())
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The whole of a body of at most `most` bytes.
pub async fn collect(
    mut body: Incoming,
    most: usize,
    silence: Duration,
    budget: &Budget,
) -> Result<Held, CollectError> {
    let mut pace = Pace::new(silence, LEAST_HELD_PER_SECOND);
    let mut held = Held { bytes: Vec::new(), counted: None };
    while let Some(piece) = pace.next(&mut body).await.map_err(CollectError::Broken)? {
        if held.len() + piece.len() > most {
            return Err(CollectError::TooLong);
        }
        held.add(&piece, budget)?;
    }
    Ok(held)
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
pub struct Pieces {
    to: mpsc::Sender<Piece>,
    silence: Duration,
}

/// Both ends of a body, whose client may take nothing for so long.
pub fn pipe(silence: Duration) -> (Pieces, Sent) {
    let (to, pieces) = mpsc::channel(AHEAD);
    (Pieces { to, silence }, Sent { pieces, over: false })
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
        let sent = timeout(self.silence, self.to.send(piece)).await.map_err(|_| slow())?;
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
        match self.to.to.try_send(piece) {
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
    /// Takes no more than fills a piece: what waits for a slow client is a few pieces, however much is written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..count]);
        if self.gathered.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
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
