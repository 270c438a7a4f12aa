//! Adapters: a merge has PEFT's bytes, and what would not is refused with its name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use git_sparse::adapter::{
    Adapter, AdapterError, ExtractError, Extraction, Layer, Misfit, Pair, Reason, extract,
};
use git_sparse::format::{self, Dtype};

use crate::support::repo::model;

/// A tensor as it lies in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// The tensors of a file.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let file = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for segment in format::cut(&file).unwrap().segments().iter().filter(|segment| !segment.name.is_empty()) {
        let bytes = &file[segment.range.start as usize..segment.range.end as usize];
        let new = || Tensor { dtype: segment.dtype, shape: segment.shape.clone(), bytes: Vec::new() };
        tensors.entry(segment.name.clone()).or_insert_with(new).bytes.extend(bytes);
    }
    tensors
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/adapters")
}

/// Merges an adapter into a base and compares with what PEFT made of them.
#[track_caller]
fn merges_as_peft(adapter: &Path, base: &Path, merged: &Path) {
    let (base, merged) = (tensors(base), tensors(merged));
    let config = fs::read(adapter.join("adapter_config.json")).unwrap();
    let weights = fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    let adapter = Adapter::read(&config, &weights).unwrap_or_else(|error| panic!("{error}"));
    adapter.check(shapes(&base)).unwrap_or_else(|error| panic!("{error}"));
    assert!(adapter.tensors().count() > 0);
    for (name, tensor) in &base {
        let found = adapter.merged(name, &tensor.bytes, tensor.dtype, &tensor.shape).unwrap();
        assert_eq!(found.is_some(), adapter.tensors().any(|changed| changed == name), "{name}");
        let found = found.unwrap_or_else(|| tensor.bytes.clone());
        let width = tensor.dtype.width();
        let wrong = found.chunks(width).zip(merged[name].bytes.chunks(width)).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{name}: other than PEFT's, of {:?}", tensor.shape);
        assert_eq!(found.len(), merged[name].bytes.len(), "{name}");
    }
}

fn shapes(tensors: &BTreeMap<String, Tensor>) -> impl Iterator<Item = (&str, &[u64])> {
    tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()))
}

/// A merged model is stored as base and adapter only if the merge gives PEFT's bytes, of every kind.
#[test]
fn an_adapter_merges_bit_for_bit_as_peft_does() {
    let cases = fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path());
    let cases: Vec<_> = cases.filter(|path| path.is_dir()).collect();
    assert!(cases.len() >= 10, "{cases:?}");
    for case in cases {
        merges_as_peft(&case, &case.join("base.safetensors"), &case.join("merged.safetensors"));
    }
}

/// The same of an adapter that was trained, and its base.
#[test]
fn a_trained_adapter_merges_bit_for_bit() {
    let file = |name| model(name).join("model.safetensors");
    merges_as_peft(&model("tiny-lora"), &file("tiny-base"), &file("tiny-lora-merged"));
}

