//! Versioned storage for machine-learning models and data sets behind ordinary Git LFS pointers.
//!
//! The order of the modules below is their ranking: a module uses only those listed before it
//! (`tests/tidy.rs` checks it). `docs/architecture.md` draws the map.

pub mod id;

pub mod format;

pub mod codec;
