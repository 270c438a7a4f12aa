//! `git sparse migrate out`: the files of all revisions, rebuilt, to a plain LFS server, and compared with what it gives
//! back.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use clap::Args;

use super::depot::{self, Depot};
use super::lfs::{self, Absence};
use super::survey::{self, Survey};
use super::told::{self, Missing};
use super::{batch, settle};
use crate::cli::watch::Bar;
use crate::cli::{doctor, interrupt, report, unexpected, watch};
use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply, Request};
use crate::daemon::place::Place;
use crate::daemon::words;
use crate::git::Appearance;
use crate::git::command::Git;
use crate::git::pointer::{Pointer, object_path};
use crate::id::Oid;

/// Send the files of all branches and tags to a plain Git LFS server, each compared with what that gives back
#[derive(Debug, Args)]
pub struct Out {
    /// The LFS server: its https URL, ssh://HOST/PATH of a repository beside git-lfs-transfer, or file:///PATH of a bare one
    #[arg(long, value_name = "URL")]
    to: String,
    /// The git remote whose store has the files [default: the one a push would use]
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
    /// The store or hub that has them [default: what lfs.url says]
    #[arg(long, value_name = "LOCATOR")]
    store: Option<String>,
    /// Take lfs.url out of .lfsconfig in place of naming the server: git-lfs then uses that of the git remote
    #[arg(long)]
    unset: bool,
    /// Compare those once more that an earlier run compared
    #[arg(long)]
    again: bool,
    /// Most bytes of rebuilt files that are kept at once [default: 4 GiB, or a quarter of the free space]
    #[arg(long, value_name = "BYTES")]
    batch_bytes: Option<u64>,
    /// Go over to the server even if the store lost files
    #[arg(long)]
    allow_missing: bool,
    /// Say what there is to do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document (schema git-sparse/migrate-out/1)
    #[arg(long)]
    json: bool,
}

/// One run.
struct Move<'a> {
    depot: &'a Depot,
    client: Client,
    remote: RemotePlace,
    url: &'a str,
    bar: Bar,
    missing: Vec<Missing>,
    moved: usize,
}

impl Out {
    pub fn run(self) -> Result<(), Failure> {
        interrupt::flag();
        let url = server(&self.to)?;
        let survey = Survey::of(self.remote.clone())?;
        settle::refuse_changed(&survey.repo.git, self.settled())?;
        let depot = Depot::open(&survey.repo)?;
        if self.again {
            depot.forget_sent(url)?;
        }
        let sent = depot.sent(url);
        let todo: Vec<_> = survey.files.iter().filter(|file| !sent.contains(&file.pointer.oid)).collect();
        let remote = match todo.is_empty() {
            true => None,
            false => Some(self.source(&survey)?),
        };
        if !self.json {
            self.tell_plan(&survey, &depot, &todo);
        }
        if self.dry_run {
            if self.json {
                let document = serde_json::json!({
                    "dry_run": true, "to": url, "files": survey.files.len(), "size": survey.size,
                    "present": survey.files.len() - todo.len(), "to_move": todo.len(),
                });
                report::json("migrate-out", document);
            }
            return Ok(());
        }
        let (mut missing, mut moved) = (Vec::new(), 0);
        if let Some(remote) = remote {
            depot.aim(&survey.repo, url)?;
            let bar = Bar::of("migrating", survey::bytes(&todo));
            let client = Client::connect(&Place::from_environment()?)?;
            let mut work = Move { depot: &depot, client, remote, url, bar, missing: Vec::new(), moved: 0 };
            let done = work.all(&todo, self.batch_bytes);
            work.bar.clear();
            done?;
            (missing, moved) = (work.missing, work.moved);
        }
        self.finish(&survey, &missing, todo.len(), moved)
    }

    /// What `.lfsconfig` says in the end.
    fn settled(&self) -> Option<&str> {
        (!self.unset).then_some(self.to.as_str())
    }

    fn source(&self, survey: &Survey) -> Result<RemotePlace, Failure> {
        match &self.store {
            Some(text) => survey.store_named(text, false).map(|(_, place)| place),
            None => survey.repo.remote(&survey.remote, false).map_err(|failure| match failure.kind {
                Kind::Usage => failure.fix(
                    "name the store that has the files: git sparse migrate out --to URL --store LOCATOR",
                ),
                _ => failure,
            }),
        }
    }

