//! What a repository says of its large files: pointers, their history, and declared parents.
//!
//! Reads only, through gix; `selection` alone writes, into a repository of its own. Whatever a repository holds is data: no name in it becomes a program,
//! and nothing here trusts a size or an id that it did not parse.

pub mod appearance;
pub mod blob;
pub mod command;
pub mod content;
pub mod credential;
pub mod history;
pub mod lineage;
pub mod pointer;
pub mod reach;
pub mod selection;
pub mod settings;

pub use appearance::Appearance;
pub use history::{History, HistoryError, Tips, Version};
pub use pointer::Pointer;
