//! `git sparse clone`: a clone that never holds a file in memory and writes each one once.
//!
//! git clones with git-lfs' smudge filter off, then the daemon writes each file to its place. Where
//! reflinks work git-lfs' cache shares its blocks; elsewhere it stays empty, since a hard link would
//! let an edit in place change what git-lfs takes for the old version.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::{report, watch};
use crate::daemon::cache::reflink;
use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::daemon::place::Place;
use crate::git::command::Git;
use crate::git::{History, Pointer};
use crate::locator::{self, LocatorError};

/// Clone a repository and fill in its large files, each written once and never held in memory
#[derive(Debug, Args)]
pub struct Clone {
    url: String,
    dir: Option<PathBuf>,
    /// Further arguments of git clone
    #[arg(last = true)]
    git_args: Vec<String>,
}

impl Clone {
    pub fn run(self) -> Result<(), Failure> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => PathBuf::from(folder_of(&self.url)),
        };
        self.clone_pointers(&dir)?;
        let git = Git::at(&dir);
        let fatal = |error: crate::git::command::GitError| Failure::new(Kind::Fatal, error.to_string());
        let git_dir = git.common_dir().map_err(fatal)?;
        if git.run(&["rev-parse", "--verify", "-q", "HEAD"]).is_err() {
            return Ok(());
        }
        let files = History::files_at(&git_dir, "HEAD")
            .map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        if files.is_empty() {
            return Ok(());
        }
        let top = git.top().map_err(fatal)?;
        let remote_name = git.run(&["remote"]).unwrap_or_default();
        let remote = match locator::resolve(&git, remote_name.lines().next().unwrap_or("origin"), false) {
            Ok(remote) => remote,
            Err(LocatorError::Unset | LocatorError::Malformed(_)) => return pull_plainly(&git),
            Err(error) => return Err(crate::agent::in_words(&error)),
        };
        let lfs = git.lfs_dir().map_err(fatal)?;
        let mut client = Client::connect(&Place::from_environment()?)?;
        let mut filled = Vec::new();
        for (path, pointer) in &files {
            // Only a pointer that is checked out becomes a file: a sparse checkout leaves the others out.
            let target = Path::new(&top).join(path);
            if !stands_at(&target, pointer) {
                continue;
            }
            let request = Request::Download {
                oid: pointer.oid,
                into: lfs.join("tmp"),
                repo: Some(git_dir.clone()),
                remote: crate::daemon::message::RemotePlace::Directory(remote.clone()),
            };
            fs::create_dir_all(lfs.join("tmp")).map_err(|error| failed(&lfs, &error))?;
            let Reply::Downloaded { path: rebuilt } = watch::call_with(&mut client, &request, path)? else {
                return Err(super::unexpected());
            };
            place(&rebuilt, &target, &lfs, pointer)?;
            filled.push(path.as_str());
        }
        refresh_index(&git, &filled)?;
        let bytes = files.iter().map(|(_, pointer)| pointer.size).sum();
        report::say(&format!("{}: {} large files, {}", dir.display(), filled.len(), report::bytes(bytes)));
        Ok(())
    }

    fn clone_pointers(&self, dir: &Path) -> Result<(), Failure> {
        let status = Command::new("git")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .args(["clone"])
            .args(&self.git_args)
            .args(["--", &self.url])
            .arg(dir)
            .status()
            .map_err(|error| Failure::new(Kind::Fatal, format!("git can't be run: {error}")))?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(Kind::Remote, format!("git clone of {} failed", self.url))),
        }
    }
}

/// Another LFS repository: its files are git-lfs' own affair.
fn pull_plainly(git: &Git) -> Result<(), Failure> {
    report::say("this repository does not use git sparse; git lfs pull fills in its files");
    git.run(&["lfs", "pull"]).map(drop).map_err(|error| Failure::new(Kind::Remote, error.to_string()))
}

/// True when the work tree has exactly this pointer at `target`, as a regular file.
fn stands_at(target: &Path, pointer: &Pointer) -> bool {
    let regular = fs::symlink_metadata(target).is_ok_and(|found| found.is_file() && found.len() < 1024);
    regular && fs::read(target).is_ok_and(|text| Pointer::parse(&text) == Some(*pointer))
}

/// Puts a rebuilt file where its pointer stands, with the pointer's mode, by rename.
fn place(rebuilt: &Path, target: &Path, lfs: &Path, pointer: &Pointer) -> Result<(), Failure> {
    let mode = fs::metadata(target).map_err(|error| failed(target, &error))?.permissions();
    // A file as young as the index is "racy" to git, which would read and filter it once more.
    let older = SystemTime::now() - Duration::from_secs(2);
    let opened = fs::OpenOptions::new().write(true).open(rebuilt);
    opened.and_then(|file| file.set_modified(older)).map_err(|error| failed(rebuilt, &error))?;
    fs::set_permissions(rebuilt, mode).map_err(|error| failed(rebuilt, &error))?;
    let oid = pointer.oid.to_string();
    let kept = lfs.join("objects").join(&oid[..2]).join(&oid[2..4]);
    // git-lfs' own copy is a convenience: without it a later checkout asks the store again.
    if fs::create_dir_all(&kept).is_ok() {
        let _ = reflink(rebuilt, &kept.join(&oid));
    }
    fs::rename(rebuilt, target).map_err(|error| failed(target, &error))
}

/// Tells git that the files are what the index says, without hashing them again: see `filter`.
fn refresh_index(git: &Git, paths: &[&str]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Kind::Fatal, format!("git update-index: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let filter = format!("filter.lfs.process='{}' known-pointers", program.display());
    let mut child = Command::new("git")
        .arg("-C")
        .arg(git.dir())
        .args(["-c", &filter, "update-index", "-q", "--refresh", "-z", "--stdin"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut input = child.stdin.take().expect("because it was piped");
    for path in paths {
        write!(input, "{path}\0").map_err(failed)?;
    }
    drop(input);
    child.wait().map(drop).map_err(failed)
}

/// What git would call the directory.
fn folder_of(url: &str) -> String {
    let trimmed = url.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/.git").unwrap_or(trimmed);
    let last = trimmed.rsplit(['/', ':']).next().unwrap_or(trimmed);
    last.strip_suffix(".git").unwrap_or(last).to_owned()
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Fatal, format!("{}: {error}", path.display()))
}
