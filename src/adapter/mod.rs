//! A PEFT LoRA adapter: what it changes in its base, and the base with it merged in.
//!
//! `merge_and_unload` of PEFT on a CPU is the measure: the same bytes come out, so that a merge can be
//! stored as its base and its adapter. What would give other bytes than PEFT's is refused by name.

mod config;
mod extract;
mod pattern;
mod saved;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::io;

use crate::derive::{Float, Product, add, element_bytes};
use crate::format::{Dtype, Source};

pub use config::ConfigError;
pub use extract::{
    ExtractError, Extracted, ExtractedAdapter, Extraction, Layer, NotExpressible, Pair, Reason, TensorReport,
    extract,
};
pub use table::{Part, TableError, part};

use config::Config;
use table::Stored;

/// An adapter whose configuration and table of tensors were checked; its weights are read when needed.
pub struct Adapter<'a> {
    weights: &'a dyn Source,
    /// By the name of the base's tensor.
    changes: BTreeMap<String, Change>,
    fan_in_fan_out: bool,
}

/// What an adapter does to one tensor of its base: replaces it, adds a product to it, or both in this order.
struct Change {
    whole: Option<Stored>,
    low_rank: Option<LowRank>,
}

/// `scale · B A`, of `B` (outputs × rank) and `A` (rank × inputs).
struct LowRank {
    a: Stored,
    b: Stored,
    rank: u64,
    scale: f32,
    /// Embeddings are always transposed, one row an input.
    embedding: bool,
}

/// Why an adapter can't be read or merged.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error("adapter_config.json: {0}")]
    Config(#[from] ConfigError),
    #[error("adapter_model.safetensors: {0}")]
    Table(#[from] TableError),
    #[error("adapter_model.safetensors: {name}: {error}")]
    Read { name: String, error: io::Error },
    #[error("adapter_model.safetensors: {module} has {there} and no {missing}: a low-rank change needs both")]
    Half { module: String, there: &'static str, missing: &'static str },
    #[error(
        "adapter_model.safetensors: {module}: A is {a:?} and B is {b:?}, and adapter_config.json gives it rank {rank}: \
         expected [{rank}, inputs] and [outputs, {rank}]"
    )]
    Factors { module: String, rank: u64, a: Vec<u64>, b: Vec<u64> },
    #[error("{misfits} of {changes} tensors do not fit the base, the first: {first}")]
    Base { first: Misfit, misfits: usize, changes: usize },
    #[error("{0}")]
    Misfit(#[from] Misfit),
    #[error("{name}: {found} bytes from element {first} do not lie in a tensor of {shape:?}")]
    Outside { name: String, first: u64, found: usize, shape: Vec<u64> },
}

/// Why one tensor of the base can't take what the adapter has for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("the base has no tensor {name}")]
    Missing { name: String },
    #[error("{name} is {base:?} in the base, the adapter changes {adapter:?}")]
    Shape { name: String, base: Vec<u64>, adapter: Vec<u64> },
    #[error(
        "{name} is {base:?} in the base and replaced by {adapter:?}: a resized vocabulary is not supported"
    )]
    Resized { name: String, base: Vec<u64>, adapter: Vec<u64> },
    #[error("{name} is square, and other layers contradict fan_in_fan_out: which way it lies is not known")]
    Ambiguous { name: String },
    #[error("{name} is {base:?} in the base and {adapter:?} in the adapter: only f32, bf16 and f16 merge")]
    Type { name: String, base: Dtype, adapter: Dtype },
}

impl<'a> Adapter<'a> {
    /// Reads `adapter_config.json` and the table of `adapter_model.safetensors`.
    ///
    /// # Errors
    /// What is no plain LoRA, by name; tensors that are none of LoRA's; factors that do not multiply.
    pub fn read(config_json: &[u8], weights: &'a dyn Source) -> Result<Adapter<'a>, AdapterError> {
        let config = Config::read(config_json)?;
        let mut changes = BTreeMap::new();
        let mut factors: BTreeMap<(String, bool), (Option<Stored>, Option<Stored>)> = BTreeMap::new();
        for (part, stored) in table::read(weights)? {
            match part {
                Part::A { module, embedding } => {
                    factors.entry((module, embedding)).or_default().0 = Some(stored)
                }
                Part::B { module, embedding } => {
                    factors.entry((module, embedding)).or_default().1 = Some(stored)
                }
                Part::Whole { name } => {
                    changes.insert(name, Change { whole: Some(stored), low_rank: None });
                }
            }
        }
        for ((module, embedding), pair) in factors {
            let (a, b) = match pair {
                (Some(a), Some(b)) => (a, b),
                (Some(_), None) => return Err(AdapterError::Half { module, there: "A", missing: "B" }),
                (None, _) => return Err(AdapterError::Half { module, there: "B", missing: "A" }),
            };
            let low_rank = LowRank::new(&config, &module, embedding, a, b)?;
            let change = changes.entry(format!("{module}.weight"));
            change.or_insert(Change { whole: None, low_rank: None }).low_rank = Some(low_rank);
        }
        Ok(Adapter { weights, changes, fan_in_fan_out: config.fan_in_fan_out })
    }

    /// The tensors of the base that the adapter changes, by name.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.changes.keys().map(String::as_str)
    }

