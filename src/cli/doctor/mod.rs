//! `git sparse doctor`: does everything fit together here, and what to do where it does not.

mod remote;

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Args;
use serde::Serialize;

use crate::cli::init::{MERGE, TEXTCONV};
use crate::cli::repo::Repo;
use crate::cli::report;
use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::daemon::place::Place;
use crate::git::command::Git;
use crate::progress::unwatched;

/// Check git, git-lfs, the agent, the store and this repository
#[derive(Debug, Args)]
pub struct Doctor {
    /// Mend what can be mended by a command
    #[arg(long)]
    fix: bool,
    /// Print one JSON document (schema git-sparse/doctor/1)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// A command that mends it.
    fix: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

impl Doctor {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let mut checks = checks();
        if self.fix {
            let fixes =
                checks.iter().filter(|check| check.state != State::Ok).filter_map(|check| check.fix.clone());
            for fix in fixes.collect::<Vec<_>>() {
                report::say(&format!("running: {fix}"));
                let _ = Command::new("sh").args(["-c", &fix]).status();
            }
            checks = self::checks();
        }
        let failed = checks.iter().any(|check| check.state == State::Fail);
        if self.json {
            report::json("doctor", serde_json::json!({ "checks": checks, "ok": !failed }));
        } else {
            checks.iter().for_each(print);
        }
        Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }
}

/// Refuses, with the fix, where git-lfs or its connection to us is missing: files would stay pointers.
pub fn set_up(git: &Git) -> Result<(), Failure> {
    let missing =
        [git_lfs(git), filters(git), agent(git)].into_iter().find(|check| check.state == State::Fail);
    missing.map_or(Ok(()), |check| {
        let failure = Failure::new(Kind::Usage, check.found);
        Err(check.fix.map_or(failure.clone(), |fix| failure.fix(fix)))
    })
}

fn print(check: &Check) {
    let word = match check.state {
        State::Ok => "ok  ",
        State::Warn => "warn",
        State::Fail => "FAIL",
    };
    report::say(&format!("{word}  {:<10} {}", check.name, check.found));
    if let (Some(fix), true) = (&check.fix, check.state != State::Ok) {
        report::say(&format!("      fix: {fix}"));
    }
}

fn checks() -> Vec<Check> {
    let git = Git::at(".");
    let mut checks = vec![tool(&git, "git", &["version"], (2, 30)), git_lfs(&git)];
    checks.extend([filters(&git), agent(&git)]);
    match Place::from_environment() {
        Ok(place) => checks.extend([store(&place), daemon(&place), reflinks(&place)]),
        Err(failure) => checks.push(check("store", State::Fail, failure.message, failure.fix)),
    }
    if let Ok(repo) = Repo::here() {
        checks.push(remote::check(&repo));
        checks.extend(commands(&repo));
        checks.extend([attributes(&repo), memory(&repo)]);
    }
    checks
}

fn check(name: &'static str, state: State, found: impl Into<String>, fix: Option<String>) -> Check {
    Check { name, state, found: found.into(), fix }
}

fn git_lfs(git: &Git) -> Check {
    tool(git, "git-lfs", &["lfs", "version"], (3, 0))
}

fn tool(git: &Git, name: &'static str, args: &[&str], least: (u32, u32)) -> Check {
    let Ok(text) = git.run(args) else {
        let fix = if name == "git-lfs" {
            "install git-lfs with your system's package manager"
        } else {
            "install git"
        };
        return check(name, State::Fail, format!("git finds no {name}"), None).advise(fix);
    };
    let version = version_in(&text);
    match version {
        Some(found) if found >= least => check(name, State::Ok, text.lines().next().unwrap_or(""), None),
        _ => {
            check(name, State::Warn, text, None).advise(&format!("expected {}.{} or newer", least.0, least.1))
        }
    }
}

/// The first `N.N` of a text.
fn version_in(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut numbers = word.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

fn filters(git: &Git) -> Check {
    match git.config("filter.lfs.process") {
        Some(found) => check("filters", State::Ok, found, None),
        None => {
            check("filters", State::Fail, "git-lfs' filters are not set up", Some("git lfs install".into()))
        }
    }
}

fn agent(git: &Git) -> Check {
    let fix = Some("git sparse install".to_owned());
    let Some(path) = git.config("lfs.customtransfer.sparse.path") else {
        return check("agent", State::Fail, "git sparse is not registered with git-lfs", fix);
    };
    if !Path::new(&path).is_file() {
        return check("agent", State::Fail, format!("{path}: no such program"), fix);
    }
    match git.config("lfs.sparse::.standalonetransferagent") {
        Some(agent) if agent == "sparse" => check("agent", State::Ok, path, None),
        _ => check("agent", State::Fail, "registered, but not for sparse:: locators", fix),
    }
}

fn store(place: &Place) -> Check {
    let probe = place.store.join("tmp");
    let written = place.prepare().and_then(|()| {
        std::fs::create_dir_all(&probe)
            .map_err(|error| Failure::new(Kind::Fatal, format!("{}: {error}", probe.display())))
    });
    match written {
        Err(failure) => check("store", State::Fail, failure.message, failure.fix),
        Ok(()) => match free_bytes(&place.store) {
            Some(free) if free < 1 << 30 => {
                let found = format!("{}: only {} free", place.store.display(), report::bytes(free));
                check("store", State::Warn, found, Some("git sparse gc".into()))
            }
            free => {
                let free = free.map(|free| format!(", {} free", report::bytes(free))).unwrap_or_default();
                check("store", State::Ok, format!("{}{free}", place.store.display()), None)
            }
        },
    }
}

/// Space on the disk of `path` that this user may use.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail * found.f_frsize)
}

