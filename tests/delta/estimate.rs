//! `git sparse delta estimate`: near to what compress gives, and cheap.

use std::fs;

use super::{delta_json, path};
use crate::support::home::{Home, Mode};
use crate::support::random::Random;
use crate::support::repo::model;

const ROWS: usize = 4096;
const COLUMNS: usize = 512;
const TENSORS: usize = 6;

/// A safetensors file of bf16 tensors with normal-like weights, each moved by up to `step` of the last one.
fn weights(rows: usize, moved: f32, seed: u64) -> Vec<u8> {
    let each = rows * COLUMNS * 2;
    let tensor = |number: usize| {
        let range = [number * each, (number + 1) * each];
        format!(
            "\"t{number}\":{{\"dtype\":\"BF16\",\"shape\":[{rows},{COLUMNS}],\"data_offsets\":{range:?}}}"
        )
    };
    let header = format!("{{{}}}", (0..TENSORS).map(tensor).collect::<Vec<_>>().join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    let (mut random, mut steps) = (Random::seeded(1), Random::seeded(seed));
    // The sum of four uniform numbers is normal enough.
    let normal = |random: &mut Random| {
        let bits = random.number();
        (0..4).map(|at| (bits >> (16 * at) & 0xffff) as f32 / 65536.0 - 0.5).sum::<f32>()
    };
    for _ in 0..TENSORS * rows * COLUMNS {
        let weight = 0.05 * normal(&mut random) + moved * normal(&mut steps);
        bytes.extend_from_slice(&((weight.to_bits() + 0x8000) >> 16).to_le_bytes()[..2]);
    }
    bytes
}

/// The header of a safetensors file, of which all numbers and names are plain.
fn header_of(model: &[u8]) -> String {
    let len = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
    String::from_utf8(model[8..8 + len].to_vec()).unwrap()
}

fn file(header: &str, body: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), body].concat()
}

/// `weights` as compressed-tensors writes them in INT8: each row by its largest weight.
fn in_eight_bits(weights: &[u8]) -> Vec<u8> {
    let body = &weights[8 + header_of(weights).len()..];
    let (mut numbers, mut scales) = (Vec::new(), Vec::new());
    for row in body.chunks_exact(2 * COLUMNS) {
        let row: Vec<f32> = row
            .chunks_exact(2)
            .map(|bits| f32::from_bits(u32::from(u16::from_le_bytes([bits[0], bits[1]])) << 16))
            .collect();
        let scale = row.iter().fold(0f32, |most, weight| most.max(weight.abs())) / 127.0;
        numbers.extend(row.iter().map(|weight| (weight / scale).round_ties_even() as i8 as u8));
        scales.extend(scale.to_le_bytes());
    }
    let tensor = |name: &str, dtype: &str, columns: usize, range: [usize; 2]| {
        format!(
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":[{ROWS},{columns}],\"data_offsets\":{range:?}}}"
        )
    };
    let [each, each_scales] = [numbers.len(), scales.len()].map(|len| len / TENSORS);
    let tensors = (0..TENSORS).flat_map(|at| {
        let scales = numbers.len() + at * each_scales;
        [
            tensor(&format!("t{at}.weight"), "I8", COLUMNS, [at * each, (at + 1) * each]),
            tensor(&format!("t{at}.weight_scale"), "F32", 1, [scales, scales + each_scales]),
        ]
    });
    let header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
    file(&header, &[numbers, scales].concat())
}

