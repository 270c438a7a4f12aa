//! What a user may name as a model: files on disk, a revision of a repository, or a model of a hub.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::repo::Repo;
use super::{hub, watch};
use crate::artifact::{Staging, StagingError, Tree, TreeError, TreeFile};
use crate::daemon::message::{Failure, Kind, Request};
use crate::daemon::words;
use crate::format::{OpenFile, Source};
use crate::git::content::{self, ContentError};
use crate::git::{Pointer, pointer};
use crate::hub::ModelName;

/// A model, and the directory that holds its files as long as they are needed.
pub struct Found {
    pub tree: Tree,
    _checkout: Option<Staging>,
}

/// Finds the model that `spec` names, whole. The files of a revision are written beside `near` for a while.
pub fn find(spec: &str, near: &Path) -> Result<Found, Failure> {
    let found = look_up(spec, near)?;
    for file in &found.tree.files {
        refuse_pointer(file)?;
        refuse_missing_shards(file, &found.tree)?;
    }
    Ok(found)
}

/// A pointer is no weights, and a delta of it would be one of nothing.
fn refuse_pointer(file: &TreeFile) -> Result<(), Failure> {
    let failed = |error: io::Error| words::file(&file.place, &error);
    let source = OpenFile::open(&file.place).map_err(failed)?;
    if source.len() >= pointer::MAX_POINTER_BYTES as u64 {
        return Ok(());
    }
    let mut text = vec![0; source.len() as usize];
    source.read_at(&mut text, 0).map_err(failed)?;
    match Pointer::parse(&text) {
        None => Ok(()),
        Some(_) => {
            let told = format!("{} is a Git LFS pointer: its content is not here", file.path);
            Err(Failure::new(Kind::NotFound, told).fix("git lfs pull, or name it as REV:PATH"))
        }
    }
}

/// `model.safetensors.index.json` and its kin name the files that the tensors are in.
fn refuse_missing_shards(file: &TreeFile, tree: &Tree) -> Result<(), Failure> {
    if !file.path.ends_with(".index.json") {
        return Ok(());
    }
    let text = fs::read(&file.place).map_err(|error| words::file(&file.place, &error))?;
    let index: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let folder = file.path.rfind('/').map_or("", |at| &file.path[..=at]);
    let shards = index["weight_map"].as_object().into_iter().flat_map(|map| map.values());
    let mut shards = shards.filter_map(|shard| shard.as_str());
    match shards.find(|shard| tree.find(&format!("{folder}{shard}")).is_none()) {
        None => Ok(()),
        Some(shard) => {
            let told = format!("{}: {} names {shard}, which is not there", tree.name, file.path);
            Err(Failure::new(Kind::NotFound, told).fix("fetch the whole model: hf download, or git lfs pull"))
        }
    }
}

fn look_up(spec: &str, near: &Path) -> Result<Found, Failure> {
    if Path::new(spec).exists() {
        let tree = Tree::read(spec, Path::new(spec)).map_err(|error| not_a_model(&error))?;
        return Ok(Found { tree, _checkout: None });
    }
    if let Some((revision, path)) = spec.split_once(':') {
        return at_revision(spec, revision, path, near);
    }
    let Some(name) = ModelName::parse(spec) else {
        return Err(Failure::new(Kind::NotFound, format!("{spec}: no such file or directory"))
            .fix("name a file, a directory, REV:PATH in a repository, or org/name[@revision] of a hub"));
    };
    let found = hub::find(&name)?;
    let tree = Tree::read(spec, &found.dir).map_err(|error| not_a_model(&error))?;
    Ok(Found { tree: Tree { revision: Some(found.commit), ..tree }, _checkout: None })
}

fn at_revision(spec: &str, revision: &str, path: &str, near: &Path) -> Result<Found, Failure> {
    let repo = Repo::here()?;
    let commit = repo.commit(if revision.is_empty() { "HEAD" } else { revision })?;
    let below = repo.in_tree(path)?;
    let staging = Staging::begin(&beside(near, &commit, path)).map_err(|error| taken(&error))?;
    let mut pointers = Vec::new();
    content::visit(&repo.git_dir, &commit, &below, &mut |path, bytes| {
        let place = staging.path().join(path);
        fs::create_dir_all(place.parent().expect("because it lies below a directory"))?;
        match Pointer::parse(bytes) {
            Some(pointer) => pointers.push((pointer, place)),
            None => fs::write(&place, bytes)?,
        }
        Ok(())
    })
    .map_err(|error| match error {
        ContentError::Repository(error) => Failure::new(Kind::NotFound, error.to_string()),
        ContentError::Visitor(error) => words::file(staging.path(), &error),
    })?;
    for (pointer, place) in pointers {
        fill(&repo, pointer, &place)?;
    }
    // Named as they are below the path, or a file by its own name.
    let root = staging.path().join(&below);
    if !root.exists() {
        let told = format!("{spec}: {commit:.12} has nothing at {below:?}");
        return Err(
            Failure::new(Kind::NotFound, told).fix(format!("look: git ls-tree -r --name-only {commit:.12}"))
        );
    }
    let tree = Tree::read(spec, &root).map_err(|error| not_a_model(&error))?;
    Ok(Found { tree: Tree { revision: Some(commit), ..tree }, _checkout: Some(staging) })
}

/// A name for the files of a revision that no other checkout has.
fn beside(near: &Path, commit: &str, path: &str) -> PathBuf {
    let name = near.file_name().unwrap_or_default().to_string_lossy();
    near.with_file_name(format!("{name}.{commit:.12}.{}", path.replace('/', "-")))
}

/// The file of a pointer: git-lfs' own copy, or rebuilt.
fn fill(repo: &Repo, pointer: Pointer, place: &Path) -> Result<(), Failure> {
    let lfs = repo.git.lfs_dir().map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    let kept = pointer::object_path(&lfs.join("objects"), pointer.oid);
    let failed = |error: io::Error| words::file(place, &error);
    if fs::metadata(&kept).is_ok_and(|found| found.len() == pointer.size) {
        return std::os::unix::fs::symlink(kept, place).map_err(failed);
    }
    let path = std::path::absolute(place).map_err(failed)?;
    watch::call(&Request::Rebuild { oid: pointer.oid, path }).map(drop)
}

/// Files that are no model.
pub fn not_a_model(error: &TreeError) -> Failure {
    match error {
        TreeError::Io { path, error } => words::file(path, error),
        TreeError::Empty(_) | TreeError::TooMany(_) | TreeError::Name(_) | TreeError::NotAFile(_) => {
            Failure::new(Kind::Usage, error.to_string()).fix("name the directory that holds the files")
        }
    }
}

/// A directory that can't be made.
pub fn taken(error: &StagingError) -> Failure {
    match error {
        StagingError::Taken(_) => Failure::new(Kind::Refused, error.to_string()).fix("name a new directory"),
        StagingError::Io { path, error } => words::file(path, error),
    }
}

/// Where files may lie for a while when there is no output to put them beside.
pub fn scratch() -> PathBuf {
    std::env::temp_dir().join("git-sparse-model")
}
