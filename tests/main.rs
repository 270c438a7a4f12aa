//! The integration tests, as one binary: real git and git-lfs in throw-away homes, and the rules of style.

mod support;

mod tidy;

mod clone;

mod cli;

mod backend;

mod base;

mod bucket;

mod table;

mod text;

mod origin;

mod collecting;

mod crash;

mod damage;

mod sync;

mod processes;

mod powercut;

mod golden;

mod adapter;

mod convert;

mod delta;

mod eval;

mod optimize;

mod route;

mod dataset;

mod migrate;

mod hub;
mod ssh;
