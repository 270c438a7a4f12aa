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
use crate::daemon::reach;
use crate::git::command::Git;
use crate::git::{History, Pointer};
use crate::locator::{self, Locator};

/// Clone a repository with its large files, each written once and never held in memory
#[derive(Debug, Args)]
pub struct Clone {
    /// The repository, as git clone takes it
    url: String,
    /// A new or empty directory for the clone [default: the repository's name]
    dir: Option<PathBuf>,
    /// Where the large files are, for a repository that does not say it: sparse::origin (beside the git remote)
    #[arg(long, value_name = "LOCATOR")]
    store: Option<String>,
    /// Further arguments of git clone, after --
    #[arg(last = true)]
    git_args: Vec<String>,
}

impl Clone {
    pub fn run(self) -> Result<(), Failure> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => PathBuf::from(folder_of(&self.url)),
        };
        // What the clone will have: not what stands in the repository around us.
        super::doctor::set_up(&Git::at("/"))?;
        refuse_taken(&dir)?;
        if let Some(store) = &self.store {
            Locator::parse(store).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
        }
        self.clone_pointers(&dir)?;
        fill(&dir).map_err(|failure| {
            let then = format!(
                "the clone is there with pointers; fill it in with: git -C {} lfs pull",
                dir.display()
            );
            let fix = failure.fix.clone().map_or(then.clone(), |fix| format!("{fix}; {then}"));
            failure.fix(fix)
        })
    }

    fn clone_pointers(&self, dir: &Path) -> Result<(), Failure> {
        let status = Command::new("git")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .args(["clone"])
            // Stands in the new clone's configuration from then on.
            .args(self.store.iter().flat_map(|store| ["-c".to_owned(), format!("lfs.url={store}")]))
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

/// Makes files of the pointers that are checked out.
fn fill(dir: &Path) -> Result<(), Failure> {
    let git = Git::at(dir);
    let remotes = git.run(&["remote"]).unwrap_or_default();
    let name = remotes.lines().next().unwrap_or("origin");
    let is_ours = !locator::resolve(&git, name, false).is_err_and(|error| error.is_no_locator());
    if is_ours {
        super::init::show_models_in_diffs(&git)?;
    }
    let fatal = |error: crate::git::command::GitError| Failure::new(Kind::Fatal, error.to_string());
    let git_dir = git.common_dir().map_err(fatal)?;
    // A bare clone has nowhere to put files, an empty repository has none.
    let Ok(top) = git.top() else { return Ok(()) };
    if git.run(&["rev-parse", "--verify", "-q", "HEAD"]).is_err() {
        return Ok(());
    }
    let files =
        History::files_at(&git_dir, "HEAD").map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    if files.is_empty() {
        return Ok(());
    }
    if !is_ours {
        return pull_plainly(&git);
    }
    let remote = reach::find(&git, name, false)?;
    let lfs = git.lfs_dir().map_err(fatal)?;
    let mut client = Client::connect(&Place::from_environment()?)?;
    let (mut filled, mut bytes) = (Vec::new(), 0);
    for (path, pointer) in &files {
        // Only a pointer that is checked out becomes a file: a sparse checkout leaves the others out.
        let target = top.join(path);
        if !stands_at(&target, pointer) {
            continue;
        }
        let request = Request::Download {
            oid: pointer.oid,
            into: lfs.join("tmp"),
            repo: Some(git_dir.clone()),
            remote: remote.clone(),
        };
        fs::create_dir_all(lfs.join("tmp")).map_err(|error| failed(&lfs, &error))?;
        let Reply::Downloaded { path: rebuilt } = watch::call_with(&mut client, &request, path)? else {
            return Err(super::unexpected());
        };
        place(&rebuilt, &target, &lfs, pointer)?;
        filled.push(path.as_str());
        bytes += pointer.size;
    }
    refresh_index(&git, &filled)?;
    let filled = report::count(filled.len(), "large file");
    report::say(&format!("{}: {filled}, {}", dir.display(), report::bytes(bytes)));
    Ok(())
}

/// git would refuse as well, but in words and with a code of its own.
fn refuse_taken(dir: &Path) -> Result<(), Failure> {
    let is_free = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    match is_free {
        true => Ok(()),
        false => {
            let told = format!("{}: it is there already, and not an empty directory", dir.display());
            Err(Failure::new(Kind::Refused, told).fix("name another directory: git sparse clone URL DIR"))
        }
    }
}

/// Another LFS repository: its files are git-lfs' own affair.
fn pull_plainly(git: &Git) -> Result<(), Failure> {
    report::say("fetching the large files by git lfs pull, as this repository names no store of git sparse");
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
    // git gives it to a shell.
    let quoted = program.display().to_string().replace('\'', r"'\''");
    let filter = format!("filter.lfs.process='{quoted}' known-pointers");
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
