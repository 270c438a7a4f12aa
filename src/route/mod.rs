//! Which model answers a prompt: the cheapest whose answer is likely no worse, by a log of outcomes.

pub mod cascade;
pub mod catalog;
pub mod choice;
pub mod complexity;
pub mod decision;
pub mod difficulty;
pub mod evidence;
pub mod features;
pub mod journal;
pub mod neighbours;
pub mod offer;
pub mod outcome;
pub mod spending;
