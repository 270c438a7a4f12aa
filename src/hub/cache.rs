//! The local Hugging Face cache: which snapshots are there, and how one is added.
//!
//! Layout (huggingface_hub, "Understand caching"): `models--org--name/`, of data sets `datasets--org--name/`, with
//! `blobs/<etag>`, `refs/<name>`, which hold a commit, `snapshots/<commit>/`, whose files are relative links to blobs,
//! and since its version 2 `trees/<commit>.json`, which lists what a whole snapshot has.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ModelName;
use super::listing::Listing;
use crate::artifact::{Staging, StagingError, is_unfinished};

/// Longest list of a tree that is read.
const MAX_TREE_BYTES: u64 = 64 << 20;

/// A directory of models.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// A snapshot in the cache.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub dir: PathBuf,
    pub commit: String,
    /// Files of that commit that are not there, where this is known.
    pub missing: Vec<String>,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum NoSnapshot {
    /// The cache has no model of this name; this is where it would be.
    Unknown(PathBuf),
    /// The cache has the model, with these commits alone.
    OtherRevisions(Vec<String>),
}

impl Cache {
    pub fn at(root: PathBuf) -> Cache {
        Cache { root }
    }

    /// Finds the one snapshot that a name means: by a name of a revision, a commit, or the start of one.
    pub fn find(&self, name: &ModelName) -> Result<Snapshot, NoSnapshot> {
        let (model, dataset) = (self.model(name), self.model(&name.as_dataset()));
        let model = match (model.is_dir(), dataset.is_dir()) {
            (true, _) => model,
            // Who asks for a data set by its name alone means the one that is here.
            (false, true) => dataset,
            (false, false) => return Err(NoSnapshot::Unknown(model)),
        };
        let named = fs::read_to_string(model.join("refs").join(name.revision())).ok();
        let wanted = named.as_deref().map_or(name.revision(), str::trim);
        let known = commits(&model);
        let mut matching = known.iter().filter(|commit| commit.starts_with(wanted));
        match (matching.next(), matching.next()) {
            (Some(commit), None) => {
                let dir = model.join("snapshots").join(commit);
                let missing = missing(&model, commit, &dir);
                Ok(Snapshot { dir, commit: commit.clone(), missing })
            }
            _ => Err(NoSnapshot::OtherRevisions(known)),
        }
    }

    fn model(&self, name: &ModelName) -> PathBuf {
        self.root.join(format!("{}--{}", name.collection(), name.name.replace('/', "--")))
    }

    /// Where the contents of a model's files are.
    pub(super) fn blobs(&self, name: &ModelName) -> PathBuf {
        self.model(name).join("blobs")
    }

    /// Gives the files of a commit their names; `blobs` are those of the listing's files, in their order. The
    /// snapshot is there with all of them or, where it is new, not at all.
    pub(super) fn publish(
        &self,
        name: &ModelName,
        listing: &Listing,
        blobs: &[String],
    ) -> Result<Snapshot, (PathBuf, io::Error)> {
        let model = self.model(name);
        write_tree(&model, listing)?;
        let dir = model.join("snapshots").join(&listing.commit);
        match Staging::begin(&dir) {
            Ok(staging) => {
                link_all(staging.path(), listing, blobs)?;
                match staging.publish() {
                    // Another program was faster.
                    Err(StagingError::Taken(_)) => link_all(&dir, listing, blobs)?,
                    Err(StagingError::Io { path, error }) => return Err((path, error)),
                    Ok(_) => {}
                }
            }
            // Some files of it are there already.
            Err(StagingError::Taken(_)) => link_all(&dir, listing, blobs)?,
            Err(StagingError::Io { path, error }) => return Err((path, error)),
        }
        if name.revision() != listing.commit {
            let place = model.join("refs").join(name.revision());
            replace(&place, listing.commit.as_bytes()).map_err(|error| (place, error))?;
        }
        Ok(Snapshot { dir, commit: listing.commit.clone(), missing: Vec::new() })
    }
}

