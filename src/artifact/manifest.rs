//! What an artifact says of itself: which base it needs, which files it gives, what each tensor costs.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::tree::{MAX_FILES, Tree, is_plain};
use crate::codec::lossy::Tier;
use crate::format::{Dtype, OpenFile, Source};
use crate::id::{ObjectId, Oid};

/// What `format` says in every manifest.
const FORMAT: &str = "git-sparse portable delta";
/// The version that is written and read.
const VERSION: u32 = 1;
/// The file that it is.
pub const NAME: &str = "manifest.json";
/// Largest manifest that is read, or written: about a quarter of a million tensors. In memory it takes up to four
/// times as much.
const MAX_BYTES: u64 = 64 << 20;
/// Most dimensions of a tensor. A number takes two bytes in JSON, and eight in memory.
const MAX_RANK: usize = 64;
/// Bytes that a manifest is read by.
const READ_BYTES: usize = 256 << 10;
/// What `ratio` compares.
const RATIO_OF: &str =
    "bytes of the fine-tune's files as they are / bytes of the artifact's packs and recipes";

/// The manifest of an artifact, checked when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    /// ISO 8601, UTC.
    pub created_at: String,
    /// Program and version.
    pub created_by: String,
    pub kind: Kind,
    /// The model that is needed to read the artifact.
    pub base: Model,
    /// The model that it gives back.
    pub fine_tune: Model,
    pub tensors: Vec<TensorEntry>,
    pub totals: Totals,
}

/// How an artifact is made.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// ISO 8601, UTC.
    pub at: &'a str,
    /// Program and version.
    pub by: &'a str,
    pub way: Way,
}

/// What an artifact is made to give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Lossless,
    /// The files of an adapter.
    Adapter,
    Lossy(Tier),
}

/// Whether what comes back is the fine-tune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// To the last bit.
    Lossless,
    /// An adapter, to the last bit: it merges with the base.
    Adapter,
    /// An approximation: differences in 8 bits.
    LossyInt8,
    /// An approximation: the largest differences in 8 bits, no others.
    LossySparseInt8,
    /// An approximation: of each matrix the largest terms of its difference.
    LossySvd,
}

/// The files of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// As it was named when the artifact was made: `REV:PATH`, a name on a hub, or the last part of a path.
    pub name: String,
    /// Commit or snapshot, where one was known.
    pub revision: Option<String>,
    pub files: Vec<FileEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Within the model, with slashes.
    pub path: String,
    /// In bytes.
    pub size: u64,
    pub sha256: Oid,
    /// Of the approximation that comes back in its place, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approximation: Option<Oid>,
}

/// What became of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Path of the file that it lies in.
    pub file: String,
    pub name: String,
    pub dtype: Dtype,
    #[serde(deserialize_with = "shape")]
    pub shape: Vec<u64>,
    /// `same` as in the base, `again` as elsewhere in the fine-tune, or the codecs of its pieces.
    pub method: String,
    /// In the fine-tune, in bytes.
    pub size: u64,
    /// In the artifact's packs, in bytes.
    pub stored: u64,
    /// BLAKE3 of its bytes; of a tensor in several pieces, of their BLAKE3s one after the other.
    pub checksum: ObjectId,
    /// How far an approximation lies from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TensorError>,
}

/// How far a tensor lies from the one that it stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    /// Largest distance of a weight.
    pub max: f64,
    /// Mean distance of the weights.
    pub mean: f64,
    /// Norm of the distances over the norm of the weights; none where only these are zero.
    pub relative: Option<f64>,
    /// Norm of the distances over the norm of the fine-tune's own differences to its base; none where only
    /// these are zero.
    pub of_change: Option<f64>,
}

/// Sums over all files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes of the fine-tune's files.
    pub size: u64,
    /// Of these, bytes that lie in the base as they are.
    pub same: u64,
    /// Bytes of the artifact's packs and recipes.
    pub stored: u64,
    /// `size / stored`: below 1, the artifact is larger than the fine-tune.
    pub ratio: f64,
    /// What the ratio compares.
    pub ratio_of: String,
}

/// Why a file is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: no artifact is here: it has no {NAME}", .0.display())]
    Missing(PathBuf),
    #[error("{NAME}: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{NAME}: it is of format {0:?}, expected {FORMAT:?}")]
    Format(String),
    #[error("{NAME}: it has version {0}, this git-sparse reads version {VERSION}; update git-sparse")]
    Version(u32),
    #[error("{NAME}: it has {0} bytes, expected {MAX_BYTES} at most, for about 250000 tensors")]
    TooLong(u64),
    #[error("{NAME}: {0:?} is not a path that may be written below a directory")]
    Path(String),
    #[error("{NAME}: {0:?} is listed twice, or is a file and a folder")]
    Twice(String),
    #[error("{NAME}: {0} is an approximation, and that is not what the artifact says it gives")]
    Unmarked(String),
    #[error("{NAME}: the sizes of its files add up to {expected}, and it says {found}")]
    Sum { found: u64, expected: u64 },
    #[error("{NAME}: it lists {0} files, more than {MAX_FILES}")]
    TooMany(usize),
}

