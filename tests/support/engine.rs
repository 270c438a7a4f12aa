//! The engine, for tests that run models: `cargo xtask test` builds it and names it in the environment.

use std::path::{Path, PathBuf};

/// The engine's program; without one it is said that a test is skipped.
pub fn engine(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("GIT_SPARSE_ENGINE").map(PathBuf::from);
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/git-sparse-engine");
    let found = named.or_else(|| built.is_file().then_some(built));
    if found.is_none() {
        eprintln!("SKIPPED: {test}: there is no engine (cargo xtask engine builds it)");
    }
    found
}

/// A model of the trained family, or a text beside it.
pub fn model(name: &str) -> String {
    format!("{}/tests/data/models/{name}", env!("CARGO_MANIFEST_DIR"))
}
