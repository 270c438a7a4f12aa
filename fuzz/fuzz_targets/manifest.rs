//! Any bytes as an artifact's manifest: refused, or one whose paths stay below a directory.

#![no_main]

use std::path::{Component, Path};

use git_sparse::artifact::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(manifest) = Manifest::parse(text) else { return };
    for file in manifest.base.files.iter().chain(&manifest.fine_tune.files) {
        let mut parts = Path::new(&file.path).components();
        assert!(parts.all(|part| matches!(part, Component::Normal(name) if !name.eq_ignore_ascii_case(".git"))));
    }
});
