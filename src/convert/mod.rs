//! A checkpoint as `transformers` saves it becomes a GGUF file that llama.cpp loads.
//!
//! Decided first: [`Checkpoint`] has the files, [`Plan`] says every byte of the new file but the weights.
//! Then done: the weights are copied, one stretch at a time, so memory does not depend on their size. The same
//! checkpoint gives the same bytes everywhere: no name, path or time of this machine gets into them.
//!
//! llama.cpp computes from what metadata it is given and fills the rest with defaults. So whatever it could not
//! compute as `transformers` does is refused by name here: an architecture, a scaling of the rotary embedding, a
//! tokenizer, a tensor without a place.
//!
//! Sources, restated: the GGUF specification; names, keys and defaults from llama.cpp's loader; meanings from the
//! models' definitions in `transformers`.

mod checkpoint;
mod config;
mod family;
mod grid;
mod metadata;
mod plan;
mod rope;
mod tokenizer;

pub use checkpoint::{Checkpoint, Files};
pub use grid::{Grid, grid_of};
pub use plan::Plan;

use std::io;

/// Why a checkpoint can't be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A file could not be read.
    #[error("read {file}: {error}")]
    Read { file: String, error: io::Error },
    /// There is no such file.
    #[error("the checkpoint has no {file}")]
    NoFile { file: String },
    /// A file is not what its name says.
    #[error("{file}: {why}")]
    Malformed { file: String, why: String },
    /// A setting of config.json that is missing, or that llama.cpp has nothing like.
    #[error("config.json: {why}")]
    Config { why: String },
    /// The model's class is of no family that is known here.
    #[error("the architecture {found} is not known; these are: {known}")]
    Architecture { found: String, known: String },
    /// A tensor that the architecture needs.
    #[error("tensor {name} is missing, or lies about its length; expected shape {expected:?}")]
    Missing { name: String, expected: Vec<u64> },
    /// A tensor of another shape.
    #[error("tensor {name}: expected shape {expected:?}, found {found:?}")]
    Shape { name: String, expected: Vec<u64>, found: Vec<u64> },
    /// A tensor of numbers that can't be kept.
    #[error("tensor {name} has the type {found}; BF16, F16 and F32 can be converted")]
    Dtype { name: String, found: String },
    /// A tensor that would be lost.
    #[error("tensor {name} has no place in the architecture {architecture}")]
    Unplaced { name: String, architecture: String },
    /// A tokenizer that llama.cpp has nothing like.
    #[error("tokenizer.json: {why}")]
    Tokenizer { why: String },
    /// The new file could not be written.
    #[error("write the GGUF file: {0}")]
    Write(io::Error),
}