    fn tell_plan(&self, survey: &Survey, depot: &Depot, todo: &[&Appearance]) {
        let all: Vec<_> = survey.files.iter().collect();
        report::say(&format!("in all branches and tags: {}", Survey::words(&all)));
        let sent = all.len() - todo.len();
        if sent > 0 {
            report::say(&format!(
                "  compared at {} by an earlier run: {}",
                self.to,
                report::count(sent, "file")
            ));
        }
        if !todo.is_empty() {
            report::say(&format!(
                "  to rebuild, send (where the server lacks it) and compare: {}",
                Survey::words(todo)
            ));
        }
        if !todo.is_empty() {
            let free = doctor::free_bytes(&depot.scratch());
            report::say(&format!("  {}", batch::words(self.batch_bytes, free)));
        }
        if self.dry_run {
            report::say("nothing was done: --dry-run");
        }
    }

    fn finish(&self, survey: &Survey, missing: &[Missing], todo: usize, moved: usize) -> Result<(), Failure> {
        let git = &survey.repo.git;
        let files = survey.files.len();
        let whole = told::verdict(
            missing,
            files,
            self.allow_missing,
            "push them from a clone that has them (git lfs push --all), and run it again; or go on without them: \
             git sparse migrate out --to URL --allow-missing",
        );
        let (mut changes, mut next) = (Vec::new(), Vec::new());
        if whole.is_ok() {
            changes.extend(settle::point(git, self.settled())?);
            changes.extend(settle::attributes(git, false)?);
            next = self.next(git);
        }
        if self.json {
            let document = serde_json::json!({
                "dry_run": false, "to": self.to, "files": files, "size": survey.size, "present": files - todo,
                "moved": moved, "missing": missing, "changes": changes, "next": next,
            });
            report::json("migrate-out", document);
            return whole;
        }
        told::list(missing);
        report::say(&match moved {
            0 => "nothing was left to move".to_owned(),
            moved => {
                let moved = report::count(moved, "file");
                format!("at {}: {moved}, each fetched back and compared with its SHA-256", self.to)
            }
        });
        settle::tell(&changes);
        next.iter().for_each(|line| report::say(line));
        whole
    }

    fn next(&self, git: &Git) -> Vec<String> {
        let mut next = settle::next(git, self.settled(), "Large files in plain Git LFS");
        if git.top().is_err() {
            let set = format!("git config -f .lfsconfig lfs.url {}", self.to);
            next.push(format!("next, in a clone with a work tree: {set}, git commit, git push"));
        }
        if !next.is_empty() {
            next.extend(settle::of_old_commits(&self.to, "the store"));
        }
        next
    }
}