impl Manifest {
    pub fn new(made: &Made<'_>, base: Model, fine_tune: Model) -> Manifest {
        Manifest {
            format: FORMAT.into(),
            version: VERSION,
            created_at: made.at.into(),
            created_by: made.by.into(),
            kind: Kind::of(made.way),
            base,
            fine_tune,
            tensors: Vec::new(),
            totals: Totals { ratio_of: RATIO_OF.into(), ..Totals::default() },
        }
    }

    /// Reads the manifest of the artifact in `dir` and checks what it asks to be written.
    pub fn read(dir: &Path) -> Result<Manifest, ManifestError> {
        let path = dir.join(NAME);
        let at = |error| ManifestError::Io { path: path.clone(), error };
        let file = OpenFile::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ManifestError::Missing(dir.to_owned()),
            _ => at(error),
        })?;
        if file.len() > MAX_BYTES {
            return Err(ManifestError::TooLong(file.len()));
        }
        let failed = |error| match error {
            ManifestError::Json(error) if error.is_io() => at(error.into()),
            error => error,
        };
        Manifest::check_head(Text { file: &file, at: 0 }).map_err(failed)?;
        Manifest::read_all(Text { file: &file, at: 0 }).map_err(failed)
    }

    /// The same of its bytes.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        Manifest::check_head(text)?;
        Manifest::read_all(text)
    }

    /// The version first: what else a later one says may not be known here.
    fn check_head(text: impl Read) -> Result<(), ManifestError> {
        let Head { format, version } = parsed(text)?;
        if format != FORMAT {
            return Err(ManifestError::Format(format.chars().take(80).collect()));
        }
        match version {
            VERSION => Ok(()),
            other => Err(ManifestError::Version(other)),
        }
    }

    fn read_all(text: impl Read) -> Result<Manifest, ManifestError> {
        let manifest: Manifest = parsed(text)?;
        manifest.base.check()?;
        manifest.fine_tune.check()?;
        manifest.check()?;
        Ok(manifest)
    }

    /// It does not contradict itself: what is called lossless gives the fine-tune, and sums are sums.
    fn check(&self) -> Result<(), ManifestError> {
        let exact = if self.kind.is_lossy() { &[] } else { self.fine_tune.files.as_slice() };
        let mut exact = self.base.files.iter().chain(exact);
        if let Some(file) = exact.find(|file| file.approximation.is_some()) {
            return Err(ManifestError::Unmarked(file.path.clone()));
        }
        match self.totals.size == self.fine_tune.size() {
            true => Ok(()),
            false => Err(ManifestError::Sum { found: self.totals.size, expected: self.fine_tune.size() }),
        }
    }

    /// Writes it into `dir`, durably.
    pub fn write(&self, dir: &Path) -> Result<(), ManifestError> {
        let path = dir.join(NAME);
        let text = serde_json::to_vec(self).expect("because our own types have string keys");
        if text.len() as u64 > MAX_BYTES {
            return Err(ManifestError::TooLong(text.len() as u64));
        }
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::File::open(dir)?.sync_all()
        };
        write().map_err(|error| ManifestError::Io { path: path.clone(), error })
    }
}

impl Kind {
    fn of(way: Way) -> Kind {
        match way {
            Way::Lossless => Kind::Lossless,
            Way::Adapter => Kind::Adapter,
            Way::Lossy(Tier::Int8) => Kind::LossyInt8,
            Way::Lossy(Tier::SparseInt8) => Kind::LossySparseInt8,
            Way::Lossy(Tier::Svd { .. }) => Kind::LossySvd,
        }
    }

    /// True when an approximation comes back.
    pub fn is_lossy(self) -> bool {
        match self {
            Kind::Lossless | Kind::Adapter => false,
            Kind::LossyInt8 | Kind::LossySparseInt8 | Kind::LossySvd => true,
        }
    }
}

impl Way {
    /// What is given up, if anything.
    pub(super) fn tier(self) -> Option<Tier> {
        match self {
            Way::Lossless | Way::Adapter => None,
            Way::Lossy(tier) => Some(tier),
        }
    }
}

impl FileEntry {
    /// The hash of what comes back.
    pub fn oid(&self) -> Oid {
        self.approximation.unwrap_or(self.sha256)
    }
}

impl Model {
    pub(super) fn of(tree: &Tree, files: Vec<FileEntry>) -> Model {
        let name = match tree.revision {
            Some(_) => tree.name.clone(),
            // What stands before it is of one machine.
            None => tree.own_name(),
        };
        Model { name, revision: tree.revision.clone(), files }
    }

