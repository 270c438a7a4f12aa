//! Adapters as portable deltas: themselves, merged, and made of a fine-tune.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::{copy, delta, delta_json, files, path, strangers};
use crate::support::home::{Home, Mode};
use crate::support::repo::model;

/// An adapter travels as itself, and merges to the bytes that PEFT gave; what does not fit is refused.
#[test]
fn an_adapter_comes_back_and_merges() {
    let home = Home::bare(Mode::InProcess);
    let (base, adapter, artifact) = (model("tiny-base"), model("tiny-lora"), home.path("a.delta"));
    let made = delta_json(&home, &["compress-adapter", path(&base), path(&adapter), "-o", path(&artifact)]);
    assert_eq!(made["kind"], "adapter");
    let (out, merged) = (home.path("out"), home.path("merged"));
    delta_json(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&out)]);
    assert!(files(&out) == files(&adapter));
    let told =
        delta_json(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&merged), "--merge"]);
    assert_eq!(told["merged"], true);
    let weights = |dir: &Path| fs::read(dir.join("model.safetensors")).unwrap();
    assert!(weights(&merged) == weights(&model("tiny-lora-merged")), "PEFT's merge has other bytes");
    assert_eq!(fs::read(merged.join("config.json")).unwrap(), fs::read(base.join("config.json")).unwrap());
    assert_eq!(strangers(&merged, &["model.safetensors"]).len(), files(&base).len() - 1);

    let whole = home.path("whole");
    delta_json(&home, &["compress", path(&base), path(&model("tiny-sft")), "-o", path(&whole)]);
    let (code, said) =
        delta(&home, &["reconstruct", path(&base), path(&whole), "-o", path(&home.path("x")), "--merge"]);
    assert!(code == 2 && said.contains("not of an adapter"), "{said}");
    let (code, said) =
        delta(&home, &["compress-adapter", path(&base), path(&base), "-o", path(&home.path("x"))]);
    assert!(code == 2 && said.contains("adapter_config.json"), "{said}");
    let (code, said) =
        delta(&home, &["compress-adapter", path(&adapter), path(&adapter), "-o", path(&home.path("x"))]);
    assert!(code == 6 && said.contains("the base has no tensor"), "{said}");
    let dora = home.path("dora");
    copy(&adapter, &dora);
    let config = fs::read_to_string(dora.join("adapter_config.json")).unwrap();
    let config = config.replace("\"use_dora\": false", "\"use_dora\": true");
    fs::write(dora.join("adapter_config.json"), config).unwrap();
    let (code, said) =
        delta(&home, &["compress-adapter", path(&base), path(&dora), "-o", path(&home.path("x"))]);
    assert!(code == 6 && said.contains("use_dora"), "{said}");
    assert!(!home.path("x").exists());
}

/// Names and shapes are those of any fine-tune of one model: what the adapter says of its base is held against what the base
/// is called, and said.
#[test]
fn another_base_than_the_adapters_is_doubted() {
    let mut home = Home::bare(Mode::InProcess);
    let (base, other, adapter) = (model("tiny-base"), model("tiny-sft"), model("tiny-lora"));
    let cache = home.path("hub");
    home.set("HF_HUB_CACHE", path(&cache));
    let commit = "0123456789abcdef0123456789abcdef01234567";
    for (name, files) in [("Tiny_Base", &base), ("tiny-sft", &base)] {
        let dir = cache.join(format!("models--org--{name}"));
        copy(files, &dir.join("snapshots").join(commit));
        fs::create_dir_all(dir.join("refs")).unwrap();
        fs::write(dir.join("refs/main"), commit).unwrap();
    }
    // What a fine-tune's configuration says of where it came from is no more than a hint.
    let (renamed, moved) = (home.path("checkpoint-30"), home.path("moved"));
    [&renamed, &moved].into_iter().for_each(|dir| copy(&base, dir));
    let config = fs::read_to_string(base.join("config.json")).unwrap();
    let config = config.replacen('{', "{ \"_name_or_path\": \"org/tiny-base\",", 1);
    fs::write(renamed.join("config.json"), config).unwrap();
    let doubts = |base: &str, adapter: &Path| {
        let artifact = home.path("a.delta");
        let _ = fs::remove_dir_all(&artifact);
        let mut command = home.command("git-sparse", &home.path(""));
        let arguments = ["delta", "compress-adapter", base, path(adapter), "-o", path(&artifact), "--json"];
        let output = home.output(command.args(arguments));
        let (said, told) =
            (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
        let document: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {said}"));
        let doubts = document["doubts"].as_array().unwrap().clone();
        assert_eq!(said.matches("note: the adapter says").count(), doubts.len(), "{said}");
        doubts.iter().map(|doubt| doubt.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let none: [String; 0] = [];
    for good in [path(&base), "org/Tiny_Base", path(&renamed), path(&base.join("model.safetensors"))] {
        assert_eq!(doubts(good, &adapter), none, "of {good}");
    }
    for (bad, called) in
        [(path(&other), "tiny-sft"), ("org/tiny-sft", "org/tiny-sft"), (path(&moved), "moved")]
    {
        let found = doubts(bad, &adapter);
        assert!(
            found.len() == 1 && found[0].contains("tiny-base") && found[0].ends_with(called),
            "{found:?}"
        );
    }
    let snapshot = cache.join("models--org--tiny-sft/snapshots").join(commit);
    assert!(doubts(path(&snapshot), &adapter)[0].ends_with("org/tiny-sft"));
    let pinned = home.path("pinned");
    copy(&adapter, &pinned);
    let config = fs::read_to_string(pinned.join("adapter_config.json")).unwrap();
    let at = |revision: &str| {
        let config = config.replace("\"revision\": null", &format!("\"revision\": \"{revision}\""));
        fs::write(pinned.join("adapter_config.json"), config).unwrap();
        doubts("org/Tiny_Base", &pinned)
    };
    assert_eq!([at("main"), at(commit)], [none.to_vec(), none.to_vec()]);
    assert!(at(&commit.replace('0', "f"))[0].contains(commit));
}

/// A merge into a base that lacks a shard would be half a model.
#[test]
fn an_adapter_merges_with_the_whole_base_alone() {
    let home = Home::bare(Mode::InProcess);
    let (base, adapter, artifact) = (home.path("tiny-base"), model("tiny-lora"), home.path("a.delta"));
    copy(&model("tiny-base"), &base);
    let shard = r#"{"vision.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    let shard = [&(shard.len() as u64).to_le_bytes(), shard.as_bytes(), &[7; 16]].concat();
    fs::write(base.join("vision.safetensors"), shard).unwrap();
    delta_json(&home, &["compress-adapter", path(&base), path(&adapter), "-o", path(&artifact)]);
    fs::remove_file(base.join("README.md")).unwrap();
    let [merged, again] = ["merged", "again"].map(|name| home.path(name));
    delta_json(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&merged), "--merge"]);
    fs::remove_file(base.join("vision.safetensors")).unwrap();
    delta_json(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&home.path("adapter"))]);
    let (code, said) =
        delta(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&again), "--merge"]);
    assert!(code == 6 && said.contains("vision.safetensors is missing"), "{said}");
    assert!(!again.exists());
}

