//! The files of a model on disk, under the names that they have in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::staging;

/// Most files that one model may have.
pub(super) const MAX_FILES: usize = 100_000;
/// Longest path within a model, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Folders that are about where a copy came from, not a part of the model.
const NOT_OF_THE_MODEL: [&str; 2] = [".git", ".cache"];

/// A model: its name as the user gave it, and its files in the order of their paths.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    pub name: String,
    /// Commit or snapshot, where one is known.
    pub revision: Option<String>,
    pub files: Vec<TreeFile>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Within the model, with slashes.
    pub path: String,
    /// Where its bytes are.
    pub place: PathBuf,
}

/// Why a place is not a model.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: there are no files in it", .0.display())]
    Empty(PathBuf),
    #[error("{}: more than {MAX_FILES} files are below it", .0.display())]
    TooMany(PathBuf),
    #[error("{}: neither a file nor a directory of its own, and so no part of a model", .0.display())]
    NotAFile(PathBuf),
    #[error(
        "{}: this name can't be kept: names are UTF-8, of {MAX_PATH_BYTES} bytes at most, without control characters or \
         backslashes, and not .git",
        .0.display()
    )]
    Name(PathBuf),
}

impl Tree {
    /// A file by itself, or all files below a directory. Links to files are followed, those to directories not.
    pub fn read(name: &str, path: &Path) -> Result<Tree, TreeError> {
        let mut files = Vec::new();
        let at = |error| TreeError::Io { path: path.to_owned(), error };
        if fs::metadata(path).map_err(at)?.is_dir() {
            gather(path, "", &mut files)?;
        } else if !fs::metadata(path).map_err(at)?.is_file() {
            return Err(TreeError::NotAFile(path.to_owned()));
        } else {
            let own = path.file_name().and_then(|own| own.to_str());
            let own = own.ok_or_else(|| TreeError::Name(path.to_owned()))?;
            files.push(TreeFile { path: own.to_owned(), place: path.to_owned() });
        }
        if files.is_empty() {
            return Err(TreeError::Empty(path.to_owned()));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { name: name.to_owned(), revision: None, files })
    }

    /// The last part of its name; where that is none (`.`), that of the directory that it is.
    pub fn own_name(&self) -> String {
        let last = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        let place = || last(&fs::canonicalize(&self.name).ok()?);
        last(Path::new(&self.name)).or_else(place).unwrap_or_else(|| self.name.clone())
    }

    /// The file at this path within the model.
    pub fn find(&self, path: &str) -> Option<&TreeFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn gather(dir: &Path, prefix: &str, files: &mut Vec<TreeFile>) -> Result<(), TreeError> {
    let at = |error| TreeError::Io { path: dir.to_owned(), error };
    for entry in fs::read_dir(dir).map_err(at)? {
        let entry = entry.map_err(at)?;
        let place = entry.path();
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| TreeError::Name(place.clone()))?;
        if NOT_OF_THE_MODEL.contains(&name) || staging::is_unfinished(name) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if !is_plain(&path) {
            return Err(TreeError::Name(place));
        }
        if entry.file_type().map_err(at)?.is_dir() {
            gather(&place, &format!("{path}/"), files)?;
            continue;
        }
        let found = fs::metadata(&place).map_err(|error| TreeError::Io { path: place.clone(), error })?;
        if !found.is_file() {
            return Err(TreeError::NotAFile(place));
        }
        files.push(TreeFile { path, place });
        if files.len() > MAX_FILES {
            return Err(TreeError::TooMany(dir.to_owned()));
        }
    }
    Ok(())
}

/// Whether a path from elsewhere may be written below a directory: it stays inside, and means the same
/// on every system. `.git` is none: a later git would run what is in it.
pub fn is_plain(path: &str) -> bool {
    let plain = |part: &str| {
        // As file systems read it that know streams, and no dots or spaces at the end.
        let read = part.split(':').next().unwrap_or(part).trim_end_matches(['.', ' ']);
        let is_git = read.eq_ignore_ascii_case(".git") || read.eq_ignore_ascii_case("git~1");
        !matches!(part, "" | "." | "..") && !is_git && !part.contains(is_unseen)
    };
    path.len() <= MAX_PATH_BYTES && path.split('/').all(plain)
}

/// Characters that a reader does not see, or sees elsewhere: controls, marks of direction, zero widths.
fn is_unseen(sign: char) -> bool {
    let unseen =
        ['\u{200b}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{feff}'..='\u{feff}'];
    sign == '\\' || sign.is_control() || unseen.iter().any(|range| range.contains(&sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path in a manifest decides where bytes are written: none may lead out, or into a repository.
    #[test]
    fn only_plain_paths_are_written() {
        for path in ["model.safetensors", "onnx/model.onnx", "a b/ü.txt", "..a", ".gitattributes"] {
            assert!(is_plain(path), "{path} was refused");
        }
        let long = "a/".repeat(600);
        let bad = ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".git/config", "a/.GIT/hooks/x"];
        for path in bad.into_iter().chain(["a\\b", "a\nb", "./a", &long].into_iter().chain([
            ".git./x",
            ".GIT /x",
            "git~1/config",
            ".g\u{200c}it/config",
            ".git::$INDEX_ALLOCATION/x",
            "a\u{202e}b",
        ])) {
            assert!(!is_plain(path), "{path} passed");
        }
    }

    /// A hub's snapshot is a directory of links, and a clone has a `.git`: both are the same model.
    #[test]
    fn links_to_files_count_and_git_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("snapshot");
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::create_dir_all(root.join("onnx")).unwrap();
        fs::write(root.join(".git/config"), "x").unwrap();
        fs::write(root.join("onnx/b.bin"), "b").unwrap();
        fs::write(dir.path().join("blob"), "weights").unwrap();
        std::os::unix::fs::symlink(dir.path().join("blob"), root.join("a.safetensors")).unwrap();
        let tree = Tree::read("org/model", &root).unwrap();
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a.safetensors", "onnx/b.bin"]);
        assert!(matches!(Tree::read("x", &root.join("onnx/none")), Err(TreeError::Io { .. })));
    }
}
