//! Who may do what: tokens and rules in one file, read again when it changes.
//!
//! Only hashes of tokens are kept. A token has 256 random bits, so a fast hash is enough.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::repos::RepoName;
use super::signature::{now, random};

/// What tokens begin with, so that scanners for secrets find them.
const PREFIX: &str = "gsp_";
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What one may do in a repository; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum May {
    Read,
    Write,
    /// Also: break locks of others, and read the metrics.
    Admin,
}

/// What is allowed in which repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub may: May,
    /// Names, or prefixes that end with `*`.
    pub repositories: Vec<String>,
}

/// A token, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub name: String,
    /// BLAKE3 of the token, in hexadecimal digits.
    pub hash: String,
    #[serde(flatten)]
    pub rule: Rule,
    /// Seconds since 1970; for ever if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    #[serde(default)]
    pub tokens: Vec<Token>,
    /// What someone without a token may do.
    #[serde(default)]
    pub anonymous: Vec<Rule>,
}

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("{place}: {error}")]
    Io { place: String, error: io::Error },
    #[error("{place}: {error}")]
    Malformed { place: String, error: serde_json::Error },
    #[error("{place}: others than its owner may write to it")]
    Loose { place: String },
    #[error("there is a token named {0:?} already")]
    Taken(String),
    #[error("there is no token named {0:?}")]
    Unknown(String),
}

impl Rule {
    fn covers(&self, repo: &RepoName) -> bool {
        self.repositories.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => repo.as_str().starts_with(prefix),
            None => pattern.strip_suffix(".git").unwrap_or(pattern) == repo.as_str(),
        })
    }
}

impl Access {
    /// Reads the file; one that is missing says nothing.
    pub fn read(path: &Path) -> Result<Access, AccessError> {
        let place = || path.display().to_string();
        let io = |error| AccessError::Io { place: place(), error };
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Access::default()),
            found => found.map_err(io)?,
        };
        if std::os::unix::fs::MetadataExt::mode(&found) & 0o022 != 0 {
            return Err(AccessError::Loose { place: place() });
        }
        if found.len() > MAX_FILE_BYTES {
            return Err(io(io::Error::new(io::ErrorKind::InvalidData, "it is too long to be such a file")));
        }
        let text = fs::read(path).map_err(io)?;
        serde_json::from_slice(&text).map_err(|error| AccessError::Malformed { place: place(), error })
    }

    /// Writes the file for its owner alone, so that it is there whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), AccessError> {
        use std::os::unix::fs::OpenOptionsExt;
        let io = |error| AccessError::Io { place: path.display().to_string(), error };
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_string_pretty(self).expect("because it is plain data");
        let write = || -> io::Result<()> {
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                fs::create_dir_all(dir)?;
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            // A token that was taken back stays so after a power cut.
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::File::open(dir)?.sync_all()
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&beside);
            io(error)
        })
    }

    /// Makes a token and returns it: it is kept nowhere.
    pub fn add(&mut self, name: &str, rule: Rule, expires: Option<u64>) -> Result<String, AccessError> {
        if self.tokens.iter().any(|token| token.name == name) {
            return Err(AccessError::Taken(name.into()));
        }
        let random = random().map_err(|error| AccessError::Io { place: "random bytes".into(), error })?;
        let secret = format!("{PREFIX}{}", blake3::Hash::from_bytes(random).to_hex());
        self.tokens.push(Token { name: name.into(), hash: hash(&secret), rule, expires });
        Ok(secret)
    }

    /// Forgets a token: it is good no more.
    pub fn remove(&mut self, name: &str) -> Result<(), AccessError> {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.name != name);
        if self.tokens.len() == before { Err(AccessError::Unknown(name.into())) } else { Ok(()) }
    }

    fn token(&self, secret: &str) -> Option<&Token> {
        let given = blake3::hash(secret.as_bytes());
        // Hashes of what was given are compared in constant time.
        let is_it = |token: &&Token| blake3::Hash::from_hex(&token.hash).is_ok_and(|known| known == given);
        self.tokens.iter().find(is_it).filter(|token| token.expires.is_none_or(|end| end > now()))
    }
}

fn hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// No token was given.
    Anonymous,
    /// One was given that is not good.
    Unknown,
    Token(String),
}

/// The file as it is now.
pub struct Gate {
    path: PathBuf,
    /// For whoever has no token, beside what the file says.
    anonymous: Option<May>,
    read: Mutex<(Option<Stamp>, Arc<Access>)>,
}

