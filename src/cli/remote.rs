//! `git sparse remote`: the store that a remote leads to, seen from here and without the daemon.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::repo::Repo;
use super::report;
use crate::backend::probe::{self, Finding, Need};
use crate::daemon::message::{Failure, Kind, RemotePlace};
use crate::daemon::place::Place;
use crate::daemon::{cloud, words};
use crate::locator::Locator;

/// Look after the store that a remote leads to
#[derive(Debug, Args)]
pub struct Remote {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Try whether a store can be kept there: write, read, list and delete a small file
    ///
    /// A server that gives a name twice which only one may have is refused, with exit code 6: what machines
    /// that push at once keep there could be lost.
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    /// A git remote, or a place as git sparse init --store takes it [default: the remote that git push uses]
    place: Option<String>,
    /// Print one JSON document (schema git-sparse/remote-check/1)
    #[arg(long)]
    json: bool,
}

impl Remote {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.action {
            Action::Check(check) => check.run(),
        }
    }
}

impl Check {
    fn run(self) -> Result<ExitCode, Failure> {
        let place = self.place()?;
        let files = cloud::files(&place, &Place::from_environment()?.store.join("tmp"));
        let backend = files.ok_or_else(|| {
            let told = format!("{}: a hub, which answers for its stores itself", place.name());
            Failure::new(Kind::Usage, told).fix("git sparse doctor tells whether it answers")
        })?;
        let number = getrandom::u64().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        let found = probe::all(&*backend, number);
        if self.json {
            let ok = found.iter().all(|found| found.failure.is_none());
            report::json(
                "remote-check",
                serde_json::json!({ "place": backend.place(), "ok": ok, "needs": found }),
            );
        } else {
            found.iter().for_each(print);
        }
        match found.into_iter().find_map(|found| found.error) {
            None => {
                if !self.json {
                    report::say(&format!("{}: a store can be kept there", backend.place()));
                }
                Ok(ExitCode::SUCCESS)
            }
            Some(error) => {
                let failure = Failure::new(Kind::Remote, format!("no store can be kept there: {error}"));
                Err(words::with_remote_fix(failure, &error))
            }
        }
    }

    /// What the user names here needs no trust: they typed it.
    fn place(&self) -> Result<RemotePlace, Failure> {
        let named = self.place.as_deref().filter(|name| name.starts_with("sparse::"));
        let locator = named.map(Locator::parse).transpose().map_err(|error| words::locator(&error))?;
        match (locator, &self.place) {
            (Some(Locator::Directory(path)), _) => Ok(RemotePlace::Directory(path)),
            (Some(Locator::Bucket(address)), _) => cloud::place(address),
            (None, Some(name)) => Repo::here()?.remote(name, true),
            (Some(Locator::Origin), _) | (None, None) => {
                let repo = Repo::here()?;
                repo.remote(&repo.default_remote(), true)
            }
        }
    }
}

fn print(found: &Finding) {
    let word = if found.failure.is_none() { "ok  " } else { "FAIL" };
    report::say(&format!("{word}  {}", meaning(found.need)));
}

fn meaning(need: Need) -> &'static str {
    match need {
        Need::Write => "a file can be made",
        Need::Refuse => "a name that is taken is refused",
        Need::Read => "what was just written is read, and replaced",
        Need::Ranges => "parts of a file can be read",
        Need::List => "what was just written is listed",
        Need::Delete => "a file can be deleted",
    }
}
