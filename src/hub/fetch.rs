//! A model of a hub → a snapshot in the cache, with all its files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ModelName;
use super::cache::{Cache, Snapshot};
use super::download::{Blob, DownloadError, download};
use super::http::{Client, quoted};
use super::listing::{Listed, Listing};
use crate::progress::Progress;

/// Why a model did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{0}")]
    Download(#[from] DownloadError),
    #[error("{}: {needed} bytes are needed and {free} are free", path.display())]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    #[error("{}: {error}", path.display())]
    Cache { path: PathBuf, error: io::Error },
}

/// Fetches what the cache lacks of a listing's files, one after the other. The snapshot appears when all are
/// there, each with its hash; what came before an error is kept and not asked for again.
///
/// # Errors
/// A hub that sends other files than it lists, or none; a cache that can't be written, or is full.
pub fn fetch(
    client: &Client,
    cache: &Cache,
    name: &ModelName,
    listing: &Listing,
    progress: &Progress<'_>,
) -> Result<Snapshot, FetchError> {
    let blobs = cache.blobs(name);
    fs::create_dir_all(&blobs).map_err(|error| FetchError::Cache { path: blobs.clone(), error })?;
    make_sure_it_fits(&blobs, listing)?;
    let base = format!("{}/{}/resolve/{}", client.endpoint(), name.name(), listing.commit);
    let names = listing.files.iter().map(|file| one(client, &base, file, &blobs, progress));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let published = cache.publish(name, listing, &names);
    published.map_err(|(path, error)| FetchError::Cache { path, error })
}

/// The name of a file's blob, once it is there.
fn one(
    client: &Client,
    base: &str,
    file: &Listed,
    blobs: &Path,
    progress: &Progress<'_>,
) -> Result<String, DownloadError> {
    if let Some(known) = known(file, blobs) {
        return Ok(known.to_owned());
    }
    let segments: Vec<_> = file.path.split('/').map(quoted).collect();
    let url = format!("{base}/{}", segments.join("/"));
    let failed = |error| DownloadError::Http { path: file.path.clone(), error };
    let head = client.head(&url, progress).map_err(failed)?;
    let blob = Blob::of(file, &head)?;
    download(client, &url, &file.path, &blob, blobs, progress)?;
    Ok(blob.name)
}

/// The blob of a file that is there already, by the hash that the listing has of it.
fn known<'a>(file: &'a Listed, blobs: &Path) -> Option<&'a str> {
    let hash = file.sha256.as_deref().or(file.blob.as_deref())?;
    let is_hash = hash.len() >= 40 && hash.bytes().all(|sign| sign.is_ascii_hexdigit());
    let there = is_hash.then(|| fs::metadata(blobs.join(hash)).ok()).flatten()?;
    (file.size.is_none_or(|size| size == there.len())).then_some(hash)
}

/// A disk that is too small shows before anything is fetched.
fn make_sure_it_fits(blobs: &Path, listing: &Listing) -> Result<(), FetchError> {
    let missing = listing.files.iter().filter(|file| known(file, blobs).is_none());
    let needed = missing.fold(0_u64, |sum, file| sum.saturating_add(file.size.unwrap_or(0)));
    let failed = |error: rustix::io::Errno| FetchError::Cache { path: blobs.into(), error: error.into() };
    let found = rustix::fs::statvfs(blobs).map_err(failed)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    match needed <= free {
        true => Ok(()),
        false => Err(FetchError::NoRoom { path: blobs.into(), needed, free }),
    }
}
