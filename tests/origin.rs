//! Files that were made from others by a rule: the rule is found, and nothing else is stored.

use std::fs;
use std::path::{Path, PathBuf};

use git_sparse::backend::Memory;
use git_sparse::base::Hints;
use git_sparse::codec::{Codec, Effort};
use git_sparse::gc;
use git_sparse::id::Oid;
use git_sparse::ingest::{Ingested, ingest};
use git_sparse::progress::unwatched;
use git_sparse::recipe::Reason;
use git_sparse::repack::repack;
use git_sparse::store::Store;
use git_sparse::sync::{self, Remote};

use crate::support::random::Random;
use crate::support::samples::{Sample, assert_clean, assert_gives_back, fetch, fresh};

fn data(path: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn keep(store: &Store, bytes: &[u8]) -> Ingested {
    ingest(store, &bytes, Oid::of(bytes), &Hints::default(), Effort::Push, &unwatched).unwrap()
}

#[track_caller]
fn comes_back(store: &Store, files: &[Vec<u8>]) {
    let samples: Vec<Sample> = files
        .iter()
        .map(|bytes| Sample { oid: Oid::of(bytes), bytes: bytes.clone(), earlier: Vec::new() })
        .collect();
    assert_gives_back(store, &samples, "by its rule");
    assert_clean(store, "with rules");
}

/// The sums that people write, to the bit: a merge of two models in the store costs a few dozen bytes a tensor.
#[test]
fn merges_are_stored_as_rules() {
    for dtype in ["f32", "bf16"] {
        let models = ["a", "b", "c"].map(|model| data(&format!("merges/{model}-{dtype}.safetensors")));
        for merge in [
            "native",
            "single",
            "double",
            "steps",
            "two-steps",
            "far",
            "add",
            "lerp",
            "lerp-back",
            "half",
            "soup",
            "mean",
            "linear",
            "stacked",
            "stacked-equal",
            "task",
        ] {
            let store = fresh(Memory::default());
            for model in &models {
                keep(&store, model);
            }
            let bytes = data(&format!("merges/{merge}-{dtype}.safetensors"));
            let kept = keep(&store, &bytes);
            let reason = kept.base.map(|(_, reason)| reason);
            assert_eq!(reason, Some(Reason::Merge), "{merge} of {dtype}");
            assert!(kept.stored <= 40 * kept.new_objects, "{merge} of {dtype}: {} bytes", kept.stored);
            comes_back(&store, &[models.to_vec(), vec![bytes]].concat());
        }
    }
}

/// Two infinities give NaN with a sign that is the processor's to choose: a tensor with one is stored by itself, or another
/// machine would give back another file.
#[test]
fn a_merge_with_nan_is_stored_by_itself() {
    let store = fresh(Memory::default());
    let [mut a, mut b, mut merged] =
        ["a", "b", "steps"].map(|model| data(&format!("merges/{model}-f32.safetensors")));
    let last = merged.len() - 4;
    let nan = f32::from_bits(0xffc0_0000);
    for (file, value) in [(&mut a, f32::INFINITY), (&mut b, f32::INFINITY), (&mut merged, nan)] {
        file[last..].copy_from_slice(&value.to_le_bytes());
    }
    keep(&store, &a);
    keep(&store, &b);
    let kept = keep(&store, &merged);
    assert_eq!(kept.base.map(|(_, reason)| reason), Some(Reason::Merge));
    let recipe = store.recipe(&kept.oid).unwrap().unwrap();
    let is_derived = |object: &_| store.find(object).unwrap().record.codec == Codec::Derived;
    assert!(recipe.parts.iter().any(|part| is_derived(&part.object)));
    assert!(!is_derived(&recipe.parts.last().unwrap().object));
    comes_back(&store, &[a, b, merged]);
}

/// A merged adapter costs nothing but its rule where the adapter is in the store, too: PEFT's bytes, whatever
/// its scale was.
#[test]
fn merged_adapters_are_stored_as_rules() {
    let cases = [
        ("models/tiny-base/model", "models/tiny-lora/adapter_model", "models/tiny-lora-merged/model"),
        ("adapters/linear-f32/base", "adapters/linear-f32/adapter_model", "adapters/linear-f32/merged"),
        ("adapters/linear-bf16/base", "adapters/linear-bf16/adapter_model", "adapters/linear-bf16/merged"),
        ("adapters/linear-f16/base", "adapters/linear-f16/adapter_model", "adapters/linear-f16/merged"),
        ("adapters/rslora/base", "adapters/rslora/adapter_model", "adapters/rslora/merged"),
        ("adapters/large-rank/base", "adapters/large-rank/adapter_model", "adapters/large-rank/merged"),
        ("adapters/conv1d/base", "adapters/conv1d/adapter_model", "adapters/conv1d/merged"),
        ("adapters/patterns/base", "adapters/patterns/adapter_model", "adapters/patterns/merged"),
        ("adapters/embedding/base", "adapters/embedding/adapter_model", "adapters/embedding/merged"),
        (
            "adapters/embedding-f16/base",
            "adapters/embedding-f16/adapter_model",
            "adapters/embedding-f16/merged",
        ),
    ];
    for (base, adapter, merged) in cases {
        let [base, adapter, merged_bytes] =
            [base, adapter, merged].map(|path| data(&format!("{path}.safetensors")));
        let store = fresh(Memory::default());
        keep(&store, &base);
        keep(&store, &adapter);
        let kept = keep(&store, &merged_bytes);
        assert_eq!(kept.base.map(|(_, reason)| reason), Some(Reason::Adapter), "{merged}");
        assert!(kept.stored <= 20 * kept.new_objects, "{merged}: {} bytes", kept.stored);
        comes_back(&store, &[base, adapter, merged_bytes]);
    }
}

/// A quantisation costs its header: the blocks are computed anew from the model in the store, byte for byte.
#[test]
fn quantisations_are_stored_as_rules() {
    let model = data("gguf/model.safetensors");
    for kind in [
        "model-F16",
        "model-Q8_0",
        "model-Q4_0",
        "model-Q4_1",
        "model-Q5_0",
        "model-Q5_1",
        "f16-Q8_0",
        "f16-Q4_0",
        "f16-Q4_K_S",
        "f16-Q5_K_S",
        "f16-Q6_K",
    ] {
        let store = fresh(Memory::default());
        keep(&store, &model);
        let quantised = data(&format!("gguf/{kind}.gguf"));
        let kept = keep(&store, &quantised);
        assert_eq!(kept.base.map(|(_, reason)| reason), Some(Reason::Conversion), "{kind}");
        // Its header has no counterpart: that is all that costs more than a rule.
        assert!(kept.stored <= 1024, "{kind}: {} bytes", kept.stored);
        comes_back(&store, &[model.clone(), quantised]);
    }
}

/// Whoever gets a merge gets what it is computed from, and keeps it, though the models themselves go.
#[test]
fn what_a_rule_needs_travels_and_stays() {
    let [a, b, merge] =
        ["a-bf16", "b-bf16", "native-bf16"].map(|name| data(&format!("merges/{name}.safetensors")));
    let elsewhere = Memory::default();
    let here = fresh(Memory::default());
    for bytes in [&a, &b, &merge] {
        keep(&here, bytes);
    }
    let mut remote = Remote::new(Box::new(elsewhere.clone()));
    sync::push(&here, &mut remote, Oid::of(&merge), &unwatched).unwrap();

    let there = fresh(Memory::default());
    let mut remote = Remote::new(Box::new(elsewhere));
    assert_eq!(fetch(&there, &mut remote, Oid::of(&merge)).unwrap(), merge);
    assert!(!there.has(&Oid::of(&a)).unwrap(), "only what was asked for exists");
    let plan = gc::plan(&there, 0, 0).unwrap();
    gc::carry_out(&there, &plan, 0).unwrap();
    repack(&there, 0, &unwatched).unwrap();
    comes_back(&there, &[merge]);
}

/// Models may come in any order: what was stored whole is computed once a repack finds from what.
#[test]
fn a_repack_finds_rules_that_a_push_could_not() {
    let names = ["native-bf16", "a-bf16", "b-bf16"];
    let mut files: Vec<Vec<u8>> =
        names.iter().map(|name| data(&format!("merges/{name}.safetensors"))).collect();
    files.push(data("gguf/model-Q8_0.gguf"));
    files.push(data("gguf/model.safetensors"));
    let store = fresh(Memory::default());
    let stored: Vec<u64> = files.iter().map(|bytes| keep(&store, bytes).stored).collect();
    assert!(stored[3] > 300_000, "the quantisation came first, and cost {} bytes", stored[3]);
    let done = repack(&store, 0, &unwatched).unwrap();
    assert!(done.before - done.after > 300_000, "{done:?}");
    comes_back(&store, &files);
    assert_eq!(repack(&store, 0, &unwatched).unwrap().changed, 0, "all was found");
    comes_back(&store, &files);
}

/// A safetensors file with one bf16 matrix of an embedding, and a vector.
fn embedding(rows: &[[u16; 64]]) -> Vec<u8> {
    let (bytes, norm) = (rows.len() * 128, 128);
    let header = format!(
        "{{\"embed.weight\":{{\"dtype\":\"BF16\",\"shape\":[{},64],\"data_offsets\":[0,{bytes}]}},\
         \"norm.weight\":{{\"dtype\":\"BF16\",\"shape\":[64],\"data_offsets\":[{bytes},{}]}}}}",
        rows.len(),
        bytes + norm
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    rows.iter()
        .flatten()
        .chain(&[0x3f80; 64])
        .for_each(|weight| file.extend_from_slice(&weight.to_le_bytes()));
    file
}

/// A vocabulary that was cut down, sorted anew, and trained a little is not a new one.
#[test]
fn rows_are_found_in_any_order() {
    let mut random = Random::printed("rows");
    let mut row =
        || std::array::from_fn(|_| 0x3c00 + random.below(512) as u16 + 0x8000 * random.below(2) as u16);
    let base: Vec<[u16; 64]> = (0..4000).map(|_| row()).collect();
    let mut cut: Vec<[u16; 64]> =
        base.iter().enumerate().filter(|(at, _)| at % 7 < 3).map(|(_, row)| *row).collect();
    cut.iter_mut().step_by(50).for_each(|row| row.iter_mut().for_each(|weight| *weight += 1));
    cut.extend((0..10).map(|_| row()));
    let mut sorted = base.clone();
    sorted.sort();
    // No vocabulary: the neurons of a layer.
    let (square, mut turned) = (base[..64].to_vec(), base[..64].to_vec());
    turned.reverse();
    let (base, square) = (embedding(&base), embedding(&square));
    for (name, base, child, most) in [
        ("cut", &base, embedding(&cut), 6_000),
        ("sorted", &base, embedding(&sorted), 14_000),
        ("neurons", &square, embedding(&turned), 400),
    ] {
        let store = fresh(Memory::default());
        keep(&store, base);
        let hints = Hints { earlier: vec![Oid::of(base)], ..Hints::default() };
        let kept = ingest(&store, &child, Oid::of(&child), &hints, Effort::Push, &unwatched).unwrap();
        assert!(kept.stored < most, "{name}: {} of {} bytes", kept.stored, child.len());
        comes_back(&store, &[base.clone(), child]);
    }
}

/// Another framework has other names for the same layers: what they hold tells which is which.
#[test]
fn tensors_are_found_under_other_names() {
    let base = data("models/tiny-base/model.safetensors");
    let tuned = data("models/tiny-sft/model.safetensors");
    let renamed = renamed(&tuned);
    let store = fresh(Memory::default());
    keep(&store, &base);
    let hints = Hints { earlier: vec![Oid::of(&base)], ..Hints::default() };
    let kept =
        |bytes: &[u8]| ingest(&store, &bytes, Oid::of(bytes), &hints, Effort::Push, &unwatched).unwrap();
    let by_content = kept(&renamed).stored;
    let alone = fresh(Memory::default());
    keep(&alone, &base);
    let by_name = ingest(&alone, &tuned, Oid::of(&tuned), &hints, Effort::Push, &unwatched).unwrap().stored;
    // The header of the one has a counterpart, and that of the other is new.
    assert!(by_content < by_name + 4096, "{by_content} bytes, by their names {by_name}");
    comes_back(&store, &[base, renamed]);
}

/// A Llama of transformers with the names of another family, none of them like the ones before.
fn renamed(model: &[u8]) -> Vec<u8> {
    let len = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
    let mut header = String::from_utf8(model[8..8 + len].to_vec()).unwrap();
    for (from, to) in [
        ("model.layers.", "transformer.h."),
        ("model.embed_tokens", "transformer.wte"),
        ("model.norm", "transformer.ln_f"),
        ("self_attn.", "attention."),
        ("_proj.weight", ".kernel"),
        ("layernorm.weight", "ln.scale"),
    ] {
        header = header.replace(from, to);
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&model[8 + len..]);
    bytes
}

/// What was quantised in which way, and the bytes that it may take.
const FEW_BITS: [(&str, u64); 14] = [
    ("eight-bit/bitsandbytes", 5_000),
    ("eight-bit/compressed-tensors-int8-channel", 5_000),
    ("eight-bit/compressed-tensors-int8-tensor", 1_000),
    ("eight-bit/compressed-tensors-fp8-channel", 5_000),
    ("eight-bit/compressed-tensors-fp8-tensor", 1_000),
    ("eight-bit/quanto", 5_000),
    ("eight-bit/torchao", 5_000),
    ("eight-bit/blocks", 1_000),
    ("eight-bit/cast-e4m3", 1_000),
    ("eight-bit/cast-e5m2", 1_000),
    ("eight-bit/relative", 60_000),
    ("four-bit/nf4", 12_000),
    ("four-bit/fp4", 30_000),
    ("four-bit/relative", 60_000),
];

/// A checkpoint in INT8, FP8, NF4 or FP4 costs its header and its scales: the numbers are computed anew from the model.
#[test]
fn few_bits_are_stored_as_rules() {
    let model = data("gguf/model.safetensors");
    for (kind, most) in FEW_BITS {
        let store = fresh(Memory::default());
        keep(&store, &model);
        let quantised = data(&format!("{kind}.safetensors"));
        let kept = keep(&store, &quantised);
        assert_eq!(kept.base.map(|(_, reason)| reason), Some(Reason::Conversion), "{kind}");
        assert!(kept.stored <= most, "{kind}: {} of {} bytes", kept.stored, quantised.len());
        comes_back(&store, &[model.clone(), quantised]);
    }
}

/// Weights of either sign, from two powers of two.
fn bf16s(random: &mut Random, count: usize) -> Vec<u16> {
    (0..count).map(|_| 0x3c00 + random.below(256) as u16 + 0x8000 * random.below(2) as u16).collect()
}

fn bytes(weights: &[u16]) -> Vec<u8> {
    weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
}

/// A safetensors file of these: name, type, shape, bytes.
fn file(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut body) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let range = [body.len(), body.len() + bytes.len()];
        header.push(format!(
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":{range:?}}}"
        ));
        body.extend_from_slice(bytes);
    }
    let header = format!("{{{}}}", header.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &body].concat()
}

