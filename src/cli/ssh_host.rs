//! What ssh starts for plain git-lfs clients: `git-lfs-transfer` and `git-lfs-authenticate`, which are links to this
//! program.
//!
//! Standard output is the protocol's. So whatever goes wrong before it begins is told on standard error alone.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::backend::{Backend, Local, Privacy, STALE};
use crate::daemon::message::{Failure, Kind};
use crate::git::command::Git;
use crate::git::settings::Settings;
use crate::locator;
use crate::serve::{self, May};
use crate::ssh::{self, Operation, Session};

/// The names under which ssh starts this program, and what each stands for.
pub const NAMES: [(&str, &str); 2] =
    [("git-lfs-transfer", "lfs-transfer"), ("git-lfs-authenticate", "lfs-authenticate")];
/// Who a user is, on hosts where all log in as one.
const USER: &str = "GIT_SPARSE_USER";
const HUB_URL: &str = "gitsparse.huburl";
const HUB_ROOT: &str = "gitsparse.hubroot";
const HUB_KEY: &str = "gitsparse.hubkey";
const BUFFER_BYTES: usize = 256 << 10;

/// Send and take whole files of a repository's store (started by git-lfs over ssh, as git-lfs-transfer)
#[derive(Debug, Args)]
pub struct LfsTransfer {
    /// The repository
    path: String,
    /// upload, download or lock
    operation: String,
}

/// Lead a user of ssh to the hub (started by git-lfs over ssh, as git-lfs-authenticate)
#[derive(Debug, Args)]
pub struct LfsAuthenticate {
    /// The repository
    path: String,
    /// upload or download
    operation: String,
    /// A file that the client is after; any may be asked for
    oid: Option<String>,
}

/// The arguments, with the verb that the program's name stands for.
pub fn arguments(mut given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let program = given.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default().to_owned();
    let verb = NAMES.iter().find(|(link, _)| name == *link).map(|(_, verb)| OsString::from(verb));
    let given: Vec<_> = given.collect();
    match verb {
        // Behind `--` nothing is an option, whatever a client sends.
        Some(verb) => [program, verb, "--".into()].into_iter().chain(rejoined(given)).collect(),
        None => [program].into_iter().chain(given).collect(),
    }
}

/// git-lfs gives a path to the host's shell as it is: one with spaces comes in pieces, up to the operation.
fn rejoined(mut given: Vec<OsString>) -> Vec<OsString> {
    let is_operation = |word: &OsString| word.to_str().is_some_and(|word| word.parse::<Operation>().is_ok());
    if let Some(at) = given.iter().rposition(is_operation).filter(|at| *at > 1) {
        let path = given[..at].join(OsStr::new(" "));
        given.splice(..at, [path]);
    }
    given
}

impl LfsTransfer {
    pub fn run(self) -> Result<(), Failure> {
        let operation = self.operation.parse().map_err(|()| unknown(&self.operation))?;
        let git_dir = repository(&self.path)?;
        // Clients go on to git-lfs-authenticate, which knows the hub.
        if let Some(url) = settings().get(HUB_URL) {
            return Err(Failure::new(Kind::Refused, format!("files of this host are at {url}"))
                .fix("let git-lfs negotiate: lfs.<url>.sshtransfer must not be always"));
        }
        let root = git_dir.join("sparse");
        if operation == Operation::Upload {
            let _ = Local::new(&root, Privacy::Shared).sweep(STALE);
        }
        let owned = |stream: io::Result<std::os::fd::OwnedFd>| {
            stream.map(File::from).map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
        };
        // Standard output itself would look for line ends in whole files.
        let to = owned(io::stdout().as_fd().try_clone_to_owned())?;
        let from = owned(io::stdin().as_fd().try_clone_to_owned())?;
        let streams =
            (BufReader::with_capacity(BUFFER_BYTES, from), BufWriter::with_capacity(BUFFER_BYTES, to));
        let session = Session::new(&root, operation, user(), now, streams);
        session.run().map_err(|error| Failure::new(Kind::Fatal, format!("git-lfs-transfer: {error}")))
    }
}

