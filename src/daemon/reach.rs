//! How this user gets to a remote: the ssh command, the credentials and certificates that only their environment and
//! configuration know. A process in the background is told all of it.

use std::env;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine};

use super::message::{Failure, Kind, RemotePlace};
use super::{cloud, words};
use crate::git::command::Git;
use crate::git::credential::{self, Credential};
use crate::locator::{self, Place, SshUrl};
use crate::peer::{self, HubPlace, Line, LineError, Secret, SshPlace};
use crate::progress::unwatched;

/// Configuration key of git sparse's program on the other side of ssh.
const PROGRAM_KEY: &str = "gitsparse.sshprogram";

/// What a repository's remote leads to: a store that its locator names, or a hub that is its Git LFS server.
pub fn find(git: &Git, remote: &str, pushing: bool) -> Result<RemotePlace, Failure> {
    match locator::resolve(git, remote, pushing) {
        Ok(place) => store(git, place),
        Err(error) => {
            let url = locator::lfs_url(git, remote, pushing).filter(|_| error.is_no_locator());
            let hub = url.map(|url| hub(git, &url)).transpose()?.flatten();
            hub.ok_or_else(|| words::locator(&error))
        }
    }
}

/// A store that a locator leads to.
pub fn store(git: &Git, place: Place) -> Result<RemotePlace, Failure> {
    Ok(match place {
        Place::Directory(path) => RemotePlace::Directory(path),
        Place::Web(url) => hub(git, &url)?.ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("the server at {url} is no hub of git sparse"))
                .fix("take lfs.url out of .lfsconfig: git-lfs then asks that server for whole files")
        })?,
        Place::Bucket(address) => cloud::place(address)?,
        Place::Ssh(SshUrl { host, port, path }) => RemotePlace::Hub(HubPlace::Ssh(SshPlace {
            host,
            port,
            path,
            command: ssh_command(git),
            program: git.config(PROGRAM_KEY).unwrap_or_else(|| "git-sparse".into()),
            agent: env::var("SSH_AUTH_SOCK").ok(),
        })),
    })
}

/// The ssh command in force, in git's own order.
fn ssh_command(git: &Git) -> String {
    let set = |key: &str| env::var(key).ok().filter(|value| !value.is_empty());
    let program = || set("GIT_SSH").map(|program| format!("'{}'", program.replace('\'', r"'\''")));
    let command = set("GIT_SSH_COMMAND").or_else(|| git.config("core.sshCommand")).or_else(program);
    command.unwrap_or_else(|| "ssh".into())
}

/// The hub that a batch answer of `lfs_url` leads to, by a link that proves what its bearer may do.
pub fn linked(git: &Git, lfs_url: Option<&str>, href: &str) -> Result<HubPlace, Failure> {
    let (url, query) = href.split_once('?').unwrap_or((href, ""));
    let is_http = url.starts_with("https://") || url.starts_with("http://");
    let is_worse = lfs_url.is_some_and(|asked| asked.starts_with("https://")) && !url.starts_with("https://");
    let is_known = url.ends_with(&format!("/sparse/{}", peer::VERSION));
    if !is_http || is_worse || !is_known {
        return Err(Failure::new(Kind::Refused, "the LFS server names a place that can't be used")
            .fix("update git-sparse, or tell whoever runs the server to check its --url"));
    }
    Ok(HubPlace::Http {
        url: url.into(),
        query: Secret(query.into()),
        authorization: None,
        certificates: certificates(git, url),
    })
}

/// The hub at this Git LFS address, as the user's own credentials open it; none where the server is no hub.
pub fn hub(git: &Git, lfs_url: &str) -> Result<Option<RemotePlace>, Failure> {
    let url = format!("{lfs_url}/sparse/{}", peer::VERSION);
    let (bare, own) = split_user(&url);
    let place = |credential: Option<&Credential>| HubPlace::Http {
        url: bare.clone(),
        query: Secret(String::new()),
        authorization: credential.map(basic),
        certificates: certificates(git, &bare),
    };
    let asked = |place: HubPlace| -> Result<HubPlace, LineError> {
        peer::greet(&Line::to(&place)?, &unwatched)?;
        Ok(place)
    };
    let first = asked(place(own.as_ref()));
    let outcome = match first {
        Err(LineError::Status { status: 401, .. }) => match credential::fill(git, &bare) {
            None => first,
            Some(known) => {
                let second = asked(place(Some(&known)));
                let refused = matches!(second, Err(LineError::Status { status: 401 | 403, .. }));
                if refused || second.is_ok() {
                    credential::judge(git, &bare, &known, !refused);
                }
                second
            }
        },
        first => first,
    };
    match outcome {
        Ok(place) => Ok(Some(RemotePlace::Hub(place))),
        // A server that knows nothing of this transfer.
        Err(LineError::Status { status: 404 | 405 | 501, .. }) => Ok(None),
        Err(error) => Err(words::line(&error)),
    }
}

fn basic(credential: &Credential) -> Secret {
    let pair = format!("{}:{}", credential.user, credential.password);
    Secret(format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

/// An address without the user and password that may stand in it.
fn split_user(url: &str) -> (String, Option<Credential>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.into(), None) };
    let end = rest.find('/').unwrap_or(rest.len());
    let Some((user, host)) = rest[..end].rsplit_once('@') else { return (url.into(), None) };
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credential = Credential { user: decode(user), password: decode(password) };
    let is_whole = !credential.password.is_empty();
    (format!("{scheme}://{host}{}", &rest[end..]), is_whole.then_some(credential))
}

/// What git trusts for this address in place of the system's certificates.
fn certificates(git: &Git, url: &str) -> Option<PathBuf> {
    if !url.starts_with("https://") {
        return None;
    }
    let set = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let configured = || {
        if !git.settings().has_any("http", "sslcainfo") {
            return None;
        }
        let found = git.run(&["config", "--path", "--get-urlmatch", "http.sslCAInfo", url]).ok()?;
        Some(found).filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    set("GIT_SSL_CAINFO").or_else(configured).or_else(|| set("SSL_CERT_FILE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password in an address must not get into a name that is shown.
    #[test]
    fn an_address_is_parted_from_its_password() {
        let (url, known) = split_user("https://me:se%40cret@hub.example:8443/a@b/c");
        assert_eq!(url, "https://hub.example:8443/a@b/c");
        assert_eq!(known.map(|known| (known.user, known.password)), Some(("me".into(), "se@cret".into())));
        assert!(split_user("https://me@hub.example/a").1.is_none());
        assert_eq!(split_user("https://hub.example/a@b").0, "https://hub.example/a@b");
    }

    /// A server must not send us, and what we are asked for, to where the user did not go.
    #[test]
    fn links_stay_on_the_web_and_on_tls() {
        let git = Git::at("/");
        let linked = |asked: &str, href: &str| linked(&git, Some(asked), href);
        assert!(linked("https://h/x", "https://h/a.git/info/lfs/sparse/1?sig=1").is_ok());
        for bad in [
            "http://h/a.git/info/lfs/sparse/1",
            "file:///etc/passwd/sparse/1",
            "https://h/a.git/info/lfs/sparse/2",
            "https://h/",
            "",
        ] {
            assert!(linked("https://h/x", bad).is_err(), "{bad} passed");
        }
    }
}
