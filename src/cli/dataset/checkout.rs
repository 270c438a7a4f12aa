//! `git sparse dataset checkout`: a path as a revision has it, with its content and not its pointer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::open::behind;
use crate::cli::repo::{Place, Repo};
use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::format::Source;
use crate::git::Pointer;
use crate::git::pointer::MAX_POINTER_BYTES;

/// Files as a revision has them, into the work tree and the index, as git checkout REV -- PATH does
#[derive(Debug, Args)]
pub struct Checkout {
    /// The revision
    revision: String,
    /// Files or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Overwrite changes that are not committed
    #[arg(short, long)]
    force: bool,
}

const COPIED_BYTES: usize = 1 << 20;

impl Checkout {
    pub fn run(self) -> Result<(), Failure> {
        let repo = Repo::here()?;
        let commit = repo.commit(&self.revision)?;
        if !self.force {
            self.refuse_changed(&repo)?;
        }
        let done = Command::new("git")
            .arg("-C")
            .arg(repo.git.dir())
            .args(["checkout", "--quiet", &commit, "--"])
            .args(&self.paths)
            .env_remove("GIT_LFS_SKIP_SMUDGE")
            .output()
            .map_err(|error| Failure::new(Kind::Fatal, format!("git can't be run: {error}")))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(Failure::new(Kind::NotFound, format!("git checkout: {}", said.trim()))
                .fix(format!("look: git ls-tree -r --name-only {}", self.revision)));
        }
        let top = repo.git.top().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        for place in self.files(&repo, &commit)? {
            let path = top.join(&place.path);
            if stands_at(&path, &place.pointer) {
                fill(&repo, &path, place.pointer)?;
            }
            report::say(&format!("{}: {}", place.path, report::bytes(place.pointer.size)));
        }
        Ok(())
    }

    fn refuse_changed(&self, repo: &Repo) -> Result<(), Failure> {
        let status = ["status", "--porcelain", "--untracked-files=no", "--"];
        let status: Vec<_> = status.into_iter().chain(self.paths.iter().map(String::as_str)).collect();
        let changed = repo.git.run(&status).map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        match changed.lines().next() {
            None => Ok(()),
            Some(first) => {
                let path = first.get(3..).unwrap_or(first);
                Err(Failure::new(Kind::Refused, format!("{path}: it has changes that are not committed"))
                    .fix("commit them, or overwrite them with --force"))
            }
        }
    }

    fn files(&self, repo: &Repo, commit: &str) -> Result<Vec<Place>, Failure> {
        let wanted: Vec<String> = self.paths.iter().map(|path| repo.path(path)).collect::<Result<_, _>>()?;
        let is_wanted = |place: &Place| {
            wanted.iter().any(|path| {
                path.is_empty() || place.path == *path || place.path.starts_with(&format!("{path}/"))
            })
        };
        Ok(repo.files(commit)?.into_iter().filter(is_wanted).collect())
    }
}

/// Whether git left the pointer, as it does where git-lfs is not installed or told to.
fn stands_at(path: &Path, pointer: &Pointer) -> bool {
    let is_small = fs::metadata(path).is_ok_and(|found| found.len() < MAX_POINTER_BYTES as u64);
    is_small && fs::read(path).is_ok_and(|text| Pointer::parse(&text) == Some(*pointer))
}

fn fill(repo: &Repo, path: &Path, pointer: Pointer) -> Result<(), Failure> {
    let file = behind(&repo.git, pointer)?;
    let beside = PathBuf::from(format!("{}.git-sparse-{}", path.display(), std::process::id()));
    let failed = |error: std::io::Error| words::file(path, &error);
    let copied = copy(&*file, &beside).and_then(|()| {
        fs::set_permissions(&beside, fs::metadata(path)?.permissions())?;
        fs::rename(&beside, path)
    });
    copied.map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

fn copy(file: &dyn Source, path: &Path) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = fs::File::options().write(true).create_new(true).open(path)?;
    let mut at = 0;
    while at < file.len() {
        let mut window = vec![0; (file.len() - at).min(COPIED_BYTES as u64) as usize];
        file.read_at(&mut window, at)?;
        out.write_all(&window)?;
        at += window.len() as u64;
    }
    out.sync_all()
}
