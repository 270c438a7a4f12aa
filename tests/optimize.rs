//! `git sparse optimize` on the real engine and small trained models: what is measured, chosen, kept and refused.

mod calibration;
mod faults;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::engine::{engine, model};
use crate::support::home::{Home, Mode};

/// The small models read 256 tokens at once.
const TEXT: [&str; 4] = ["--max-length", "128", "--threads", "1"];

/// Runs `git-sparse optimize …`; its exit code, standard output and standard error.
#[track_caller]
fn optimize(home: &Home, engine: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = home.command("git-sparse", &home.path(""));
    command.arg("optimize").args(arguments).args(TEXT).env("GIT_SPARSE_ENGINE", engine);
    let output = home.output(&mut command);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().expect("an exit, not a signal"), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn document(home: &Home, engine: &Path, arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = optimize(home, engine, &[arguments, &["--json"]].concat());
    let document = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (code, document)
}

fn candidate<'a>(document: &'a Value, name: &str) -> &'a Value {
    let all = document["candidates"].as_array().unwrap();
    all.iter().find(|candidate| candidate["name"] == name).unwrap_or_else(|| panic!("no {name}: {document}"))
}

/// The way of a user: limits in, a variant with its evidence out; the second time nothing is measured, and CI can
/// hold the choice against the model.
#[test]
fn the_cheapest_that_passes_is_found_written_and_checked() {
    let Some(engine) = engine("the_cheapest_that_passes_is_found_written_and_checked") else { return };
    let home = Home::new(Mode::InProcess);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    let out = home.path("out");
    let wish = [
        &source,
        "--text",
        &text,
        "--candidates",
        "Q8_0,Q4_1,Q4_0",
        "--max-ppl-delta",
        "0.3",
        "--eval-samples",
        "24",
    ];
    let wish = [&wish[..], &["--benchmark-samples", "0", "-o", out.to_str().unwrap()]].concat();

    let (code, out_of, err) = optimize(&home, &engine, &[&wish[..], &["--apply", "--json"]].concat());
    let found: Value = serde_json::from_str(&out_of).unwrap_or_else(|error| panic!("{error}: {out_of}{err}"));
    assert_eq!(code, 0, "{found}");
    assert_eq!(found["chosen"], "Q4_1", "{found}");
    // What was made of the checkpoint's tensors is stored as the rule that makes it, beside a header with the tokens.
    let stored =
        err.split_once("stored in ").and_then(|(_, stored)| stored.split_once(" KiB")).map(|it| it.0);
    assert!(stored.is_some_and(|kib| kib.parse::<f64>().unwrap() < 40.0), "{err}");
    assert_eq!(candidate(&found, "Q8_0")["verdicts"][0]["verdict"], "pass", "{found}");
    assert_eq!(candidate(&found, "Q4_0")["verdicts"][0]["verdict"], "fail", "{found}");
    assert_eq!(found["source"]["dequantised_from"], Value::Null, "{found}");
    let files: Vec<PathBuf> =
        ["report.json", "report.md", "picture.svg", "tiny-sft-Q4_1.gguf"].map(|name| out.join(name)).into();
    assert!(files.iter().all(|file| file.is_file()), "{files:?}");
    assert_eq!(candidate(&found, "Q4_1")["bytes"], fs::metadata(&files[3]).unwrap().len());

    let begun = Instant::now();
    let (code, again) = document(&home, &engine, &wish);
    let took = begun.elapsed();
    assert_eq!((code, &again["chosen"]), (0, &found["chosen"]));
    assert_eq!(candidate(&again, "Q4_0")["quality"], candidate(&found, "Q4_0")["quality"]);
    assert!(took.as_secs_f64() < 5.0, "a second run took {took:?}");

    let (code, _, err) = optimize(&home, &engine, &[&wish[..], &["--apply"]].concat());
    assert_eq!(code, 0, "{err}");
    // The same choice again is no change, for git neither.
    let report = fs::read(&files[0]).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(optimize(&home, &engine, &[&wish[..], &["--apply"]].concat()).0, 0);
    assert!(fs::read(&files[0]).unwrap() == report, "the report of an equal choice is another one");
    let (code, checked, err) = optimize(&home, &engine, &[&wish[..], &["--check"]].concat());
    assert_eq!(code, 0, "{checked}{err}");
    // What was committed is looked at, too: a pointer to it will do, another byte will not, nor nothing.
    let (variant, bytes) = (&files[3], fs::read(&files[3]).unwrap());
    let check = || optimize(&home, &engine, &[&wish[..], &["--check"]].concat());
    let oid = candidate(&found, "Q4_1")["file"].as_str().unwrap();
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", bytes.len());
    fs::write(variant, pointer).unwrap();
    assert_eq!(check().0, 0, "{}", check().2);
    let mut flipped = bytes;
    flipped[900_000 / 2] ^= 1;
    fs::write(variant, flipped).unwrap();
    let (code, _, err) = check();
    assert!(code == 5 && err.contains("the report has"), "{code}: {err}");
    fs::remove_file(variant).unwrap();
    let (code, _, err) = check();
    assert!(code == 3 && err.contains("is not there"), "{code}: {err}");
    fs::remove_file(&files[0]).unwrap();
    let (code, _, err) = check();
    assert!(code == 3 && err.contains("there is no report to check"), "{code}: {err}");
    fs::write(&files[0], report).unwrap();

    let other = model("tiny-base");
    let (code, _, err) = optimize(&home, &engine, &[&[other.as_str()], &wish[1..], &["--check"]].concat());
    assert!(code == 6 && err.contains("of the weights"), "{code}: {err}");
}