    /// What others can find it by: `COMMIT:PATH` in its repository, `org/name@COMMIT` of a hub, else its own name.
    pub fn portable(&self) -> String {
        match (&self.revision, self.name.split_once(':')) {
            (Some(commit), Some((_, path))) => format!("{commit}:{path}"),
            (Some(commit), None) => {
                format!("{}@{commit}", self.name.split('@').next().unwrap_or_default())
            }
            (None, _) => self.name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// All paths can be written side by side below one directory.
    fn check(&self) -> Result<(), ManifestError> {
        if self.files.len() > MAX_FILES {
            return Err(ManifestError::TooMany(self.files.len()));
        }
        let mut files = BTreeSet::new();
        for file in &self.files {
            if !is_plain(&file.path) {
                return Err(ManifestError::Path(file.path.chars().take(200).collect()));
            }
            if !files.insert(file.path.as_str()) {
                return Err(ManifestError::Twice(file.path.clone()));
            }
        }
        let mut folders = files.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]));
        match folders.find(|folder| files.contains(folder)) {
            Some(folder) => Err(ManifestError::Twice(folder.to_owned())),
            None => Ok(()),
        }
    }
}

/// A manifest's bytes from front to back: its text is never in memory as a whole.
struct Text<'a> {
    file: &'a OpenFile,
    at: u64,
}

impl Read for Text<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = (self.file.len() - self.at).min(out.len() as u64) as usize;
        self.file.read_at(&mut out[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

fn parsed<T: DeserializeOwned>(text: impl Read) -> Result<T, ManifestError> {
    Ok(serde_json::from_reader(BufReader::with_capacity(READ_BYTES, text))?)
}

/// A shape, refused while it is read where it has more dimensions than any tensor.
fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct Shape;

    impl<'de> Visitor<'de> for Shape {
        type Value = Vec<u64>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(out, "a shape of {MAX_RANK} dimensions at most")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u64>, A::Error> {
            let mut shape = Vec::new();
            while let Some(number) = numbers.next_element()? {
                if shape.len() == MAX_RANK {
                    return Err(A::Error::invalid_length(MAX_RANK + 1, &self));
                }
                shape.push(number);
            }
            shape.shrink_to_fit();
            Ok(shape)
        }
    }

    deserializer.deserialize_seq(Shape)
}

/// What every version of a manifest says.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_paths(paths: &[&str]) -> Vec<u8> {
        let file = |path: &&str| FileEntry {
            path: (*path).into(),
            size: 1,
            sha256: Oid::of(b"x"),
            approximation: None,
        };
        let model = |files| Model { name: "m".into(), revision: None, files };
        let tuned = model(paths.iter().map(file).collect());
        let made = Made { at: "1970-01-01T00:00Z", by: "test", way: Way::Lossless };
        let mut manifest = Manifest::new(&made, model(Vec::new()), tuned);
        manifest.totals.size = manifest.fine_tune.size();
        serde_json::to_vec(&manifest).unwrap()
    }

    /// Whoever reads an artifact writes where its manifest says: each lie here is a file elsewhere.
    #[test]
    fn hostile_paths_are_refused() {
        assert!(Manifest::parse(&with_paths(&["a", "b/a", "b/c"])).is_ok());
        for bad in ["../a", "/a", ".git/hooks/post-checkout", ""] {
            let refused = Manifest::parse(&with_paths(&["a", bad]));
            assert!(matches!(refused, Err(ManifestError::Path(_))), "{bad:?}");
        }
        for twice in [["a", "a"], ["a", "a/b"], ["a/b/c", "a/b"]] {
            let refused = Manifest::parse(&with_paths(&twice));
            assert!(matches!(refused, Err(ManifestError::Twice(_))), "{twice:?}");
        }
    }

    /// A later version may mean anything by its fields: it is refused by its number, whatever they are.
    #[test]
    fn other_versions_are_refused_by_name() {
        let later = format!(r#"{{ "format": {FORMAT:?}, "version": 2, "files": "in a tree" }}"#);
        let refused = Manifest::parse(later.as_bytes());
        assert!(matches!(refused, Err(ManifestError::Version(2))));
        let other = Manifest::parse(br#"{ "format": "tar", "version": 1 }"#);
        assert!(matches!(other, Err(ManifestError::Format(_))));
        assert!(matches!(Manifest::parse(b"{"), Err(ManifestError::Json(_))));
    }

    /// A short text must not become a long list: shapes have an end.
    #[test]
    fn long_shapes_are_refused() {
        let tensor = |dimensions: usize| {
            let shape = vec!["1"; dimensions].join(",");
            let checksum = "0".repeat(64);
            let good = String::from_utf8(with_paths(&["a"])).unwrap();
            let entry = format!(
                r#"{{"file":"a","name":"t","dtype":"f32","shape":[{shape}],"method":"raw","size":4,"stored":4,"checksum":"{checksum}"}}"#
            );
            good.replace(r#""tensors":[]"#, &format!(r#""tensors":[{entry}]"#))
        };
        assert!(Manifest::parse(tensor(MAX_RANK).as_bytes()).is_ok());
        let refused = Manifest::parse(tensor(MAX_RANK + 1).as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("a shape of 64 dimensions at most"), "{refused}");
    }
}