fn commits(model: &Path) -> Vec<String> {
    let entries = fs::read_dir(model.join("snapshots")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut commits: Vec<_> = names.filter(|name| !is_unfinished(name)).collect();
    commits.sort();
    commits
}

/// What the list of a tree has and its snapshot has not; nothing where there is no list.
fn missing(model: &Path, commit: &str, dir: &Path) -> Vec<String> {
    let place = model.join("trees").join(format!("{commit}.json"));
    let is_short = fs::metadata(&place).is_ok_and(|found| found.is_file() && found.len() <= MAX_TREE_BYTES);
    let text = if is_short { fs::read(&place).unwrap_or_default() } else { Vec::new() };
    let tree: Value = serde_json::from_slice(&text).unwrap_or_default();
    let paths = tree["files"].as_object().into_iter().flat_map(|files| files.keys());
    paths.filter(|path| !dir.join(path).exists()).cloned().collect()
}

/// The list by which others know a whole snapshot, where the hub told enough for one.
fn write_tree(model: &Path, listing: &Listing) -> Result<(), (PathBuf, io::Error)> {
    let mut files = serde_json::Map::new();
    for file in &listing.files {
        let (Some(size), Some(blob)) = (file.size, &file.blob) else { return Ok(()) };
        let mut entry = json!({ "size": size, "blob_id": blob });
        if let Some(sha256) = &file.sha256 {
            entry["lfs_sha256"] = json!(sha256);
            entry["lfs_size"] = json!(size);
        }
        files.insert(file.path.clone(), entry);
    }
    let place = model.join("trees").join(format!("{}.json", listing.commit));
    let text = json!({ "format_version": 1, "files": files }).to_string();
    if place.exists() {
        return Ok(());
    }
    replace(&place, text.as_bytes()).map_err(|error| (place, error))
}

fn link_all(dir: &Path, listing: &Listing, blobs: &[String]) -> Result<(), (PathBuf, io::Error)> {
    for (file, blob) in listing.files.iter().zip(blobs) {
        let place = dir.join(&file.path);
        link(&place, &file.path, blob).map_err(|error| (place, error))?;
    }
    Ok(())
}

fn link(place: &Path, path: &str, blob: &str) -> io::Result<()> {
    fs::create_dir_all(place.parent().expect("because it lies below a directory"))?;
    if place.exists() {
        return Ok(());
    }
    // From `snapshots/<commit>/`, and from as many folders as the path has.
    let target = format!("{}blobs/{blob}", "../".repeat(2 + path.matches('/').count()));
    match symlink(&target, place) {
        // A link that leads nowhere, or one that was made at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let _ = fs::remove_file(place);
            symlink(&target, place)
        }
        done => done,
    }
}

/// Writes a small file that is there with all its bytes, or as it was.
fn replace(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = place.parent().expect("because it lies below the cache");
    fs::create_dir_all(folder)?;
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.partial", std::process::id()));
    let write = || {
        fs::write(&beside, bytes)?;
        File::open(&beside)?.sync_all()?;
        fs::rename(&beside, place)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wrong snapshot makes a delta that fits no one's base: a name must lead to one, or to none.
    #[test]
    fn a_name_leads_to_one_snapshot() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("models--org--tiny");
        let (old, new) = ("aaaa1111", "aaaa2222");
        for commit in [old, new] {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
        }
        fs::create_dir_all(model.join("snapshots/.bbbb.1.0.partial")).unwrap();
        fs::create_dir_all(model.join("refs/pr")).unwrap();
        fs::write(model.join("refs/main"), format!("{new}\n")).unwrap();
        fs::write(model.join("refs/pr/1"), old).unwrap();
        let cache = Cache::at(root.path().to_owned());
        let commit = |spec| cache.find(&ModelName::parse(spec).unwrap()).map(|found| found.commit);
        assert_eq!(commit("org/tiny"), Ok(new.into()));
        assert_eq!(commit("org/tiny@pr/1"), Ok(old.into()));
        assert_eq!(commit("org/tiny@aaaa1"), Ok(old.into()));
        for unclear in ["org/tiny@aaaa", "org/tiny@b"] {
            assert_eq!(commit(unclear), Err(NoSnapshot::OtherRevisions(vec![old.into(), new.into()])));
        }
        assert!(matches!(commit("org/other"), Err(NoSnapshot::Unknown(_))));
        // A data set by its own name; by that alone, where there is no model of it.
        for (name, commit) in [("tiny", "cccc3333"), ("words", "dddd4444")] {
            let dataset = root.path().join(format!("datasets--org--{name}"));
            fs::create_dir_all(dataset.join("snapshots").join(commit)).unwrap();
            fs::create_dir_all(dataset.join("refs")).unwrap();
            fs::write(dataset.join("refs/main"), commit).unwrap();
        }
        assert_eq!(commit("datasets/org/tiny"), Ok("cccc3333".into()));
        assert_eq!(commit("org/tiny"), Ok(new.into()));
        assert_eq!(commit("datasets/org/words@dddd"), Ok("dddd4444".into()));
        assert_eq!(commit("org/words"), Ok("dddd4444".into()));
        assert!(matches!(commit("datasets/org/other"), Err(NoSnapshot::Unknown(_))));
        for bad in ["../x", "datasets/a/b/c", "a/b/c", "org/tiny@../../etc", "org/", "a:b"] {
            assert_eq!(ModelName::parse(bad), None, "{bad}");
        }
    }
}
