//! The tensors of `adapter_model.safetensors`, and what each of them is for.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::format::{self, Dtype, Format, Source};

/// What PEFT puts before the name of each module.
pub const PREFIX: &str = "base_model.model.";

/// Where a tensor of the adapter lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// In bytes of the file; as long as type and shape tell.
    pub range: Range<u64>,
}

/// What a tensor is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// `rank × inputs`.
    A { module: String, embedding: bool },
    /// `outputs × rank`.
    B { module: String, embedding: bool },
    /// Takes the place of this tensor of the base (`modules_to_save`, or an embedding that was saved along).
    Whole { name: String },
}

/// Why the tensors of an adapter are not understood.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no safetensors file with tensors in it: is it whole, and of no other format?")]
    NotSafetensors,
    #[error(
        "tensor {name}: PEFT's names begin with {PREFIX}; an adapter of another tool must be converted to PEFT's"
    )]
    Foreign { name: String },
    #[error("tensor {name}: DoRA (use_dora) is not supported")]
    Dora { name: String },
    #[error("tensor {name}: LoRA with a bias (lora_bias) is not supported")]
    Bias { name: String },
    #[error(
        "tensor {name}: not supported; of LoRA lora_A, lora_B, lora_embedding_A and lora_embedding_B are"
    )]
    Unknown { name: String },
    #[error(
        "tensor {name}: {expected} bytes are expected of {dtype:?} and shape {shape:?}, the header gives it {found}"
    )]
    Length { name: String, dtype: Dtype, shape: Vec<u64>, expected: u64, found: u64 },
}

/// All tensors, in the order of their names.
pub fn read(weights: &dyn Source) -> Result<Vec<(Part, Stored)>, TableError> {
    let cut = format::cut(weights)?;
    let mut tensors: BTreeMap<&str, Stored> = BTreeMap::new();
    for segment in cut.segments().iter().filter(|segment| !segment.name.is_empty()) {
        let new =
            || Stored { dtype: segment.dtype, shape: segment.shape.clone(), range: segment.range.clone() };
        // The slices of a tensor follow each other.
        tensors.entry(&segment.name).or_insert_with(new).range.end = segment.range.end;
    }
    if cut.format() != Format::Safetensors || tensors.is_empty() {
        return Err(TableError::NotSafetensors);
    }
    tensors.into_iter().map(|(name, stored)| Ok((part(name)?, sized(name, stored)?))).collect()
}

/// Packed types have other lengths than their shapes tell.
fn sized(name: &str, stored: Stored) -> Result<Stored, TableError> {
    let found = stored.range.end - stored.range.start;
    let elements = stored.shape.iter().try_fold(1u64, |elements, &len| elements.checked_mul(len));
    let bytes = elements.and_then(|elements| elements.checked_mul(stored.dtype.width() as u64));
    match bytes == Some(found) {
        true => Ok(stored),
        false => {
            let (name, expected) = (name.into(), bytes.unwrap_or(u64::MAX));
            Err(TableError::Length { name, dtype: stored.dtype, shape: stored.shape, expected, found })
        }
    }
}

/// What the tensor of this name is for.
pub fn part(name: &str) -> Result<Part, TableError> {
    let Some(key) = name.strip_prefix(PREFIX) else { return Err(TableError::Foreign { name: name.into() }) };
    let module_of = |ending: &str| key.strip_suffix(ending).map(str::to_owned);
    for (embedding, endings) in
        [(false, [".lora_A.weight", ".lora_B.weight"]), (true, [".lora_embedding_A", ".lora_embedding_B"])]
    {
        if let Some(module) = module_of(endings[0]) {
            return Ok(Part::A { module, embedding });
        }
        if let Some(module) = module_of(endings[1]) {
            return Ok(Part::B { module, embedding });
        }
    }
    let name = || name.to_owned();
    if key.contains(".lora_magnitude_vector") {
        return Err(TableError::Dora { name: name() });
    }
    if key.contains(".lora_B.bias") {
        return Err(TableError::Bias { name: name() });
    }
    if key.contains(".lora_") {
        return Err(TableError::Unknown { name: name() });
    }
    Ok(Part::Whole { name: key.replace(".base_layer.", ".") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor that is taken for another one is merged wrongly: each kind of name is told apart.
    #[test]
    fn names_tell_what_tensors_are_for() {
        let of = |name: &str| part(&format!("{PREFIX}{name}"));
        let module = || "h.0.attn".to_owned();
        assert_eq!(of("h.0.attn.lora_A.weight").unwrap(), Part::A { module: module(), embedding: false });
        assert_eq!(of("h.0.attn.lora_B.weight").unwrap(), Part::B { module: module(), embedding: false });
        assert_eq!(of("h.0.attn.lora_embedding_B").unwrap(), Part::B { module: module(), embedding: true });
        assert_eq!(of("head.weight").unwrap(), Part::Whole { name: "head.weight".into() });
        assert_eq!(of("wte.base_layer.weight").unwrap(), Part::Whole { name: "wte.weight".into() });
        assert!(matches!(of("x.lora_magnitude_vector"), Err(TableError::Dora { .. })));
        assert!(matches!(of("x.lora_B.bias"), Err(TableError::Bias { .. })));
        assert!(matches!(of("x.lora_A.default.weight"), Err(TableError::Unknown { .. })));
        assert!(matches!(part("model.x.lora_A.weight"), Err(TableError::Foreign { .. })));
    }
}
