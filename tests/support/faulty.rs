//! A backend that fails where it is told to, so that every step of every verb fails once.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use git_sparse::backend::{Area, Backend, Name, Staged, Taken};

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The process dies before the call takes effect: this call and all later ones fail.
    Stop,
    /// It dies after the call took effect, and nobody was told.
    StopAfter,
    /// The machine dies in the call: of a file that was being published, half is under its name, as
    /// a file system without ordering may leave it.
    Torn,
    /// This write fails once, the disk being full; later ones find room.
    Full,
    /// This call fails once with an error of the disk.
    Broken,
}

/// Counts calls on `inner`, and fails at number `at`.
#[derive(Clone)]
pub struct Faulty<B> {
    inner: B,
    plan: Arc<Plan>,
}

struct Plan {
    fault: Fault,
    at: u64,
    calls: AtomicU64,
}

/// What a single call has to do.
#[derive(PartialEq)]
enum Verdict {
    Work,
    Fail,
    WorkAndFail,
    Tear,
}

struct FaultyStaged<'a, B> {
    inner: Box<dyn Staged + 'a>,
    from: &'a Faulty<B>,
    bytes: Vec<u8>,
}

impl<B: Backend> Faulty<B> {
    /// Fails at call `at` (from 0) of those that change something or, for `Broken`, of all.
    pub fn new(inner: B, fault: Fault, at: u64) -> Faulty<B> {
        Faulty { inner, plan: Arc::new(Plan { fault, at, calls: AtomicU64::new(0) }) }
    }

    /// Whether the fault was reached.
    pub fn was_reached(&self) -> bool {
        self.plan.calls.load(Ordering::SeqCst) > self.plan.at
    }

    fn verdict(&self, changes: bool) -> Verdict {
        let Plan { fault, at, calls } = &*self.plan;
        let counts = changes || *fault == Fault::Broken;
        let number = if counts { calls.fetch_add(1, Ordering::SeqCst) } else { calls.load(Ordering::SeqCst) };
        let dead = number > *at && matches!(fault, Fault::Stop | Fault::StopAfter | Fault::Torn);
        match fault {
            _ if dead => Verdict::Fail,
            _ if !counts || number != *at => Verdict::Work,
            Fault::StopAfter => Verdict::WorkAndFail,
            Fault::Torn => Verdict::Tear,
            Fault::Stop | Fault::Full | Fault::Broken => Verdict::Fail,
        }
    }

    fn error(&self) -> io::Error {
        let kind =
            if self.plan.fault == Fault::Full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        io::Error::new(kind, format!("injected: {:?} at call {}", self.plan.fault, self.plan.at))
    }

    /// One call that a fault may meet.
    fn meet<T>(&self, changes: bool, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.verdict(changes) {
            Verdict::Work => call(),
            Verdict::Fail | Verdict::Tear => Err(self.error()),
            Verdict::WorkAndFail => call().and(Err(self.error())),
        }
    }
}

impl<B: Backend> Backend for Faulty<B> {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        let inner = self.meet(true, || self.inner.create())?;
        Ok(Box::new(FaultyStaged { inner, from: self, bytes: Vec::new() }))
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.meet(false, || self.inner.read(name, range))
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        self.meet(false, || self.inner.len(name))
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        self.meet(false, || self.inner.modified(name))
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        self.meet(false, || self.inner.list(area))
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.meet(true, || self.inner.rename(from, to))
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        self.meet(true, || self.inner.delete(name))
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

impl<B: Backend> Write for FaultyStaged<'_, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let inner = &mut self.inner;
        let written = self.from.meet(true, || inner.write(bytes))?;
        self.bytes.extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<B: Backend> Staged for FaultyStaged<'_, B> {
    fn publish(self: Box<Self>, name: Name, taken: Taken) -> io::Result<()> {
        let FaultyStaged { inner, from, bytes } = *self;
        match from.verdict(true) {
            Verdict::Work => inner.publish(name, taken),
            Verdict::Fail => Err(from.error()),
            Verdict::WorkAndFail => inner.publish(name, taken).and(Err(from.error())),
            Verdict::Tear => {
                // Only a name that was free can be torn: a rename over a whole file keeps one of both.
                if from.inner.len(name)?.is_none() {
                    let mut half = from.inner.create()?;
                    half.write_all(&bytes[..bytes.len() / 2])?;
                    half.publish(name, taken)?;
                }
                Err(from.error())
            }
        }
    }
}
