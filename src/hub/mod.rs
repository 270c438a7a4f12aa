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

/// `org/name` or `org/name@revision`; of old models, `name` alone; of data sets `datasets/org/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    name: String,
    revision: String,
    is_dataset: bool,
}

impl ModelName {
    /// Reads a name; none where the text could be no model's or data set's.
    pub fn parse(spec: &str) -> Option<ModelName> {
        let (name, revision) = spec.split_once('@').unwrap_or((spec, DEFAULT_REVISION));
        let dataset = name.strip_prefix("datasets/").filter(|rest| rest.contains('/'));
        let name = dataset.unwrap_or(name);
        let parts = name.split('/').count();
        let named = parts <= 2 && name.split('/').all(is_name) && is_revision(revision);
        let is_dataset = dataset.is_some();
        named.then(|| ModelName { name: name.into(), revision: revision.into(), is_dataset })
    }

    /// As it is typed, without the revision; also where a hub has its files.
    pub fn name(&self) -> String {
        if self.is_dataset { format!("datasets/{}", self.name) } else { self.name.clone() }
    }

    /// Where a hub tells about it.
    fn api(&self) -> String {
        format!("api/{}/{}", self.collection(), self.name)
    }

    /// Whose directories of a cache and whose addresses it has.
    fn collection(&self) -> &'static str {
        if self.is_dataset { "datasets" } else { "models" }
    }

    /// The data set of a name that may be a model's, too.
    fn as_dataset(&self) -> ModelName {
        ModelName { is_dataset: true, ..self.clone() }
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