/// A large tensor is stored in slices, and a square of one scale may lie in two of them.
#[test]
fn a_block_may_lie_in_two_slices() {
    const ROWS: usize = 2900;
    const COLUMNS: usize = 3000;
    let mut random = Random::printed("blocks");
    let weights = bf16s(&mut random, ROWS * COLUMNS);
    let side = |len: usize| len.div_ceil(128);
    let scales: Vec<f32> =
        (0..side(ROWS) * side(COLUMNS)).map(|_| 1e-4 + random.below(1000) as f32 * 1e-7).collect();
    let number = |(at, weight): (usize, &u16)| {
        let block = at / COLUMNS / 128 * side(COLUMNS) + at % COLUMNS / 128;
        let weight = f32::from_bits(u32::from(*weight) << 16);
        (weight / scales[block]).round_ties_even().clamp(-128.0, 127.0) as i8 as u8
    };
    let numbers: Vec<u8> = weights.iter().enumerate().map(number).collect();
    let model = bytes(&weights);
    let model = file(&[("w.weight", "BF16", &[ROWS, COLUMNS], model)]);
    let scales = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let quantised = file(&[
        ("w.weight", "I8", &[ROWS, COLUMNS], numbers),
        ("w.weight_scale", "F32", &[side(ROWS), side(COLUMNS)], scales),
    ]);

    let store = fresh(Memory::default());
    keep(&store, &model);
    let kept = keep(&store, &quantised);
    assert!(kept.new_objects > 3, "several slices, scales and a header");
    assert!(kept.stored < 8_000, "{} bytes", kept.stored);
    comes_back(&store, &[model, quantised]);
}

