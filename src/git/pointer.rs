//! Git LFS pointers: the small text that stands in git for a large file.
//!
//! Specification: git-lfs `docs/spec.md`. Anything that is not exactly a pointer is ordinary content.

use std::path::{Path, PathBuf};

use crate::id::Oid;

/// A pointer is shorter than this.
pub const MAX_POINTER_BYTES: usize = 1024;
const VERSION_LINE: &str = "version https://git-lfs.github.com/spec/v1";
/// What stood there before git-lfs had its name; git-lfs still reads both (`lfs/pointer.go`, `v1Aliases`).
const OLD_VERSION_LINES: [&str; 2] =
    ["version http://git-media.io/v/2", "version https://hawser.github.com/spec/v1"];

/// The file that a pointer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    pub oid: Oid,
    pub size: u64,
}

impl Pointer {
    /// Parses a blob, or says that it is no pointer.
    pub fn parse(blob: &[u8]) -> Option<Pointer> {
        if blob.len() >= MAX_POINTER_BYTES {
            return None;
        }
        let text = std::str::from_utf8(blob).ok()?;
        let mut lines = text.lines();
        let version = lines.next()?;
        if version != VERSION_LINE && !OLD_VERSION_LINES.contains(&version) {
            return None;
        }
        let (mut oid, mut size) = (None, None);
        for line in lines {
            let (key, value) = line.split_once(' ')?;
            match key {
                "oid" if oid.is_none() => oid = Some(value.strip_prefix("sha256:")?.parse().ok()?),
                "size" if size.is_none() => size = Some(parse_size(value)?),
                _ if key.starts_with("ext-") => {}
                _ => return None,
            }
        }
        Some(Pointer { oid: oid?, size: size? })
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "{VERSION_LINE}\noid sha256:{}\nsize {}", self.oid, self.size)
    }
}

/// Decimal digits only, and small enough for a signed 64-bit number, as git-lfs reads it.
fn parse_size(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|size| digits && *size <= i64::MAX as u64)
}

/// The pointer that a blob of a repository is, if it is one.
pub(super) fn read(repo: &gix::Repository, blob: gix::ObjectId) -> Result<Option<Pointer>, String> {
    let header = repo.find_header(blob).map_err(|error| error.to_string())?;
    if header.size() >= MAX_POINTER_BYTES as u64 {
        return Ok(None);
    }
    Ok(Pointer::parse(&repo.find_object(blob).map_err(|error| error.to_string())?.data))
}

/// Where git-lfs keeps a file below its directory `objects`: `ab/cd/<oid>`.
pub fn object_path(objects: &Path, oid: Oid) -> PathBuf {
    let name = oid.to_string();
    objects.join(&name[..2]).join(&name[2..4]).join(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pointer names the bytes to fetch: only the exact grammar may pass.
    #[test]
    fn only_the_exact_grammar_is_a_pointer() {
        let pointer = Pointer { oid: Oid::of(b"x"), size: 1 };
        let text = pointer.to_string();
        assert_eq!(Pointer::parse(text.as_bytes()), Some(pointer));
        let old = text.replace(VERSION_LINE, OLD_VERSION_LINES[1]);
        assert_eq!(Pointer::parse(old.as_bytes()), Some(pointer), "a pointer of an old repository");
        let oid = pointer.oid;
        for bad in [
            String::new(),
            format!("{VERSION_LINE}\n"),
            text.replace("sha256:", "sha1:"),
            text.replace("size 1", "size -1"),
            text.replace("size 1", "size +1"),
            text.replace("size 1", "size 9223372036854775808"),
            text.replace("size 1", "size 1\nsize 2"),
            text.replace("v1", "v2"),
            format!("{VERSION_LINE}\noid sha256:{}\nsize 1\n", oid.to_string().to_uppercase()),
            format!("{text}{}", "ext-0-x y\n".repeat(200)),
        ] {
            assert_eq!(Pointer::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