/// Sizes that are told before anything is made are those of the files, within a hundredth.
#[test]
fn sizes_are_known_before_files_are_made() {
    let Some(engine) = engine("sizes_are_known_before_files_are_made") else { return };
    let home = Home::new(Mode::InProcess);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    let names = "F16,Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_M,Q2_K,Q4_0,Q5_1,IQ4_NL";
    let wish =
        [&source, "--text", &text, "--candidates", names, "--benchmark-samples", "0", "--eval-samples", "2"];
    // Nothing is made of what is too large.
    let (code, planned) = document(&home, &engine, &[&wish[..], &["--max-size", "1kB"]].concat());
    assert_eq!(code, 1, "{planned}");
    let (_, made) = document(&home, &engine, &wish);
    for name in names.split(',') {
        let bytes = |document: &Value| candidate(document, name)["bytes"].as_f64().unwrap();
        let (planned, made) = (bytes(&planned), bytes(&made));
        assert!((planned / made - 1.0).abs() < 0.01, "{name}: {planned} was told, {made} came out");
    }
}

/// "Infeasible" comes with what stands in the way and what is nearest, and CI hears it.
#[test]
fn what_can_not_be_kept_is_told_with_what_is_near() {
    let Some(engine) = engine("what_can_not_be_kept_is_told_with_what_is_near") else { return };
    let home = Home::new(Mode::InProcess);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    let wish = [
        &source,
        "--text",
        &text,
        "--candidates",
        "Q8_0,Q4_0",
        "--max-ppl-delta",
        "3",
        "--min-compression",
        "50",
    ];
    let (code, found) = document(&home, &engine, &[&wish[..], &["--eval-samples", "8"]].concat());
    assert_eq!(code, 1, "{found}");
    assert_eq!(found["chosen"], Value::Null);
    assert_eq!(found["infeasible"]["binding"][0], "--min-compression 50", "{found}");
    assert!(found["infeasible"]["nearest"][0]["excess"].as_f64().unwrap() > 1.0, "{found}");
}

