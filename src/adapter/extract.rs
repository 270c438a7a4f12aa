//! From a base and its fine-tune to a LoRA adapter: the largest terms of their difference.
//!
//! A full fine-tune is no adapter: what its difference has beyond the rank is lost, so each tensor tells
//! how much that is. The adapter is one that PEFT loads.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::saved;
use crate::derive::{Float, Product};
use crate::format::Dtype;
use crate::subspace::{Matrix, Truncated, truncated};

/// Largest rank that is extracted: the work grows with its cube.
const MAX_RANK: usize = 1024;

/// Factors whose product is close to a difference: `alpha / rank · b a`.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// `rank × columns`, by rows.
    pub a: Vec<f32>,
    /// `rows × rank`, by rows.
    pub b: Vec<f32>,
    /// Frobenius norm of what is missing to the difference, in parts of the difference's; 0 for none at all.
    pub relative_error: f64,
}

/// Why factors can't be extracted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExtractError {
    #[error("rank {rank}: expected 1 to {MAX_RANK}")]
    Rank { rank: usize },
    #[error("alpha {alpha}: expected a positive number")]
    Alpha { alpha: f64 },
    #[error("{base} and {tuned} elements: expected {rows} × {columns} of both, and more than none")]
    Size { base: usize, tuned: usize, rows: usize, columns: usize },
    #[error("the difference has infinities or what is no number")]
    NotFinite,
    #[error("nothing that an adapter can express has changed")]
    Nothing,
}

/// The factors of `tuned − base`, two matrices by rows, for an adapter of that rank and alpha.
///
/// Terms beyond what the difference has are zeros. The same input always gives the same factors.
///
/// # Errors
/// Numbers out of range, slices of other lengths, values that are not finite.
pub fn extract(
    base: &[f32],
    tuned: &[f32],
    rows: usize,
    columns: usize,
    rank: usize,
    alpha: f64,
) -> Result<Extracted, ExtractError> {
    let scale = scale_of(rank, alpha)?;
    let expected = rows.checked_mul(columns).filter(|elements| *elements > 0);
    if expected != Some(base.len()) || expected != Some(tuned.len()) {
        return Err(ExtractError::Size { base: base.len(), tuned: tuned.len(), rows, columns });
    }
    let mut difference: Vec<f32> = base.iter().zip(tuned).map(|(base, tuned)| tuned - base).collect();
    if !difference.iter().all(|value| value.is_finite()) {
        return Err(ExtractError::NotFinite);
    }
    let terms = truncated(&Matrix { values: &difference, columns }, rank);
    let (a, b) = factors(&terms, rows, columns, rank, scale);
    let whole = square_sum(&difference);
    // The product is taken away by the code that will add it.
    let negative = Product::new(b.clone(), a.clone(), rank, -scale, false);
    difference
        .par_chunks_mut(columns)
        .enumerate()
        .for_each(|(row, values)| negative.add_to(values, row * columns));
    Ok(Extracted { a, b, relative_error: ratio(square_sum(&difference), whole) })
}

fn scale_of(rank: usize, alpha: f64) -> Result<f32, ExtractError> {
    if !(1..=MAX_RANK).contains(&rank) {
        return Err(ExtractError::Rank { rank });
    }
    let scale = (alpha / rank as f64) as f32;
    let usable = scale.is_normal() && scale > 0.0;
    if usable { Ok(scale) } else { Err(ExtractError::Alpha { alpha }) }
}

/// Both factors get the root of a term's size, so that neither of them is tiny.
fn factors(terms: &Truncated, rows: usize, columns: usize, rank: usize, scale: f32) -> (Vec<f32>, Vec<f32>) {
    let (mut a, mut b) = (vec![0.0; rank * columns], vec![0.0; rows * rank]);
    let scale = f64::from(scale);
    for (k, strength) in terms.strengths.iter().enumerate() {
        let size = (strength / scale).sqrt();
        for (place, value) in a[k * columns..][..columns].iter_mut().zip(&terms.right[k]) {
            *place = (value / strength * size) as f32;
        }
        for (place, value) in b.iter_mut().skip(k).step_by(rank).zip(&terms.left[k]) {
            *place = (value * size) as f32;
        }
    }
    (a, b)
}

