//! What a GGUF file will be: every byte before the weights, and how each tensor comes from the checkpoint.
//!
//! A plan is made before anything is written, so that its size is known and whatever is wrong with the checkpoint
//! is said first. Weights keep their type. Norms, biases and whatever else has one dimension become F32, which
//! llama.cpp wants them in.

use std::collections::BTreeSet;
use std::io::Write;

use super::checkpoint::{Checkpoint, Stored};
use super::family::{Change, Family, Sizes};
use super::metadata::{self, ALIGNMENT, Row};
use super::{ConvertError, tokenizer};
use crate::derive::{Float, Kind};

/// As much as is copied at a time.
const STRETCH_BYTES: u64 = 8 << 20;

/// Prefixes that models put before the names of their tensors, by how they were saved.
const PREFIXES: [&str; 4] = ["model.", "", "language_model.model.", "model.language_model."];
const EMBEDDING: &str = "embed_tokens.weight";
const OUTPUTS: [&str; 2] = ["lm_head.weight", "language_model.lm_head.weight"];
/// Parts of models that also see, and what older files keep that is computed.
const UNUSED: [&str; 4] =
    ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];
const COMPUTED: &str = ".rotary_emb.inv_freq";

/// A GGUF file that is not yet written.
pub struct Plan<'a> {
    checkpoint: &'a Checkpoint<'a>,
    head: Vec<u8>,
    tensors: Vec<Planned<'a>>,
}

/// A tensor of the new file.
struct Planned<'a> {
    row: Row,
    origin: Origin<'a>,
}

/// Where a tensor comes from.
enum Origin<'a> {
    /// Kept to the bit.
    Same(&'a Stored),
    /// The halves of each head of so many rows interleaved.
    Interleaved(&'a Stored, u64),
    /// As F32, with something added; the halves of heads perhaps interleaved.
    Widened(&'a Stored, f32, Option<u64>),
    /// Made here.
    Made(Vec<f32>),
}

impl<'a> Plan<'a> {
    /// Decides everything.
    ///
    /// # Errors
    /// An architecture, a setting or a tokenizer that is not known or that llama.cpp has nothing like, a tensor that
    /// is missing, has another shape, or has no place.
    pub fn of(checkpoint: &'a Checkpoint<'a>) -> Result<Plan<'a>, ConvertError> {
        let config = &checkpoint.config;
        let family = Family::of(config)?;
        let config = &config.text();
        let sizes = Sizes::of(config, family)?;
        let mut metadata = family.metadata(config, &sizes)?;
        let tensors = Tensors::new(checkpoint, family, &sizes)?
            .collect(family.is_tied(config)?, family.rope(config)?.divisors(sizes.head))?;
        metadata.count("general.file_type", file_type(&tensors));
        metadata.count("general.quantization_version", 2);
        tokenizer::tell(checkpoint, config, sizes.vocabulary, &mut metadata)?;
        let rows: Vec<Row> = tensors.iter().map(|tensor| tensor.row.clone()).collect();
        Ok(Plan { checkpoint, head: metadata::encode(&metadata, &rows), tensors })
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        let tensors = self.tensors.iter().map(|tensor| tensor.row.bytes().next_multiple_of(ALIGNMENT));
        self.head.len() as u64 + tensors.sum::<u64>()
    }

    /// Bytes of the weights, in the types that they have in the file.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.row.bytes()).sum()
    }

    /// Writes the file, from its first byte to its last.
    ///
    /// # Errors
    /// What can't be read or written.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), ConvertError> {
        out.write_all(&self.head).map_err(ConvertError::Write)?;
        for tensor in &self.tensors {
            self.write_tensor(tensor, out)?;
            let bytes = tensor.row.bytes();
            let padding = vec![0; (bytes.next_multiple_of(ALIGNMENT) - bytes) as usize];
            out.write_all(&padding).map_err(ConvertError::Write)?;
        }
        out.flush().map_err(ConvertError::Write)
    }

    fn write_tensor(&self, tensor: &Planned, out: &mut dyn Write) -> Result<(), ConvertError> {
        match &tensor.origin {
            Origin::Same(stored) => self.stretches(stored, STRETCH_BYTES, |bytes| put(out, bytes)),
            Origin::Interleaved(stored, head) => {
                let row_bytes = row_bytes(stored);
                self.stretches(stored, head * row_bytes, |bytes| put(out, &interleaved(bytes, row_bytes)))
            }
            Origin::Widened(stored, plus, head) => {
                let float = Float::of(stored.dtype).expect("because the plan has only floats");
                let row_bytes = row_bytes(stored);
                let stretch = head.map_or(STRETCH_BYTES, |head| head * row_bytes);
                self.stretches(stored, stretch, |bytes| {
                    let mut values = match head {
                        Some(_) => float.values(&interleaved(bytes, row_bytes)),
                        None => float.values(bytes),
                    };
                    if *plus != 0.0 {
                        values.iter_mut().for_each(|value| *value += plus);
                    }
                    put(out, &Float::F32.bytes(&values))
                })
            }
            Origin::Made(values) => put(out, &Float::F32.bytes(values)),
        }
    }

    /// Hands on a tensor's bytes, at most so many at a time.
    fn stretches(
        &self,
        stored: &Stored,
        bytes: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let mut at = stored.range.start;
        let mut buffer = Vec::new();
        while at < stored.range.end {
            let len = bytes.min(stored.range.end - at);
            buffer.resize(len as usize, 0);
            self.checkpoint.read(&stored.file, &mut buffer, at)?;
            take(&buffer)?;
            at += len;
        }
        Ok(())
    }
}

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<(), ConvertError> {
    out.write_all(bytes).map_err(ConvertError::Write)
}