/// Mixed precision is searched on another text; on the text of the evaluation it is refused.
#[test]
fn mixed_precision_is_searched_on_another_text() {
    let Some(engine) = engine("mixed_precision_is_searched_on_another_text") else { return };
    let home = Home::new(Mode::InProcess);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    let other = model("heldout-rust-book.txt");
    let wish = [
        &source,
        "--text",
        &text,
        "--candidates",
        "mixed,Q4_0",
        "--max-ppl-delta",
        "3",
        "--eval-samples",
        "24",
    ];
    let wish = [&wish[..], &["--benchmark-samples", "0", "--search-text"]].concat();
    let (code, _, err) = optimize(&home, &engine, &[&wish[..], &[&text]].concat());
    assert!(code == 2 && err.contains("tested on itself"), "{code}: {err}");
    let (_, found) = document(&home, &engine, &[&wish[..], &[&other]].concat());
    let mixed: Vec<&Value> = found["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|candidate| candidate["name"].as_str().unwrap().starts_with("mixed"))
        .collect();
    assert!(!mixed.is_empty() && mixed.iter().any(|candidate| !candidate["quality"].is_null()), "{found}");
    for candidate in mixed {
        assert!(candidate["recipe"].as_str().unwrap().starts_with("Q8_0"), "{candidate}");
    }
}

/// A tool that lies is listed with its reason and never counted; one that behaves is measured like any other.
#[test]
fn outside_tools_are_measured_and_not_believed() {
    let Some(engine) = engine("outside_tools_are_measured_and_not_believed") else { return };
    let home = Home::new(Mode::InProcess);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    let run = |cases: &str| {
        let venv = venv(&home, cases);
        let backend = format!("hqq={}", venv.display());
        let wish = [
            &source,
            "--text",
            &text,
            "--candidates",
            "hqq_4bit",
            "--backend",
            &backend,
            "--eval-samples",
            "4",
        ];
        document(&home, &engine, &wish).1
    };
    let probe =
        r#"*probe*) echo '{"probed":{"tool":"hqq","version":"VERSION","device":"cpu","methods":["hqq"]}}';;"#;
    let make = r#"*quantize*) target=${line#*\"target\":\"}; target=${target%%\"*}; head -c 9000 /dev/zero > "$target/model.pt"; echo '{"quantized":{"bytes":BYTES}}';;"#;
    let score = |ours: &str| {
        let numbers = |number: &str| vec![number; 64].join(",");
        // The protocol scores the second half of each window of 128.
        format!(
            "*logprobs*outside-*) echo '{{\"logprobs\":[{}]}}';;\n*logprobs*) echo '{{\"logprobs\":[{}]}}';;",
            numbers(ours)[..numbers(ours).len() - ours.len() - 1].to_owned(),
            numbers("-2.0")[..numbers("-2.0").len() - 5].to_owned()
        )
    };
    let script = |version: &str, bytes: &str, ours: &str| {
        [probe.replace("VERSION", version), make.replace("BYTES", bytes), score(ours)].join("\n")
    };
    let found = run(&script("1", "9000", "-2.01"));
    let behaved = candidate(&found, "hqq_4bit");
    assert_eq!((&behaved["bytes"], &behaved["engine"]), (&9000.into(), &"hqq 1 on cpu".into()), "{found}");
    let increase =
        behaved["quality"]["increase_percent"]["value"].as_f64().unwrap_or_else(|| panic!("{found}"));
    assert!((increase - 100.0 * 0.01f64.exp_m1()).abs() < 1e-6, "{found}");
    for (script, reason) in [
        (script("2", "4000", "-2.01"), "says that its model takes 4000 bytes"),
        (script("3", "9000", "-2.0"), "nothing was quantised"),
        ("*) echo 'ImportError: no module' >&2; exit 1;;".to_owned(), "no module"),
    ] {
        let found = run(&script);
        let liar = candidate(&found, "hqq_4bit");
        assert!(liar["quality"].is_null() && liar["note"].as_str().unwrap().contains(reason), "{found}");
        assert_eq!(found["chosen"], Value::Null, "{found}");
    }
}

/// The tools themselves, where `GIT_SPARSE_TEST_BACKENDS` names environments that they are installed in, as
/// `bitsandbytes=/opt/venv,hqq=/opt/venv`: each has at least one candidate with a size and a quality.
#[test]
fn real_tools_quantise_a_real_model() {
    let Some(engine) = engine("real_tools_quantise_a_real_model") else { return };
    let Ok(backends) = std::env::var("GIT_SPARSE_TEST_BACKENDS") else {
        return eprintln!("SKIPPED: GIT_SPARSE_TEST_BACKENDS names no tools");
    };
    let home = Home::new(Mode::InProcess);
    let (source, text, other) =
        (model("tiny-sft-f32"), model("heldout-python.txt"), model("heldout-rust-book.txt"));
    for backend in backends.split(',') {
        let (name, _) = backend.split_once('=').expect("NAME=VENV");
        let wish = ["--text", &text, "--search-text", &other, "--candidates", name, "--backend", backend];
        let (_, found) = document(&home, &engine, &[&[&*source, "--eval-samples", "4"], &wish[..]].concat());
        let candidates = found["candidates"].as_array().unwrap();
        assert!(!candidates.is_empty(), "{found}");
        let measured = candidates.iter().any(|candidate| {
            let increase = candidate["quality"]["increase_percent"]["value"].as_f64();
            increase.is_some_and(|increase| increase.abs() < 50.0)
                && candidate["compression"].as_f64() > Some(1.5)
        });
        assert!(measured, "{name} measured nothing: {found}");
    }
}

/// A virtual environment whose "Python" answers lines by this part of a shell's `case`.
fn venv(home: &Home, cases: &str) -> PathBuf {
    let venv = home.path("venv");
    let bin = venv.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let script = format!("#!/bin/sh\nwhile read -r line; do case \"$line\" in\n{cases}\nesac; done\n");
    fs::write(bin.join("partial"), script).unwrap();
    fs::set_permissions(bin.join("partial"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(bin.join("partial"), bin.join("python")).unwrap();
    venv
}

/// Typing errors and limits of nothing are told before a model is read.
#[test]
fn wishes_that_make_no_sense_are_refused() {
    let Some(engine) = engine("wishes_that_make_no_sense_are_refused") else { return };
    let home = Home::new(Mode::InProcess);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    for (wish, told) in [
        (["--max-ppl-delta", "0"], "expected a number above 0"),
        (["--max-ppl-delta", "-2"], "expected a number above 0"),
        (["--candidates", "Q4_K"], "no candidate and no group is called Q4_K"),
        (["--backend", "autoawq=/opt/venv"], "no back end is called autoawq"),
        (["--eval-samples", "0"], "is 0"),
    ] {
        let (code, _, err) = optimize(&home, &engine, &[&[&source, "--text", &text], &wish[..]].concat());
        assert!(code == 2 && err.contains(told), "{wish:?}: {code}: {err}");
    }
    let prices = home.path("prices.toml");
    fs::write(
        &prices,
        "[hardware.dev]\nprice_per_hour_usd = 0.1\nutilisation = 1.0\nsource = 'x'\ndate = '2020-01-01'\n",
    )
    .unwrap();
    let wish = [&source, "--text", &text, "--prices", prices.to_str().unwrap(), "--hardware", "dev"];
    let (code, _, err) = optimize(&home, &engine, &wish);
    assert!(code == 2 && err.contains("days old"), "{code}: {err}");
    // Costs follow from times.
    let (code, _, err) =
        optimize(&home, &engine, &[&wish[..], &["--allow-stale", "--benchmark-samples", "0"]].concat());
    assert!(code == 2 && err.contains("costs follow from times"), "{code}: {err}");
    let nobody = [&wish[..5], &["--hardware", "nope"]].concat();
    let (code, _, err) = optimize(&home, &engine, &nobody);
    assert!(code == 2 && err.contains("name one of its machines (dev)"), "{code}: {err}");
}

/// An engine that dies on a candidate costs that candidate, and a run that is killed loses the measurement that was
/// running: what was measured before is there, and the next run ends with the same choice.
#[test]
fn what_dies_loses_no_more_than_itself() {
    let Some(engine) = engine("what_dies_loses_no_more_than_itself") else { return };
    let mut home = Home::new(Mode::InProcess);
    let store = home.path("its-store");
    home.set_store(&store);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    // An engine that ends when a Q4_0 file is loaded.
    let fragile = home.path("fragile-engine");
    let real = engine.display();
    let script = format!(
        "#!/bin/sh\nwhile read -r line; do case \"$line\" in *load*Q4_0-*) echo 'GGML_ASSERT failed' >&2; exit 134;; esac\nprintf '%s\\n' \"$line\"; done | {real}\n"
    );
    fs::write(&fragile, script).unwrap();
    fs::set_permissions(&fragile, fs::Permissions::from_mode(0o755)).unwrap();
    let wish = [&source, "--text", &text, "--candidates", "Q8_0,Q4_0,Q4_1", "--max-ppl-delta", "0.3"];
    let wish = [&wish[..], &["--eval-samples", "24", "--benchmark-samples", "0"]].concat();
    let (code, found) = document(&home, &fragile, &wish);
    assert_eq!((code, &found["chosen"]), (0, &"Q4_1".into()), "{found}");
    let dead = candidate(&found, "Q4_0");
    assert!(dead["note"].as_str().unwrap().contains("the engine ended on it"), "{found}");
    assert!(dead["quality"].is_null(), "{found}");
    // The last line as a kill would leave it.
    let dir = store.join("measurements");
    let file = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 20]).unwrap();
    let (code, again) = document(&home, &engine, &wish);
    assert_eq!((code, &again["chosen"]), (0, &"Q4_1".into()), "{again}");
    assert_eq!(candidate(&again, "Q4_0")["verdicts"][0]["verdict"], "fail", "{again}");
}
