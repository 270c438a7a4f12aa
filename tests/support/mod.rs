//! What the tests stand on: a home apart from the user's, repositories in it, and small stores.

pub mod engine;

pub mod home;

pub mod hub;

pub mod lfs_server;

pub mod llama;

pub mod faulty;

pub mod random;

pub mod repo;

pub mod s3;

pub mod samples;

pub mod turns;

pub mod server;

pub mod proxy;

pub mod web;

pub mod tmpfs;

pub mod wide;