impl Gate {
    pub fn new(path: &Path, anonymous: Option<May>) -> Result<Gate, AccessError> {
        let read = (stamp(path), Arc::new(Access::read(path)?));
        Ok(Gate { path: path.to_owned(), anonymous, read: Mutex::new(read) })
    }

    /// Who has this token, and what may they do in the repository?
    pub fn ask(&self, secret: Option<&str>, repo: Option<&RepoName>) -> (Caller, Option<May>) {
        let access = self.current();
        let covers = |rule: &Rule| repo.is_none_or(|repo| rule.covers(repo));
        let open = access.anonymous.iter().filter(|rule| covers(rule)).map(|rule| rule.may);
        let open = open.chain(self.anonymous).max();
        let Some(secret) = secret else { return (Caller::Anonymous, open) };
        match access.token(secret) {
            Some(token) => {
                let own = Some(token.rule.may).filter(|_| covers(&token.rule));
                (Caller::Token(token.name.clone()), own.max(open))
            }
            None => (Caller::Unknown, open),
        }
    }

    /// Whether nobody may do anything.
    pub fn is_closed(&self) -> bool {
        let access = self.current();
        access.tokens.is_empty() && access.anonymous.is_empty() && self.anonymous.is_none()
    }

    /// A file that can't be read any more changes nothing, so that a slip of an editor locks nobody out or in.
    fn current(&self) -> Arc<Access> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp != read.0
            && let Ok(access) = Access::read(&self.path)
        {
            *read = (stamp, Arc::new(access));
        }
        read.1.clone()
    }
}

/// What tells one state of the file from another. A clock alone would not tell two changes within one of its ticks.
type Stamp = (SystemTime, u64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, std::os::unix::fs::MetadataExt::ino(&found), found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(may: May, repository: &str) -> Rule {
        Rule { may, repositories: vec![repository.into()] }
    }

    /// What a token may do is what was written for it, and nothing where nothing was written.
    #[test]
    fn a_token_opens_what_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.json");
        let mut access = Access::default();
        let team = access.add("team", rule(May::Write, "team/*"), None).unwrap();
        let one = access.add("one", rule(May::Read, "other/model"), None).unwrap();
        let old = access.add("old", rule(May::Admin, "*"), Some(now() - 1)).unwrap();
        assert!(matches!(access.add("one", rule(May::Read, "*"), None), Err(AccessError::Taken(_))));
        access.anonymous.push(rule(May::Read, "public/*"));
        access.write(&path).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains(&team), "the file has a token in it");
        let gate = Gate::new(&path, None).unwrap();
        let may = |secret: Option<&str>, repo: &str| gate.ask(secret, Some(&repo.parse().unwrap())).1;
        assert_eq!(may(Some(&team), "team/model"), Some(May::Write));
        assert_eq!(may(Some(&team), "teams/model"), None);
        assert_eq!(may(Some(&team), "public/model"), Some(May::Read));
        assert_eq!(may(Some(&one), "other/model"), Some(May::Read));
        assert_eq!(may(Some(&one), "other/model2"), None);
        assert_eq!(may(Some(&old), "team/model"), None);
        assert_eq!(may(Some("gsp_guess"), "team/model"), None);
        assert_eq!(may(None, "public/model"), Some(May::Read));
        assert_eq!(may(None, "team/model"), None);
    }

    /// A token that is taken back must be good no more, without a new start of the server.
    #[test]
    fn the_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.json");
        let gate = Gate::new(&path, None).unwrap();
        assert!(gate.is_closed());
        let mut access = Access::default();
        let secret = access.add("a", rule(May::Read, "*"), None).unwrap();
        access.write(&path).unwrap();
        assert_eq!(gate.ask(Some(&secret), None), (Caller::Token("a".into()), Some(May::Read)));
        access.remove("a").unwrap();
        access.write(&path).unwrap();
        fs::File::open(&path)
            .unwrap()
            .set_modified(SystemTime::now() + std::time::Duration::from_secs(5))
            .unwrap();
        assert_eq!(gate.ask(Some(&secret), None), (Caller::Unknown, None));
    }

    /// Whoever may write the file may do everything: others must not.
    #[test]
    fn a_loose_or_malformed_file_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.json");
        Access::default().write(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Access::read(&path), Err(AccessError::Loose { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, r#"{"tokens": [], "anonymus": []}"#).unwrap();
        assert!(matches!(Access::read(&path), Err(AccessError::Malformed { .. })));
    }
}
