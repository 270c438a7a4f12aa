//! Tokens for users who came by ssh: good for one repository and a short time, known to nobody but their signature.

use std::path::Path;
use std::time::Duration;

use super::access::May;
use super::repos::RepoName;
use super::signature::{Claim, Keys, Purpose, end};

/// What these tokens begin with, so that scanners for secrets find them.
const PREFIX: &str = "gsl_";
const MAX_USER_BYTES: usize = 100;
/// How long one is good. Clients ask for another by themselves.
pub const LIFE: Duration = Duration::from_secs(900);

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("{0}: there are no keys of a hub")]
    NoKeys(String),
    #[error("{place}: {error}")]
    Keys { place: String, error: std::io::Error },
    #[error(
        "{0:?} can't stand in a token: expected up to {MAX_USER_BYTES} letters, digits, '.', '_', '-', '@' and '+'"
    )]
    User(String),
}

/// Signs a token by which `user` may read, or write, `repo` at the hub that has these keys.
pub fn sign(keys: &Path, repo: &RepoName, user: &str, may: May) -> Result<String, LoginError> {
    // Never made here: a key that the hub does not have opens nothing.
    if !keys.exists() {
        return Err(LoginError::NoKeys(keys.display().to_string()));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@+".contains(&byte);
    if !(1..=MAX_USER_BYTES).contains(&user.len()) || !user.bytes().all(is_plain) {
        return Err(LoginError::User(user.chars().take(MAX_USER_BYTES).collect()));
    }
    let place = || keys.display().to_string();
    let keys = Keys::open(keys).map_err(|error| LoginError::Keys { place: place(), error })?;
    let until = end(LIFE);
    let claim = Claim { purpose: purpose(may), repo, of: user, size: 0, until };
    let letter = if may == May::Read { 'r' } else { 'w' };
    Ok(format!("{PREFIX}{letter}_{until}_{}_{user}", keys.sign(&claim)))
}

/// Who came with this token, and what they may do in the repository; none if it is no such token or not good.
pub fn prove(keys: &Keys, secret: &str, repo: &RepoName) -> Option<(String, May)> {
    let mut parts = secret.strip_prefix(PREFIX)?.splitn(4, '_');
    let may = match parts.next()? {
        "r" => May::Read,
        "w" => May::Write,
        _ => return None,
    };
    let (until, signature, user) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    let claim = Claim { purpose: purpose(may), repo, of: user, size: 0, until };
    keys.prove(&claim, signature).then(|| (user.to_owned(), may))
}

fn purpose(may: May) -> Purpose {
    match may {
        May::Read => Purpose::LoginToRead,
        May::Write | May::Admin => Purpose::LoginToWrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token must be good for its own repository, user and right, and for nothing else.
    #[test]
    fn a_token_is_good_for_what_it_was_made_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("link-keys");
        let (repo, other): (RepoName, RepoName) = ("a/b".parse().unwrap(), "a/c".parse().unwrap());
        assert!(matches!(sign(&file, &repo, "ann", May::Read), Err(LoginError::NoKeys(_))));
        let keys = Keys::open(&file).unwrap();
        let token = sign(&file, &repo, "ann_b", May::Read).unwrap();
        assert_eq!(prove(&keys, &token, &repo), Some(("ann_b".into(), May::Read)));
        assert_eq!(prove(&keys, &token, &other), None);
        for bad in [
            token.replacen("gsl_r", "gsl_w", 1),
            token.replace("ann_b", "bob"),
            token.replace("ann_b", "ann_b\n"),
            token.replacen("gsl_r_", "gsl_r_9", 1),
            "gsl_".into(),
            "gsl_r_1_2".into(),
            String::new(),
        ] {
            assert_eq!(prove(&keys, &bad, &repo), None, "{bad:?} passed");
        }
        for bad in ["", "a b", "a\nb", "é"] {
            assert!(matches!(sign(&file, &repo, bad, May::Read), Err(LoginError::User(_))), "{bad:?} passed");
        }
    }
}