    /// Whether the adapter fits a base with these tensors.
    ///
    /// # Errors
    /// The first tensor that the base lacks or has in another shape, and how many there are.
    pub fn check<'b>(
        &self,
        base: impl IntoIterator<Item = (&'b str, &'b [u64])>,
    ) -> Result<(), AdapterError> {
        let base: HashMap<&str, &[u64]> = base.into_iter().collect();
        let mixed = self.contradicts_itself(&base);
        let fits = |(name, change): (&String, &Change)| match base.get(name.as_str()) {
            None => Err(Misfit::Missing { name: name.clone() }),
            Some(shape) if mixed && change.is_square() => {
                self.transposed(name, change, shape)?;
                Err(Misfit::Ambiguous { name: name.clone() })
            }
            Some(shape) => self.transposed(name, change, shape).map(drop),
        };
        let misfits: Vec<Misfit> = self.changes.iter().filter_map(|change| fits(change).err()).collect();
        let (misfits, first) = (misfits.len(), misfits.into_iter().next());
        first.map_or(Ok(()), |first| Err(AdapterError::Base { first, misfits, changes: self.changes.len() }))
    }

    /// The bytes of a tensor as PEFT's `merge_and_unload` leaves it; none where the adapter does not touch it.
    ///
    /// Bit for bit PEFT's where both sides of a layer have 16 elements or more (docs/adapters.md).
    ///
    /// # Errors
    /// A tensor that does not fit the adapter, and weights that can't be read.
    pub fn merged(
        &self,
        tensor_name: &str,
        base_bytes: &[u8],
        dtype: Dtype,
        shape: &[u64],
    ) -> Result<Option<Vec<u8>>, AdapterError> {
        let merge = self.merge(tensor_name, dtype, shape)?;
        merge.map(|merge| merge.slice(0, base_bytes)).transpose()
    }

    /// What is needed to merge a tensor slice by slice; none where the adapter does not touch it.
    ///
    /// It holds both factors, and a tensor that is replaced whole, in memory.
    ///
    /// # Errors
    /// A tensor that does not fit the adapter, and weights that can't be read.
    pub fn merge(
        &self,
        tensor_name: &str,
        dtype: Dtype,
        shape: &[u64],
    ) -> Result<Option<Merge>, AdapterError> {
        let Some(change) = self.changes.get(tensor_name) else { return Ok(None) };
        let transposed = self.transposed(tensor_name, change, shape)?;
        let name = tensor_name.to_owned();
        let mut merge =
            Merge { name, dtype, shape: shape.to_vec(), whole: None, product: None, embedding: false };
        if let Some(whole) = &change.whole {
            merge.whole = Some(self.whole(tensor_name, whole, dtype)?);
        }
        if let Some(low_rank) = &change.low_rank {
            Float::of(dtype).ok_or_else(|| wrong_type(tensor_name, dtype, low_rank.a.dtype))?;
            let a = self.factor(tensor_name, &low_rank.a, dtype)?;
            let b = self.factor(tensor_name, &low_rank.b, dtype)?;
            merge.embedding = low_rank.embedding;
            merge.product = Some(Product::new(b, a, low_rank.rank as usize, low_rank.scale, transposed));
        }
        Ok(Some(merge))
    }

    /// Whether the product must be transposed to lie as the base's tensor does.
    fn transposed(&self, name: &str, change: &Change, base: &[u64]) -> Result<bool, Misfit> {
        let name = || name.to_owned();
        if let Some(whole) = &change.whole
            && whole.shape != base
        {
            return Err(Misfit::Resized { name: name(), base: base.into(), adapter: whole.shape.clone() });
        }
        let Some(low_rank) = &change.low_rank else { return Ok(false) };
        let (outputs, inputs) = (low_rank.b.shape[0], low_rank.a.shape[1]);
        let (plain, turned) = (base == [outputs, inputs], base == [inputs, outputs]);
        match (plain, turned) {
            (_, true) if low_rank.embedding => Ok(true),
            _ if low_rank.embedding => {
                Err(Misfit::Shape { name: name(), base: base.into(), adapter: vec![inputs, outputs] })
            }
            (true, true) => Ok(self.fan_in_fan_out),
            (false, false) => {
                Err(Misfit::Shape { name: name(), base: base.into(), adapter: vec![outputs, inputs] })
            }
            (_, turned) => Ok(turned),
        }
    }

    /// Whether some layer lies the other way than `fan_in_fan_out` tells, as in models with both kinds.
    ///
    /// PEFT corrects the setting layer by layer, and saves what the last layer had.
    fn contradicts_itself(&self, base: &HashMap<&str, &[u64]>) -> bool {
        self.changes.iter().any(|(name, change)| {
            let decided = change.low_rank.as_ref().filter(|it| !it.embedding && !change.is_square());
            let shape = decided.and_then(|_| base.get(name.as_str()));
            let transposed = shape.and_then(|shape| self.transposed(name, change, shape).ok());
            transposed.is_some_and(|transposed| transposed != self.fan_in_fan_out)
        })
    }

    fn factor(&self, name: &str, stored: &Stored, base: Dtype) -> Result<Vec<f32>, AdapterError> {
        let float = Float::of(stored.dtype).ok_or_else(|| wrong_type(name, base, stored.dtype))?;
        Ok(float.values(&self.bytes(name, stored)?))
    }

    /// The bytes of a tensor that the adapter brings whole, in the base's type.
    fn whole(&self, name: &str, stored: &Stored, dtype: Dtype) -> Result<Vec<u8>, AdapterError> {
        let bytes = self.bytes(name, stored)?;
        if stored.dtype == dtype {
            return Ok(bytes);
        }
        let floats = Float::of(stored.dtype).zip(Float::of(dtype));
        let (from, to) = floats.ok_or_else(|| wrong_type(name, dtype, stored.dtype))?;
        Ok(to.bytes(&from.values(&bytes)))
    }

    fn bytes(&self, name: &str, stored: &Stored) -> Result<Vec<u8>, AdapterError> {
        let mut bytes = vec![0; (stored.range.end - stored.range.start) as usize];
        let read = self.weights.read_at(&mut bytes, stored.range.start);
        read.map_err(|error| AdapterError::Read { name: name.to_owned(), error })?;
        Ok(bytes)
    }
}

