//! Transfer `sparse`: what a client and a hub say to each other about one repository's store, and both sides of it.
//!
//! Every request stands alone, so any server of a hub can answer it and a transfer that broke goes on with what is
//! still lacking. docs/protocol.md, "Client ↔ hub".

mod arrival;
mod client;
mod frame;
mod host;
mod line;
mod plan;
mod ssh;

pub use client::{PeerError, fetch, greet, has_all, push};
pub use frame::{FrameError, Want, ids, write_end, write_frame};
pub use host::{HostError, accept, give, has, lacking, records, stands, take};
pub use line::{HubPlace, Line, LineError, Secret};
pub use ssh::SshPlace;

/// The version of these words, a part of every path: `<LFS URL>/sparse/1/…`.
pub const VERSION: &str = "1";
/// Most ids in one request.
pub const MAX_IDS: usize = 1 << 18;
/// Payload bytes after which a client ends a request and begins another: what is lost when one breaks.
pub const REQUEST_BYTES: u64 = 48 << 20;
/// Decoded bytes of one request that a host keeps for what comes later in it. What is a base beyond them must have
/// come in an earlier request.
pub const KEPT_BYTES: u64 = 32 << 20;
