//! What changed between two models, tensor by tensor.

mod diff;
mod summary;
pub mod weights;

pub use diff::{Change, DiffError, TensorDiff, diff};
pub use summary::{TensorSummary, summary, summary_of};
