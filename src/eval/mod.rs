//! How well a model predicts a text: perplexity, alone and against a baseline, on published protocols.

mod measure;
mod protocol;
mod text;

pub use measure::{
    Answer, Comparison, Cut, EvalError, Measured, compare, cut, measure, measured, prompt, same_vocabulary,
};
pub use protocol::{Placed, Protocol, Rule, TooShort, UnknownProtocol};
pub use text::{MAX_TEXT_BYTES, Text, WIKITEXT2_TEST};
