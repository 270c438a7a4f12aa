//! `sparse::…`: where a repository says that its large files are, and whether the user agrees.
//!
//! `sparse::origin` is a store beside the git remote, which the user chose. Any other place that only
//! the repository names is refused until the user trusts it: cloning must not make us read or write
//! wherever a stranger points.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::backend::bucket::Address;
use crate::git::command::Git;
use crate::git::settings::Settings;

/// The configuration key with the locators that the user trusts.
pub const TRUST_KEY: &str = "gitsparse.trust";
const SCHEME: &str = "sparse::";

/// A parsed locator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locator {
    /// Beside the git remote in use.
    Origin,
    /// A directory.
    Directory(PathBuf),
    /// A bucket, at the endpoint and with the keys that the user's own configuration has.
    Bucket(Address),
}

/// Why a locator leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum LocatorError {
    #[error(
        "{0:?} is no locator: expected sparse::origin, sparse::file:///PATH or sparse::s3://BUCKET/PREFIX"
    )]
    Malformed(String),
    #[error(
        "{0:?} is not supported by this version: expected sparse::origin, sparse::file:///PATH or \
         sparse::s3://BUCKET/PREFIX (gs://, az://)"
    )]
    Unsupported(String),
    #[error("the repository names {0}, which you have not trusted")]
    Untrusted(String),
    #[error("no lfs.url is set for this repository")]
    Unset,
    #[error("git remote {remote:?} is at {url:?}: sparse::origin needs a path, or an address of ssh or http")]
    NotLocal { remote: String, url: String },
    #[error("no remote named {0:?}")]
    NoRemote(String),
    #[error("git remote {remote:?}: no repository at {path}")]
    NoRepository { remote: String, path: String },
}

impl LocatorError {
    /// Whether the repository names no store of ours, but perhaps a Git LFS server.
    pub fn is_no_locator(&self) -> bool {
        match self {
            LocatorError::Unset => true,
            LocatorError::Malformed(text) => !text.starts_with(SCHEME),
            _ => false,
        }
    }
}

impl Locator {
    pub fn parse(text: &str) -> Result<Locator, LocatorError> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| LocatorError::Malformed(text.into()))?;
        if rest == "origin" {
            return Ok(Locator::Origin);
        }
        if let Some(path) = rest.strip_prefix("file://") {
            let path = Path::new(path);
            let plain = path.is_absolute() && !path.components().any(|part| part.as_os_str() == "..");
            return match plain {
                true => Ok(Locator::Directory(path.to_owned())),
                false => Err(LocatorError::Malformed(text.into())),
            };
        }
        let is_bucket = ["s3://", "gs://", "az://"].iter().any(|scheme| rest.starts_with(scheme));
        match rest.parse() {
            Ok(address) => Ok(Locator::Bucket(address)),
            Err(_) if is_bucket => Err(LocatorError::Malformed(text.into())),
            Err(_) => Err(LocatorError::Unsupported(text.into())),
        }
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Locator::Origin => write!(out, "{SCHEME}origin"),
            Locator::Directory(path) => write!(out, "{SCHEME}file://{}", path.display()),
            Locator::Bucket(address) => write!(out, "{SCHEME}{address}"),
        }
    }
}

/// Where a locator leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Directory(PathBuf),
    Bucket(Address),
    /// A repository on another machine that ssh leads to.
    Ssh(SshUrl),
    /// A Git LFS server, which must be a hub.
    Web(String),
}

/// The store that this repository uses with `remote`.
pub fn resolve(git: &Git, remote: &str, pushing: bool) -> Result<Place, LocatorError> {
    let (text, from_repository) = configured(git, remote, pushing).ok_or(LocatorError::Unset)?;
    let locator = Locator::parse(&text)?;
    if from_repository && !is_trusted(git, &locator) {
        return Err(LocatorError::Untrusted(text));
    }
    resolve_named(git, &locator, remote, pushing)
}

/// Whether a repository may name this place: the user agreed to it, in whatever way it was written then.
pub fn is_trusted(git: &Git, locator: &Locator) -> bool {
    let is_it = |trusted: &str| Locator::parse(trusted).is_ok_and(|trusted| trusted == *locator);
    *locator == Locator::Origin || git.settings().all(TRUST_KEY).any(is_it)
}

/// The store that the user names, whatever the repository says.
pub fn resolve_named(
    git: &Git,
    locator: &Locator,
    remote: &str,
    pushing: bool,
) -> Result<Place, LocatorError> {
    match locator {
        Locator::Origin => beside_remote(git, remote, pushing),
        Locator::Directory(path) => Ok(Place::Directory(path.clone())),
        Locator::Bucket(address) => Ok(Place::Bucket(address.clone())),
    }
}

