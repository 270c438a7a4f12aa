//! Published codecs for the difference of two models, written anew from what their papers say.
//!
//! They are references to measure against: as quick as plain code gets, and given what the papers
//! leave to others, so that a ratio is not a ratio of engineering: equal tensors cost them nothing.

pub mod bitx;
pub mod fm_delta;
mod range_coder;
