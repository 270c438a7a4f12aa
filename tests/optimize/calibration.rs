//! Importance matrices: the numbers are llama.cpp's own, and what they are for can be made, kept, checked and left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use git_sparse::convert::{Checkpoint, Plan};
use git_sparse::engine::{Engine, EngineError, Importance};
use serde_json::Value;

use super::{candidate, document, optimize};
use crate::support::engine::{engine, model};
use crate::support::home::{Home, Mode};
use crate::support::{llama, wide};

/// Means by tensor, of a file in the older of llama.cpp's formats.
fn read(path: &Path) -> BTreeMap<String, Vec<f64>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at(count);
        rest = tail;
        head.to_vec()
    };
    let number = |bytes: Vec<u8>| i32::from_le_bytes(bytes.try_into().unwrap());
    let count = number(take(4));
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let len = number(take(4)) as usize;
        let name = String::from_utf8(take(len)).unwrap();
        let calls = f64::from(number(take(4)));
        let len = number(take(4)) as usize;
        let values = take(4 * len);
        let values = values
            .chunks_exact(4)
            .map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap())) / calls);
        found.insert(name, values.collect());
    }
    found
}

/// Whoever has matrices of llama.cpp's own program gets the same here: of the same text, tensor by tensor.
#[test]
fn importance_is_that_of_llama_imatrix() {
    let Some(engine) = engine("importance_is_that_of_llama_imatrix") else { return };
    let home = Home::new(Mode::InProcess);
    let Some(program) = llama::tool(&home, "imatrix", &["imatrix.cpp"]) else {
        return eprintln!("SKIPPED: llama-imatrix can't be compiled with what the engine was built of");
    };
    let gguf = home.path("tiny.gguf");
    let checkpoint = Checkpoint::open(Path::new(&model("tiny-sft"))).unwrap();
    Plan::of(&checkpoint).unwrap().write(&mut fs::File::create(&gguf).unwrap()).unwrap();
    let (text, theirs, ours) = (model("heldout-python.txt"), home.path("theirs.dat"), home.path("ours.dat"));
    let output = Command::new(program)
        .args(["-m", gguf.to_str().unwrap(), "-f", &text, "-o", theirs.to_str().unwrap()])
        .args(["-c", "128", "-b", "128", "--chunks", "20", "-t", "1", "--no-ppl", "--output-format", "dat"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut engine = Engine::start(&engine).unwrap();
    let loaded = engine.load(&gguf, 1).unwrap();
    let mut tokens =
        engine.tokenize(loaded.model, &fs::read_to_string(&text).unwrap(), false).unwrap().tokens;
    if let Some(begin) = loaded.begin {
        tokens.insert(0, begin);
    }
    let mut windows: Vec<Vec<i32>> = tokens.chunks_exact(128).take(20).map(<[i32]>::to_vec).collect();
    for (window, begin) in windows.iter_mut().filter_map(|window| Some((window, loaded.begin?))) {
        window[0] = begin;
    }
    let order = Importance { model: loaded.model, windows, target: ours.clone() };
    let mut told = Vec::new();
    let mut tell = |windows| -> Result<(), EngineError> {
        told.push(windows);
        Ok(())
    };
    engine.importance(&order, &mut tell).unwrap();
    assert_eq!(told, (1..=20).collect::<Vec<_>>());
    let (theirs, ours) = (read(&theirs), read(&ours));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    assert_eq!(ours.len(), 4 * 7);
    for (name, theirs) in &theirs {
        let ours = &ours[name];
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            // They sum in 32 bits.
            assert!((ours - theirs).abs() <= 1e-3 * theirs.abs() + 1e-9, "{name} {at}: {ours}, {theirs}");
        }
    }
}

/// From a text in, to an i-quant with its evidence out; CI holds it against the model without that text. Without a text, or
/// with `--no-calibration`, the reason is told, and nothing is learned.
#[test]
fn i_quants_are_made_by_what_a_text_says() {
    let Some(engine) = engine("i_quants_are_made_by_what_a_text_says") else { return };
    let home = Home::new(Mode::InProcess);
    let source = home.path("wide");
    wide::write(&source);
    let source = source.to_str().unwrap().to_owned();
    let (text, other) = (model("heldout-python.txt"), model("heldout-rust-book.txt"));
    let out = home.path("out");
    let wish = |names: &'static str| {
        let wish = [&*source, "--text", &text, "--candidates", names, "--eval-samples", "4"];
        [&wish[..], &["--benchmark-samples", "0", "-o", out.to_str().unwrap()]].concat()
    };
    let learn = ["--search-text", &*other];
    let all = "IQ3_XXS,IQ2_XXS,Q2_K";

    let (_, without) = document(&home, &engine, &wish(all));
    assert_eq!(without["calibration"], Value::Null);
    for name in ["IQ3_XXS", "IQ2_XXS"] {
        let note = candidate(&without, name)["note"].as_str().unwrap_or_default();
        assert!(note.contains("--search-text"), "{name}: {without}");
    }
    assert_eq!(candidate(&without, "Q2_K")["recipe"], "Q2_K");

    let (code, found) = document(&home, &engine, &[&wish(all)[..], &learn].concat());
    assert_eq!((code, &found["chosen"]), (0, &"IQ2_XXS".into()), "{found}");
    let increase = |document: &Value, name: &str| {
        let value = candidate(document, name)["quality"]["increase_percent"]["value"].as_f64();
        value.unwrap_or_else(|| panic!("{name}: {document}"))
    };
    // Each of them has its own size and its own loss, and what is learned helps where there are few bits.
    let bytes = |name| candidate(&found, name)["bytes"].as_u64().unwrap();
    assert!(bytes("IQ2_XXS") < bytes("IQ3_XXS"), "{found}");
    assert!(increase(&found, "IQ2_XXS") > increase(&found, "IQ3_XXS"), "{found}");
    assert!(increase(&found, "Q2_K") < increase(&without, "Q2_K"), "{found}\n{without}");
    let calibration = &found["calibration"];
    assert!(calibration["tokens"].as_u64() > Some(2000) && calibration["text"] != found["text"], "{found}");

    // What was learned is not learned anew, and lies beside the variant.
    let one = wish("Q2_K");
    let (code, applied) = document(&home, &engine, &[&one[..], &learn, &["--apply"]].concat());
    assert_eq!((code, &applied["chosen"], &applied["calibration"]), (0, &"Q2_K".into(), calibration));
    assert_eq!(candidate(&applied, "Q2_K")["quality"], candidate(&found, "Q2_K")["quality"]);
    assert!(
        candidate(&applied, "Q2_K")["recipe"].as_str().unwrap().starts_with("Q2_K imatrix:8:"),
        "{applied}"
    );
    assert!(fs::read_to_string(out.join("report.md")).unwrap().contains("Importance matrix: learned from"));
    let matrix = out.join("importance.imatrix");
    assert!(matrix.is_file());

    // In CI there is another store, and the text may not be there.
    let mut elsewhere = Home::new(Mode::InProcess);
    elsewhere.set_store(&home.path("another-store"));
    let check = [&one[..], &["--check"]].concat();
    let (code, said, err) = optimize(&elsewhere, &engine, &check);
    assert_eq!(code, 0, "{said}{err}");
    fs::remove_file(&matrix).unwrap();
    elsewhere.set_store(&home.path("a-third-store"));
    let (code, _, err) = optimize(&elsewhere, &engine, &check);
    assert!(code == 3 && err.contains("--search-text"), "{code}: {err}");
    let (code, said, err) = optimize(&elsewhere, &engine, &[&check[..], &learn].concat());
    assert_eq!(code, 0, "{said}{err}");

    let (_, without) = document(&home, &engine, &[&one[..], &learn, &["--no-calibration"]].concat());
    assert_eq!(
        (&without["calibration"], &candidate(&without, "Q2_K")["recipe"]),
        (&Value::Null, &"Q2_K".into())
    );
    let (code, _, err) = optimize(&home, &engine, &[&one[..], &["--search-text", &text]].concat());
    assert!(code == 2 && err.contains("tested on itself"), "{code}: {err}");
}
