//! Tables: read in parts without rebuilding their files, compared, summed up, merged.

mod bytes;
mod cached;
pub mod diff;
mod footer;
mod frames;
mod gather;
mod hash;
mod ipc;
mod json;
mod kind;
mod members;
pub mod merge;
mod pairing;
mod parquet;
mod records;
mod rows;
pub mod sample;
mod scan;
mod schema;
pub mod stats;
mod stored;
mod summary;
mod table;
mod text;
pub mod trailer;
pub mod values;

pub use self::bytes::File;
pub use cached::{Cached, Fetched, Piece};
pub use kind::Kind;
pub use rows::ranges;
pub use scan::CompareError;
pub use schema::{ColumnChange, shown};
pub use stored::{Stored, pieces};
pub use summary::{ColumnSummary, Summary, summary};
pub use table::{Batches, Selection, Table, TableError};
