//! How well a model predicts a text: perplexity, alone and against a baseline, on published protocols.

pub mod protocol;