impl LfsAuthenticate {
    pub fn run(self) -> Result<(), Failure> {
        let may = match self.operation.parse() {
            Ok(Operation::Upload) => May::Write,
            Ok(Operation::Download) => May::Read,
            Ok(Operation::Lock) | Err(()) => return Err(unknown(&self.operation)),
        };
        if let Some(oid) = &self.oid {
            oid.parse::<crate::id::Oid>().map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
        }
        let git_dir = repository(&self.path)?;
        let settings = settings();
        let url = settings.get(HUB_URL).ok_or_else(|| {
            Failure::new(Kind::NotFound, "this host has no hub")
                .fix("on this host: git sparse install --ssh-host, so that git-lfs finds git-lfs-transfer")
        })?;
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(Failure::new(Kind::Usage, format!("{HUB_URL}: {url} is no address")));
        }
        let root = path_setting(&settings, HUB_ROOT)?.ok_or_else(|| {
            Failure::new(Kind::Usage, format!("{HUB_ROOT} is not set"))
                .fix(format!("git config --system {HUB_ROOT} DIR, what git sparse serve has as --root"))
        })?;
        let keys = path_setting(&settings, HUB_KEY)?.unwrap_or_else(|| root.join("link-keys"));
        let name = root.canonicalize().ok().and_then(|root| {
            let below = git_dir.strip_prefix(root).ok()?.to_str()?.to_owned();
            below.parse::<serve::RepoName>().ok()
        });
        let name = name.ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("{}: the hub does not have this repository", self.path))
        })?;
        let token = serve::sign_login(&keys, &name, &user(), may).map_err(|error| {
            Failure::new(Kind::Fatal, error.to_string()).fix("tell whoever runs this host")
        })?;
        let answer = serde_json::json!({
            "href": format!("{}/{name}.git/info/lfs", url.trim_end_matches('/')),
            "header": { "Authorization": format!("Bearer {token}") },
            "expires_in": serve::LOGIN_LIFE.as_secs(),
        });
        super::report::say(&answer.to_string());
        Ok(())
    }
}

/// Where the repository is that a client names.
fn repository(text: &str) -> Result<PathBuf, Failure> {
    let home = env::home_dir().unwrap_or_default();
    let path = ssh::path(text, &home).ok_or_else(|| {
        let told: String = text.chars().take(200).collect();
        Failure::new(Kind::Usage, format!("{told:?} is no path of a repository"))
    })?;
    let with_ending = PathBuf::from(format!("{}.git", path.display()));
    [path, with_ending].iter().find_map(|path| locator::git_dir_at(path)).ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("{text}: no git repository"))
            .fix("check the path in the URL: git remote -v")
    })
}

fn unknown(operation: &str) -> Failure {
    let told: String = operation.chars().take(200).collect();
    Failure::new(Kind::Usage, format!("{told:?} is no operation: expected upload or download"))
}

/// The machine's and the user's configuration; never that of a repository, which strangers may write.
fn settings() -> Settings {
    Git::at("/").settings()
}

fn path_setting(settings: &Settings, key: &str) -> Result<Option<PathBuf>, Failure> {
    let path = settings.get(key).map(PathBuf::from);
    match path {
        Some(path) if !path.is_absolute() => {
            Err(Failure::new(Kind::Usage, format!("{key} is {}, a relative path", path.display())))
        }
        path => Ok(path),
    }
}

fn user() -> String {
    let set = |key: &str| env::var(key).ok().filter(|value| !value.is_empty());
    let named = set(USER).or_else(|| set("USER")).or_else(|| set("LOGNAME"));
    let named = named.filter(|name| name.len() <= 200 && !name.chars().any(char::is_control));
    named.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program's name decides what a stranger's words mean: none of them may become a verb or an option.
    #[test]
    fn the_name_stands_for_the_verb() {
        let told = |given: &[&str]| -> Vec<String> {
            let all = arguments(given.iter().map(OsString::from));
            all.into_iter().map(|argument| argument.into_string().unwrap()).collect()
        };
        let link = "/usr/bin/git-lfs-transfer";
        assert_eq!(told(&[link, "--help", "upload"]), [link, "lfs-transfer", "--", "--help", "upload"]);
        assert_eq!(told(&["git-lfs-authenticate"]), ["git-lfs-authenticate", "lfs-authenticate", "--"]);
        assert_eq!(told(&[link, "/a", "b", "c.git", "lock"])[3..], ["/a b c.git", "lock"]);
        assert_eq!(told(&[link, "upload", "upload", "lock"])[3..], ["upload upload", "lock"]);
        assert_eq!(told(&["git-lfs-authenticate", "a", "b", "upload", "0f"])[3..], ["a b", "upload", "0f"]);
        assert_eq!(told(&[link, "a", "b"])[3..], ["a", "b"]);
        assert_eq!(told(&["git-sparse", "gc"]), ["git-sparse", "gc"]);
        assert_eq!(told(&[]), [""]);
    }
}
