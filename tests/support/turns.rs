//! A store that several actors use at once, of whom one moves at a time: which, is drawn from a seed.
//!
//! So one seed is one interleaving of their calls, and can be had again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime};

use git_sparse::backend::{Area, Backend, Name, Staged, Taken};

use super::random::Random;

/// Files in memory with a clock of their own, which ticks a second with each call.
pub struct Disk {
    files: Mutex<BTreeMap<Name, File>>,
    clock: AtomicU64,
}

#[derive(Clone)]
struct File {
    bytes: Arc<Vec<u8>>,
    written: u64,
}

impl Disk {
    /// An empty one at this second.
    pub fn new(seconds: u64) -> Disk {
        Disk { files: Mutex::default(), clock: AtomicU64::new(seconds) }
    }

    /// The same files, to be changed apart from these, at another second.
    pub fn copy(&self, seconds: u64) -> Disk {
        let files = self.files.lock().expect("no panic").clone();
        Disk { files: Mutex::new(files), clock: AtomicU64::new(seconds) }
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn file(&self, name: Name) -> Option<File> {
        self.files.lock().expect("no panic").get(&name).cloned()
    }
}

/// Whose turn it is.
pub struct Turns {
    turn: AtomicUsize,
    draw: Mutex<Draw>,
    threads: OnceLock<Vec<Thread>>,
    main: Thread,
}

struct Draw {
    random: Random,
    /// Those who are not done. Who stands before others goes on, where the first does.
    alive: Vec<usize>,
    /// One call in so many lets another one move.
    switches: usize,
    /// Whether that is then any of them. Else it is the next in line, and who moved until then goes to its end: so
    /// one may do all it has to do between two calls of another.
    any: bool,
}

/// Nobody's turn: all are done.
const NOBODY: usize = usize::MAX;

/// What one of the actors does, over its view of the store.
pub type Part<'a> = Box<dyn FnOnce(Seat) + Send + 'a>;

/// An actor's view of the store.
#[derive(Clone)]
pub struct Seat {
    disk: Arc<Disk>,
    turns: Option<Arc<Turns>>,
    me: usize,
    left: Arc<AtomicU64>,
}

/// Has all parts played at once over `disk`, interleaved as `random` says. Each may be given a number of calls
/// after which it is killed.
pub fn play(disk: &Arc<Disk>, mut random: Random, parts: Vec<(Part<'_>, Option<u64>)>) {
    let any = random.below(32) == 0;
    let switches = if any { [1, 2, 5][random.below(3)] } else { [10, 30, 100][random.below(3)] };
    let mut alive: Vec<usize> = (0..parts.len()).collect();
    (1..alive.len()).for_each(|end| alive.swap(end, random.below(end + 1)));
    let turns = Arc::new(Turns {
        turn: AtomicUsize::new(NOBODY),
        draw: Mutex::new(Draw { random, alive, switches, any }),
        threads: OnceLock::new(),
        main: thread::current(),
    });
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (me, (part, life)) in parts.into_iter().enumerate() {
            let left = Arc::new(AtomicU64::new(life.unwrap_or(u64::MAX)));
            let seat = Seat { disk: disk.clone(), turns: Some(turns.clone()), me, left };
            let turns = turns.clone();
            let done = Done { turns: turns.clone(), me };
            threads.push(scope.spawn(move || {
                let done = done;
                turns.wait(me);
                part(seat);
                drop(done);
            }));
        }
        let handles = threads.iter().map(|thread| thread.thread().clone()).collect();
        turns.threads.set(handles).unwrap_or_else(|_| panic!("they begin once"));
        turns.draw_next();
    });
}

/// Passes the turn on when an actor is done, and also when it panics.
struct Done {
    turns: Arc<Turns>,
    me: usize,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.turns.draw.lock().expect("no panic").alive.retain(|actor| *actor != self.me);
        self.turns.draw_next();
    }
}

impl Draw {
    fn next(&mut self) -> usize {
        match self.alive.len() {
            0 => NOBODY,
            count if self.any => self.alive[self.random.below(count)],
            _ => self.alive[0],
        }
    }
}

