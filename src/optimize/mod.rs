//! Which variant of a model is the cheapest that is good enough.
//!
//! What is decided here is decided from numbers: nothing below runs a model, reads a clock or prints.

pub mod allocation;
pub mod candidates;
pub mod choice;
pub mod front;
pub mod ledger;
pub mod limits;
pub mod markdown;
pub mod outside;
pub mod picture;
pub mod report;
pub mod run;
pub mod size;
pub mod speed;
pub mod survey;
