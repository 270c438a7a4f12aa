//! Which variant of a model is the cheapest that is good enough.

pub mod report;