/// Models that were trained from one another agree where neither was trained, or nearly: what a checkpoint in INT8 was made of
/// is told by the rest, whichever of them is looked at first.
#[test]
fn relatives_are_told_apart_by_what_they_do_not_share() {
    const COLUMNS: usize = 256;
    let mut random = Random::printed("relatives");
    let mut weights = |rows: usize| bf16s(&mut random, rows * COLUMNS);
    let (same, one) = (weights(32), weights(300));
    let other: Vec<u16> = one.iter().map(|weight| weight ^ 3).collect();
    let model = |own: &[u16]| {
        file(&[
            ("a.weight", "BF16", &[32, COLUMNS], bytes(&same)),
            ("b.weight", "BF16", &[300, COLUMNS], bytes(own)),
        ])
    };
    let quantised = |own: &[u16]| {
        let [(a, of_a), (b, of_b)] = [&same[..], own].map(|weights| by_rows(weights, COLUMNS));
        file(&[
            ("a.weight", "I8", &[32, COLUMNS], a),
            ("a.weight_scale", "F32", &[32, 1], of_a),
            ("b.weight", "I8", &[300, COLUMNS], b),
            ("b.weight_scale", "F32", &[300, 1], of_b),
        ])
    };
    for own in [&one, &other] {
        let store = fresh(Memory::default());
        for weights in [&one, &other] {
            keep(&store, &model(weights));
        }
        let kept = keep(&store, &quantised(own));
        assert_eq!(kept.base.map(|(oid, _)| oid), Some(Oid::of(&model(own))));
        assert!(kept.stored < 4_000, "{} bytes", kept.stored);
    }
}