/// Bytes of what lies behind one index of the outermost dimension.
fn row_bytes(stored: &Stored) -> u64 {
    stored.shape[1..].iter().product::<u64>() * stored.dtype.width() as u64
}

/// One head, its rows taken from both halves in turn.
///
/// `transformers` turns a row with the one half a head away, `ggml`, in this architecture, with its neighbour.
fn interleaved(head: &[u8], row_bytes: u64) -> Vec<u8> {
    let (low, high) = head.split_at(head.len() / 2);
    let pairs = low.chunks_exact(row_bytes as usize).zip(high.chunks_exact(row_bytes as usize));
    pairs.flat_map(|(low, high)| [low, high].concat()).collect()
}

/// llama.cpp's number for the type of most bytes.
fn file_type(tensors: &[Planned]) -> u64 {
    let bytes = |kind: Kind| -> u64 {
        let rows = tensors.iter().map(|tensor| &tensor.row);
        rows.filter(|row| row.kind == kind && row.shape.len() > 1).map(Row::bytes).sum()
    };
    let most = [(Kind::F32, 0), (Kind::F16, 1), (Kind::Bf16, 32)];
    most.into_iter().max_by_key(|(kind, _)| bytes(*kind)).expect("because there are three").1
}

/// Takes tensors out of a checkpoint by their names, and knows in the end what was left.
struct Tensors<'a, 'b> {
    checkpoint: &'a Checkpoint<'a>,
    family: &'b Family,
    sizes: &'b Sizes,
    prefix: &'static str,
    taken: BTreeSet<&'a str>,
    out: Vec<Planned<'a>>,
}

impl<'a, 'b> Tensors<'a, 'b> {
    fn new(
        checkpoint: &'a Checkpoint<'a>,
        family: &'b Family,
        sizes: &'b Sizes,
    ) -> Result<Self, ConvertError> {
        let has = |prefix: &&&str| checkpoint.tensors.contains_key(&format!("{prefix}{EMBEDDING}"));
        let prefix = PREFIXES.iter().find(has).ok_or_else(|| ConvertError::Missing {
            name: format!("{}{EMBEDDING}", PREFIXES[0]),
            expected: vec![sizes.vocabulary, sizes.width],
        })?;
        Ok(Tensors { checkpoint, family, sizes, prefix, taken: BTreeSet::new(), out: Vec::new() })
    }

