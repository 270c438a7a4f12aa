//! The one process that opens the store, and how others talk to it.
//!
//! `message` is what is said, `handle` does it, `server` listens, `client` calls; `place` knows
//! where store, socket and lock are. With `GIT_SPARSE_NO_DAEMON=1` the client calls the same
//! handler in its own process, under the same lock.

mod ahead;
pub mod cache;
pub mod client;
pub mod cloud;
mod flight;
pub mod handle;
pub mod lock;
pub mod message;
pub mod place;
pub mod reach;
pub mod reading;
pub mod server;
pub mod shelf;
pub mod words;