fn square_sum(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum()
}

fn ratio(left: f64, whole: f64) -> f64 {
    if whole > 0.0 { (left / whole).sqrt() } else { 0.0 }
}

/// How a layer keeps its weights; tensors do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A row an output.
    Linear,
    /// GPT-2's: a row an input (`fan_in_fan_out`).
    Conv1d,
    /// A row a token.
    Embedding,
}

impl Layer {
    /// An embedding by its name, and linear otherwise: a guess, for callers who know no better.
    pub fn guess(tensor_name: &str) -> Layer {
        let module = tensor_name.strip_suffix(".weight").unwrap_or(tensor_name);
        let last = module.rsplit('.').next().unwrap_or(module);
        // GPT-NeoX calls its last linear layer `embed_out`.
        let embedding =
            last.contains("embed") && last != "embed_out" || ["wte", "wpe", "shared"].contains(&last);
        if embedding { Layer::Embedding } else { Layer::Linear }
    }
}

/// A tensor of a base and its fine-tune.
pub struct Pair<'a> {
    pub name: &'a str,
    pub layer: Layer,
    pub shape: &'a [u64],
    pub base: (Dtype, &'a [u8]),
    pub tuned: (Dtype, &'a [u8]),
}

/// What became of a tensor that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorReport {
    pub name: String,
    pub shape: Vec<u64>,
    /// Frobenius norm of the difference.
    pub norm: f64,
    /// What the merged tensor, in the base's type, is away from the fine-tune, in parts of `norm`.
    pub relative_error: f64,
}

/// A changed tensor that an adapter leaves as it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotExpressible {
    pub name: String,
    pub reason: Reason,
}

/// Why an adapter can't express a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No matrix: a bias, a norm, a convolution.
    NotAMatrix,
    /// No module's `weight`.
    NotAWeight,
    /// Another type than f32, bf16 or fp16, or bytes that are not as many as the shape tells.
    Type,
    /// Infinities, or what is no number.
    NotFinite,
}

/// A whole adapter and what it is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtractedAdapter {
    /// `adapter_model.safetensors`.
    pub weights: Vec<u8>,
    /// `adapter_config.json`.
    pub config: Vec<u8>,
    pub tensors: Vec<TensorReport>,
    pub not_expressible: Vec<NotExpressible>,
    /// The error of all tensors in `tensors` together.
    pub relative_error: f64,
}

/// An adapter under construction: pairs of tensors go in one after the other, only factors are kept.
pub struct Extraction {
    rank: usize,
    alpha: f64,
    scale: f32,
    /// By the names of the file: shape and values.
    saved: BTreeMap<String, (Vec<u64>, Vec<f32>)>,
    modules: Vec<String>,
    fan_in_fan_out: bool,
    tensors: Vec<TensorReport>,
    not_expressible: Vec<NotExpressible>,
    /// Squares of what is left and of the differences.
    squares: (f64, f64),
}

impl Extraction {
    /// An adapter of one rank and alpha for all layers.
    ///
    /// # Errors
    /// A rank or an alpha out of range.
    pub fn new(rank: usize, alpha: f64) -> Result<Extraction, ExtractError> {
        let scale = scale_of(rank, alpha)?;
        Ok(Extraction {
            rank,
            alpha,
            scale,
            saved: BTreeMap::new(),
            modules: Vec::new(),
            fan_in_fan_out: false,
            tensors: Vec::new(),
            not_expressible: Vec::new(),
            squares: (0.0, 0.0),
        })
    }

    /// Takes the next tensor; one that did not change leaves no trace.
    pub fn add(&mut self, pair: &Pair<'_>) {
        if pair.base == pair.tuned {
            return;
        }
        if let Err(reason) = self.add_changed(pair) {
            self.not_expressible.push(NotExpressible { name: pair.name.to_owned(), reason });
        }
    }