/// The address of the Git LFS server that this repository uses with `remote`, if it is one over HTTP: what is configured,
/// or what follows from the remote's own address.
pub fn lfs_url(git: &Git, remote: &str, pushing: bool) -> Option<String> {
    let is_http = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    if let Some((url, _)) = configured(git, remote, pushing) {
        return Some(url.trim_end_matches('/').to_owned()).filter(is_http);
    }
    lfs_url_of(&remote_url(git, remote, pushing))
}

/// The address at which git-lfs looks for the large files of a repository over HTTP.
pub fn lfs_url_of(url: &str) -> Option<String> {
    let is_http = url.starts_with("https://") || url.starts_with("http://");
    let url = url.trim_end_matches('/').trim_end_matches(".git");
    is_http.then(|| format!("{url}.git/info/lfs"))
}

/// The `lfs.url` in force, locator or not, and whether only the repository's own `.lfsconfig` names it.
///
/// The order is git-lfs' own: the user's configuration before the repository's file.
pub fn configured(git: &Git, remote: &str, pushing: bool) -> Option<(String, bool)> {
    let mut keys = Vec::new();
    if pushing {
        keys.extend([format!("remote.{remote}.lfspushurl"), "lfs.pushurl".to_owned()]);
    }
    keys.extend([format!("remote.{remote}.lfsurl"), "lfs.url".to_owned()]);
    let first = |settings: &Settings| keys.iter().find_map(|key| settings.get(key).map(str::to_owned));
    let user = first(&git.settings()).map(|text| (text, false));
    user.or_else(|| first(&git.lfsconfig()).map(|text| (text, true)))
}

/// The address of a git remote.
pub fn remote_url(git: &Git, remote: &str, pushing: bool) -> String {
    let settings = git.settings();
    // Without rules that rewrite addresses, what git would say stands there.
    let is_plain = !pushing && !settings.has_any("url", "insteadof");
    let plain = settings.all(&format!("remote.{remote}.url")).next();
    if let Some(url) = plain.filter(|url| is_plain && !url.is_empty()) {
        return url.to_owned();
    }
    let url = match pushing {
        true => git.run(&["remote", "get-url", "--push", "--", remote]).ok(),
        false => None,
    };
    url.or_else(|| git.run(&["ls-remote", "--get-url", "--", remote]).ok()).unwrap_or_default()
}

/// `<remote>/sparse` for a bare repository, `<remote>/.git/sparse` for one with a work tree.
fn beside_remote(git: &Git, remote: &str, pushing: bool) -> Result<Place, LocatorError> {
    let url = remote_url(git, remote, pushing);
    if let Some(url) = lfs_url_of(&url) {
        return Ok(Place::Web(url));
    }
    if let Some(url) = SshUrl::parse(&url) {
        return Ok(Place::Ssh(url));
    }
    let path = url.strip_prefix("file://").unwrap_or(&url);
    let not_local = || LocatorError::NotLocal { remote: remote.into(), url: url.clone() };
    if path.is_empty() || url.contains("://") && !url.starts_with("file://") {
        return Err(not_local());
    }
    let top = git.top().unwrap_or_else(|_| git.dir().to_owned());
    // git takes a name that it doesn't know for a path.
    let is_unknown = || git.run(&["remote", "get-url", "--", remote]).is_err();
    let found = [top.join(path), top.join(format!("{path}.git")), git.dir().join(path)];
    let repository = found.iter().find_map(|path| git_dir_at(path));
    match repository {
        Some(dir) => Ok(Place::Directory(dir.join("sparse"))),
        None if path == remote && !path.contains(['/', ':']) && is_unknown() => {
            Err(LocatorError::NoRemote(remote.into()))
        }
        None if path.contains(':') => Err(not_local()),
        None => Err(LocatorError::NoRepository { remote: remote.into(), path: path.into() }),
    }
}

/// A repository's address over ssh, in one of git's two spellings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshUrl {
    /// `user@host`, or `host`.
    pub host: String,
    pub port: Option<u16>,
    /// From the user's home, unless it begins with a slash.
    pub path: String,
}

