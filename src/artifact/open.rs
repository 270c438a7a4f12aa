//! An artifact that is there, and whether a model is the base that it needs.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::figures::{self, Figures};
use super::held::{self, BaseFile, OutlineError};
use super::manifest::{FileEntry, Manifest, ManifestError};
use super::tree::Tree;
use super::validate::{self, Measured, ValidateError};
use crate::backend::{Area, Backend, Local, Name, Privacy};
use crate::chain::Chain;
use crate::format::{OpenFile, Source};
use crate::id::{ObjectId, Oid, PackId};
use crate::index::Found;
use crate::pack::{self, MAX_OBJECT_BYTES, PackError, Record};
use crate::progress::{Cancelled, Progress};
use crate::recipe::{Part, Recipe};
use crate::store::{self, Store, StoreError};

/// How many tensors of a file a difference names.
const MOST_NAMED: usize = 3;

/// A directory with an artifact in it.
pub struct Artifact {
    dir: PathBuf,
    pub manifest: Manifest,
}

/// Why an artifact can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Pack(#[from] PackError),
    #[error("{path}: the artifact has no recipe of it ({oid})")]
    NoRecipe { path: String, oid: Oid },
    #[error("{path}: the manifest says {manifest} bytes, its recipe gives {recipe}")]
    Size { path: String, manifest: u64, recipe: u64 },
    #[error("{path}: its recipe has a part of {len} bytes, over the limit of {MAX_OBJECT_BYTES}")]
    Part { path: String, len: u32 },
    #[error("{path}: object {object} is neither in the artifact nor in the base")]
    Hole { path: String, object: ObjectId },
    #[error("{path}: tensor {name}: the manifest says {what} {said}, the artifact has {found}")]
    Tensor { path: String, name: String, what: &'static str, said: String, found: String },
    #[error("the manifest says {what} {said}, the artifact has {found}")]
    Total { what: &'static str, said: u64, found: u64 },
    #[error("{path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("this is not the base that the artifact was made with: {}", list(.0))]
    OtherBase(Vec<Difference>),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Why an artifact can't be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("{0}")]
    Validate(#[from] ValidateError),
}

/// Where a model is not the base that was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub path: String,
    pub what: Differs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Differs {
    Missing,
    Size {
        expected: u64,
        found: u64,
    },
    /// Some tensors by name, and of how many in all.
    Tensors {
        named: Vec<String>,
        count: usize,
    },
    /// Only bytes that belong to no tensor.
    Bytes,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Differs::Missing => write!(out, "{} is missing", self.path),
            Differs::Size { expected, found } => {
                write!(out, "{} has {found} bytes, expected {expected}", self.path)
            }
            Differs::Tensors { named, count } => {
                write!(out, "{} differs in {}", self.path, named.join(", "))?;
                match count - named.len() {
                    0 => Ok(()),
                    more => write!(out, " and {more} more"),
                }
            }
            Differs::Bytes => write!(out, "{} differs outside of its tensors", self.path),
        }
    }
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
}

impl Artifact {
    /// Reads and checks the manifest; nothing else is looked at.
    pub fn open(dir: &Path) -> Result<Artifact, OpenError> {
        Ok(Artifact { dir: dir.to_owned(), manifest: Manifest::read(dir)? })
    }

    fn backend(&self) -> Local {
        Local::new(&self.dir, Privacy::Shared)
    }

