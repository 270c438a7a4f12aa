//! Progress of long work: a bar on a terminal after the first second, nothing elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Reply, Request};
use crate::daemon::place::Place;

const PATIENCE: Duration = Duration::from_secs(1);

/// Has one request done by the daemon and shows how far it is.
pub fn call(request: &Request) -> Result<Reply, Failure> {
    call_with(&mut Client::connect(&Place::from_environment()?)?, request, "")
}

/// The same over a connection that is there, naming what is done.
pub fn call_with(client: &mut Client, request: &Request, what: &str) -> Result<Reply, Failure> {
    let (done, start) = (AtomicU64::new(0), Instant::now());
    let bar = ProgressBar::hidden();
    bar.set_style(
        ProgressStyle::with_template("{msg} {bytes} ({bytes_per_sec})")
            .expect("because the template is fixed"),
    );
    bar.set_message(what.to_owned());
    let visible = std::io::stderr().is_terminal();
    let outcome = client.call(request, &|bytes| {
        let total = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if visible && start.elapsed() > PATIENCE {
            if bar.is_hidden() {
                bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            }
            bar.set_position(total);
        }
        Ok(())
    });
    bar.finish_and_clear();
    outcome
}
