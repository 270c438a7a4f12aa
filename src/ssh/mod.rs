//! What plain git-lfs clients start over ssh: `git-lfs-transfer`, whole files of a repository's store over standard input
//! and output.
//!
//! Specification: git-lfs `docs/proposals/ssh_adapter.md`, version 1. Who may log in may do what the system lets them;
//! the operation that they come with narrows that down. Other processes may use the store at the same time.

mod locking;
mod objects;
mod pktline;
mod session;

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

pub use session::{Session, SessionError};

/// What a client came for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Upload,
    Download,
    /// Locks, and no files.
    Lock,
}

impl FromStr for Operation {
    type Err = ();

    fn from_str(text: &str) -> Result<Operation, ()> {
        match text {
            "upload" => Ok(Operation::Upload),
            "download" => Ok(Operation::Download),
            "lock" => Ok(Operation::Lock),
            _ => Err(()),
        }
    }
}

/// The path of a repository as clients send it, from the user's home where it begins with `~/`.
///
/// None for what no client sends: options, steps upwards, homes of others, signs that no path needs.
pub fn path(text: &str, home: &Path) -> Option<PathBuf> {
    let is_odd = text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control);
    let from_home = text.strip_prefix("/~/").or_else(|| text.strip_prefix("~/"));
    let path = from_home.map_or_else(|| PathBuf::from(text), |rest| home.join(rest.trim_start_matches('/')));
    let climbs = path.components().any(|part| part == Component::ParentDir);
    let is_of_another = from_home.is_none() && text.trim_start_matches('/').starts_with('~');
    (!is_odd && !climbs && !is_of_another).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path is a stranger's word: only what clients really send may lead anywhere.
    #[test]
    fn only_plain_paths_lead_to_repositories() {
        let home = Path::new("/home/me");
        let leads = |text: &str| path(text, home).map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(leads("/srv/a b.git").as_deref(), Some("/srv/a b.git"));
        assert_eq!(leads("a.git").as_deref(), Some("a.git"));
        assert_eq!(leads("~/a.git").as_deref(), Some("/home/me/a.git"));
        assert_eq!(leads("/~/a.git").as_deref(), Some("/home/me/a.git"));
        for bad in
            ["", "-x", "--help", "..", "/srv/../etc", "a/..", "~root/a", "/~root/a", "~", "a\0", "a\nb"]
        {
            assert_eq!(leads(bad), None, "{bad:?} passed");
        }
    }

    /// An operation is a right: what is none must not become one.
    #[test]
    fn only_known_operations_are_rights() {
        assert_eq!("download".parse(), Ok(Operation::Download));
        for bad in ["", "Upload", "upload ", "admin", "uploads"] {
            assert!(bad.parse::<Operation>().is_err(), "{bad:?} passed");
        }
    }
}