    /// A store of the fine-tune, if `base` is the model that the artifact needs: to the last byte, of all files
    /// that are needed.
    pub fn on(&self, base: &Tree, progress: &Progress<'_>) -> Result<Store, OpenError> {
        let backend = self.backend();
        store::check_config(&backend)?;
        let (mut files, mut differences, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        let alone = self.manifest.base.files.len() == 1 && base.files.len() == 1;
        for entry in &self.manifest.base.files {
            let differs = |what| Difference { path: entry.path.clone(), what };
            let found = base.find(&entry.path).or(if alone { base.files.first() } else { None });
            let Some(found) = found else {
                missing.push(differs(Differs::Missing));
                continue;
            };
            let read = |error| OpenError::Read { path: found.path.clone(), error };
            let file = OpenFile::open(&found.place).map_err(read)?;
            let recipe = self.recipe(&backend, entry)?;
            match difference(&recipe, &file, progress).map_err(|error| match error {
                OutlineError::Read(error) => read(error),
                OutlineError::Cancelled(cancelled) => cancelled.into(),
            })? {
                Some(what) => differences.push(differs(what)),
                None => {
                    // What of it is needed that is packed stands in the artifact.
                    files.push(BaseFile { path: found.path.clone(), recipe, file, inside: Vec::new() });
                }
            }
        }
        if !differences.is_empty() {
            return Err(OpenError::OtherBase(differences));
        }
        let store = held::store(backend, files);
        store.refresh()?;
        // Files that nothing in the fine-tune is compared with may be missing: a cache has what was loaded.
        match missing.is_empty() || self.is_whole(&store)? {
            true => Ok(store),
            false => Err(OpenError::OtherBase(missing)),
        }
    }

    /// That a base has all files with tensors: `on` lets those be missing that nothing is compared with.
    ///
    /// # Errors
    /// `OtherBase`, which names the files; what the artifact's recipes are read with.
    pub fn has_all_tensors(&self, base: &Tree) -> Result<(), OpenError> {
        let (backend, entries) = (self.backend(), &self.manifest.base.files);
        let mut differences = Vec::new();
        if let ([_], [_]) = (entries.as_slice(), base.files.as_slice()) {
            return Ok(());
        }
        for entry in entries.iter().filter(|entry| base.find(&entry.path).is_none()) {
            let has_tensors = !self.recipe(&backend, entry)?.tensors.is_empty();
            differences
                .extend(has_tensors.then(|| Difference { path: entry.path.clone(), what: Differs::Missing }));
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(OpenError::OtherBase(differences)),
        }
    }

    /// Whether all objects of the fine-tune can be had.
    fn is_whole(&self, store: &Store) -> Result<bool, OpenError> {
        let recipes = self.recipes()?;
        let mut parts = recipes.iter().flat_map(|(_, recipe)| &recipe.parts);
        Ok(parts.all(|part| store.holds_whole(&part.object)))
    }

    /// The recipe of a file that the manifest lists.
    fn recipe(&self, backend: &Local, entry: &FileEntry) -> Result<Recipe, OpenError> {
        let (path, oid) = (entry.path.clone(), entry.oid());
        let recipe = store::read_recipe(backend, &oid)?;
        let recipe = recipe.ok_or_else(|| OpenError::NoRecipe { path: path.clone(), oid })?;
        if recipe.size != entry.size {
            return Err(OpenError::Size { path, manifest: entry.size, recipe: recipe.size });
        }
        // Parts are read whole, many at a time.
        match recipe.parts.iter().map(|part| part.len).find(|len| *len > MAX_OBJECT_BYTES) {
            Some(len) => Err(OpenError::Part { path, len }),
            None => Ok(recipe),
        }
    }

    /// The recipes of the fine-tune's files, in the manifest's order.
    pub fn recipes(&self) -> Result<Vec<(&FileEntry, Recipe)>, OpenError> {
        let backend = self.backend();
        let entries = self.manifest.fine_tune.files.iter();
        entries.map(|entry| Ok((entry, self.recipe(&backend, entry)?))).collect()
    }

    /// How far each tensor that comes back lies from the one in `tuned`; `store` is what `on` gave.
    pub fn measure(
        &self,
        store: &Store,
        tuned: &Tree,
        progress: &Progress<'_>,
    ) -> Result<Vec<Measured>, MeasureError> {
        let backend = self.backend();
        let entries = self.manifest.base.files.iter();
        let base: Result<Vec<_>, OpenError> = entries.map(|entry| self.recipe(&backend, entry)).collect();
        let files = self.recipes()?;
        let files: Vec<_> = files.iter().map(|(entry, recipe)| (entry.path.as_str(), recipe)).collect();
        Ok(validate::measure(store, &base?, &files, tuned, progress)?)
    }

    /// Checks all that can be checked without the base: checksums, that nothing is missing, and what the
    /// manifest says of each tensor.
    pub fn check(&self, progress: &Progress<'_>) -> Result<(), OpenError> {
        let backend = self.backend();
        let records = self.checked_records(&backend, progress)?;
        let base = self.manifest.base.files.iter().map(|entry| self.recipe(&backend, entry));
        let base = base.collect::<Result<Vec<_>, _>>()?;
        let parts = base.iter().flat_map(|recipe| &recipe.parts);
        let in_base: HashMap<_, _> = parts.map(|part| (part.object, part.len)).collect();
        let recipes = self.recipes()?;
        for (entry, recipe) in &recipes {
            let is_hole = |part: &&Part| !comes_back(part.object, part.len, &records, &in_base);
            if let Some(hole) = recipe.parts.iter().find(is_hole) {
                return Err(OpenError::Hole { path: entry.path.clone(), object: hole.object });
            }
        }
        self.check_figures(&base, &recipes, &records)
    }

    /// Holds what the manifest says of tensors and totals against recipes and packs.
    fn check_figures(
        &self,
        base: &[Recipe],
        recipes: &[(&FileEntry, Recipe)],
        records: &HashMap<ObjectId, Record>,
    ) -> Result<(), OpenError> {
        let record = |object: &ObjectId| {
            records.get(object).copied().ok_or(OpenError::Store(StoreError::Missing(*object)))
        };
        let mut figures = Figures::over(base, &record);
        let mut said = self.manifest.tensors.iter();
        let mut count = 0;
        for (entry, recipe) in recipes {
            figures.of_file(&entry.path, recipe, &mut |found| {
                count += 1;
                // How many there are is checked below.
                let Some(said) = said.next() else { return Ok(()) };
                match figures::difference(said, &found) {
                    None => Ok(()),
                    Some((what, said, is)) => {
                        let (path, name) = (found.file, found.name);
                        Err(OpenError::Tensor { path, name, what, said, found: is })
                    }
                }
            })?;
        }
        let totals = &self.manifest.totals;
        let stored = figures::stored(&self.backend()).map_err(StoreError::Io)?;
        for (what, said, found) in [
            ("tensors", self.manifest.tensors.len() as u64, count),
            ("same", totals.same, figures.same()),
            ("stored", totals.stored, stored),
        ] {
            if said != found {
                return Err(OpenError::Total { what, said, found });
            }
        }
        Ok(())
    }

    /// All records of all packs, after each payload's checksum was found right.
    fn checked_records(
        &self,
        backend: &Local,
        progress: &Progress<'_>,
    ) -> Result<HashMap<ObjectId, Record>, OpenError> {
        let mut all = HashMap::new();
        for name in backend.list(Area::Packs).map_err(StoreError::Io)? {
            let Name::Pack(pack) = name else { continue };
            let records = pack::read_trailer(backend, pack)?;
            records.par_iter().try_for_each(|record| check_payload(backend, pack, record, progress))?;
            all.extend(records.into_iter().map(|record| (record.object, record)));
        }
        Ok(all)
    }
}

fn check_payload(
    backend: &Local,
    pack: PackId,
    record: &Record,
    progress: &Progress<'_>,
) -> Result<(), OpenError> {
    pack::read_payload(backend, pack, record)?;
    Ok(progress(u64::from(record.payload_len))?)
}

/// Whether an object of this length follows from the records and the base.
fn comes_back(
    object: ObjectId,
    len: u32,
    records: &HashMap<ObjectId, Record>,
    in_base: &HashMap<ObjectId, u32>,
) -> bool {
    if let Some(found) = in_base.get(&object) {
        return *found == len;
    }
    let find = |object: &ObjectId| match in_base.get(object) {
        Some(len) => Some(held::record(*object, 0, *len)),
        None => records.get(object).copied(),
    };
    // In which pack does not matter here.
    let find =
        |object: &ObjectId| find(object).map(|record| Found { pack: PackId::from_bytes([0; 32]), record });
    records.get(&object).is_some_and(|record| record.logical_len == len) && Chain::is_whole(&object, find)
}

/// How a file differs from the one with this recipe, if it does.
fn difference(
    recipe: &Recipe,
    file: &OpenFile,
    progress: &Progress<'_>,
) -> Result<Option<Differs>, OutlineError> {
    if file.len() != recipe.size {
        return Ok(Some(Differs::Size { expected: recipe.size, found: file.len() }));
    }
    let parts: Vec<_> = recipe.ranges().collect();
    let differs = parts.par_iter().map(|(range, part)| {
        let mut bytes = vec![0; part.len as usize];
        file.read_at(&mut bytes, range.start)?;
        progress(u64::from(part.len))?;
        Ok((ObjectId::of(&bytes) != part.object).then_some(*part))
    });
    let differs: Result<Vec<_>, OutlineError> = differs.collect();
    let differs: Vec<_> = differs?.into_iter().flatten().collect();
    // Parts of a table's columns stand in turns.
    let tensors: BTreeSet<u32> = differs.iter().filter_map(|part| part.tensor).collect();
    let name = |tensor: &u32| recipe.tensors[*tensor as usize].name.clone();
    Ok(match (differs.is_empty(), tensors.is_empty()) {
        (true, _) => None,
        (false, true) => Some(Differs::Bytes),
        (false, false) => Some(Differs::Tensors {
            named: tensors.iter().take(MOST_NAMED).map(name).collect(),
            count: tensors.len(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::unwatched;

    /// A column is one thing that differs, however many groups of rows its table has.
    #[test]
    fn columns_that_differ_are_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let (count, cell) = (3000u32, |row: u32| blake3::hash(&row.to_le_bytes()).to_hex());
        let column = |from: u32| -> arrow_array::ArrayRef {
            let cells = (from..from + count).map(|row| Some(cell(row).to_string()));
            std::sync::Arc::new(cells.collect::<arrow_array::StringArray>())
        };
        let batch =
            arrow_array::RecordBatch::try_from_iter([("a", column(0)), ("b", column(count))]).unwrap();
        let properties = parquet::file::properties::WriterProperties::builder()
            .set_max_row_group_row_count(Some(1000))
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (recipe, _) = held::outline(&bytes.as_slice(), &unwatched).unwrap();
        let path = dir.path().join("other");
        std::fs::write(&path, bytes.iter().map(|byte| !byte).collect::<Vec<u8>>()).unwrap();
        let differs = difference(&recipe, &OpenFile::open(&path).unwrap(), &unwatched).unwrap();
        let Some(Differs::Tensors { named, count }) = differs else { panic!("columns differ") };
        let names: BTreeSet<&String> = named.iter().collect();
        assert_eq!((names.len(), count), (named.len(), recipe.tensors.len()));
    }
}
