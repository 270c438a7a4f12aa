//! Every file is cut into segments that tile it, and a good one where its tensors are.

use std::path::PathBuf;

use super::*;

/// All real models of the test data, as (path, bytes).
fn real_models() -> Vec<(PathBuf, Vec<u8>)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| ["model", "adapter_model"].map(|name| folder.join(name)));
    let files = files.map(|file| file.with_extension("safetensors")).filter(|file| file.exists());
    files.map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// What the reference implementation calls a tensor is a segment (these are too small for slices).
fn assert_like_reference(bytes: &[u8]) {
    let (len, metadata) = ::safetensors::SafeTensors::read_metadata(bytes).unwrap();
    let cut = cut(&bytes).unwrap();
    assert_eq!(cut.format(), Format::Safetensors);
    assert_eq!(cut.segments()[0], Segment::nameless(0..8 + len as u64));
    let mut named: Vec<&Segment> = cut.segments().iter().filter(|segment| !segment.name.is_empty()).collect();
    for (name, tensor) in metadata.tensors() {
        let offset = |at: usize| (8 + len + at) as u64;
        let range = offset(tensor.data_offsets.0)..offset(tensor.data_offsets.1);
        let at = named.iter().position(|segment| segment.name == name);
        match at.map(|at| named.swap_remove(at)) {
            Some(found) => {
                assert_eq!(found.range, range, "{name}");
                assert!(
                    found.shape.iter().eq(tensor
                        .shape
                        .iter()
                        .map(|&len| len as u64)
                        .collect::<Vec<_>>()
                        .iter())
                );
            }
            None => assert!(range.is_empty(), "{name} is missing"),
        }
    }
    assert!(named.is_empty(), "{named:?} are no tensors");
}

/// Guards that files as they are published are understood.
#[test]
fn real_models_are_cut_at_their_tensors() {
    let models = real_models();
    assert_eq!(models.len(), 7);
    models.iter().for_each(|(_, bytes)| assert_like_reference(bytes));
}