/// A fine-tune that was an adapter is one again; of others what is lost is said.
#[test]
fn an_adapter_is_extracted_and_says_what_it_loses() {
    let home = Home::bare(Mode::InProcess);
    let base = model("tiny-base");
    let extract = |name: &str, rank: &str| {
        let out = home.path(format!("{name}-{rank}"));
        delta_json(
            &home,
            &["extract-adapter", path(&base), path(&model(name)), "--rank", rank, "-o", path(&out)],
        )
    };
    let merged = extract("tiny-lora-merged", "16")["relative_error"].as_f64().unwrap();
    let (small, large) = (extract("tiny-sft", "4"), extract("tiny-sft", "32"));
    let (small_error, large_error) =
        (small["relative_error"].as_f64().unwrap(), large["relative_error"].as_f64().unwrap());
    assert!(merged < 0.01, "{merged} of a merged adapter was lost");
    assert!(
        0.05 < large_error && large_error < small_error && small_error < 0.9,
        "{large_error} {small_error}"
    );
    assert!(small["size"].as_u64() < large["size"].as_u64());
    // It is an adapter like any other.
    let (adapter, artifact) = (home.path("tiny-sft-32"), home.path("a.delta"));
    delta_json(&home, &["compress-adapter", path(&base), path(&adapter), "-o", path(&artifact)]);
    let x = home.path("x");
    let (code, said) =
        delta(&home, &["extract-adapter", path(&base), path(&base), "--rank", "4", "-o", path(&x)]);
    assert!(code == 2 && said.contains("nothing that an adapter can express"), "{said}");
    assert!(!home.path("x").exists());
}

/// The same weights under other names, as frameworks wrap and unwrap models.
fn renamed(file: &[u8], rename: impl Fn(&str) -> String) -> Vec<u8> {
    let (len, rest) = file.split_at(8);
    let (header, body) = rest.split_at(u64::from_le_bytes(len.try_into().unwrap()) as usize);
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let named = |name: String| if name == "__metadata__" { name } else { rename(&name) };
    let header: Map<_, _> = header.into_iter().map(|(name, tensor)| (named(name), tensor)).collect();
    let header = Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), body].concat()
}

/// A fine-tune that was saved by another framework is the same fine-tune: its adapter is the same, for the base's names.
#[test]
fn an_adapter_is_extracted_of_wrapped_names() {
    let home = Home::bare(Mode::InProcess);
    let base = model("tiny-base");
    let weights = fs::read(model("tiny-lora-merged").join("model.safetensors")).unwrap();
    let extract = |name: &str, weights: &[u8]| {
        let (tuned, out) = (home.path(format!("{name}.safetensors")), home.path(name));
        fs::write(&tuned, weights).unwrap();
        delta_json(&home, &["extract-adapter", path(&base), path(&tuned), "--rank", "16", "-o", path(&out)]);
        fs::read(out.join("adapter_model.safetensors")).unwrap()
    };
    let plain = extract("plain", &weights);
    let wrapped = renamed(&weights, |name| format!("language_model.{name}"));
    assert!(extract("wrapped", &wrapped) == plain);
    let bare = renamed(&weights, |name| name.strip_prefix("model.").unwrap_or(name).to_owned());
    assert!(bare != weights && extract("bare", &bare) == plain);
    // It fits the base under the base's own names.
    let (adapter, artifact) = (home.path("wrapped"), home.path("a.delta"));
    delta_json(&home, &["compress-adapter", path(&base), path(&adapter), "-o", path(&artifact)]);
}
