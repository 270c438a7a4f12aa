//! What a revision of a model holds, as its hub lists it.

use std::collections::HashSet;
use std::io::Read;

use serde::Deserialize;

use super::http::{Client, HttpError, quoted};
use super::{ModelName, is_commit};
use crate::artifact::is_plain;
use crate::progress::Progress;

/// Longest listing that is read: about a hundred thousand files.
const MAX_BYTES: u64 = 64 << 20;
/// Most files that one model may have.
const MAX_FILES: usize = 100_000;

/// The files of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub commit: String,
    pub files: Vec<Listed>,
}

/// One file, as far as the hub tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Within the model, with slashes; safe to write below a directory.
    pub path: String,
    pub size: Option<u64>,
    /// Git's name of it: of its pointer, where it is kept with Git LFS.
    pub blob: Option<String>,
    /// Of a file that is kept with Git LFS.
    pub sha256: Option<String>,
}

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("{url}: this is no listing of a model: {why}")]
    Unread { url: String, why: String },
    #[error("{url}: the listing has more than {MAX_BYTES} bytes")]
    TooLong { url: String },
    #[error("{url}: {path:?} is not a path that may be written below a directory")]
    Path { url: String, path: String },
    #[error("{url}: {path:?} is listed twice")]
    Twice { url: String, path: String },
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Asks a hub which commit the name means, and which files that has.
    ///
    /// # Errors
    /// No such model or revision, and names that would be written elsewhere than below a directory.
    pub fn ask(client: &Client, name: &ModelName, progress: &Progress<'_>) -> Result<Listing, ListingError> {
        let (endpoint, revision) = (client.endpoint(), quoted(name.revision()));
        let url = format!("{endpoint}/{}/revision/{revision}?blobs=true", name.api());
        let mut text = Vec::new();
        let body = client.get(&url, 0, progress)?.into_body();
        let read = body.take(MAX_BYTES + 1).read_to_end(&mut text);
        read.map_err(|error| ListingError::Unread { url: url.clone(), why: error.to_string() })?;
        match text.len() as u64 > MAX_BYTES {
            true => Err(ListingError::TooLong { url }),
            false => Listing::parse(&url, &text),
        }
    }

    fn parse(url: &str, text: &[u8]) -> Result<Listing, ListingError> {
        let unread = |why: String| ListingError::Unread { url: url.into(), why };
        let info: Info = serde_json::from_slice(text).map_err(|error| unread(error.to_string()))?;
        if !is_commit(&info.sha) {
            return Err(unread(format!("{:?} is no commit", info.sha)));
        }
        if info.siblings.is_empty() || info.siblings.len() > MAX_FILES {
            return Err(unread(format!("it has {} files, expected 1 to {MAX_FILES}", info.siblings.len())));
        }
        let mut seen = HashSet::new();
        for Sibling { rfilename: path, .. } in &info.siblings {
            if !is_plain(path) {
                return Err(ListingError::Path { url: url.into(), path: path.clone() });
            }
            if !seen.insert(path) {
                return Err(ListingError::Twice { url: url.into(), path: path.clone() });
            }
        }
        let files = info.siblings.into_iter().map(Listed::from).collect();
        Ok(Listing { commit: info.sha, files })
    }
}

impl From<Sibling> for Listed {
    fn from(sibling: Sibling) -> Listed {
        let (size, sha256) = sibling.lfs.map_or((None, None), |lfs| (lfs.size, lfs.sha256));
        Listed { path: sibling.rfilename, size: size.or(sibling.size), blob: sibling.blob_id, sha256 }
    }
}
