//! How far tensors are from themselves in another type, told from some of their rows.
//!
//! An error of a weight counts by the mean square of what it is multiplied with: what is summed up is, in the mean over a
//! text, by how much the square of a matrix' output is off. No model is run for it.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fs::File;
use std::os::unix::fs::FileExt;

use engine_messages::{Distort, Place};
use llama_cpp_sys_4 as sys;

use crate::failure::Failure;
use crate::{importance, quantize};

/// Weights that are looked at of one tensor.
const MAX_WEIGHTS: u64 = 1 << 26;
const MAX_TENSORS: usize = 1 << 20;

/// For each tensor and each type the sum of the errors; `None` where the tensor can't have the type.
pub fn distort(order: &Distort) -> Result<Vec<Vec<Option<f64>>>, Failure> {
    let shown = order.source.display();
    let file = File::open(&order.source).map_err(|error| Failure::request(format!("{shown}: {error}")))?;
    if order.tensors.len() > MAX_TENSORS || order.rows == 0 {
        return Err(Failure::request("no rows to look at, or more tensors than there can be"));
    }
    let types: Vec<sys::ggml_type> =
        order.types.iter().map(|name| quantize::type_of(name)).collect::<Result<_, _>>()?;
    let weights: HashMap<String, Vec<f32>> = match &order.importance {
        Some(path) => importance::load(path)?.into_iter().collect(),
        None => HashMap::new(),
    };
    let mut found = Vec::with_capacity(order.tensors.len());
    for place in &order.tensors {
        let sample = Sample::read(&file, place, order.rows, weights.get(&place.name))
            .map_err(|why| Failure::request(format!("{shown}: {}: {why}", place.name)))?;
        found.push(types.iter().map(|dtype| sample.error(*dtype)).collect());
    }
    Ok(found)
}

/// Some rows of a tensor.
struct Sample<'a> {
    columns: usize,
    values: Vec<f32>,
    /// How much each input of each row matters, for the rows that were taken.
    weights: Option<Vec<&'a [f32]>>,
    /// Rows that one of them stands for.
    each: f64,
}

