//! What the reference implementation accepts is cut at the same borders.

use std::path::PathBuf;

use git_sparse::format::{Dtype, Format};
use proptest::prelude::*;
use safetensors::{Dtype as Theirs, SafeTensors};

use crate::write::{safetensors, tensor};
use crate::{cut_and_rejoin, named};

/// All real models of the test data.
fn real_models() -> Vec<(PathBuf, Vec<u8>)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| ["model", "adapter_model"].map(|name| folder.join(name)));
    let files = files.map(|file| file.with_extension("safetensors")).filter(|file| file.exists());
    files.map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// Same tensors, same places (for files too small to have slices).
fn assert_like_reference(bytes: &[u8]) {
    let (len, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let cut = cut_and_rejoin(bytes);
    assert_eq!(cut.format(), Format::Safetensors);
    assert_eq!(cut.segments()[0].range, 0..8 + len as u64);
    let mut found = named(&cut);
    for (name, theirs) in metadata.tensors() {
        let offset = |at: usize| (8 + len + at) as u64;
        let range = offset(theirs.data_offsets.0)..offset(theirs.data_offsets.1);
        let shape: Vec<u64> = theirs.shape.iter().map(|&len| len as u64).collect();
        match found.iter().position(|segment| segment.name == name) {
            Some(at) => {
                let ours = found.swap_remove(at);
                assert_eq!((&ours.range, &ours.shape), (&range, &shape), "{name}");
                assert_eq!(ours.row_len, shape.last().copied().unwrap_or(1), "{name}");
                let width = theirs.dtype.bitsize() / 8;
                assert_eq!(ours.dtype.width(), width, "{name} is {:?}", theirs.dtype);
            }
            None => assert!(range.is_empty(), "{name} is missing"),
        }
    }
    assert!(found.is_empty(), "{found:?} are no tensors");
}

/// Guards that files as they are published are understood.
#[test]
fn real_models_are_cut_at_their_tensors() {
    let models = real_models();
    assert_eq!(models.len(), 7);
    models.iter().for_each(|(_, bytes)| assert_like_reference(bytes));
}

/// Types that are no plain numbers still get rows that a codec can use, or none.
#[test]
fn unusual_types_have_a_sensible_width() {
    let row = |dtype: &str, shape: &str, len: u64| {
        let header = format!("{{{}}}", tensor("x", dtype, shape, 0, len));
        let cut = cut_and_rejoin(&safetensors(&header, &vec![1; len as usize]));
        named(&cut).first().map(|segment| (segment.dtype, segment.row_len))
    };
    assert_eq!(row("C64", "[2,3]", 48), Some((Dtype::F32, 6)));
    assert_eq!(row("F4", "[2,6]", 6), Some((Dtype::U8, 3)));
    assert_eq!(row("F4", "[6,1]", 3), None, "rows end within bytes");
    assert_eq!(row("F6_E2M3", "[2,8]", 12), Some((Dtype::U8, 6)));
    assert_eq!(row("F8_E8M0", "[2,8]", 16), Some((Dtype::U8, 8)));
    assert_eq!(row("BOOL", "[]", 1), Some((Dtype::U8, 1)));
    assert_eq!(row("Q17", "[2,8]", 11), Some((Dtype::Bytes, 0)));
}

const THEIRS: [Theirs; 14] = [
    Theirs::BOOL,
    Theirs::U8,
    Theirs::I8,
    Theirs::F8_E4M3,
    Theirs::F8_E5M2,
    Theirs::U16,
    Theirs::I16,
    Theirs::F16,
    Theirs::BF16,
    Theirs::U32,
    Theirs::I32,
    Theirs::F32,
    Theirs::I64,
    Theirs::F64,
];

/// Types, shapes and names of some tensors, by numbers that proptest can shrink.
fn tensors() -> impl Strategy<Value = Vec<(String, Theirs, Vec<usize>)>> {
    let shape = prop::collection::vec(0usize..6, 0..4);
    let tensor = ("[a-z./\"\\\\é]{0,8}", 0..THEIRS.len(), shape);
    prop::collection::vec(tensor, 0..8).prop_map(|tensors| {
        let named = tensors.into_iter().enumerate();
        named.map(|(at, (name, dtype, shape))| (format!("{name}{at}"), THEIRS[dtype], shape)).collect()
    })
}

fn byte_len(dtype: Theirs, shape: &[usize]) -> usize {
    shape.iter().product::<usize>() * dtype.bitsize() / 8
}

proptest! {
    /// Files as the reference implementation writes them.
    #[test]
    fn files_of_the_reference_writer(tensors in tensors(), has_metadata: bool) {
        let data: Vec<_> = tensors.iter().map(|(_, dtype, shape)| vec![7; byte_len(*dtype, shape)]).collect();
        let views = tensors.iter().zip(&data).map(|((name, dtype, shape), data)| {
            (name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let metadata = has_metadata.then(|| [("format".to_string(), "pt".to_string())].into());
        let bytes = safetensors::serialize(views, metadata).unwrap();
        assert_like_reference(&bytes);
    }

    /// Headers in any order, with spaces, and data with holes: as other writers make them. Those the
    /// reference refuses still tile, at the tensors.
    #[test]
    fn files_of_odd_writers(
        tensors in tensors(), order: prop::sample::Index, padding in 0usize..20, holes in prop::collection::vec(0usize..3, 8)
    ) {
        let mut at = 0;
        let mut lines = Vec::new();
        for ((name, dtype, shape), hole) in tensors.iter().zip(&holes) {
            let start = at + hole;
            at = start + byte_len(*dtype, shape);
            let shape = serde_json::to_string(shape).unwrap();
            lines.push(tensor(name, &dtype.to_string(), &shape, start, at));
        }
        if !lines.is_empty() {
            let by = order.index(lines.len());
            lines.rotate_left(by);
            lines.swap(0, by);
        }
        lines.push(r#""__metadata__":{"a":"b"}"#.to_string());
        let header = format!("{{{}}}{}", lines.join(", "), " ".repeat(padding));
        let bytes = safetensors(&header, &vec![3; at]);
        if SafeTensors::deserialize(&bytes).is_ok() {
            assert_like_reference(&bytes);
        }
        let filled = tensors.iter().filter(|(_, dtype, shape)| byte_len(*dtype, shape) > 0).count();
        prop_assert_eq!(named(&cut_and_rejoin(&bytes)).len(), filled);
    }
}