/// Numbers in eight bits, each row by its largest weight, and the scales.
fn by_rows(weights: &[u16], columns: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut numbers, mut scales) = (Vec::new(), Vec::new());
    for row in weights.chunks_exact(columns) {
        let row: Vec<f32> = row.iter().map(|bits| f32::from_bits(u32::from(*bits) << 16)).collect();
        let scale = row.iter().fold(0f32, |most, weight| most.max(weight.abs())) / 127.0;
        numbers.extend(row.iter().map(|weight| (weight / scale).round_ties_even() as i8 as u8));
        scales.extend(scale.to_le_bytes());
    }
    (numbers, scales)
}

/// A slice of four bits a weight holds twice as many weights as one of the model, and begins anywhere in one.
#[test]
fn codes_have_their_weights_in_several_slices() {
    const ROWS: usize = 3100;
    const COLUMNS: usize = 3008;
    const BLOCK: usize = 64;
    let mut random = Random::printed("codes");
    let weights = bf16s(&mut random, ROWS * COLUMNS);
    let map: [f32; 16] = std::array::from_fn(|code| code as f32 / 7.5 - 1.0);
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for block in weights.chunks(BLOCK) {
        let block: Vec<f32> = block.iter().map(|bits| f32::from_bits(u32::from(*bits) << 16)).collect();
        let largest = block.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
        let code = |weight: f32| {
            let far = |code: &usize| (map[*code] - weight * (1.0 / largest)).abs();
            (0..map.len()).min_by(|one, other| far(one).total_cmp(&far(other))).unwrap() as u8
        };
        codes.extend(block.chunks_exact(2).map(|pair| code(pair[0]) << 4 | code(pair[1])));
        scales.extend(largest.to_le_bytes());
    }
    let model = bytes(&weights);
    let model = file(&[("w.weight", "BF16", &[ROWS, COLUMNS], model)]);
    let blocks = scales.len() / 4;
    let quantised = file(&[
        ("w.weight", "U8", &[codes.len(), 1], codes),
        ("w.weight.absmax", "F32", &[blocks], scales),
        ("w.weight.quant_map", "F32", &[16], map.iter().flat_map(|value| value.to_le_bytes()).collect()),
    ]);

    let store = fresh(Memory::default());
    keep(&store, &model);
    let kept = keep(&store, &quantised);
    assert_eq!(kept.base.map(|(_, reason)| reason), Some(Reason::Conversion));
    assert!(kept.stored < quantised.len() as u64 / 20, "{} of {} bytes", kept.stored, quantised.len());
    comes_back(&store, &[model, quantised]);
}