fn daemon(place: &Place) -> Check {
    if place.in_process {
        return check("daemon", State::Ok, "not used: GIT_SPARSE_NO_DAEMON is set", None);
    }
    let Some(mut client) = Client::existing(place) else {
        return check("daemon", State::Ok, "not running; it starts when it is needed", None);
    };
    match client.call(&Request::Status, &unwatched) {
        Ok(Reply::Status(status)) if status.version == crate::VERSION => {
            let note = status.notice.map(|notice| format!("; {notice}")).unwrap_or_default();
            check(
                "daemon",
                State::Ok,
                format!("process {}, version {}{note}", status.pid, status.version),
                None,
            )
        }
        Ok(Reply::Status(status)) => {
            let found = format!("version {}, this is {}", status.version, crate::VERSION);
            check("daemon", State::Warn, found, Some("git sparse daemon stop".into()))
        }
        _ => check("daemon", State::Fail, "it does not answer", Some("git sparse daemon stop".into())),
    }
}

/// A real reflink, since file systems promise more than they do.
fn reflinks(place: &Place) -> Check {
    let (from, to) = (place.store.join("tmp/reflink-a"), place.store.join("tmp/reflink-b"));
    let _ = std::fs::remove_file(&to);
    let works = std::fs::write(&from, b"x").is_ok() && crate::daemon::cache::reflink(&from, &to).is_ok();
    let _ = (std::fs::remove_file(&from), std::fs::remove_file(&to));
    let found = if works { "yes: copies cost nothing" } else { "no: rebuilt files are written in full" };
    check("reflinks", State::Ok, found, None)
}

/// Without its commands `git diff` shows pointers, and `git merge` refuses to merge tables: a plain clone has none, since git
/// clones no commands. Each must be the one that `init` sets.
fn commands(repo: &Repo) -> [Check; 2] {
    let settings = repo.git.settings();
    let uses_us = |url: &str| url.starts_with("sparse::");
    let is_ours = settings.get("lfs.url").is_some_and(uses_us)
        || repo.git.lfsconfig().get("lfs.url").is_some_and(uses_us);
    let command = |name: &'static str, wanted: &[(&str, &str)], without: &str| {
        let (key, ours) =
            *wanted.iter().find(|(key, _)| !key.ends_with("name")).expect("because each has one");
        let fix = || {
            let set = wanted.iter().map(|(key, value)| format!("git config --local {key} '{value}'"));
            Some(set.collect::<Vec<_>>().join(" && "))
        };
        match settings.get(key) {
            Some(found) if found == ours => check(name, State::Ok, found, None),
            Some(found) => check(name, State::Warn, format!("{key} is {found:?}, not {ours:?}"), fix()),
            None if !is_ours => check(name, State::Ok, "this repository does not use git sparse", None),
            None => check(name, State::Warn, format!("{key} is not set: {without}"), fix()),
        }
    };
    [
        command("diffs", &TEXTCONV, "git diff shows pointers of models and tables"),
        command("merges", &MERGE, "git merge does not merge tables by rows and cells"),
    ]
}

/// Large files that git holds itself, since no pattern made them pointers.
fn attributes(repo: &Repo) -> Check {
    let listed = repo.git.run(&["ls-tree", "-r", "-l", "HEAD"]).unwrap_or_default();
    let large = |line: &str| {
        let (head, path) = line.split_once('\t')?;
        let size: u64 = head.split_whitespace().nth(3)?.parse().ok()?;
        (size > 10 << 20).then(|| path.to_owned())
    };
    let missed: Vec<_> = listed.lines().filter_map(large).collect();
    match missed.first() {
        None => check("patterns", State::Ok, "no large file is in git itself", None),
        Some(first) => {
            let found = match missed.len() {
                1 => format!("a large file is in git itself: {first}"),
                count => format!("{count} large files are in git itself, for example {first}"),
            };
            check("patterns", State::Warn, found, None)
                .advise("git lfs track its pattern, then git add --renormalize it; older commits keep it")
        }
    }
}

/// git's smudge filter holds each file in memory.
fn memory(repo: &Repo) -> Check {
    let largest =
        repo.files("HEAD").unwrap_or_default().iter().map(|place| place.pointer.size).max().unwrap_or(0);
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
    });
    match available {
        Some(available) if largest > available / 2 => {
            let found = format!(
                "largest file {}, {} of memory free",
                report::bytes(largest),
                report::bytes(available)
            );
            check("memory", State::Warn, found, None)
                .advise("git clone and git checkout hold each file in memory: use git sparse clone")
        }
        _ => check("memory", State::Ok, format!("largest file {}", report::bytes(largest)), None),
    }
}

impl Check {
    /// Advice that is no command: shown with the finding.
    fn advise(mut self, advice: &str) -> Check {
        if !advice.is_empty() {
            self.found = format!("{}; {advice}", self.found);
        }
        self
    }
}