impl Change {
    fn is_square(&self) -> bool {
        let square = |it: &LowRank| !it.embedding && it.b.shape[0] == it.a.shape[1];
        self.low_rank.as_ref().is_some_and(square)
    }
}

impl LowRank {
    fn new(
        config: &Config,
        module: &str,
        embedding: bool,
        a: Stored,
        b: Stored,
    ) -> Result<LowRank, AdapterError> {
        let (rank, scale) = config.scaling(module)?;
        let fits = a.shape.len() == 2 && b.shape.len() == 2 && a.shape[0] == rank && b.shape[1] == rank;
        if !fits {
            let module = module.to_owned();
            return Err(AdapterError::Factors { module, rank, a: a.shape, b: b.shape });
        }
        Ok(LowRank { a, b, rank, scale, embedding })
    }
}

fn wrong_type(name: &str, base: Dtype, adapter: Dtype) -> Misfit {
    Misfit::Type { name: name.to_owned(), base, adapter }
}

/// One tensor's merge, ready to be computed in slices.
pub struct Merge {
    name: String,
    dtype: Dtype,
    shape: Vec<u64>,
    whole: Option<Vec<u8>>,
    product: Option<Product>,
    embedding: bool,
}

impl Merge {
    /// The merged bytes in the place of `base_bytes`, which begin at element `first` of the tensor.
    ///
    /// # Errors
    /// Bytes that are no whole elements, or lie outside of the tensor.
    pub fn slice(&self, first: u64, base_bytes: &[u8]) -> Result<Vec<u8>, AdapterError> {
        let range = element_bytes(&self.shape, self.dtype, first, base_bytes.len()).ok_or_else(|| {
            let (name, shape) = (self.name.clone(), self.shape.clone());
            AdapterError::Outside { name, first, found: base_bytes.len(), shape }
        })?;
        let base = self.whole.as_ref().map_or(base_bytes, |whole| &whole[range]);
        let Some((product, float)) = self.product.as_ref().zip(Float::of(self.dtype)) else {
            return Ok(base.to_vec());
        };
        Ok(add(product, base, float, first as usize, self.embedding))
    }
}
