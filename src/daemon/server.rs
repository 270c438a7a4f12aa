//! Listens on the user's socket and runs the handler; exits when idle, when told to, or on SIGTERM.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};

use super::ahead::Caller;
use super::client;
use super::handle::Handler;
use super::lock;
use super::message::{self, Event, Failure, Kind, Reply, Request, Status};
use super::place::Place;
use crate::id::Oid;
use crate::progress::Cancelled;

/// A new daemon waits this long for the one that it replaces to finish its work.
const PATIENCE: Duration = Duration::from_secs(3600);
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// The running daemon.
struct Server {
    handler: Handler,
    running: AtomicUsize,
    stop: Notify,
    stopping: AtomicBool,
    started: Instant,
}

/// Serves until idle for `idle`, stopped, or signalled.
pub fn run(place: &Place, idle: Duration) -> Result<(), Failure> {
    let handler = open_alone(place)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Fatal, format!("can't start threads: {error}")))?;
    let server = Server {
        handler,
        running: AtomicUsize::new(0),
        stop: Notify::new(),
        stopping: AtomicBool::new(false),
        started: Instant::now(),
    };
    let server = Arc::new(server);
    let outcome = runtime.block_on(server.clone().serve(&place.socket, idle));
    // Work in `spawn_blocking` is waited for: what runs is never broken off.
    drop(runtime);
    server.handler.leave_all();
    outcome
}

/// Opens the store, waiting for a daemon that is going and not for one that stays.
///
/// Clients that find no daemon each start one: those that come second would wait for the lock as
/// long as the first one lives, and take over when it is told to stop. And where someone deleted the
/// lock file, only the answer on the socket tells that the store has an owner.
fn open_alone(place: &Place) -> Result<Handler, Failure> {
    let start = Instant::now();
    loop {
        if let Some(process) = client::serving(place) {
            let message = format!("store {}: served by process {process}", place.store.display());
            return Err(
                Failure::new(Kind::Refused, message).fix("use that daemon, or: git sparse daemon stop")
            );
        }
        match Handler::open(place, "the daemon", LOOK_AROUND / 2) {
            Err(_) if lock::is_held(&place.store) && start.elapsed() < PATIENCE => continue,
            opened => return opened,
        }
    }
}

impl Server {
    async fn serve(self: Arc<Self>, socket: &Path, idle: Duration) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Kind::Fatal, format!("socket {}: {error}", socket.display()))
                .fix("remove that file, or set XDG_RUNTIME_DIR to a directory of your own")
        };
        // We hold the store's lock, so nobody serves here: what is left is stale.
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).map_err(failed)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut last_busy = Instant::now();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    last_busy = Instant::now();
                    // Too many open files passes; a daemon that exits for it would not.
                    let Ok((stream, _)) = accepted else { tokio::time::sleep(LOOK_AROUND).await; continue };
                    tokio::spawn(self.clone().converse(stream));
                }
                () = self.stop.notified() => break,
                _ = terminate.recv() => break,
                () = tokio::time::sleep(LOOK_AROUND) => {
                    if self.running.load(Ordering::SeqCst) > 0 { last_busy = Instant::now(); }
                    if last_busy.elapsed() >= idle { break }
                }
            }
        }
        // Nobody new gets in; whoever is in gets an answer, and nothing is rebuilt ahead of a question.
        self.stopping.store(true, Ordering::SeqCst);
        drop(listener);
        let _ = std::fs::remove_file(socket);
        while self.running.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn converse(self: Arc<Self>, mut stream: UnixStream) {
        if !same_user(&stream) {
            return;
        }
        let caller = Arc::new(Caller::default());
        while let Ok(Some(request)) = receive(&mut stream).await {
            self.running.fetch_add(1, Ordering::SeqCst);
            self.handler.meet(&caller, &request);
            let given = if let Request::Download { oid, .. } = &request { Some(*oid) } else { None };
            let sent = self.clone().answer(request, &mut stream).await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            if sent.is_err() {
                break;
            }
            if let Some(oid) = given {
                self.clone().foresee(caller.clone(), oid);
            }
        }
        self.handler.leave(&caller);
    }

    /// Uses the time that git-lfs takes over what it was given.
    fn foresee(self: Arc<Self>, caller: Arc<Caller>, oid: Oid) {
        tokio::task::spawn_blocking(move || {
            self.handler.foresee(&caller, oid, &|| self.stopping.load(Ordering::SeqCst))
        });
    }

    async fn answer(self: Arc<Self>, request: Request, stream: &mut UnixStream) -> std::io::Result<()> {
        let done = match request {
            Request::Hello { version } => {
                if version != crate::VERSION {
                    self.stop.notify_one();
                }
                Event::Done(Reply::Hello { version: crate::VERSION.into() })
            }
            Request::Status => Event::Done(Reply::Status(self.status())),
            Request::Stop => {
                self.stop.notify_one();
                Event::Done(Reply::Stopping)
            }
            work => return self.work(work, stream).await,
        };
        send(stream, &done).await
    }

    /// Runs the handler on a thread of its own and sends what it reports.
    async fn work(self: Arc<Self>, request: Request, stream: &mut UnixStream) -> std::io::Result<()> {
        let (report, mut reports) = mpsc::unbounded_channel();
        let server = self.clone();
        let job = tokio::task::spawn_blocking(move || {
            // A caller that is gone closes the channel: the work stops at the next safe point.
            let progress = |bytes| report.send(bytes).map_err(|_| Cancelled);
            server.handler.handle(&request, &progress)
        });
        while let Some(bytes) = next_report(&mut reports).await {
            if let Err(error) = send(stream, &Event::Progress(bytes)).await {
                drop(reports);
                let _ = job.await;
                return Err(error);
            }
        }
        let outcome = job.await.unwrap_or_else(|panic| {
            let message = format!("internal error: {panic}");
            Err(Failure::new(Kind::Fatal, message)
                .fix("please report this; nothing that was acknowledged is lost"))
        });
        send(stream, &outcome.map_or_else(Event::Failed, Event::Done)).await
    }

    fn status(&self) -> Status {
        Status {
            version: crate::VERSION.into(),
            pid: std::process::id(),
            store: self.handler.place().store.clone(),
            running: self.running.load(Ordering::SeqCst) - 1,
            uptime_seconds: self.started.elapsed().as_secs(),
            objects: self.handler.store().index().objects(),
            notice: self.handler.store().index().notice().map(str::to_owned),
        }
    }
}

/// The sum of all reports that are waiting, so that a slow reader doesn't make a long queue.
async fn next_report(reports: &mut mpsc::UnboundedReceiver<u64>) -> Option<u64> {
    let mut bytes = reports.recv().await?;
    while let Ok(more) = reports.try_recv() {
        bytes += more;
    }
    Some(bytes)
}

fn same_user(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::getuid().as_raw())
}

fn signal(kind: tokio::signal::unix::SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    tokio::signal::unix::signal(kind).map_err(|error| Failure::new(Kind::Fatal, format!("signals: {error}")))
}

async fn receive(stream: &mut UnixStream) -> std::io::Result<Option<Request>> {
    let mut len = [0; 4];
    if stream.read_exact(&mut len).await.is_err() {
        return Ok(None);
    }
    let mut body = vec![0; message::checked_len(len)?];
    stream.read_exact(&mut body).await?;
    message::decode(&body).map(Some)
}

async fn send(stream: &mut UnixStream, event: &Event) -> std::io::Result<()> {
    stream.write_all(&message::encode(event)?).await
}