impl Turns {
    fn wait(&self, me: usize) {
        while self.turn.load(Ordering::Acquire) != me {
            thread::park();
        }
    }

    fn draw_next(&self) {
        let next = self.draw.lock().expect("no panic").next();
        self.give(next);
    }

    fn give(&self, next: usize) {
        self.turn.store(next, Ordering::Release);
        match next {
            NOBODY => self.main.unpark(),
            next => self.threads.get().expect("because they began")[next].unpark(),
        }
    }

    /// Lets another one move first, or not: seldom before a call that most often finds the same as before.
    fn step(&self, me: usize, seldom: bool) {
        let mut draw = self.draw.lock().expect("no panic");
        let switches = if seldom { 8 * draw.switches } else { draw.switches };
        if draw.random.below(switches) > 0 {
            return;
        }
        draw.alive.retain(|actor| *actor != me);
        draw.alive.push(me);
        let next = draw.next();
        drop(draw);
        if next != me {
            self.give(next);
            self.wait(me);
        }
    }
}

impl Seat {
    /// A view of the store for one who is alone with it.
    pub fn alone(disk: &Arc<Disk>) -> Seat {
        Seat { disk: disk.clone(), turns: None, me: 0, left: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Lets others move, if there are any.
    pub fn step(&self) -> io::Result<u64> {
        self.step_before(false)
    }

    fn step_before(&self, seldom: bool) -> io::Result<u64> {
        if let Some(turns) = &self.turns {
            turns.step(self.me, seldom);
        }
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other("killed"));
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Ok(self.disk.tick())
    }

    pub fn was_killed(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

fn missing(name: Name) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name}: no such file"))
}

impl Backend for Seat {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        Ok(Box::new(StagedBytes { bytes: Vec::new(), seat: self }))
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.step_before(matches!(name, Name::Pack(_)))?;
        let file = self.disk.file(name).ok_or_else(|| missing(name))?;
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name}: ends before {range:?}"));
        Ok(file.bytes.get(range.start as usize..range.end as usize).ok_or_else(short)?.to_vec())
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        self.step_before(matches!(name, Name::Pack(_)))?;
        Ok(self.disk.file(name).map(|file| file.bytes.len() as u64))
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        self.step()?;
        let written = self.disk.file(name).map(|file| file.written);
        Ok(written.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        self.step()?;
        let is_in = |name: &Name| {
            area == match name {
                Name::Pack(_) => Area::Packs,
                Name::Recipe(_) => Area::Recipes,
                Name::Trash(..) | Name::Removed(..) | Name::Forgotten(..) => Area::Trash,
                Name::Bad(_) => Area::Bad,
                Name::Lock(_) => Area::Locks,
                Name::Probe(_) => Area::Probes,
                Name::Config | Name::Clock => return false,
            }
        };
        let files = self.disk.files.lock().expect("no panic");
        Ok(files.keys().copied().filter(is_in).collect())
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.step()?;
        let mut files = self.disk.files.lock().expect("no panic");
        let file = files.remove(&from).ok_or_else(|| missing(from))?;
        files.insert(to, file);
        Ok(())
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        self.step()?;
        self.disk.files.lock().expect("no panic").remove(&name);
        Ok(())
    }

    fn place(&self) -> String {
        "simulated".into()
    }
}

struct StagedBytes<'a> {
    bytes: Vec<u8>,
    seat: &'a Seat,
}

impl Write for StagedBytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for StagedBytes<'_> {
    fn publish(self: Box<Self>, name: Name, taken: Taken) -> io::Result<()> {
        let written = self.seat.step()?;
        let mut files = self.seat.disk.files.lock().expect("no panic");
        match (taken, files.get(&name)) {
            (Taken::Keep, Some(file)) if file.bytes.len() == self.bytes.len() => {}
            (Taken::Refuse, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            _ => drop(files.insert(name, File { bytes: Arc::new(self.bytes), written })),
        }
        Ok(())
    }
}