/// Merges of merges have more and more below them: no rule may need more than can be read back.
#[test]
fn merges_of_merges_come_back() {
    let mut random = Random::printed("merges of merges");
    let mut weights: Vec<Vec<u16>> =
        (0..4).map(|_| (0..2000).map(|_| 0x3c00 + random.below(64) as u16).collect()).collect();
    let value = |bits: u16| f32::from_bits(u32::from(bits) << 16);
    let half = |sum: f32| (((sum / 2.0).to_bits() + 0x7fff + ((sum / 2.0).to_bits() >> 16 & 1)) >> 16) as u16;
    let file = |weights: &[u16]| {
        let header = format!(
            "{{\"w\":{{\"dtype\":\"BF16\",\"shape\":[20,100],\"data_offsets\":[0,{}]}}}}",
            2 * weights.len()
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        weights.iter().for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
        bytes
    };
    let store = fresh(Memory::default());
    let mut files: Vec<Vec<u8>> = weights.iter().map(|weights| file(weights)).collect();
    for generation in 0..60 {
        let (a, b) = (weights.len() - 1, weights.len() - 2 - generation % 3);
        let child: Vec<u16> =
            weights[a].iter().zip(&weights[b]).map(|(a, b)| half(value(*a) + value(*b))).collect();
        files.push(file(&child));
        weights.push(child);
    }
    files.iter().for_each(|bytes| assert!(keep(&store, bytes).size > 0));
    comes_back(&store, &files);
}
