//! Versioned storage for machine-learning models and data sets behind ordinary Git LFS pointers.
//!
//! The order of the modules below is their ranking: a module uses only those listed before it
//! (`tests/tidy.rs` checks it). `docs/architecture.md` draws the map.

/// This version, as the client and the daemon tell each other.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

// Pure: bytes in, bytes out.
pub mod id;

pub mod progress;

pub mod calendar;

pub mod pipeline;

pub mod heap;

pub mod anchor;

pub mod varint;

pub mod format;

pub mod subspace;

pub mod packing;

pub mod derive;

pub mod convert;

pub mod alignment;

pub mod table;

pub mod codec;

pub mod recipe;

pub mod sketch;

pub mod minhash;

pub mod counterpart;

pub mod savings;

pub mod prices;

pub mod statistics;

pub mod adapter;

// Storage.
pub mod backend;

pub mod pack;

pub mod index;

pub mod chain;

pub mod store;

pub mod git;

pub mod locks;

// Verbs.
pub mod base;

pub mod origin;

pub mod renamed;

pub mod reconstruct;

pub mod draft;

pub mod ingest;

pub mod sync;

pub mod web;

pub mod peer;

pub mod census;

pub mod model;

pub mod dataset;

pub mod artifact;

pub mod fsck;

pub mod gc;

pub mod repack;

pub mod worker;

pub mod engine;

pub mod eval;

pub mod optimize;

pub mod route;

// Edges.
pub mod hub;

pub mod locator;

pub mod answer;

pub mod daemon;

pub mod serve;

pub mod ssh;

pub mod agent;

pub mod cli;