/// A case's configuration with `change` made to it, and its weights.
fn case(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> (Vec<u8>, Vec<u8>) {
    let directory = cases().join(name);
    let mut config =
        serde_json::from_slice(&fs::read(directory.join("adapter_config.json")).unwrap()).unwrap();
    change(&mut config);
    (config.to_string().into_bytes(), fs::read(directory.join("adapter_model.safetensors")).unwrap())
}

/// What does not fit is refused before a byte is merged, with the tensor's name and both shapes.
#[test]
fn an_adapter_that_does_not_fit_is_refused_by_name() {
    let (config, weights) = case("linear-f32", |_| ());
    let adapter = Adapter::read(&config, &weights).unwrap();
    let base = tensors(&cases().join("linear-f32/base.safetensors"));
    let query = "model.layers.0.self_attn.q_proj.weight";
    let refused = |shapes: Vec<(&str, &[u64])>| adapter.check(shapes).unwrap_err();

    let error = refused(vec![]);
    let counts =
        matches!(error, AdapterError::Base { misfits: 2, changes: 2, first: Misfit::Missing { .. } });
    assert!(counts && error.to_string().contains(query), "{error}");

    let other = shapes(&base).map(|(name, shape)| (name, if name == query { &[32, 31] } else { shape }));
    let said = refused(other.collect()).to_string();
    assert!(["1 of 2", query, "[32, 31]", "[32, 32]"].iter().all(|part| said.contains(part)), "{said}");

    let tensor = &base[query];
    let merged = |bytes: &[u8], dtype, shape: &[u64]| adapter.merged(query, bytes, dtype, shape);
    assert!(matches!(merged(&tensor.bytes, Dtype::I32, &[32, 32]), Err(AdapterError::Misfit(_))));
    assert!(matches!(merged(&tensor.bytes, Dtype::F32, &[64, 16]), Err(AdapterError::Misfit(_))));
    let long = [tensor.bytes.as_slice(), &[0; 4]].concat();
    assert!(matches!(merged(&long, Dtype::F32, &[32, 32]), Err(AdapterError::Outside { .. })));
    assert!(matches!(merged(&tensor.bytes[1..], Dtype::F32, &[32, 32]), Err(AdapterError::Outside { .. })));
}

/// A square layer can be read two ways; where the configuration can't be believed, neither is taken.
#[test]
fn a_square_layer_of_unknown_direction_is_refused() {
    let (config, weights) = case("conv1d", |config| config["fan_in_fan_out"] = false.into());
    let adapter = Adapter::read(&config, &weights).unwrap();
    let base = tensors(&cases().join("conv1d/base.safetensors"));
    let error = adapter.check(shapes(&base)).unwrap_err();
    assert!(matches!(error, AdapterError::Base { first: Misfit::Ambiguous { .. }, .. }), "{error}");
}

/// Files come from strangers: factors that do not multiply, one that is missing, and no adapter at all.
#[test]
fn broken_adapters_are_refused() {
    let (config, weights) = case("linear-f32", |config| config["r"] = 5.into());
    assert!(matches!(Adapter::read(&config, &weights), Err(AdapterError::Factors { rank: 5, .. })));

    let (config, weights) = case("linear-f32", |_| ());
    let found = String::from_utf8_lossy(&weights).find("q_proj.lora_B").unwrap();
    let mut half = weights.clone();
    half[found..found + 13].copy_from_slice(b"q_proj.lora_X");
    assert!(matches!(Adapter::read(&config, &half), Err(AdapterError::Table(_))));
    half[found..found + 13].copy_from_slice(b"x_proj.lora_B");
    assert!(matches!(Adapter::read(&config, &half), Err(AdapterError::Half { .. })));

    for len in 0..weights.len() / 16 {
        drop(Adapter::read(&config, &weights[..len * 16].to_vec()));
    }
    assert!(matches!(Adapter::read(&config, &b"no tensors".to_vec()), Err(AdapterError::Table(_))));
    assert!(matches!(Adapter::read(b"{}", &weights), Err(AdapterError::Config(_))));
}

/// Models are merged in slices, so that memory does not depend on a tensor's size: the bytes are the same.
#[test]
fn slices_merge_to_the_whole() {
    for name in ["linear-bf16", "conv1d", "embedding-f16", "whole"] {
        let (config, weights) = case(name, |_| ());
        let adapter = Adapter::read(&config, &weights).unwrap();
        let base = tensors(&cases().join(name).join("base.safetensors"));
        for changed in adapter.tensors() {
            let Tensor { dtype, shape, bytes } = &base[changed];
            let whole = adapter.merged(changed, bytes, *dtype, shape).unwrap().unwrap();
            let merge = adapter.merge(changed, *dtype, shape).unwrap().unwrap();
            let elements = 37;
            let slices = bytes.chunks(elements * dtype.width()).enumerate();
            let slices = slices.map(|(index, slice)| merge.slice((index * elements) as u64, slice).unwrap());
            assert_eq!(slices.collect::<Vec<_>>().concat(), whole, "{name}: {changed}");
        }
    }
}

/// The adapter between two files, all of whose layers that are no embeddings are of one kind.
fn extracted(
    base: &BTreeMap<String, Tensor>,
    tuned: &BTreeMap<String, Tensor>,
    rank: usize,
    kind: Layer,
) -> git_sparse::adapter::ExtractedAdapter {
    let mut extraction = Extraction::new(rank, 5.0).unwrap();
    for (name, old) in base {
        let new = &tuned[name];
        let layer = if Layer::guess(name) == Layer::Embedding { Layer::Embedding } else { kind };
        let (base, tuned) = ((old.dtype, old.bytes.as_slice()), (new.dtype, new.bytes.as_slice()));
        extraction.add(&Pair { name, layer, shape: &old.shape, base, tuned });
    }
    extraction.finish(Some("tiny-base")).unwrap()
}

/// Squares of the distance between the values of two tensors of one type.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let value = |raw: &[u8]| match *raw {
        [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
        [a, b] => f64::from(f32::from_bits(u32::from(u16::from_le_bytes([a, b])) << 16)),
        _ => unreachable!("bf16 or f32"),
    };
    let width = a.dtype.width();
    a.bytes.chunks(width).zip(b.bytes.chunks(width)).map(|(a, b)| (value(a) - value(b)).powi(2)).sum()
}

/// Merges what was extracted and measures how far from the fine-tune that is, tensor by tensor.
fn errors(
    base: &BTreeMap<String, Tensor>,
    tuned: &BTreeMap<String, Tensor>,
    extracted: &git_sparse::adapter::ExtractedAdapter,
) -> BTreeMap<String, f64> {
    let adapter = Adapter::read(&extracted.config, &extracted.weights).unwrap();
    adapter.check(shapes(base)).unwrap();
    let error = |name: &str| {
        let Tensor { dtype, shape, bytes } = &base[name];
        let bytes = adapter.merged(name, bytes, *dtype, shape).unwrap().unwrap();
        let merged = Tensor { bytes, ..base[name].clone() };
        (distance(&merged, &tuned[name]) / distance(&base[name], &tuned[name])).sqrt()
    };
    adapter.tensors().map(|name| (name.to_owned(), error(name))).collect()
}

