//! Progress of long work: a bar on a terminal after the first second, nothing elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::interrupt;
use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Reply, Request};
use crate::daemon::place::Place;
use crate::progress::{Cancelled, Progress};

const PATIENCE: Duration = Duration::from_secs(1);

/// Has one request done by the daemon and shows how far it is.
pub fn call(request: &Request) -> Result<Reply, Failure> {
    call_with(&mut Client::connect(&Place::from_environment()?)?, request, "")
}

/// The same over a connection that is there, naming what is done.
pub fn call_with(client: &mut Client, request: &Request, what: &str) -> Result<Reply, Failure> {
    let bar = Bar::new(what);
    client.call(request, &|bytes| {
        bar.add(bytes);
        Ok(())
    })
}

/// Work in this process, whose progress is shown and which Ctrl-C cancels.
pub fn here<T>(what: &str, work: impl FnOnce(&Progress<'_>) -> T) -> T {
    let (bar, interrupted) = (Bar::new(what), interrupt::flag());
    work(&|bytes| {
        bar.add(bytes);
        if interrupted.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    })
}

/// Bytes done so far.
struct Bar {
    done: AtomicU64,
    start: Instant,
    bar: ProgressBar,
    visible: bool,
}

impl Bar {
    fn new(what: &str) -> Bar {
        let bar = ProgressBar::hidden();
        bar.set_style(
            ProgressStyle::with_template("{msg} {bytes} ({bytes_per_sec})")
                .expect("because the template is fixed"),
        );
        bar.set_message(what.to_owned());
        let visible = std::io::stderr().is_terminal();
        Bar { done: AtomicU64::new(0), start: Instant::now(), bar, visible }
    }

    fn add(&self, bytes: u64) {
        let total = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.visible && self.start.elapsed() > PATIENCE {
            if self.bar.is_hidden() {
                self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            }
            self.bar.set_position(total);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
