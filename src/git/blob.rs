//! The name that git gives to a file's bytes: a blob's SHA-1.

use gix::hash::{Hasher, Kind, hasher};

/// Hashes a file of a known length as git does it, piece by piece.
pub struct BlobHasher(Hasher);

impl BlobHasher {
    pub fn new(len: u64) -> BlobHasher {
        let mut hasher = hasher(Kind::Sha1);
        hasher.update(format!("blob {len}\0").as_bytes());
        BlobHasher(hasher)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 40 hexadecimal digits; none for bytes that were made to collide.
    pub fn finish(self) -> Option<String> {
        self.0.try_finalize().ok().map(|id| id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever checks files by git's own names must compute git's own names.
    #[test]
    fn a_blob_is_named_as_git_names_it() {
        let mut hasher = BlobHasher::new(6);
        hasher.update(b"hel");
        hasher.update(b"lo\n");
        assert_eq!(hasher.finish().unwrap(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