/// People decide by an estimate whether to compress at all: it must be near, and cheap.
#[test]
fn an_estimate_is_near_and_reads_little() {
    let home = Home::bare(Mode::InProcess);
    let names = [("base", 0.0), ("near", 1e-4), ("far", 2e-3)];
    for (name, moved) in names {
        fs::write(home.path(format!("{name}.safetensors")), weights(ROWS, moved, 5)).unwrap();
    }
    let file = |name: &str| home.path(format!("{name}.safetensors"));
    for name in ["near", "far"] {
        let (base, tuned, artifact) = (file("base"), file(name), home.path(format!("{name}.delta")));
        let found = delta_json(&home, &["estimate", path(&base), path(&tuned)]);
        let made = delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
        let (size, stored) =
            (made["totals"]["size"].as_f64().unwrap(), made["totals"]["stored"].as_f64().unwrap());
        let delta = &found["strategies"][0];
        let off = delta["bytes"].as_f64().unwrap() / stored - 1.0;
        assert!(off.abs() < 0.1, "{name}: {off:+.3} off, of {:.3} of the bytes", stored / size);
        let read = found["read"].as_f64().unwrap() / found["both"].as_f64().unwrap();
        assert!(read < 0.1, "{name}: {read:.3} of both was read");
        assert_eq!((found["best"].as_str(), found["identical"].as_bool()), (Some("delta"), Some(false)));
    }
    let same = delta_json(&home, &["estimate", path(&file("near")), path(&file("near"))]);
    assert_eq!(same["identical"], true);
    assert!(same["strategies"][0]["bytes"].as_u64().unwrap() < 10_000, "{same}");
}

/// What compress finds an estimate must find, too: wrapped names.
#[test]
fn an_estimate_finds_renamed_tensors() {
    let home = Home::bare(Mode::InProcess);
    let base = weights(ROWS, 0.0, 5);
    let header = header_of(&base);
    let renamed = header.replace("\"t", "\"model.layers.t");
    let body = weights(ROWS, 1e-4, 5)[8 + header.len()..].to_vec();
    let base_header = header.replace("\"t", "\"layers.t");
    fs::write(home.path("base.safetensors"), file(&base_header, &base[8 + header.len()..])).unwrap();
    fs::write(home.path("renamed.safetensors"), file(&renamed, &body)).unwrap();
    let (base, tuned) = (home.path("base.safetensors"), home.path("renamed.safetensors"));
    let artifact = home.path("a.delta");
    let found = delta_json(&home, &["estimate", path(&base), path(&tuned)]);
    let made = delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
    let off = found["strategies"][0]["bytes"].as_f64().unwrap() / made["totals"]["stored"].as_f64().unwrap();
    assert!((off - 1.0).abs() < 0.1, "{off:.3}");
    assert!(made["totals"]["ratio"].as_f64().unwrap() > 2.0, "{made}");
}

/// A checkpoint in INT8 beside a model that it was not quantised from, but from a relative: what its rule leaves over counts.
#[test]
fn an_estimate_counts_what_a_rule_leaves_over() {
    let home = Home::bare(Mode::InProcess);
    let base = home.path("base.safetensors");
    let whole = weights(ROWS, 0.0, 5);
    let header = header_of(&whole).replace("\":{", ".weight\":{");
    fs::write(&base, file(&header, &whole[8 + header_of(&whole).len()..])).unwrap();
    for (name, moved) in [("own", 0.0), ("relative", 1e-3)] {
        let (tuned, artifact) =
            (home.path(format!("{name}.safetensors")), home.path(format!("{name}.delta")));
        fs::write(&tuned, in_eight_bits(&weights(ROWS, moved, 5))).unwrap();
        let found = delta_json(&home, &["estimate", path(&base), path(&tuned)]);
        let made = delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
        let stored = made["totals"]["stored"].as_f64().unwrap();
        let off = found["strategies"][0]["bytes"].as_f64().unwrap() / stored - 1.0;
        let share = stored / made["totals"]["size"].as_f64().unwrap();
        assert!(off.abs() < 0.1, "{name}: {off:+.3} off, of {share:.3} of the bytes");
        assert!(share < 0.5, "{name}: {share:.3}");
    }
}