    fn collect(
        mut self,
        is_tied: bool,
        divisors: Option<Vec<f32>>,
    ) -> Result<Vec<Planned<'a>>, ConvertError> {
        let (width, vocabulary) = (self.sizes.width, self.sizes.vocabulary);
        let prefix = self.prefix;
        self.take(
            format!("{prefix}{EMBEDDING}"),
            "token_embd.weight".into(),
            vec![vocabulary, width],
            Change::None,
        )?;
        self.take(format!("{prefix}norm.weight"), "output_norm.weight".into(), vec![width], Change::Norm)?;
        let tensors = &self.checkpoint.tensors;
        let output = OUTPUTS.into_iter().find(|name| tensors.contains_key(*name)).unwrap_or(OUTPUTS[0]);
        if is_tied {
            // A copy of the embedding, which `transformers` does not look at either.
            self.taken.insert(output);
        } else {
            self.take(output.into(), "output.weight".into(), vec![vocabulary, width], Change::None)?;
        }
        if let Some(values) = divisors {
            let shape = vec![values.len() as u64];
            let row = Row { name: "rope_freqs.weight".into(), shape, kind: Kind::F32 };
            self.out.push(Planned { row, origin: Origin::Made(values) });
        }
        for layer in 0..self.sizes.layers {
            for part in self.family.parts.iter().copied().flatten() {
                let from = format!("{prefix}layers.{layer}.{}", part.from);
                if part.is_needed || self.checkpoint.tensors.contains_key(&from) {
                    let shape = part.shape.iter().map(|size| self.sizes.of_part(*size)).collect();
                    self.take(from, format!("blk.{layer}.{}", part.to), shape, part.change)?;
                }
            }
        }
        self.nothing_is_left()?;
        Ok(self.out)
    }

    fn take(
        &mut self,
        from: String,
        to: String,
        shape: Vec<u64>,
        change: Change,
    ) -> Result<(), ConvertError> {
        let Some((name, stored)) = self.checkpoint.tensors.get_key_value(&from) else {
            return Err(ConvertError::Missing { name: from, expected: shape });
        };
        let Some(float) = Float::of(stored.dtype) else {
            return Err(ConvertError::Dtype { name: from, found: format!("{:?}", stored.dtype) });
        };
        if stored.shape != shape {
            return Err(ConvertError::Shape { name: from, expected: shape, found: stored.shape.clone() });
        }
        self.taken.insert(name);
        let head = (change == Change::Rotary && self.family.interleaves).then_some(self.sizes.head);
        let plus = if change == Change::Norm { self.family.norm_plus } else { 0.0 };
        let (kind, origin) = match head {
            _ if shape.len() == 1 => (Kind::F32, Origin::Widened(stored, plus, head)),
            Some(head) => (kind_of(float), Origin::Interleaved(stored, head)),
            None => (kind_of(float), Origin::Same(stored)),
        };
        self.out.push(Planned { row: Row { name: to, shape, kind }, origin });
        Ok(())
    }

    /// A tensor that the architecture has no place for would be lost, and the model another one.
    fn nothing_is_left(&self) -> Result<(), ConvertError> {
        let is_unused =
            |name: &str| name.ends_with(COMPUTED) || UNUSED.iter().any(|prefix| name.starts_with(prefix));
        let mut names = self.checkpoint.tensors.keys();
        match names.find(|name| !self.taken.contains(name.as_str()) && !is_unused(name)) {
            Some(name) => Err(ConvertError::Unplaced {
                name: name.clone(),
                architecture: self.family.architecture.into(),
            }),
            None => Ok(()),
        }
    }
}

fn kind_of(float: Float) -> Kind {
    match float {
        Float::F32 => Kind::F32,
        Float::F16 => Kind::F16,
        Float::Bf16 => Kind::Bf16,
    }
}
