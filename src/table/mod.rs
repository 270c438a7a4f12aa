//! Tables column by column: pages and the cells that they hold, and how rows of one version are found in another.
//!
//! A page comes back from its cells where the way it was written is one that is known; what is known here only
//! decides how little is stored, never what comes back.

mod cast;
mod cells;
mod dictionary;
mod hashes;
mod hybrid;
mod kept;
mod order;
mod page;
mod row_map;
mod rows;
mod run;
mod values;

pub use cast::{can_cast, cast};
pub use cells::{Cells, Items, MAX_ENTRIES};
pub use dictionary::Dictionary;
pub use hashes::add_hashes;
pub use hybrid::{NumberRun, Padding, Shape};
pub use kept::Kept;
pub use order::{Direction, Ranks, extremes, extremes_in, sorted};
pub use page::{Kind, Layout, Stretch, write};
pub use row_map::{MAX_ROWS, RowMap, RowRun};
pub use rows::Rows;
pub use run::{Page, Run, Search};
pub use values::Values;
