//! Links that prove by themselves what their bearer may do, and how long.
//!
//! A signature is a keyed BLAKE3 over purpose, repository, file, size and end. Several keys may be good at a time, so
//! that they can be changed: the first one signs.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::repos::RepoName;

const KEY_BYTES: usize = 32;

/// What a link allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Get,
    Put,
    Verify,
    /// The endpoints of transfer `sparse`, to read.
    Fetch,
    /// The same, to write.
    Push,
    /// All that a user may do who came by ssh to read.
    LoginToRead,
    /// The same, to write.
    LoginToWrite,
}

/// Keys that sign and prove.
pub struct Keys(Vec<[u8; KEY_BYTES]>);

/// What is signed: a purpose, for one repository, and for one file if `of` names it.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub purpose: Purpose,
    pub repo: &'a RepoName,
    /// The file, and its size; empty for a whole repository. Of a login: its user.
    pub of: &'a str,
    pub size: u64,
    /// Seconds since 1970.
    pub until: u64,
}

impl Keys {
    /// The keys in `file`, one of 64 hexadecimal digits on each line; makes the file if there is none.
    pub fn open(file: &Path) -> io::Result<Keys> {
        match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(file),
            text => parse(&text?),
        }
    }

    pub fn sign(&self, claim: &Claim<'_>) -> String {
        mac(&self.0[0], claim).to_hex().to_string()
    }

    /// True when the claim was signed by one of the keys and is not over.
    pub fn prove(&self, claim: &Claim<'_>, signature: &str) -> bool {
        // Compared in constant time, which `blake3::Hash` does.
        let Ok(given) = blake3::Hash::from_hex(signature) else { return false };
        claim.until >= now() && self.0.iter().any(|key| mac(key, claim) == given)
    }
}

/// The end of a link that is made now.
pub fn end(life: Duration) -> u64 {
    now() + life.as_secs()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// 32 bytes from the system's generator.
pub fn random() -> io::Result<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

fn mac(key: &[u8; KEY_BYTES], claim: &Claim<'_>) -> blake3::Hash {
    let Claim { purpose, repo, of, size, until } = claim;
    // No part can hold a line end, so no two claims give one text.
    let text = format!("git-sparse hub 1\n{purpose:?}\n{repo}\n{of}\n{size}\n{until}");
    blake3::keyed_hash(key, text.as_bytes())
}

fn make(file: &Path) -> io::Result<Keys> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let key = random()?;
    let mut out = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        // Another server was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Keys::open(file),
        out => out?,
    };
    writeln!(out, "{}", blake3::Hash::from_bytes(key).to_hex())?;
    out.sync_all()?;
    Ok(Keys(vec![key]))
}

fn parse(text: &str) -> io::Result<Keys> {
    let key = |line: &str| blake3::Hash::from_hex(line.trim()).map(|hash| *hash.as_bytes());
    let keys: Result<Vec<_>, _> = text.lines().filter(|line| !line.trim().is_empty()).map(key).collect();
    match keys {
        Ok(keys) if !keys.is_empty() => Ok(Keys(keys)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "expected keys of 64 hexadecimal digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(repo: &RepoName) -> Claim<'_> {
        Claim { purpose: Purpose::Put, repo, of: "ab", size: 3, until: now() + 60 }
    }

    /// A link must be good for exactly what it was made for.
    #[test]
    fn a_signature_is_of_one_claim() {
        let keys = Keys(vec![random().unwrap()]);
        let (repo, other) = ("a/b".parse().unwrap(), "a/c".parse().unwrap());
        let good = claim(&repo);
        let signature = keys.sign(&good);
        assert!(keys.prove(&good, &signature));
        for bad in [
            Claim { purpose: Purpose::Get, ..good },
            Claim { repo: &other, ..good },
            Claim { of: "ac", ..good },
            Claim { size: 4, ..good },
            Claim { until: good.until + 1, ..good },
        ] {
            assert!(!keys.prove(&bad, &signature), "{bad:?} passed");
        }
        assert!(!keys.prove(&good, ""));
        let over = Claim { until: now() - 1, ..good };
        assert!(!keys.prove(&over, &keys.sign(&over)), "a link that is over passed");
    }

    /// Keys are changed while links of the old one are under way.
    #[test]
    fn two_keys_are_good_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let old = Keys::open(&file).unwrap();
        let repo = "a".parse().unwrap();
        let signature = old.sign(&claim(&repo));
        let fresh = blake3::Hash::from_bytes(random().unwrap()).to_hex();
        let text = format!("{fresh}\n{}", fs::read_to_string(&file).unwrap());
        fs::write(&file, text).unwrap();
        let both = Keys::open(&file).unwrap();
        assert!(both.prove(&claim(&repo), &signature));
        assert_ne!(both.sign(&claim(&repo)), signature, "the old key signs on");
        fs::write(&file, "short\n").unwrap();
        assert!(Keys::open(&file).is_err());
    }
}
