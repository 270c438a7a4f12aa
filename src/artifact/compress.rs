//! Base and fine-tune → artifact.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use super::figures::{self, Figures};
use super::held::{self, BaseFile, Inside, OutlineError};
use super::manifest::{FileEntry, Made, Manifest, ManifestError, Model};
use super::nearest::nearest;
use super::tree::{Tree, TreeFile};
use super::validate::{self, ValidateError};
use crate::backend::{Local, Privacy};
use crate::base::Content;
use crate::codec::Effort;
use crate::codec::lossy::Tier;
use crate::counterpart::Counterparts;
use crate::format::OpenFile;
use crate::id::{ObjectId, Oid};
use crate::ingest::{self, Against, IngestError, ingest_against};
use crate::progress::Progress;
use crate::recipe::{Reason, Recipe};
use crate::reconstruct::ReconstructError;
use crate::store::{self, Store, StoreError};

/// Why no artifact was made.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    #[error("{path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{path} was changed while it was read")]
    Changed { path: String },
    #[error("{path}: {error}")]
    Outline { path: String, error: OutlineError },
    #[error("{path}: {error}")]
    Ingest { path: String, error: Box<IngestError> },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    #[error("{0}")]
    Measure(#[from] ValidateError),
}

impl CompressError {
    /// True when the caller wanted it to end.
    pub fn is_cancelled(&self) -> bool {
        match self {
            CompressError::Outline { error, .. } => matches!(error, OutlineError::Cancelled(_)),
            CompressError::Ingest { error, .. } => matches!(
                **error,
                IngestError::Cancelled(_) | IngestError::ReadBack(ReconstructError::Cancelled(_))
            ),
            CompressError::Measure(error) => matches!(error, ValidateError::Cancelled(_)),
            _ => false,
        }
    }
}

/// Writes an artifact that gives `tuned` to whoever has `base` into the empty directory `dir`.
///
/// Everything is durable, and was read back, when this returns. `progress` counts the bytes of both
/// models, those of approximations as often as they are read.
pub fn compress(
    base: &Tree,
    tuned: &Tree,
    dir: &Path,
    made: &Made<'_>,
    progress: &Progress<'_>,
) -> Result<Manifest, CompressError> {
    let artifact = Local::new(dir, Privacy::Shared);
    store::check_config(&artifact)?;
    let base_files = outlines(base, &artifact, progress)?;
    let recipes: Vec<Recipe> = base_files.iter().map(|file| file.recipe.clone()).collect();
    let contents: Vec<Option<Content>> = base.files.iter().map(content).collect::<Result<_, _>>()?;
    let plain = held::plain(&base_files);
    let store = held::store(artifact, base_files);
    let (mut files, mut entries) = (Vec::new(), Vec::new());
    for file in &tuned.files {
        let against = against(base, &recipes, &contents, file, made.way.tier())?;
        let against = Against { plain: plain.clone(), ..against };
        let recipe = store_one(&store, file, against, progress)?;
        entries.push(entry_of(file, &recipe, made.way.tier(), progress)?);
        files.push((file, recipe));
    }
    held::keep_used(&store, &plain)?;
    let known = base.files.iter().zip(&recipes).map(|(file, recipe)| entry_for(file, recipe.oid, recipe));
    let mut manifest = Manifest::new(made, Model::of(base, known.collect()), Model::of(tuned, entries));
    account(&store, &recipes, &files, &mut manifest)?;
    if made.way.tier().is_some() {
        measure(&store, &recipes, &files, tuned, &mut manifest, progress)?;
    }
    // Nothing is staged any more.
    let _ = fs::remove_dir(dir.join("tmp"));
    manifest.write(dir)?;
    Ok(manifest)
}

/// What the manifest says of a file: where an approximation comes back, its own hash, too.
fn entry_of(
    file: &TreeFile,
    recipe: &Recipe,
    lossy: Option<Tier>,
    progress: &Progress<'_>,
) -> Result<FileEntry, CompressError> {
    if lossy.is_none() {
        return Ok(entry_for(file, recipe.oid, recipe));
    }
    let own = outline(file, &open(file)?, progress)?.0.oid;
    let approximation = (own != recipe.oid).then_some(recipe.oid);
    Ok(FileEntry { approximation, ..entry_for(file, own, recipe) })
}

fn entry_for(file: &TreeFile, sha256: Oid, recipe: &Recipe) -> FileEntry {
    FileEntry { path: file.path.clone(), size: recipe.size, sha256, approximation: None }
}

fn outline(
    file: &TreeFile,
    source: &OpenFile,
    progress: &Progress<'_>,
) -> Result<(Recipe, Inside), CompressError> {
    held::outline(source, progress).map_err(|error| CompressError::Outline { path: file.path.clone(), error })
}