impl SshUrl {
    /// `ssh://[user@]host[:port]/path`, or `[user@]host:path`.
    pub fn parse(url: &str) -> Option<SshUrl> {
        let (authority, path) =
            match ["ssh://", "git+ssh://"].iter().find_map(|scheme| url.strip_prefix(scheme)) {
                Some(rest) => {
                    let (authority, path) = rest.split_once('/')?;
                    // `/~/x` is from the home, as git has it.
                    (authority, path.strip_prefix("~/").map_or_else(|| format!("/{path}"), str::to_owned))
                }
                None => {
                    let (authority, path) = url.split_once(':')?;
                    let is_local = authority.contains('/') || url.contains("://");
                    if is_local {
                        return None;
                    }
                    (authority, path.strip_prefix("~/").unwrap_or(path).to_owned())
                }
            };
        let is_url = url.contains("://");
        // git decodes a URL, and only that.
        let decoded = percent_encoding::percent_decode_str(&path).decode_utf8().ok();
        let path = if is_url { decoded?.into_owned() } else { path };
        let (host, port) = match authority.rsplit_once(':').filter(|_| is_url && !authority.ends_with(']')) {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (authority, None),
        };
        // An address of IPv6 has brackets in a URL, and none for ssh.
        let bare = is_url.then(|| Some(host.strip_suffix(']')?.replacen('[', "", 1))).flatten();
        let host = bare.as_deref().unwrap_or(host);
        // ssh would take a dash for an option (CVE-2017-1000117).
        let is_host = |host: &str| !host.is_empty() && !host.starts_with('-');
        let name = host.rsplit('@').next().unwrap_or_default();
        let is_good = is_host(host) && is_host(name) && !path.is_empty() && !path.starts_with('-');
        is_good.then(|| SshUrl { host: host.into(), port, path })
    }
}

/// The repository at a path: a bare one, or that of a work tree.
pub fn git_dir_at(path: &Path) -> Option<PathBuf> {
    let is_git_dir = |dir: &Path| dir.join("objects").is_dir() && dir.join("HEAD").exists();
    let candidates = [path.join(".git"), path.to_owned()];
    candidates.into_iter().find(|dir| is_git_dir(dir)).and_then(|dir| dir.canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where ssh leads is read as git reads it, and nothing in it may become an option.
    #[test]
    fn addresses_over_ssh_are_those_of_git() {
        let url = |host: &str, port, path: &str| Some(SshUrl { host: host.into(), port, path: path.into() });
        assert_eq!(SshUrl::parse("ssh://me@host:22/srv/a.git"), url("me@host", Some(22), "/srv/a.git"));
        assert_eq!(SshUrl::parse("ssh://host/~/a.git"), url("host", None, "a.git"));
        assert_eq!(SshUrl::parse("me@host:a.git"), url("me@host", None, "a.git"));
        assert_eq!(SshUrl::parse("ssh://host/a%20b%25.git"), url("host", None, "/a b%.git"));
        assert_eq!(SshUrl::parse("host:a%20b.git"), url("host", None, "a%20b.git"));
        assert_eq!(SshUrl::parse("ssh://me@[::1]:22/a"), url("me@::1", Some(22), "/a"));
        assert_eq!(SshUrl::parse("ssh://[::1]/a"), url("::1", None, "/a"));
        assert_eq!(SshUrl::parse("host:/srv/a:b.git"), url("host", None, "/srv/a:b.git"));
        for bad in [
            "/srv/a.git",
            "./a:b",
            "https://host/a",
            "file:///a",
            "ssh://-oProxyCommand=x/a",
            "-x:a",
            "me@-x:a",
            "host:",
            "ssh://host",
            "ssh://host:x/a",
            "host:-a",
        ] {
            assert_eq!(SshUrl::parse(bad), None, "{bad}");
        }
    }

    /// A locator comes from a stranger's repository: only exact forms may mean anything.
    #[test]
    fn only_known_forms_are_locators() {
        assert_eq!(Locator::parse("sparse::origin").unwrap(), Locator::Origin);
        let dir = Locator::parse("sparse::file:///data/store").unwrap();
        assert_eq!(dir.to_string(), "sparse::file:///data/store");
        let bucket = Locator::parse("sparse::s3://models/team/").unwrap();
        assert_eq!(bucket.to_string(), "sparse::s3://models/team");
        for bad in [
            "",
            "origin",
            "sparse://origin",
            "sparse::file://x",
            "sparse::file:///a/../b",
            "sparse::-x",
            "sparse::s3://",
            "sparse::s3://b/../c",
            "sparse::http://b",
        ] {
            assert!(Locator::parse(bad).is_err(), "{bad} passed");
        }
    }
}