/// People choose a rank by the error that is told: it is the one that a merge has, of every kind of layer.
#[test]
fn the_error_that_is_told_is_the_one_that_a_merge_leaves() {
    let base = tensors(&model("tiny-base").join("model.safetensors"));
    let tuned = tensors(&model("tiny-sft").join("model.safetensors"));
    for (rank, kind) in [(1, Layer::Linear), (16, Layer::Linear), (16, Layer::Conv1d)] {
        let extracted = extracted(&base, &tuned, rank, kind);
        let errors = errors(&base, &tuned, &extracted);
        assert!(extracted.tensors.len() > 20 && extracted.tensors.len() == errors.len());
        for tensor in &extracted.tensors {
            let found = errors[&tensor.name];
            assert!((tensor.relative_error - found).abs() < 1e-9, "{}: {found} {tensor:?}", tensor.name);
            assert!(found < 1.0, "{}: worse than nothing: {found}", tensor.name);
        }
        let bound = if rank == 1 { 0.95 } else { 0.45 };
        assert!(extracted.relative_error < bound, "rank {rank}: {}", extracted.relative_error);
    }
}

/// A fine-tune that was an adapter is one again: of its rank, with no more than bf16's rounding lost.
#[test]
fn an_adapter_comes_back_from_its_merge() {
    let base = tensors(&model("tiny-base").join("model.safetensors"));
    let tuned = tensors(&model("tiny-lora-merged").join("model.safetensors"));
    let extracted = extracted(&base, &tuned, 8, Layer::Linear);
    assert_eq!((extracted.tensors.len(), extracted.not_expressible.len()), (8, 0));
    assert!(extracted.relative_error < 0.005, "{}", extracted.relative_error);
}

/// What an adapter can't hold must be told, or a fine-tune loses it unseen.
#[test]
fn changes_that_an_adapter_can_not_hold_are_listed() {
    let f32s = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (old, new) = (f32s(&[1.0; 6]), f32s(&[1.0, 2.0, 1.0, 1.0, 1.0, 3.0]));
    let infinite = f32s(&[f32::INFINITY; 6]);
    let mut extraction = Extraction::new(2, 2.0).unwrap();
    let mut add = |name, shape: &[u64], dtype, tuned: &[u8]| {
        let pair = Pair { name, layer: Layer::Linear, shape, base: (dtype, &old), tuned: (dtype, tuned) };
        extraction.add(&pair);
    };
    add("same.weight", &[6], Dtype::F32, &old);
    add("norm.weight", &[6], Dtype::F32, &new);
    add("matrix.scale", &[2, 3], Dtype::F32, &new);
    add("infinite.weight", &[2, 3], Dtype::F32, &infinite);
    add("whole.weight", &[2, 3], Dtype::I32, &new);
    add("short.weight", &[2, 4], Dtype::F32, &new);
    add("linear.weight", &[2, 3], Dtype::F32, &new);
    let done = extraction.finish(None).unwrap();
    let listed: Vec<_> = done.not_expressible.iter().map(|it| (it.name.as_str(), it.reason)).collect();
    let expected = [
        ("norm.weight", Reason::NotAMatrix),
        ("matrix.scale", Reason::NotAWeight),
        ("infinite.weight", Reason::NotFinite),
        ("whole.weight", Reason::Type),
        ("short.weight", Reason::Type),
    ];
    assert_eq!(listed, expected);
    assert_eq!(done.tensors.len(), 1);
    assert!(done.relative_error < 1e-6, "{}", done.relative_error);

    assert!(matches!(Extraction::new(2, 2.0).unwrap().finish(None), Err(ExtractError::Nothing)));
}

/// Numbers come from a command line: those that make no sense are refused, not computed with.
#[test]
fn extraction_refuses_numbers_without_sense() {
    for rank in [0, 1 << 20] {
        assert!(matches!(extract(&[1.0], &[2.0], 1, 1, rank, 1.0), Err(ExtractError::Rank { .. })));
    }
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(extract(&[1.0], &[2.0], 1, 1, 1, alpha), Err(ExtractError::Alpha { .. })));
    }
    assert!(matches!(extract(&[1.0], &[2.0], 1, 2, 1, 1.0), Err(ExtractError::Size { .. })));
    assert!(matches!(extract(&[], &[], 0, 0, 1, 1.0), Err(ExtractError::Size { .. })));
    let found = extract(&[1.0; 4], &[1.0; 4], 2, 2, 3, 1.0).unwrap();
    assert_eq!((found.relative_error, found.a, found.b), (0.0, vec![0.0; 6], vec![0.0; 6]));
    let found = extract(&[1.0, 0.0, 0.0, 1.0], &[3.0, 0.5, 0.25, 1.0], 2, 2, 3, 7.0).unwrap();
    assert!(found.relative_error < 1e-6, "{}", found.relative_error);
}
