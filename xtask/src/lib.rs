//! The tasks behind `cargo xtask`, as a library.
//!
//! A library, so that the integration tests use the same throw-away home, the same comparison of
//! trees and the same measure of a remote as the demo does.

pub mod home;

pub mod tree;

pub mod prerequisites;

pub mod binary;

pub mod python;

pub mod bucket_servers;

pub mod table_writers;

pub mod demo;

pub mod install;

pub mod neon;

pub mod test;

/// What a task says when it can't go on: words for a person, with the command that helps.
pub type Failure = String;
