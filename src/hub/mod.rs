//! Models of a Hugging Face hub: found in the local cache, fetched into it where they are not there.
//!
//! The cache is the one of `huggingface_hub`, in its layout (its documentation, "Understand caching"), so
//! that what one program fetched is there for all. What a hub sends is a claim until its hash was
//! computed: files lie beside their names until then.

mod cache;
mod download;
mod fetch;
mod http;
mod listing;

pub use cache::{Cache, NoSnapshot, Snapshot};
pub use download::DownloadError;
pub use fetch::{FetchError, fetch};
pub use http::{Client, HttpError, Hub};
pub use listing::{Listing, ListingError};

/// The revision that is meant when none is named.
const DEFAULT_REVISION: &str = "main";

/// `org/name` or `org/name@revision`; of old models, `name` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    name: String,
    revision: String,
}

impl ModelName {
    /// Reads a name; none where the text could be no model's.
    pub fn parse(spec: &str) -> Option<ModelName> {
        let (name, revision) = spec.split_once('@').unwrap_or((spec, DEFAULT_REVISION));
        let parts = name.split('/').count();
        let named = parts <= 2 && name.split('/').all(is_name) && is_revision(revision);
        named.then(|| ModelName { name: name.into(), revision: revision.into() })
    }

    /// Without the revision.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether it names who made it. A hub is asked for no other: one word is more often a path that
    /// was mistyped.
    pub fn has_owner(&self) -> bool {
        self.name.contains('/')
    }
}

fn is_name(part: &str) -> bool {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_.".contains(sign);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
}

/// A branch may have slashes; nothing may lead out of `refs/`.
fn is_revision(text: &str) -> bool {
    text.split('/').all(is_name)
}

/// A commit as hubs name it: the directory of a snapshot.
fn is_commit(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|sign| matches!(sign, b'0'..=b'9' | b'a'..=b'f'))
}
