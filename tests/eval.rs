//! `git sparse eval` on the real engine: figures that others computed come out, and nonsense gets none.

use std::fs;
use std::path::Path;
use std::process::Command;

use git_sparse::convert::{Checkpoint, Plan};
use serde_json::Value;

use crate::support::engine::{engine, model};
use crate::support::home::{Home, Mode};
use crate::support::llama;
use crate::support::repo::{Repo, tree_of};

/// Runs `git-sparse eval …` with the engine; its exit code and all it said.
#[track_caller]
fn eval(home: &Home, engine: &Path, at: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = home.command("git-sparse", at);
    // Threads of an engine wait for each other by spinning, which on a busy machine takes far longer than one.
    command.arg("eval").args(arguments).env("GIT_SPARSE_ENGINE", engine);
    if !arguments.contains(&"--threads") {
        command.args(["--threads", "1"]);
    }
    let output = home.output(&mut command);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit, not a signal"), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn figures(home: &Home, engine: &Path, arguments: &[&str]) -> Value {
    let (code, said) = eval(home, engine, &home.path(""), &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{said}");
    let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(document["schema"], "git-sparse/eval/1");
    document
}

/// Windows and strides of 128 without a begin token, all but the first token scored.
const WINDOWS_OF_128: [&str; 7] =
    ["--protocol", "gptq-2048", "--max-length", "128", "--stride", "128", "--no-bos"];

/// `transformers` computed the same perplexities in f32, and so counted the same tokens: conversion, tokenizer,
/// forward pass and scoring all agree with it.
#[test]
fn perplexities_are_those_of_transformers() {
    let Some(engine) = engine("perplexities_are_those_of_transformers") else { return };
    let home = Home::new(Mode::InProcess);
    let known: Value = serde_json::from_slice(&fs::read(model("perplexity.json")).unwrap()).unwrap();
    for (name, texts) in known.as_object().unwrap() {
        for (text, known) in texts.as_object().unwrap() {
            let file = model(&format!("heldout-{text}.txt"));
            let found =
                figures(&home, &engine, &[&[&model(name), "--text", &file], &WINDOWS_OF_128[..]].concat());
            let measured = &found["measured"];
            assert_eq!(found["text"]["tokens"], known["tokens"], "{name} on {text}");
            assert_eq!(measured["windows"], known["windows"], "{name} on {text}");
            assert_eq!(measured["scored_tokens"], known["scored"], "{name} on {text}");
            let (found, known) =
                (measured["perplexity"].as_f64().unwrap(), known["perplexity"].as_f64().unwrap());
            assert!((found / known - 1.0).abs() < 5e-4, "{name} on {text}: {found}, transformers {known}");
        }
    }
}

/// A model beside itself differs by nothing at all; its fine-tune differs, and is better on what it was tuned for.
#[test]
fn a_model_is_equal_to_itself_and_not_to_its_fine_tune() {
    let Some(engine) = engine("a_model_is_equal_to_itself_and_not_to_its_fine_tune") else { return };
    let home = Home::new(Mode::InProcess);
    let text = model("heldout-python.txt");
    let compare = |name: &str, baseline: &str| {
        let arguments = [&model(name), "--baseline", &model(baseline), "--text", &text, "--samples", "20"];
        figures(&home, &engine, &[&arguments[..], &WINDOWS_OF_128[..]].concat())
    };
    let same = compare("tiny-base", "tiny-base");
    for zero in ["divergence", "max_logit", "mean_logit"] {
        assert_eq!(same["comparison"][zero], 0.0, "{same}");
    }
    assert_eq!(same["comparison"]["same_top"], 1.0);
    for zero in ["value", "low", "high"] {
        assert_eq!(same["comparison"]["increase_percent"][zero], 0.0, "{same}");
    }
    let tuned = compare("tiny-sft", "tiny-base");
    let comparison = &tuned["comparison"];
    assert!(comparison["increase_percent"]["high"].as_f64().unwrap() < -10.0, "{tuned}");
    assert!(comparison["divergence"].as_f64().unwrap() > 0.01, "{tuned}");
    assert!(comparison["same_top"].as_f64().unwrap() < 1.0, "{tuned}");
    let ratio = tuned["measured"]["perplexity"].as_f64().unwrap()
        / comparison["baseline"]["perplexity"].as_f64().unwrap();
    let told = comparison["increase_percent"]["value"].as_f64().unwrap();
    assert!((100.0 * (ratio - 1.0) - told).abs() < 1e-6, "{tuned}");
}

/// A copy of a model with a change to its tensors.
fn changed(home: &Home, name: &str, change: impl Fn(&str, &mut [u8])) -> String {
    let target = home.path("changed");
    let _ = fs::remove_dir_all(&target);
    fs::create_dir(&target).unwrap();
    for entry in fs::read_dir(model(name)).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
    let place = target.join("model.safetensors");
    let mut bytes = fs::read(&place).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    for (name, tensor) in tensors.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
        let at = |end: usize| header + tensor["data_offsets"][end].as_u64().unwrap() as usize;
        change(name, &mut bytes[at(0)..at(1)]);
    }
    fs::write(&place, bytes).unwrap();
    target.to_str().unwrap().to_owned()
}

