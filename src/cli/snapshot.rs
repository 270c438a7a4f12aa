//! Models in the local Hugging Face cache: `org/name`, `org/name@revision`.
//!
//! Layout (huggingface_hub, "Understand caching"): `models--org--name/` with `refs/<name>`, which hold a
//! commit, and `snapshots/<commit>/`, whose files are links to blobs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The revision that is meant when none is named.
const DEFAULT_REVISION: &str = "main";

/// A snapshot in the cache.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub dir: PathBuf,
    pub commit: String,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum NoSnapshot {
    /// The text is not a name of a model.
    NotAName,
    /// The cache has no model of this name; this is where it would be.
    Unknown(PathBuf),
    /// The cache has the model, with these commits alone.
    OtherRevisions(Vec<String>),
}

/// Finds what `spec` names in the user's cache.
pub fn find(spec: &str) -> Result<Snapshot, NoSnapshot> {
    find_in(&cache().ok_or(NoSnapshot::NotAName)?, spec)
}

fn find_in(cache: &Path, spec: &str) -> Result<Snapshot, NoSnapshot> {
    let (name, revision) = spec.split_once('@').unwrap_or((spec, DEFAULT_REVISION));
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_name(part)) || !is_revision(revision) {
        return Err(NoSnapshot::NotAName);
    }
    let model = cache.join(format!("models--{}", parts.join("--")));
    if !model.is_dir() {
        return Err(NoSnapshot::Unknown(model));
    }
    let named = fs::read_to_string(model.join("refs").join(revision)).ok();
    let wanted = named.as_deref().map_or(revision, str::trim);
    let known = commits(&model);
    let mut matching = known.iter().filter(|commit| commit.starts_with(wanted));
    match (matching.next(), matching.next()) {
        (Some(commit), None) => {
            Ok(Snapshot { dir: model.join("snapshots").join(commit), commit: commit.clone() })
        }
        _ => Err(NoSnapshot::OtherRevisions(known)),
    }
}

fn commits(model: &Path) -> Vec<String> {
    let entries = fs::read_dir(model.join("snapshots")).into_iter().flatten().flatten();
    let mut commits: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    commits.sort();
    commits
}

/// Where huggingface_hub keeps its cache, by its own variables.
fn cache() -> Option<PathBuf> {
    let set = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HF_HOME").map(|home| home.join("hub"));
    let xdg =
        || Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("huggingface/hub"));
    set("HF_HUB_CACHE").or_else(home).or_else(xdg)
}

fn is_name(part: &str) -> bool {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_.".contains(sign);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
}

/// A branch may have slashes; nothing may lead out of `refs/`.
fn is_revision(text: &str) -> bool {
    text.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wrong snapshot makes a delta that fits no one's base: a name must lead to one, or to none.
    #[test]
    fn a_name_leads_to_one_snapshot() {
        let cache = tempfile::tempdir().unwrap();
        let model = cache.path().join("models--org--tiny");
        let (old, new) = ("aaaa1111", "aaaa2222");
        for commit in [old, new] {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
        }
        fs::create_dir_all(model.join("refs/pr")).unwrap();
        fs::write(model.join("refs/main"), format!("{new}\n")).unwrap();
        fs::write(model.join("refs/pr/1"), old).unwrap();
        let commit = |spec| find_in(cache.path(), spec).map(|found| found.commit);
        assert_eq!(commit("org/tiny"), Ok(new.into()));
        assert_eq!(commit("org/tiny@pr/1"), Ok(old.into()));
        assert_eq!(commit("org/tiny@aaaa1"), Ok(old.into()));
        for unclear in ["org/tiny@aaaa", "org/tiny@b"] {
            assert_eq!(commit(unclear), Err(NoSnapshot::OtherRevisions(vec![old.into(), new.into()])));
        }
        assert!(matches!(commit("org/other"), Err(NoSnapshot::Unknown(_))));
        for bad in ["../x", "a/b/c", "org/tiny@../../etc", "org/", "a:b"] {
            assert_eq!(commit(bad), Err(NoSnapshot::NotAName), "{bad}");
        }
    }
}
