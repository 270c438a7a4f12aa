//! What the tests stand on: a home apart from the user's, and repositories in it.

pub mod home;

pub mod repo;