/// Who knows nothing is exactly as perplexed as there are tokens.
#[test]
fn a_model_that_finds_all_tokens_equal_has_the_perplexity_of_its_vocabulary() {
    let Some(engine) = engine("a_model_that_finds_all_tokens_equal…") else { return };
    let home = Home::new(Mode::InProcess);
    let blind = changed(&home, "tiny-base", |name, bytes| {
        if name == "model.norm.weight" {
            bytes.fill(0);
        }
    });
    let found = figures(
        &home,
        &engine,
        &[&[&*blind, "--text", &model("heldout-python.txt"), "--samples", "3"], &WINDOWS_OF_128[..]].concat(),
    );
    let perplexity = found["measured"]["perplexity"].as_f64().unwrap();
    assert!((perplexity - 2048.0).abs() < 1e-8, "{perplexity}");
}

/// Weights that are no numbers give an error that says so, and never a figure.
#[test]
fn a_model_of_nan_has_no_perplexity() {
    let Some(engine) = engine("a_model_of_nan_has_no_perplexity") else { return };
    let home = Home::new(Mode::InProcess);
    let broken = changed(&home, "tiny-base", |name, bytes| {
        if name.ends_with("layers.1.mlp.down_proj.weight") {
            bytes.fill(0xff);
        }
    });
    let (code, said) = eval(
        &home,
        &engine,
        &home.path(""),
        &[&broken, "--text", &model("heldout-python.txt"), "--max-length", "128"],
    );
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("no finite number") && !said.contains("perplexity"), "{said}");
}

/// What can't be measured is told with what to do about it; no figure is printed.
#[test]
fn bad_input_gets_a_clear_error() {
    let Some(engine) = engine("bad_input_gets_a_clear_error") else { return };
    let home = Home::new(Mode::InProcess);
    let file = |name: &str, bytes: &[u8]| {
        fs::write(home.path(name), bytes).unwrap();
        home.path(name).to_str().unwrap().to_owned()
    };
    let base = &model("tiny-base");
    let text = &model("heldout-python.txt");
    let empty = &file("empty.txt", b" \n");
    let short = &file("short.txt", b"fn main() {}");
    let latin = &file("latin.txt", b"caf\xe9");
    let other = &format!("{}/tests/data/convert/qwen3", env!("CARGO_MANIFEST_DIR"));
    let torn = &file("torn.gguf", b"GGUF\x03\0\0\0lies");
    let cases: [(&[&str], i32, &str); 15] = [
        (&[base, "--text", empty], 2, "the text is empty"),
        (&[base, "--text", text], 2, "the model was trained to read 256"),
        (&[base, "--text", short, "--max-length", "256"], 2, "512 are needed for a window of 256"),
        (&[base, "--text", latin], 2, "byte 3 is no UTF-8"),
        (&[base, "--text", "/nowhere.txt"], 128, "/nowhere.txt"),
        (&[base, "--text", text, "--samples", "0"], 2, "--samples is 0"),
        (&[base, "--text", text, "--max-length", "1"], 2, "windows of 1 tokens"),
        (&[base, "--text", text, "--protocol", "bpc"], 2, "there are llama.cpp-512"),
        (&[base, "--text", text, "--confidence", "1"], 2, "0.95"),
        (&[base, "--text", text, "--baseline", other], 6, "other vocabularies"),
        (&[base, "--text", text, "--threads", "0"], 2, "expected a number of threads, 1 to 1024"),
        (&[base, "--dataset", "c4"], 2, "no text is known"),
        (&[base], 3, "wiki.test.raw"),
        (&[torn, "--text", text], 6, "torn.gguf"),
        (&[short, "--text", text], 2, "there is no model in it"),
    ];
    for (arguments, code, told) in cases {
        let (found, said) = eval(&home, &engine, &home.path(""), arguments);
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
        assert!(!said.contains("scored token"), "{arguments:?}: {said}");
    }
}