impl<'a> Sample<'a> {
    fn read(
        file: &File,
        place: &Place,
        rows: u32,
        weights: Option<&'a Vec<f32>>,
    ) -> Result<Sample<'a>, String> {
        let taken = u64::from(rows).min(place.rows);
        if place.columns == 0 || taken == 0 || place.columns.saturating_mul(taken) > MAX_WEIGHTS {
            return Err(format!("{} rows of {} columns", place.rows, place.columns));
        }
        let columns = place.columns as usize;
        let traits = traits(quantize::type_of(&place.dtype).map_err(|failure| failure.message)?);
        let row_bytes = columns / traits.blck_size.max(1) as usize * traits.type_size;
        let mut values = vec![0.0f32; columns * taken as usize];
        let mut bytes = vec![0; row_bytes];
        let numbers: Vec<u64> = (0..taken).map(|number| number * place.rows / taken).collect();
        for (number, row) in numbers.iter().zip(values.chunks_exact_mut(columns)) {
            let at = number.checked_mul(row_bytes as u64).and_then(|at| at.checked_add(place.offset));
            file.read_exact_at(&mut bytes, at.ok_or("an offset beyond all files")?)
                .map_err(|error| error.to_string())?;
            match traits.to_float {
                // SAFETY: both are as long as a row of this type is.
                Some(to_float) => unsafe {
                    to_float(bytes.as_ptr().cast::<c_void>(), row.as_mut_ptr(), columns as i64);
                },
                None => {
                    for (value, four) in row.iter_mut().zip(bytes.chunks_exact(4)) {
                        *value = f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
                    }
                }
            }
        }
        let weights = weights.and_then(|weights| {
            // A tensor of experts has as many parts, one after another.
            let parts = (weights.len() / columns) as u64;
            let is_fit =
                parts > 0 && weights.len().is_multiple_of(columns) && place.rows.is_multiple_of(parts);
            let part = |number: &u64| {
                let at = (number / (place.rows / parts)) as usize * columns;
                &weights[at..at + columns]
            };
            is_fit.then(|| numbers.iter().map(part).collect())
        });
        Ok(Sample { columns, values, weights, each: place.rows as f64 / taken as f64 })
    }

    fn error(&self, dtype: sys::ggml_type) -> Option<f64> {
        let traits = traits(dtype);
        let block = usize::try_from(traits.blck_size).ok().filter(|block| *block > 0)?;
        if !self.columns.is_multiple_of(block) {
            return None;
        }
        // SAFETY: it only reads a table.
        let needs = unsafe { sys::ggml_quantize_requires_imatrix(dtype) };
        let to_float = traits.to_float?;
        if needs && self.weights.is_none() {
            return None;
        }
        let mut packed = vec![0u8; self.columns / block * traits.type_size];
        let mut back = vec![0.0f32; self.columns];
        let mut sum = 0.0;
        for (number, row) in self.values.chunks_exact(self.columns).enumerate() {
            let weights = self.weights.as_ref().map(|weights| weights[number]);
            let columns = self.columns as i64;
            // SAFETY: `packed` has the bytes of a row of this type, and all others are as long as a row.
            unsafe {
                let packed = packed.as_mut_ptr().cast::<c_void>();
                let pointer = weights.map_or(std::ptr::null(), <[f32]>::as_ptr);
                sys::ggml_quantize_chunk(dtype, row.as_ptr(), packed, 0, 1, columns, pointer);
                to_float(packed, back.as_mut_ptr(), columns);
            }
            for (at, (value, back)) in row.iter().zip(&back).enumerate() {
                let off = f64::from(value - back);
                sum += off * off * weights.map_or(1.0, |weights| f64::from(weights[at]));
            }
        }
        Some(sum * self.each)
    }
}

fn traits(dtype: sys::ggml_type) -> sys::ggml_type_traits {
    // SAFETY: there is a row in ggml's table for each type that has a name here.
    unsafe { *sys::ggml_get_type_traits(dtype) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type that holds the values loses nothing, one with fewer bits loses more, and inputs that do not matter cost nothing.
    #[test]
    fn errors_are_those_of_the_type() {
        let path = std::env::temp_dir().join(format!("git-sparse-distortion-{}", std::process::id()));
        let values: Vec<f32> = (0..512).map(|at| ((at * 37 % 101) as f32 - 50.0) / 64.0).collect();
        std::fs::write(&path, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
            .unwrap();
        let place = Place { name: "x".into(), dtype: "F32".into(), offset: 0, columns: 256, rows: 2 };
        let types = ["BF16", "Q8_0", "Q4_0", "Q2_K", "IQ2_XXS"].map(str::to_owned).to_vec();
        let order = |place: Place| Distort {
            source: path.clone(),
            tensors: vec![place],
            types: types.clone(),
            importance: None,
            rows: 2,
        };
        let found = distort(&order(place.clone())).unwrap().remove(0);
        assert_eq!((found[0], found[4]), (Some(0.0), None), "{found:?}");
        assert!(found[1] > Some(0.0) && found[1] < found[2] && found[2] < found[3], "{found:?}");
        let file = File::open(&path).unwrap();
        let idle = vec![0.0; 256];
        assert_eq!(
            Sample::read(&file, &place, 1, Some(&idle)).unwrap().error(sys::GGML_TYPE_Q4_0),
            Some(0.0)
        );
        for place in [
            Place { rows: 3, ..place.clone() },
            Place { columns: 0, ..place.clone() },
            Place { columns: 1 << 40, ..place.clone() },
            Place { offset: u64::MAX, ..place.clone() },
            Place { dtype: "Q9".into(), ..place },
        ] {
            let order = Distort { rows: 3, ..order(place) };
            assert!(distort(&order).is_err());
        }
        std::fs::remove_file(&path).unwrap();
    }
}
