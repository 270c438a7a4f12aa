//! A tree of files on disk: what is in it, what it weighs, where it differs from what it should be.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::Failure;

/// Which content a tree should have: a path in it, and the file that holds the same bytes.
pub type Expected = BTreeMap<PathBuf, PathBuf>;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Files that were there and compared equal, byte for byte.
    pub equal: usize,
    /// Bytes in them.
    pub equal_bytes: u64,
    /// A sentence for each file that is missing, too many, or not the same.
    pub differences: Vec<String>,
}

/// The files below `directory`, relative to it, sorted; a file is its own only file.
///
/// `.git` is left out: it is what git keeps, not what a user put there.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    collect(directory, Path::new(""), &mut found)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    found.sort();
    Ok(found)
}

/// The sum of the lengths of all files below `directory`; 0 when there is no such directory.
pub fn size_bytes(directory: &Path) -> Result<u64, Failure> {
    if !directory.exists() {
        return Ok(0);
    }
    let mut sum = 0;
    for file in files(directory)? {
        let path = at(directory, &file);
        sum += path.symlink_metadata().map_err(|error| format!("{}: {error}", path.display()))?.len();
    }
    Ok(sum)
}

/// What the store beside the git remote at `remote` holds of revisions: its packs and recipes.
///
/// The index is left out, as it is derived from them, and so is what a running upload leaves.
pub fn stored_bytes(remote: &Path) -> Result<u64, Failure> {
    let store = remote.join("sparse");
    Ok(size_bytes(&store.join("packs"))? + size_bytes(&store.join("recipes"))?)
}

/// Compares the tree at `directory` with what it should be, byte for byte.
///
/// Files that are in the tree and not expected count as differences, apart from those in `own`.
pub fn compare(directory: &Path, expected: &Expected, own: &[&str]) -> Result<Comparison, Failure> {
    let mut comparison = Comparison::default();
    for (name, source) in expected {
        let path = directory.join(name);
        match first_difference(&path, source) {
            Ok(Difference::None { bytes }) => {
                comparison.equal += 1;
                comparison.equal_bytes += bytes;
            }
            Ok(Difference::At(byte)) => comparison.differences.push(format!(
                "{} differs from {} at byte {byte}",
                path.display(),
                source.display()
            )),
            Err(error) => comparison.differences.push(format!("{}: {error}", path.display())),
        }
    }
    for name in files(directory)? {
        if !expected.contains_key(&name) && !own.iter().any(|known| name == Path::new(known)) {
            comparison.differences.push(format!("{} should not be there", directory.join(name).display()));
        }
    }
    Ok(comparison)
}

/// Copies the files of `source` (a directory, or one file) to `target`.
pub fn copy(source: &Path, target: &Path) -> Result<(), Failure> {
    for file in files(source)? {
        let (from, to) = (at(source, &file), at(target, &file));
        let copied = fs::create_dir_all(to.parent().unwrap_or(target)).and_then(|()| fs::copy(&from, &to));
        copied.map_err(|error| format!("{} -> {}: {error}", from.display(), to.display()))?;
    }
    Ok(())
}

enum Difference {
    None { bytes: u64 },
    At(u64),
}

/// As `cmp` does it, which a bare machine may lack.
fn first_difference(left: &Path, right: &Path) -> io::Result<Difference> {
    let (mut left, mut right) = (reader(left)?, reader(right)?);
    let mut offset = 0;
    loop {
        let (a, b) = (left.fill_buf()?, right.fill_buf()?);
        let common = a.len().min(b.len());
        if let Some(at) = (0..common).find(|&at| a[at] != b[at]) {
            return Ok(Difference::At(offset + at as u64));
        }
        if common == 0 {
            let both_ended = a.is_empty() && b.is_empty();
            return Ok(if both_ended { Difference::None { bytes: offset } } else { Difference::At(offset) });
        }
        left.consume(common);
        right.consume(common);
        offset += common as u64;
    }
}

fn reader(path: &Path) -> io::Result<BufReader<fs::File>> {
    let file = fs::File::open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(BufReader::with_capacity(1 << 18, file))
}

/// The path of a file in the tree: a file that is its own only file has an empty name in it, and
/// `join` would end its path with a slash.
fn at(directory: &Path, file: &Path) -> PathBuf {
    if file.as_os_str().is_empty() { directory.into() } else { directory.join(file) }
}

fn collect(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let here = at(root, below);
    if !here.is_dir() {
        here.symlink_metadata()?;
        found.push(below.into());
        return Ok(());
    }
    for entry in fs::read_dir(&here)? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_name() == ".git" {
            continue;
        }
        if entry.file_type()?.is_dir() { collect(root, &name, found)? } else { found.push(name) }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The demo's verdict rests on this comparison, so it must see one changed, one missing and one
    /// extra file, and a file that is only the beginning of what it should be.
    #[test]
    fn a_comparison_sees_every_kind_of_difference() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let put = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, bytes).expect("a file");
            path
        };
        let good = put("good", b"0123456789");
        for (name, bytes) in [
            ("tree/same", &b"0123456789"[..]),
            ("tree/changed", b"01234x6789"),
            ("tree/short", b"0123"),
            ("tree/extra", b""),
            ("tree/own", b""),
        ] {
            put(name, bytes);
        }
        let expected =
            ["same", "changed", "short", "missing"].map(|name| (PathBuf::from(name), good.clone())).into();
        let found = compare(&directory.path().join("tree"), &expected, &["own"]).expect("a comparison");
        assert_eq!((found.equal, found.equal_bytes), (1, 10));
        let told = found.differences.join("\n");
        for part in ["changed", "at byte 5", "short", "at byte 4", "missing", "extra should not be there"] {
            assert!(told.contains(part), "no `{part}` in:\n{told}");
        }
        assert_eq!(found.differences.len(), 4, "{told}");
    }

    /// A user's own files are given to the demo one by one, each a tree of a single file.
    #[test]
    fn a_single_file_is_a_tree() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (one, copied) = (directory.path().join("one"), directory.path().join("a/b/copied"));
        fs::write(&one, "12345").expect("a file");
        assert_eq!(size_bytes(&one), Ok(5));
        copy(&one, &copied).expect("a copy");
        assert_eq!(fs::read_to_string(copied).expect("the copy"), "12345");
    }

    /// What a push cost is the growth of this figure: the index and half-done uploads are not in it.
    #[test]
    fn stored_bytes_are_packs_and_recipes() {
        let remote = tempfile::tempdir().expect("a temporary directory");
        for (name, len) in
            [("packs/ab/one", 100), ("recipes/cd/two", 10), ("index/db", 1000), ("tmp/x", 5000)]
        {
            let path = remote.path().join("sparse").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, vec![0; len]).expect("a file");
        }
        assert_eq!(stored_bytes(remote.path()), Ok(110));
        assert_eq!(stored_bytes(&remote.path().join("nowhere")), Ok(0));
    }
}