    fn add_changed(&mut self, pair: &Pair<'_>) -> Result<(), Reason> {
        let &[rows, columns] = pair.shape else { return Err(Reason::NotAMatrix) };
        let module = pair.name.strip_suffix(".weight").ok_or(Reason::NotAWeight)?;
        let float = Float::of(pair.base.0).ok_or(Reason::Type)?;
        let base = float.values(pair.base.1);
        let tuned = Float::of(pair.tuned.0).ok_or(Reason::Type)?.values(pair.tuned.1);
        if base == tuned {
            return Ok(());
        }
        let (rows, columns) = (rows as usize, columns as usize);
        let found = extract(&base, &tuned, rows, columns, self.rank, self.alpha);
        let Extracted { a, b, .. } = found.map_err(|error| match error {
            ExtractError::NotFinite => Reason::NotFinite,
            _ => Reason::Type,
        })?;
        self.report(pair, float, (base, tuned), (&a, &b));
        self.keep(module, pair.layer, (a, b), (rows as u64, columns as u64));
        Ok(())
    }

    /// Merges, as it will be done later, and measures what is missing.
    fn report(
        &mut self,
        pair: &Pair<'_>,
        float: Float,
        values: (Vec<f32>, Vec<f32>),
        (a, b): (&[f32], &[f32]),
    ) {
        let (mut merged, tuned) = values;
        let away = |from: &[f32]| -> f64 {
            from.iter().zip(&tuned).map(|(from, to)| (f64::from(*to) - f64::from(*from)).powi(2)).sum()
        };
        let whole = away(&merged);
        let columns = a.len() / self.rank;
        let product = Product::new(b.to_vec(), a.to_vec(), self.rank, self.scale, false);
        merged.par_chunks_mut(columns).enumerate().for_each(|(row, values)| {
            match pair.layer {
                Layer::Embedding => product.add_rounded_to(values, row * columns, float),
                Layer::Linear | Layer::Conv1d => product.add_to(values, row * columns),
            }
            let rounded = float.values(&float.bytes(values));
            values.copy_from_slice(&rounded);
        });
        let left = away(&merged);
        self.squares = (self.squares.0 + left, self.squares.1 + whole);
        self.tensors.push(TensorReport {
            name: pair.name.to_owned(),
            shape: pair.shape.to_vec(),
            norm: whole.sqrt(),
            relative_error: ratio(left, whole),
        });
    }

    /// The factors of a matrix with a row an input are those of its transpose, the other way around.
    fn keep(
        &mut self,
        module: &str,
        layer: Layer,
        (a, b): (Vec<f32>, Vec<f32>),
        (rows, columns): (u64, u64),
    ) {
        let rank = self.rank as u64;
        let (a, b, outputs, inputs) = match layer {
            Layer::Linear => (a, b, rows, columns),
            Layer::Conv1d | Layer::Embedding => {
                (saved::transposed(&b, self.rank), saved::transposed(&a, columns as usize), columns, rows)
            }
        };
        let [a_name, b_name] = saved::names(module, layer == Layer::Embedding);
        self.saved.insert(a_name, (vec![rank, inputs], a));
        self.saved.insert(b_name, (vec![outputs, rank], b));
        self.fan_in_fan_out |= layer == Layer::Conv1d;
        self.modules.push(module.to_owned());
    }

    /// The adapter of all tensors that were added, for a base of that name.
    ///
    /// # Errors
    /// No tensor that an adapter can express has changed.
    pub fn finish(self, base_model: Option<&str>) -> Result<ExtractedAdapter, ExtractError> {
        if self.modules.is_empty() {
            return Err(ExtractError::Nothing);
        }
        let config = json!({
            "peft_type": "LORA",
            "base_model_name_or_path": base_model,
            "r": self.rank,
            "lora_alpha": whole_if_possible(self.alpha),
            "lora_dropout": 0.0,
            "target_modules": self.modules,
            "fan_in_fan_out": self.fan_in_fan_out,
            "bias": "none",
            "use_rslora": false,
            "use_dora": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "task_type": null,
        });
        Ok(ExtractedAdapter {
            weights: saved::safetensors(&self.saved),
            config: format!("{config:#}\n").into_bytes(),
            tensors: self.tensors,
            not_expressible: self.not_expressible,
            relative_error: ratio(self.squares.0, self.squares.1),
        })
    }
}

/// PEFT's alpha is a whole number; it takes another one, too.
fn whole_if_possible(alpha: f64) -> serde_json::Value {
    let whole = alpha.fract() == 0.0 && alpha < 1e15;
    if whole { (alpha as u64).into() } else { alpha.into() }
}
