//! Adapters: a merge has PEFT's bytes, and what would not is refused with its name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use git_sparse::adapter::{Adapter, AdapterError, Misfit};
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
