//! A fine-tune as a portable delta: a directory that gives back every file of it to whoever has the base.
//!
//! It is a store without the packs of the base: `manifest.json` for people and programs, recipes of
//! the base's and the fine-tune's files, and packs with what the base does not have. While one is
//! written or read, the base's own files take the place of the missing packs (see `held`).
//! Layout and rules: docs/format.md, "Portable deltas".

mod adapter;
mod compress;
mod computed;
mod estimate;
mod figures;
mod held;
mod manifest;
mod nearest;
mod open;
mod rebuild;
mod staging;
mod tree;
mod trial;
mod validate;

pub use adapter::{ExtractionError, MergeError, WEIGHTS, doubts, extract, fits, merge};
pub use compress::{CompressError, compress};
pub use estimate::{Estimate, EstimateError, estimate};
pub use held::{BaseChanged, OutlineError};
pub use manifest::NAME as MANIFEST;
pub use manifest::{
    FileEntry, Kind, Made, Manifest, ManifestError, Model, TensorEntry, TensorError, Totals, Way,
};
pub use open::{Artifact, Difference, Differs, MeasureError, OpenError};
pub use rebuild::{RebuildError, rebuild, try_out};
pub use staging::{Staging, StagingError, is_unfinished};
pub use tree::{Tree, TreeError, TreeFile, is_plain};
pub use validate::{Measured, ValidateError};
