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

/// Work in this process that is counted in steps of one kind, such as `windows`.
pub fn steps<T>(what: &str, unit: &str, total: u64, work: impl FnOnce(&Progress<'_>) -> T) -> T {
    let (bar, interrupted) = (Bar::new(what), interrupt::flag());
    bar.bar.set_length(total);
    bar.bar.set_style(
        ProgressStyle::with_template(&format!("{{msg}} {{pos}} of {{len}} {unit} ({{eta}} left)"))
            .expect("because the template is fixed"),
    );
    work(&|steps| {
        bar.add(steps);
        if interrupted.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    })
}

/// The same as one step of work that takes several requests: `bar` shows them all. Ctrl-C ends it.
pub fn call_within(
    client: &mut Client,
    request: &Request,
    bar: &Bar,
    size_bytes: u64,
) -> Result<Reply, Failure> {
    let interrupted = interrupt::flag();
    let end = bar.done.load(Ordering::Relaxed).saturating_add(size_bytes);
    let done = client.call(request, &|bytes| {
        // Files that come along, and what is read twice, are not in the whole.
        let left = end.saturating_sub(bar.done.load(Ordering::Relaxed));
        bar.add(bytes.min(left));
        if interrupted.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    });
    bar.reach(end);
    done
}

/// Bytes done so far.
pub struct Bar {
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

    /// A bar that knows where it ends, and so when.
    pub fn of(what: &str, total_bytes: u64) -> Bar {
        let bar = Bar::new(what);
        bar.bar.set_length(total_bytes);
        bar.bar.set_style(
            ProgressStyle::with_template("{msg} {bytes} of {total_bytes} ({bytes_per_sec}, {eta} left)")
                .expect("because the template is fixed"),
        );
        bar
    }

    /// Takes it off the terminal, before a result is printed.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Runs what writes to the terminal itself.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// So many bytes are done in all.
    pub fn reach(&self, bytes: u64) {
        let done = self.done.load(Ordering::Relaxed);
        self.add(bytes.saturating_sub(done));
    }

    fn add(&self, bytes: u64) {
        let total = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
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