impl Move<'_> {
    fn all(&mut self, todo: &[&Appearance], batch_bytes: Option<u64>) -> Result<(), Failure> {
        let free = doctor::free_bytes(&self.depot.scratch());
        let sizes: Vec<_> = todo.iter().map(|file| file.pointer.size).collect();
        batch::refuse_too_large(todo, &sizes, free)?;
        let mut luck = batch::Luck::default();
        for range in batch::cut(&sizes, batch::most_bytes(batch_bytes, free)) {
            let (before, missing) = (self.moved, self.missing.len());
            self.batch(&todo[range])?;
            luck.count(self.moved - before, &self.missing[missing..])?;
        }
        Ok(())
    }

    fn batch(&mut self, files: &[&Appearance]) -> Result<(), Failure> {
        let mut rebuilt = Vec::new();
        for file in files {
            match self.rebuild(file) {
                Ok(()) => rebuilt.push(*file),
                Err(failure) if failure.kind == Kind::NotFound => {
                    self.missing.push(Missing::new(file, Absence::Lost, failure.message));
                }
                Err(failure) if failure.kind == Kind::Corrupt => {
                    self.missing.push(Missing::new(file, Absence::Failed, failure.to_string()));
                }
                Err(failure) => return Err(failure),
            }
        }
        if rebuilt.is_empty() {
            return Ok(());
        }
        let scratch = self.depot.scratch();
        let oids: Vec<_> = rebuilt.iter().map(|file| file.pointer.oid).collect();
        let pushed = self.bar.aside(|| lfs::push(&scratch, &oids))?;
        // What comes back must come from the server, and have no other place to come from.
        self.depot.clear()?;
        let pointers: Vec<Pointer> = rebuilt.iter().map(|file| file.pointer).collect();
        let commit = self.depot.select(&pointers)?;
        let fetched = self.bar.aside(|| lfs::fetch_back(&scratch, &commit))?;
        let is_named = |oid: &Oid| pushed.names(*oid) || fetched.names(*oid);
        let mut right = Vec::new();
        for file in rebuilt {
            let oid = file.pointer.oid;
            let path = object_path(&self.depot.scratch_objects(), oid);
            if path.is_file() && depot::is_right(&path, oid)? {
                right.push(oid);
                continue;
            }
            // Why it did not get there says more than that it does not come back.
            let why = if pushed.names(oid) { pushed.about(oid) } else { fetched.about(oid) };
            self.missing.push(Missing::new(file, Absence::Failed, why));
        }
        if right.is_empty() && !oids.iter().any(is_named) {
            return Err(batch::away(&pushed.last_words()));
        }
        self.depot.note_sent(self.url, &right)?;
        self.moved += right.len();
        self.depot.clear()
    }

    /// Puts a file where git-lfs pushes it from.
    fn rebuild(&mut self, file: &Appearance) -> Result<(), Failure> {
        if interrupt::flag().load(Ordering::Relaxed) {
            return Err(lfs::stopped());
        }
        let oid = file.pointer.oid;
        let target = object_path(&self.depot.scratch_objects(), oid);
        let into = self.depot.scratch().join("lfs/tmp");
        for dir in [Some(into.as_path()), target.parent()].into_iter().flatten() {
            fs::create_dir_all(dir).map_err(|error| words::file(dir, &error))?;
        }
        let request = Request::Download {
            oid,
            into,
            // Files come by age: what comes next in the same revision is not to be rebuilt ahead.
            repo: None,
            remote: self.remote.clone(),
        };
        let path = match watch::call_within(&mut self.client, &request, &self.bar, file.pointer.size) {
            Ok(Reply::Downloaded { path }) => path,
            Ok(_) => return Err(unexpected()),
            Err(_) if interrupt::flag().load(Ordering::Relaxed) => return Err(lfs::stopped()),
            Err(failure) => return Err(failure),
        };
        if !depot::is_right(&path, oid)? {
            return Err(Failure::new(Kind::Corrupt, format!("{}: what was rebuilt is not {oid}", file.path)));
        }
        fs::rename(&path, &target).map_err(|error| words::file(&target, &error))
    }
}

/// The URL of a plain LFS server; for `file://` the repository must be there.
fn server(url: &str) -> Result<&str, Failure> {
    let usage = |told: String, fix: &str| Err(Failure::new(Kind::Usage, told).fix(fix));
    let known =
        "name its https URL, as lfs.url has it, ssh://HOST/PATH, or file:///PATH of a bare git repository";
    let Some((scheme, rest)) =
        url.split_once("://").filter(|(scheme, _)| ["https", "http", "ssh", "file"].contains(scheme))
    else {
        return usage(format!("{url:?} is no plain LFS server"), known);
    };
    if url.contains(|sign: char| sign.is_control() || sign.is_whitespace()) {
        return usage("the URL has spaces or control characters".into(), known);
    }
    // Such a host would be an option of ssh.
    if scheme == "ssh" && (rest.starts_with(['-', '/']) || !rest.contains('/')) {
        return usage(format!("{url}: no host and path are there"), known);
    }
    if scheme != "file" {
        return survey::refuse_password(url).map(|()| url);
    }
    let path = Path::new(rest);
    let is_repository = Git::at(path).run(&["rev-parse", "--git-dir"]).is_ok();
    match path.is_absolute() && is_repository {
        true => Ok(url),
        false => usage(format!("{url}: no git repository is there"), &format!("git init --bare {rest}")),
    }
}
