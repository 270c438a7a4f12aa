//! Which model answers a prompt: the cheapest whose answer is likely no worse, by a log of outcomes.

pub mod difficulty;
pub mod evidence;
pub mod features;
pub mod neighbours;
pub mod outcome;
