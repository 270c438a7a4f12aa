//! The hub: repositories over HTTP, for git, for plain git-lfs, and for transfer `sparse`.
//!
//! One request is one function of `Hub`; what they share is small enough to be told here: repositories (`repos`), who
//! may do what (`access`), links that are signed (`signature`), and files that were rebuilt (`rebuilt`). Whatever reads
//! or writes a store runs on a thread of its own; the runtime's threads only move bytes.

mod access;
mod basic;
mod batch;
mod bodies;
mod callers;
pub mod chat;
mod config;
mod front;
mod git;
mod learning;
mod listen;
mod locks;
mod login;
mod memory;
mod metrics;
mod rate;
mod rebuilt;
mod remembered;
mod replies;
mod repos;
mod route;
mod router;
mod signature;
mod sparse;
mod stdio;
mod upload;

pub use access::{Access, AccessError, May, Rule, Token};
pub use config::{Config, Limits, Stores, Tls};
pub use listen::{ServeError, run};
pub use login::{LIFE as LOGIN_LIFE, LoginError, sign as sign_login};
pub use repos::RepoName;
pub use stdio::run as run_stdio;