/// Says of each tensor how far its approximation lies from it.
fn measure(
    store: &Store,
    base: &[Recipe],
    files: &[(&TreeFile, Recipe)],
    tuned: &Tree,
    manifest: &mut Manifest,
    progress: &Progress<'_>,
) -> Result<(), CompressError> {
    let files: Vec<_> = files.iter().map(|(file, recipe)| (file.path.as_str(), recipe)).collect();
    let measured = validate::measure(store, base, &files, tuned, progress)?;
    let errors: HashMap<_, _> =
        measured.iter().map(|found| ((found.file.as_str(), found.name.as_str()), found.error)).collect();
    for tensor in &mut manifest.tensors {
        tensor.error = errors.get(&(tensor.file.as_str(), tensor.name.as_str())).copied();
    }
    Ok(())
}

/// Outlines the files of the base and keeps their recipes in the artifact.
fn outlines(base: &Tree, artifact: &Local, progress: &Progress<'_>) -> Result<Vec<BaseFile>, CompressError> {
    let outline = |base: &TreeFile| {
        let file = open(base)?;
        let (recipe, inside) = outline(base, &file, progress)?;
        let oid = recipe.oid;
        unless_changed(base, &file)?;
        let proven = recipe.clone().prove(oid).expect("because the recipe was made of this hash");
        store::write_recipe(artifact, &proven).map_err(StoreError::Io)?;
        Ok(BaseFile { path: base.path.clone(), recipe, file, inside })
    };
    base.files.iter().map(outline).collect()
}

fn open(file: &TreeFile) -> Result<OpenFile, CompressError> {
    OpenFile::open(&file.place).map_err(|error| CompressError::Read { path: file.path.clone(), error })
}

/// A file that somebody writes to is read as one that never was.
fn unless_changed(file: &TreeFile, source: &OpenFile) -> Result<(), CompressError> {
    let changed = source.has_changed();
    match changed.map_err(|error| CompressError::Read { path: file.path.clone(), error })? {
        true => Err(CompressError::Changed { path: file.path.clone() }),
        false => Ok(()),
    }
}

/// What a file holds.
fn content(file: &TreeFile) -> Result<Option<Content>, CompressError> {
    let found = ingest::content(&open(file)?);
    found.map_err(|error| CompressError::Ingest { path: file.path.clone(), error: Box::new(error) })
}

/// What a file is compared against: those of the base that have what a table or a text holds; else the base's file of the
/// same path, and what other files of it have.
fn against(
    base: &Tree,
    recipes: &[Recipe],
    contents: &[Option<Content>],
    file: &TreeFile,
    lossy: Option<Tier>,
) -> Result<Against, CompressError> {
    let own = base.files.iter().position(|known| known.path == file.path);
    let mut order = content(file)?.map(|content| nearest(&content, contents, own)).unwrap_or_default();
    let bases = order.len().max(1);
    if order.is_empty() {
        let others = || recipes.iter().enumerate();
        order.extend(
            own.or_else(|| others().max_by_key(|(_, recipe)| recipe.tensors.len()).map(|(at, _)| at)),
        );
    }
    let oids: Vec<Oid> = order.iter().take(bases).map(|at| recipes[*at].oid).collect();
    order.extend((0..recipes.len()).filter(|at| !order.contains(at)).collect::<Vec<_>>());
    let mut counterparts = Counterparts::default();
    order.iter().for_each(|at| counterparts.add(&recipes[*at]));
    let base = oids.first().map(|oid| (*oid, Reason::Declared));
    let further = oids.into_iter().skip(1).collect();
    Ok(Against { counterparts, base, further, lossy, ..Against::default() })
}

fn store_one(
    store: &Store,
    file: &TreeFile,
    against: Against,
    progress: &Progress<'_>,
) -> Result<Recipe, CompressError> {
    let source = open(file)?;
    let done = ingest_against(store, &source, against, Effort::Repack, progress)
        .map_err(|error| CompressError::Ingest { path: file.path.clone(), error: Box::new(error) })?;
    unless_changed(file, &source)?;
    Ok(store.recipe(&done.oid)?.ok_or(StoreError::NoFile(done.oid))?)
}

/// Fills in what each tensor and everything together costs.
fn account(
    store: &Store,
    base: &[Recipe],
    files: &[(&TreeFile, Recipe)],
    manifest: &mut Manifest,
) -> Result<(), StoreError> {
    let record = |object: &ObjectId| store.find(object).map(|found| found.record);
    let mut figures = Figures::over(base, &record);
    let mut take = |entry| {
        manifest.tensors.push(entry);
        Ok(())
    };
    for (file, recipe) in files {
        figures.of_file(&file.path, recipe, &mut take)?;
    }
    manifest.totals.same = figures.same();
    manifest.totals.stored = figures::stored(store.backend())?;
    manifest.totals.size = manifest.fine_tune.size();
    manifest.totals.ratio = manifest.totals.size as f64 / manifest.totals.stored.max(1) as f64;
    Ok(())
}
