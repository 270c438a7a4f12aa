//! Where a migration keeps what is on its way, below git-lfs' directory: `lfs/sparse-migrate`.
//!
//! | name | what |
//! | --- | --- |
//! | `lock` | held while a migration runs |
//! | `scratch.git` | a bare repository: commits that select files, and for `out` the files themselves; new in each run |
//! | `fetched` | oids that were fetched into `.git/lfs/objects` for the migration alone: a killed run leaves them behind |
//! | `sent-<server>` | oids that a server gave back right |

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cli::repo::Repo;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::git::command::Git;
use crate::git::pointer::{Pointer, object_path};
use crate::git::selection;
use crate::id::Oid;

/// Configuration of the user's repository that says how servers are reached.
const ACCESS: [&str; 10] = [
    "http.",
    "https.",
    "credential.",
    "url.",
    "lfs.http",
    "lfs.ssh",
    "lfs.transfer.",
    "ssh.",
    "core.askpass",
    "core.sshcommand",
];

/// The directory of one running migration.
pub struct Depot {
    dir: PathBuf,
    /// git-lfs' objects of the user's repository.
    pub objects: PathBuf,
    _lock: File,
}

impl Depot {
    /// Makes it, unless another migration runs in this repository.
    pub fn open(repo: &Repo) -> Result<Depot, Failure> {
        let lfs = repo.git.lfs_dir().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        let dir = lfs.join("sparse-migrate");
        fs::create_dir_all(&dir).map_err(|error| words::file(&dir, &error))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| words::file(&path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(Kind::Refused, "another migration runs in this repository")
                    .fix("wait for it to end"));
            }
            Err(TryLockError::Error(error)) => return Err(words::file(&path, &error)),
        }
        let depot = Depot { dir, objects: lfs.join("objects"), _lock: lock };
        depot.empty_scratch()?;
        Ok(depot)
    }

    /// The bare repository of this run.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join("scratch.git")
    }

    /// git-lfs' objects in it.
    pub fn scratch_objects(&self) -> PathBuf {
        self.scratch().join("lfs/objects")
    }

    fn empty_scratch(&self) -> Result<(), Failure> {
        let path = self.scratch();
        remove_tree(&path)?;
        let made =
            Git::at(&self.dir).run(&["init", "--quiet", "--bare", "--object-format=sha1", "scratch.git"]);
        made.map(drop).map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
    }

    /// Has git-lfs in the scratch repository speak to `url`, as the user's repository would.
    pub fn aim(&self, repo: &Repo, url: &str) -> Result<(), Failure> {
        let listed = repo.git.run(&["config", "--local", "--includes", "--list", "-z"]).unwrap_or_default();
        let entries = listed.split('\0').filter_map(|entry| entry.split_once('\n'));
        let of_access = entries.filter(|(key, _)| ACCESS.iter().any(|begin| key.starts_with(begin)));
        let own = [("remote.server.url", url), ("lfs.url", url)];
        let text: String = of_access.chain(own).map(|(key, value)| entry(key, value)).collect();
        // A file, since headers and URLs may hold secrets, and arguments of processes are everybody's to read.
        let path = self.scratch().join("access");
        write_private(&path, &text).map_err(|error| words::file(&path, &error))?;
        let done = Git::at(self.scratch()).run(&["config", "include.path", "access"]);
        done.map(drop).map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
    }

    /// A commit in the scratch repository that has these files alone.
    pub fn select(&self, pointers: &[Pointer]) -> Result<String, Failure> {
        selection::write(&self.scratch(), pointers)
            .map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
    }

    /// Takes git-lfs' objects of the scratch repository away.
    pub fn clear(&self) -> Result<(), Failure> {
        remove_tree(&self.scratch_objects())
    }

    /// What was fetched for the migration alone, by this run or one that was killed.
    pub fn fetched(&self) -> BTreeSet<Oid> {
        read_oids(&self.dir.join("fetched")).into_iter().collect()
    }

    /// Notes it, before it is fetched.
    pub fn note_fetched(&self, oids: &BTreeSet<Oid>) -> Result<(), Failure> {
        let path = self.dir.join("fetched");
        let text: String = oids.iter().map(|oid| format!("{oid}\n")).collect();
        let new = self.dir.join("fetched.new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| words::file(&path, &error))
    }

    /// What the server at `url` has given back right.
    pub fn sent(&self, url: &str) -> HashSet<Oid> {
        read_oids(&self.sent_path(url)).into_iter().collect()
    }

    pub fn note_sent(&self, url: &str, oids: &[Oid]) -> Result<(), Failure> {
        let path = self.sent_path(url);
        let text: String = oids.iter().map(|oid| format!("{oid}\n")).collect();
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_data()))
            .map_err(|error| words::file(&path, &error))
    }

    pub fn forget_sent(&self, url: &str) -> Result<(), Failure> {
        gone(&self.sent_path(url))
    }

    fn sent_path(&self, url: &str) -> PathBuf {
        let hash = blake3::hash(url.trim_end_matches('/').as_bytes());
        self.dir.join(format!("sent-{:.16}", hash.to_hex()))
    }
}

impl Drop for Depot {
    fn drop(&mut self) {
        // What stays is taken away by the next run.
        let _ = fs::remove_dir_all(self.scratch());
    }
}

/// The whole lines of a list of oids; a power cut may have cut the last one.
/// A value as git's configuration files have it.
fn entry(key: &str, value: &str) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    let (header, name) = match rest.rsplit_once('.') {
        Some((part, name)) => {
            (format!("{section} \"{}\"", part.replace('\\', "\\\\").replace('"', "\\\"")), name)
        }
        None => (section.to_owned(), rest),
    };
    format!("[{header}]\n\t{name} = \"{}\"\n", escaped(value))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn read_oids(path: &Path) -> Vec<Oid> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn remove_tree(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(words::file(path, &error)),
        _ => Ok(()),
    }
}

/// Takes a file away that may not be there.
pub fn gone(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(words::file(path, &error)),
        _ => Ok(()),
    }
}

/// Whether git-lfs has the file at its place, by its length.
pub fn is_there(objects: &Path, pointer: &Pointer) -> bool {
    fs::metadata(object_path(objects, pointer.oid))
        .is_ok_and(|found| found.is_file() && found.len() == pointer.size)
}

/// Whether a file is what its oid says.
pub fn is_right(path: &Path, oid: Oid) -> Result<bool, Failure> {
    let hash = File::open(path).and_then(Oid::of_reader);
    hash.map(|found| found == oid).map_err(|error| words::file(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// git reads what it said itself, whatever characters values and names have.
    #[test]
    fn settings_come_back_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access");
        let header = "AUTHORIZATION: basic \"x\\y\" # ; \tz ";
        let settings = [
            ("http.https://a.b/c \"d\\.extraheader", header),
            ("http.proxy", "socks5h://one"),
            ("url.git@x:.insteadof", "two\nlines"),
            ("core.askpass", ""),
        ];
        let text: String = settings.iter().map(|(key, value)| entry(key, value)).collect();
        write_private(&path, &text).unwrap();
        let file = path.to_str().unwrap();
        let listed = Git::at(dir.path()).run(&["config", "--file", file, "--list", "-z"]).unwrap();
        let found: Vec<_> = listed.split('\0').filter_map(|entry| entry.split_once('\n')).collect();
        assert_eq!(found, settings);
    }
}
