//! `git sparse daemon`: look at the background process, start and stop it.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::daemon::place::Place;
use crate::daemon::server;
use crate::git::command::Git;
use crate::progress::unwatched;

/// The background process that owns the store; it starts by itself
#[derive(Debug, Args)]
pub struct Daemon {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start it, if it does not run
    Start,
    /// Let it finish what it does, then exit
    Stop,
    /// Say whether it runs, and on what
    Status {
        /// Print one JSON document (schema git-sparse/daemon-status/1)
        #[arg(long)]
        json: bool,
    },
    /// Run it in the foreground
    Run {
        /// Exit after this many idle seconds
        #[arg(long, value_name = "SECONDS")]
        idle: Option<u64>,
        /// Leave the terminal's session (how clients start it)
        #[arg(long, hide = true)]
        detached: bool,
    },
    /// Print where its log is, and the log's end
    Log,
}

/// Configuration key of the idle time, in seconds.
const IDLE_KEY: &str = "gitsparse.daemonidle";
const DEFAULT_IDLE: Duration = Duration::from_secs(15 * 60);
const STOP_PATIENCE: Duration = Duration::from_secs(600);
/// A daemon that waits for another one's lock has it after this time, and answers or holds it.
const SUCCESSION: Duration = Duration::from_millis(100);
const LOG_LINES: usize = 40;

impl Daemon {
    pub fn run(self) -> Result<(), Failure> {
        let place = Place::from_environment()?;
        match self.action {
            Action::Start => start(&place),
            Action::Stop => stop(&place),
            Action::Status { json } => status(&place, json),
            Action::Run { idle, detached } => run(&place, idle, detached),
            Action::Log => log(&place),
        }
    }
}

fn start(place: &Place) -> Result<(), Failure> {
    if place.in_process {
        return Err(
            Failure::new(Kind::Usage, "GIT_SPARSE_NO_DAEMON is set").fix("unset it to use the daemon")
        );
    }
    Client::connect(place)?;
    status(place, false)
}

fn stop(place: &Place) -> Result<(), Failure> {
    let runs = || Client::existing(place).is_some() || crate::daemon::lock::is_held(&place.store);
    if !runs() {
        println!("the daemon does not run");
        return Ok(());
    }
    let start = Instant::now();
    // Another one may have waited for its turn, started by a client that met none: it goes as well.
    let is_over = || {
        std::thread::sleep(SUCCESSION);
        !runs()
    };
    while runs() || !is_over() {
        // One that is going already gives no answer; what counts is that it goes.
        let _ = Client::existing(place).map(|mut client| client.call(&Request::Stop, &unwatched));
        if start.elapsed() > STOP_PATIENCE {
            return Err(Failure::new(Kind::Fatal, "the daemon is still finishing its work"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("the daemon stopped");
    Ok(())
}

fn status(place: &Place, json: bool) -> Result<(), Failure> {
    let status = match Client::existing(place).map(|mut client| client.call(&Request::Status, &unwatched)) {
        Some(Ok(Reply::Status(status))) => Some(status),
        // One that is lost while it is asked was going.
        Some(Err(failure)) if Client::existing(place).is_some() => return Err(failure),
        _ => None,
    };
    if json {
        let document = serde_json::json!({ "schema": "git-sparse/daemon-status/1", "daemon": status });
        println!("{document:#}");
        return Ok(());
    }
    let Some(status) = status else {
        println!("the daemon does not run; it starts when it is needed");
        return Ok(());
    };
    println!("process    {}", status.pid);
    println!("version    {}", status.version);
    println!("store      {}", status.store.display());
    println!("running    {}", super::report::count(status.running, "request"));
    println!("objects    {}", status.objects);
    println!("up         {} s", status.uptime_seconds);
    if let Some(notice) = status.notice {
        println!("note       {notice}");
    }
    Ok(())
}

fn run(place: &Place, idle: Option<u64>, detached: bool) -> Result<(), Failure> {
    if detached {
        // Without a session of its own it would die with the terminal that git ran in.
        let _ = rustix::process::setsid();
    }
    let configured = || Git::at("/").config(IDLE_KEY).and_then(|text| text.parse().ok());
    let idle = idle.or_else(configured).map_or(DEFAULT_IDLE, Duration::from_secs);
    server::run(place, idle)
}

fn log(place: &Place) -> Result<(), Failure> {
    println!("{}", place.log.display());
    let text = std::fs::read_to_string(&place.log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().for_each(|line| println!("{line}"));
    Ok(())
}