/// An engine that is missing, dies or speaks otherwise is told as that.
#[test]
fn an_engine_that_dies_is_told() {
    let home = Home::new(Mode::InProcess);
    let arguments = &[&*model("tiny-base"), "--text", &model("heldout-python.txt")];
    for (engine, told) in [
        ("/nowhere/engine", "can't be started"),
        ("/bin/true", "the engine ended: exit status: 0"),
        ("/bin/cat", "another question"),
    ] {
        let (code, said) = eval(&home, Path::new(engine), &home.path(""), arguments);
        assert_eq!(code, 128, "{said}");
        assert!(said.contains(told), "{engine}: {said}");
    }
}

/// A revision of a repository is a model, too: what was pushed is what is measured.
#[test]
fn a_model_of_a_revision_is_measured() {
    let Some(engine) = engine("a_model_of_a_revision_is_measured") else { return };
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "models");
    for name in ["tiny-base", "tiny-sft"] {
        repo.commit(name, tree_of(&[("m", name)]));
    }
    let text = model("heldout-rust-book.txt");
    let found = |spec: &str| {
        let arguments = [&[spec, "--text", &text, "--samples", "5", "--json"], &WINDOWS_OF_128[..]].concat();
        let (code, said) = eval(&home, &engine, &repo.path, &arguments);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str::<Value>(&said).unwrap()["measured"]["perplexity"].as_f64().unwrap()
    };
    assert_eq!(found("HEAD~1:m"), found(&model("tiny-base")));
    assert_eq!(found("HEAD:m"), found(&model("tiny-sft")));
    assert_ne!(found("HEAD:m"), found("HEAD~1:m"));
}

/// People compare with the tool that published figures are made with: its own program, of the same build, says the same.
#[test]
fn figures_are_those_of_llama_perplexity() {
    let Some(engine) = engine("figures_are_those_of_llama_perplexity") else { return };
    let home = Home::new(Mode::InProcess);
    let Some(program) = llama::tool(&home, "perplexity", &["perplexity.cpp", "main.cpp"]) else {
        return eprintln!("SKIPPED: llama-perplexity can't be compiled with what the engine was built of");
    };
    let gguf = home.path("tiny.gguf");
    let checkpoint = Checkpoint::open(Path::new(&model("tiny-sft"))).unwrap();
    Plan::of(&checkpoint).unwrap().write(&mut fs::File::create(&gguf).unwrap()).unwrap();
    let (gguf, text) = (gguf.to_str().unwrap(), model("heldout-python.txt"));
    let output = Command::new(program)
        .args(["-m", gguf, "-f", &text, "-c", "128", "--chunks", "40", "-t", "1"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // It prints the perplexity up to each window. Its last words may be lost when it ends, so the last of them that came counts.
    let mut so_far = said.split('[').filter_map(|part| {
        let (window, rest) = part.split_once(']')?;
        let (value, _) = rest.split_once(',')?;
        Some((window.parse::<usize>().ok()?, value.parse::<f64>().ok()?))
    });
    let (windows, theirs) = so_far.next_back().unwrap_or_else(|| panic!("{said}"));
    assert!(windows > 20, "{said}");
    let samples = windows.to_string();
    let ours = figures(
        &home,
        &engine,
        &[gguf, "--text", &text, "--max-length", "128", "--samples", &samples, "--threads", "1"],
    );
    let measured = &ours["measured"];
    assert!((measured["perplexity"].as_f64().unwrap() / theirs - 1.0).abs() < 1e-3, "{theirs}: {ours}");
    // `Final estimate: PPL = 365.0267 +/- 17.3`
    let estimate = said.rsplit_once("PPL = ").map(|(_, estimate)| estimate.split_whitespace().nth(2));
    if let Some(error) = estimate.flatten().and_then(|error| error.parse::<f64>().ok()) {
        assert!((measured["standard_error"].as_f64().unwrap() / error - 1.0).abs() < 1e-3, "{error}: {ours}");
    }
}