/// Small models are read whole: then an estimate is what compress gives, and knows identical ones.
#[test]
fn an_estimate_of_a_small_model_is_exact() {
    let home = Home::bare(Mode::InProcess);
    let (base, tuned, artifact) = (model("tiny-base"), model("tiny-sft"), home.path("a.delta"));
    let found = delta_json(&home, &["estimate", path(&base), path(&tuned)]);
    let made = delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
    let bytes = found["strategies"][0]["bytes"].as_f64().unwrap();
    let off = bytes / made["totals"]["stored"].as_f64().unwrap() - 1.0;
    assert!(off.abs() < 0.02, "{off:+.3} off");
    let same = delta_json(&home, &["estimate", path(&base), path(&base)]);
    assert_eq!(same["reason"], "the two models are identical");
    // A model against something else entirely: said, not hidden.
    let other = delta_json(&home, &["estimate", path(&model("tiny-lora")), path(&base)]);
    assert_eq!(other["best"], "whole", "{other}");
}

/// So it is of one in four bits, whose tables are the same for all of its tensors, and stored once.
#[test]
fn an_estimate_counts_the_same_tensor_once() {
    let home = Home::bare(Mode::InProcess);
    let data = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let base = data("gguf/model.safetensors");
    for kind in ["nf4", "fp4"] {
        let (tuned, artifact) = (data(&format!("four-bit/{kind}.safetensors")), home.path(kind));
        let found = delta_json(&home, &["estimate", path(&base), path(&tuned)]);
        let made = delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
        let stored = made["totals"]["stored"].as_f64().unwrap();
        let off = found["strategies"][0]["bytes"].as_f64().unwrap() / stored - 1.0;
        assert!(off.abs() < 0.1, "{kind}: {off:+.3} off");
    }
}

/// Data sets and logs lie beside weights, larger than these: an estimate must not read all of them.
#[test]
fn files_that_are_no_models_are_sampled() {
    let home = Home::bare(Mode::InProcess);
    let noise = |seed: u64| -> Vec<u8> {
        let mut random = Random::seeded(seed);
        (0..3 << 20).flat_map(|_| random.number().to_le_bytes()).collect()
    };
    let mut half = noise(7);
    half[12 << 20..].copy_from_slice(&noise(8)[12 << 20..]);
    let [base, same, other] = ["base", "same", "other"].map(|name| home.path(name));
    for (place, moved, data) in [(&base, 0.0, &noise(7)), (&same, 1e-4, &noise(7)), (&other, 1e-4, &half)] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("model.safetensors"), weights(ROWS, moved, 5)).unwrap();
        fs::write(place.join("train.log"), data).unwrap();
    }
    for tuned in [&same, &other] {
        let artifact = tuned.with_extension("delta");
        let found = delta_json(&home, &["estimate", path(&base), path(tuned)]);
        let made = delta_json(&home, &["compress", path(&base), path(tuned), "-o", path(&artifact)]);
        let off =
            found["strategies"][0]["bytes"].as_f64().unwrap() / made["totals"]["stored"].as_f64().unwrap();
        assert!((off - 1.0).abs() < 0.1, "{off:.3} of {made}");
        let read = found["read"].as_f64().unwrap() / found["both"].as_f64().unwrap();
        assert!(read < 0.1, "{read:.3} of both was read");
    }
}

/// A quantisation and its model share no byte, and yet the one is computed from the other: the estimate knows, and what
/// comes back is what was compressed.
#[test]
fn a_quantisation_is_computed_from_its_base() {
    let home = Home::bare(Mode::InProcess);
    let data =
        |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gguf").join(name);
    let (base, tuned) = (data("model.safetensors"), data("f16-Q4_K_S.gguf"));
    let (artifact, copy) = (home.path("out.delta"), home.path("copy"));
    let found = delta_json(&home, &["estimate", path(&base), path(&tuned)]);
    let made = delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
    let stored = made["totals"]["stored"].as_f64().unwrap();
    assert!(stored < 8192.0, "{stored} bytes");
    let delta = &found["strategies"][0];
    let off = delta["bytes"].as_f64().unwrap() / stored - 1.0;
    assert!(off.abs() < 0.1, "{off:+.3} off {stored}: {delta}");
    delta_json(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&copy)]);
    assert!(fs::read(copy.join("f16-Q4_K_S.gguf")).unwrap() == fs::read(&tuned).unwrap());
}
