//! How far each tensor of the source would be from itself in other types: told from some of its rows, in a few seconds for all
//! types, and no model is run for it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::super::ledger::Key;
use super::super::size::Tensor;
use super::calibration::Calibration;
use super::lab::Lab;
use super::work::Recipe;
use super::{Around, RunError};
use crate::engine::{Distort, Place};
use crate::format::{self, Dtype, OpenFile};

/// Rows of each tensor that are looked at, spread over it.
const ROWS: u32 = 24;

/// Sums of squared errors of whole tensors, by tensor and type.
pub struct Distortions {
    types: Vec<String>,
    errors: BTreeMap<String, Vec<Option<f64>>>,
}

impl Distortions {
    /// Of some tensors in a type together; `None` where one of them can't have it.
    pub fn of(&self, tensors: &[Tensor], dtype: &str) -> Option<f64> {
        let at = self.types.iter().position(|known| known == dtype)?;
        tensors.iter().map(|tensor| *self.errors.get(&tensor.name)?.get(at)?).sum()
    }
}

/// Looks at matrices of the source in all of `types`, or finds what was seen before.
///
/// # Errors
/// Those of the engine, and of files.
pub fn distortions(
    lab: &mut Lab<'_>,
    tensors: &[&Tensor],
    types: &[&str],
    calibration: Option<Calibration>,
    around: &Around<'_>,
) -> Result<Distortions, RunError> {
    let types: Vec<String> = types.iter().map(|dtype| (*dtype).to_owned()).collect();
    let key = Key::Distortions {
        types: types.clone(),
        rows: ROWS,
        calibration: calibration.map(|calibration| calibration.word()),
        engine: lab.engine_name().to_owned(),
    };
    if let Some(errors) = lab.ledger.find(&key) {
        return Ok(Distortions { types, errors });
    }
    (around.tell)("how far tensors are from themselves in fewer bits");
    let importance = match calibration {
        Some(calibration) => Some(lab.learned(calibration, around)?),
        None => None,
    };
    let (source, is_made) = source(lab, tensors)?;
    let places = places(&source, tensors)?;
    let order = Distort { source, tensors: places, types: types.clone(), importance, rows: ROWS };
    let found = lab.distort(&order);
    if is_made {
        lab.discard(&Recipe::preset("F16", None))?;
    }
    let names = order.tensors.into_iter().map(|place| place.name);
    let errors: BTreeMap<String, Vec<Option<f64>>> = names.zip(found?).collect();
    lab.ledger.keep(&key, &errors)?;
    Ok(Distortions { types, errors })
}

/// A file with the source's weights as floats: itself, or one that is made, which is told.
fn source(lab: &mut Lab<'_>, tensors: &[&Tensor]) -> Result<(PathBuf, bool), RunError> {
    let path = lab.gguf()?;
    if places(&path, tensors)?.len() == tensors.len() {
        return Ok((path, false));
    }
    Ok((lab.make(&Recipe::preset("F16", None))?, true))
}

/// Where those of the tensors that are floats lie in a file.
fn places(path: &Path, tensors: &[&Tensor]) -> Result<Vec<Place>, RunError> {
    let failed = |error| RunError::File { path: path.to_owned(), error };
    let cut = format::cut(&OpenFile::open(path).map_err(failed)?).map_err(failed)?;
    let first = cut.segments().iter().filter(|segment| segment.slice == 0);
    let found: HashMap<&str, (u64, &str)> = first
        .filter_map(|segment| {
            let dtype = match segment.dtype {
                Dtype::F32 => "F32",
                Dtype::F16 => "F16",
                Dtype::Bf16 => "BF16",
                _ => return None,
            };
            Some((segment.name.as_str(), (segment.range.start, dtype)))
        })
        .collect();
    let place = |tensor: &&Tensor| {
        let (offset, dtype) = found.get(tensor.name.as_str())?;
        Some(Place {
            name: tensor.name.clone(),
            dtype: (*dtype).to_owned(),
            offset: *offset,
            columns: tensor.columns,
            rows: tensor.rows,
        })
    };
    Ok(tensors.iter().filter_map(place).collect())
}
