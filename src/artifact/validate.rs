//! How far what an artifact gives lies from the fine-tune that it was made of, tensor by tensor.

use std::collections::BTreeMap;
use std::io;

use rayon::prelude::*;

use super::manifest::TensorError;
use super::tree::Tree;
use crate::counterpart::Counterparts;
use crate::format::{OpenFile, Source};
use crate::model::weights::values;
use crate::progress::{Cancelled, Progress};
use crate::recipe::{Part, Recipe};
use crate::store::{Store, StoreError};

/// A tensor and its error.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub file: String,
    pub name: String,
    pub error: TensorError,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    #[error("{path}: the fine-tune has no such file")]
    Missing { path: String },
    #[error("{path}: it has {found} bytes, the artifact's has {expected}")]
    Size { path: String, expected: u64, found: u64 },
    #[error("{path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Measures every tensor of numbers in these files, of which `tuned` has the originals. Tensors with numbers
/// that are not finite in both are measured without them.
pub(super) fn measure(
    store: &Store,
    base: &[Recipe],
    files: &[(&str, &Recipe)],
    tuned: &Tree,
    progress: &Progress<'_>,
) -> Result<Vec<Measured>, ValidateError> {
    let mut counterparts = Counterparts::default();
    base.iter().for_each(|recipe| counterparts.add(recipe));
    let mut measured = Vec::new();
    for (path, recipe) in files {
        let original = open(tuned, path, recipe.size)?;
        let parts: Vec<_> = recipe.ranges().filter(|(_, part)| part.tensor.is_some()).collect();
        let sums: Result<Vec<(u32, Sums)>, ValidateError> = parts
            .par_iter()
            .map(|(range, part)| {
                let mut own = vec![0; part.len as usize];
                let read = |error| ValidateError::Read { path: (*path).into(), error };
                original.read_at(&mut own, range.start).map_err(read)?;
                progress(u64::from(part.len))?;
                let sums = compared(store, recipe, part, &own, &counterparts)?;
                Ok((part.tensor.expect("because the others were left out"), sums))
            })
            .collect();
        let mut tensors: BTreeMap<u32, Sums> = BTreeMap::new();
        sums?.iter().for_each(|(tensor, sums)| tensors.entry(*tensor).or_default().add(sums));
        let found = tensors.into_iter().filter(|(_, sums)| sums.count > 0.0);
        measured.extend(found.map(|(tensor, sums)| Measured {
            file: (*path).into(),
            name: recipe.tensors[tensor as usize].name.clone(),
            error: sums.error(),
        }));
    }
    Ok(measured)
}

fn open(tuned: &Tree, path: &str, expected: u64) -> Result<OpenFile, ValidateError> {
    let alone = if tuned.files.len() == 1 { tuned.files.first() } else { None };
    let file = tuned.find(path).or(alone).ok_or_else(|| ValidateError::Missing { path: path.into() })?;
    let read = |error| ValidateError::Read { path: path.into(), error };
    let source = OpenFile::open(&file.place).map_err(read)?;
    match source.len() {
        found if found == expected => Ok(source),
        found => Err(ValidateError::Size { path: path.into(), expected, found }),
    }
}

fn compared(
    store: &Store,
    recipe: &Recipe,
    part: &Part,
    own: &[u8],
    counterparts: &Counterparts,
) -> Result<Sums, ValidateError> {
    let tensor = recipe.tensor_of(part).expect("because the others were left out");
    let found = store.get(&part.object)?;
    let base = counterparts.named(&tensor.name, part.slice);
    let base = base.and_then(|(object, dtype)| Some((store.get_base(&object).ok()?, dtype)));
    let (Some(own), Some(found)) = (values(own, tensor.dtype), values(&found, tensor.dtype)) else {
        return Ok(Sums::default());
    };
    // Where the base has no weight, all of it is change.
    let base = base.as_ref().and_then(|(bytes, dtype)| values(bytes, *dtype));
    let base = base.into_iter().flatten().chain(std::iter::repeat(0.0));
    let mut sums = Sums::default();
    own.zip(found).zip(base).for_each(|((own, found), base)| sums.take(own, found, base));
    Ok(sums)
}

/// Sums over the weights of a tensor.
#[derive(Default)]
struct Sums {
    count: f64,
    max: f64,
    distance: f64,
    distance_squared: f64,
    weight_squared: f64,
    change_squared: f64,
}

impl Sums {
    fn take(&mut self, own: f64, found: f64, base: f64) {
        // What is not finite is kept bit for bit, or refused when it is stored.
        if !own.is_finite() && (own == found || own.is_nan() && found.is_nan()) {
            return;
        }
        let distance = (own - found).abs();
        self.count += 1.0;
        self.max = self.max.max(distance);
        self.distance += distance;
        self.distance_squared += distance * distance;
        self.weight_squared += own * own;
        self.change_squared += (own - base) * (own - base);
    }

    fn add(&mut self, other: &Sums) {
        self.count += other.count;
        self.max = self.max.max(other.max);
        self.distance += other.distance;
        self.distance_squared += other.distance_squared;
        self.weight_squared += other.weight_squared;
        self.change_squared += other.change_squared;
    }

    fn error(&self) -> TensorError {
        let share = |whole: f64| match self.distance_squared == 0.0 {
            true => Some(0.0),
            false => Some((self.distance_squared / whole).sqrt()).filter(|share| share.is_finite()),
        };
        TensorError {
            max: self.max,
            mean: self.distance / self.count,
            relative: share(self.weight_squared),
            of_change: share(self.change_squared),
        }
    }
}
