//! Portable deltas: made and used by the command line, and lied about.

mod adapter;
mod changing;
mod estimate;
mod figures;
mod hub;
mod logits;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use git_sparse::artifact::{Artifact, Made, Tree, Way, compress, rebuild};
use git_sparse::progress::{Cancelled, unwatched};
use serde_json::Value;

use crate::support::home::{Home, Mode};
use crate::support::random::Random;
use crate::support::repo::{Repo, model, tree_of};

const MADE: Made<'_> = Made { at: "1970-01-01T00:00Z", by: "test", way: Way::Lossless };

/// Runs `git-sparse delta …`; its exit code and all it said.
#[track_caller]
fn delta(home: &Home, arguments: &[&str]) -> (i32, String) {
    let mut command = home.command("git-sparse", &home.path(""));
    let output = home.output(command.arg("delta").args(arguments));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit, not a signal"), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn delta_json(home: &Home, arguments: &[&str]) -> Value {
    let (code, said) = delta(home, &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{said}");
    let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(document["schema"], format!("git-sparse/delta-{}/1", arguments[0]));
    document
}

fn path(path: &Path) -> &str {
    path.to_str().expect("because a test's paths are UTF-8")
}

/// All files below a directory, with their bytes.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => found.push((
                    entry.path().strip_prefix(root).unwrap().to_owned(),
                    fs::read(entry.path()).unwrap(),
                )),
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in files(from) {
        fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        fs::write(to.join(name), bytes).unwrap();
    }
}

/// The names that lie beside each other in a directory, without those that `expected` names.
fn strangers(dir: &Path, expected: &[&str]) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !expected.contains(&name.as_str())).collect()
}

/// What people share in place of a model: each kind of fine-tune must come back whole, and be small.
#[test]
fn every_kind_of_fine_tune_comes_back() {
    let home = Home::bare(Mode::InProcess);
    // Measured, rounded up: tokenizer and headers included.
    let most = [("tiny-sft", 0.23), ("tiny-sft-2", 0.24), ("tiny-lora-merged", 0.06), ("tiny-sft-f32", 0.72)];
    for (name, share) in most {
        let (artifact, out) = (home.path(format!("{name}.delta")), home.path(format!("{name}.out")));
        let base = model("tiny-base");
        let made = delta_json(&home, &["compress", path(&base), path(&model(name)), "-o", path(&artifact)]);
        let (size, stored) = (&made["totals"]["size"], &made["totals"]["stored"]);
        let found = stored.as_f64().unwrap() / size.as_f64().unwrap();
        assert!(found < share, "{name}: {found:.3} of its bytes, at most {share} were expected");
        let on_disk: u64 = files(&artifact).iter().map(|(_, bytes)| bytes.len() as u64).sum();
        assert!(on_disk < stored.as_u64().unwrap() + 64 * 1024, "{name}: the manifest's sum hides {on_disk}");

        delta_json(&home, &["verify", path(&artifact), "--base", path(&base)]);
        delta_json(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&out)]);
        assert!(files(&out) == files(&model(name)), "{name} came back with other bytes");
    }
    assert_eq!(strangers(&home.path(""), &[]).iter().filter(|name| name.contains("partial")).count(), 0);
}

/// A model is more than its weights: folders, files that only one side has, equal ones, empty ones, links.
#[test]
fn all_files_of_a_model_come_back() {
    let home = Home::bare(Mode::InProcess);
    let (base, tuned) = (home.path("base"), home.path("tuned"));
    copy(&model("tiny-base"), &base);
    copy(&model("tiny-sft"), &tuned);
    fs::write(base.join("only-here.txt"), "base").unwrap();
    fs::create_dir_all(tuned.join("onnx/deep")).unwrap();
    fs::copy(tuned.join("tokenizer.json"), tuned.join("onnx/deep/tokenizer.json")).unwrap();
    fs::write(tuned.join("empty"), "").unwrap();
    fs::create_dir(tuned.join(".git")).unwrap();
    fs::write(tuned.join(".git/config"), "not of the model").unwrap();
    fs::rename(tuned.join("model.safetensors"), home.path("blob")).unwrap();
    std::os::unix::fs::symlink(home.path("blob"), tuned.join("weights.safetensors")).unwrap();

    let (artifact, out) = (home.path("a.delta"), home.path("out"));
    let made = delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
    let (size, stored) = (&made["totals"]["size"], &made["totals"]["stored"]);
    let share = stored.as_f64().unwrap() / size.as_f64().unwrap();
    assert!(share < 0.22, "weights of another file name found no counterparts: {share:.3}");
    delta_json(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&out)]);
    let mut expected = files(&tuned);
    expected.retain(|(name, _)| !name.starts_with(".git"));
    assert!(files(&out) == expected, "{:?}", files(&out).iter().map(|(name, _)| name).collect::<Vec<_>>());
}

/// On another base an artifact means other weights, or none: it says which tensor, and how to get the right one.
#[test]
fn another_base_is_refused_by_name() {
    let home = Home::bare(Mode::InProcess);
    let (base, artifact, out) = (home.path("base"), home.path("a.delta"), home.path("out"));
    copy(&model("tiny-base"), &base);
    let tuned = model("tiny-sft");
    assert_eq!(delta(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]).0, 0);
    let sha = Command::new("sha256sum").arg(base.join("model.safetensors")).output().unwrap().stdout;
    let sha = String::from_utf8(sha).unwrap()[..64].to_owned();

    let weights = base.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 100] ^= 1;
    fs::write(&weights, &bytes).unwrap();
    let (code, said) = delta(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&out)]);
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("model.safetensors differs in model.") && said.contains(&sha), "{said}");
    // Where it was on the machine that made it is nobody's matter.
    let manifest = fs::read_to_string(artifact.join("manifest.json")).unwrap();
    let place = path(&home.path("")).trim_end_matches('/').to_owned();
    assert!(said.contains("what was called base ") && !manifest.contains(&place), "{said}");
    bytes.truncate(end - 1);
    fs::write(&weights, &bytes).unwrap();
    let (code, said) = delta(&home, &["verify", path(&artifact), "--base", path(&base)]);
    assert!(code == 6 && said.contains(&format!("has {} bytes, expected {end}", end - 1)), "{said}");
    fs::remove_file(&weights).unwrap();
    let (code, said) = delta(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&out)]);
    assert!(code == 6 && said.contains("model.safetensors is missing"), "{said}");
    assert!(!out.exists());
    assert_eq!(strangers(&home.path(""), &[]).iter().filter(|name| name.contains("partial")).count(), 0);
}

/// A rank that nothing asks for would be taken for one that was heeded.
#[test]
fn a_rank_needs_a_tier_that_has_one() {
    let home = Home::bare(Mode::InProcess);
    let (base, tuned, out) = (model("tiny-base"), model("tiny-sft"), home.path("out"));
    let pair = ["compress", path(&base), path(&tuned), "-o", path(&out), "--rank", "4"];
    for more in [[].as_slice(), &["--lossy", "int8"]] {
        let (code, said) = delta(&home, &[&pair, more].concat());
        assert!(code == 2 && said.contains("--lossy svd") && !out.exists(), "{said}");
    }
    assert_eq!(delta(&home, &[&pair, ["--lossy", "svd"].as_slice()].concat()).0, 0);
}

/// Models live in repositories and in the hub's cache: both can be named, and are told apart by revision.
#[test]
fn models_are_found_in_repositories_and_in_the_hubs_cache() {
    let mut home = Home::new(Mode::InProcess);
    let cache = home.path("hub");
    home.set("HF_HUB_CACHE", path(&cache));
    let snapshot = cache.join("models--org--tiny/snapshots/0123abcd");
    copy(&model("tiny-base"), &snapshot);
    fs::create_dir_all(cache.join("models--org--tiny/refs")).unwrap();
    fs::write(cache.join("models--org--tiny/refs/main"), "0123abcd").unwrap();
    let repo = Repo::init(&home, "work");
    for name in ["tiny-base", "tiny-sft"] {
        repo.commit(name, tree_of(&[("model", name)]));
        repo.git(&["tag", name]);
    }
    let (artifact, out) = (home.path("a.delta"), home.path("out"));
    let told = repo.git(&[
        "sparse",
        "delta",
        "compress",
        "org/tiny",
        "tiny-sft:model",
        "-o",
        path(&artifact),
        "--json",
    ]);
    assert!(told.contains("totals"), "{told}");
    let info = delta_json(&home, &["info", path(&artifact)]);
    assert_eq!(info["base"]["revision"], "0123abcd");
    assert_eq!(info["fine_tune"]["revision"], repo.git(&["rev-parse", "tiny-sft"]).trim());
    repo.git(&["sparse", "delta", "reconstruct", "tiny-base:model", path(&artifact), "-o", path(&out)]);
    assert!(files(&out) == files(&model("tiny-sft")));
    // Whoever has another base is told the name of the right one, by which it can be had anywhere.
    let of_repo = home.path("b.delta");
    let made = ["sparse", "delta", "compress", "tiny-base:model", "tiny-sft:model", "-o", path(&of_repo)];
    repo.git(&made);
    let commit = repo.git(&["rev-parse", "tiny-base"]).trim().to_owned();
    for (artifact, name) in
        [(&artifact, "org/tiny@0123abcd".to_owned()), (&of_repo, format!("{commit}:model"))]
    {
        let other = ["sparse", "delta", "reconstruct", "tiny-sft:model", path(artifact), "-o", "other"];
        let said = home.git_fails(&repo.path, &other);
        assert!(said.contains(&format!("fix: name {name}")), "{said}");
        assert!(repo.git(&["sparse", "delta", "info", path(artifact)]).contains(&name));
    }

    let new = home.path("new");
    // The same revision twice: each has files of its own.
    let same = repo.git(&["sparse", "delta", "estimate", "tiny-sft:model", "tiny-sft:model"]);
    assert!(same.contains("identical"), "{same}");
    for (spec, told) in [
        ("org/other", "HF_HUB_OFFLINE=0 to fetch it"),
        ("org/tiny@ffff", "it has: 0123abcd"),
        ("no such thing", "REV:PATH"),
        ("tiny-base:nowhere", "nothing at"),
    ] {
        let said =
            home.git_fails(&repo.path, &["sparse", "delta", "compress", spec, "org/tiny", "-o", path(&new)]);
        assert!(said.contains(told), "{spec}: {said}");
    }
    assert!(!new.exists());
}

/// An artifact comes from strangers. Whatever is in it, the fine-tune comes back whole or not at all.
#[test]
fn a_damaged_artifact_gives_the_right_bytes_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    let base = Tree::read("base", &model("tiny-base")).unwrap();
    let tuned = Tree::read("tuned", &model("tiny-lora-merged")).unwrap();
    fs::create_dir(&good).unwrap();
    compress(&base, &tuned, &good, &MADE, &unwatched).unwrap();
    let whole = files(&good);
    let expected = files(&model("tiny-lora-merged"));
    let mut random = Random::seeded(11);
    let (mut refused, mut came_back) = (0, 0);
    for round in 0..150 {
        let _ = fs::remove_dir_all(&bad);
        copy(&good, &bad);
        let (name, bytes) = &whole[random.below(whole.len())];
        let mut bytes = bytes.clone();
        match random.below(4) {
            0 => fs::remove_file(bad.join(name)).unwrap(),
            1 => {
                bytes.truncate(random.below(bytes.len()));
                fs::write(bad.join(name), &bytes).unwrap();
            }
            _ => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
                fs::write(bad.join(name), &bytes).unwrap();
            }
        }
        let out = dir.path().join(format!("out-{round}"));
        fs::create_dir(&out).unwrap();
        let done = Artifact::open(&bad).map_err(|error| error.to_string()).and_then(|artifact| {
            let store = artifact.on(&base, &unwatched).map_err(|error| error.to_string())?;
            rebuild(&artifact, &store, &out, &unwatched).map_err(|error| error.to_string())
        });
        match done {
            Err(_) => refused += 1,
            Ok(()) => {
                came_back += 1;
                // A name in the manifest is nobody's to check; the bytes are.
                let bytes = |files: &[(PathBuf, Vec<u8>)]| {
                    let mut bytes: Vec<_> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
                    bytes.sort();
                    bytes
                };
                assert!(bytes(&files(&out)) == bytes(&expected), "round {round}: other bytes came back");
            }
        }
        fs::remove_dir_all(&out).unwrap();
    }
    // Most of a manifest is prose: a flip there is no damage.
    assert!(refused > 60 && came_back > 0, "{refused} refused, {came_back} came back");
}

/// Who cancels wants nothing left: neither half an artifact nor half a model.
#[test]
fn cancelled_work_stops() {
    let dir = tempfile::tempdir().unwrap();
    let base = Tree::read("base", &model("tiny-base")).unwrap();
    let tuned = Tree::read("tuned", &model("tiny-sft")).unwrap();
    let error = compress(&base, &tuned, dir.path(), &MADE, &|_| Err(Cancelled));
    assert!(error.unwrap_err().is_cancelled());
    assert!(!dir.path().join("manifest.json").exists());
}

/// Ctrl-C in the middle: exit code 130, and no directory of any name.
#[test]
fn an_interrupt_leaves_nothing() {
    let home = Home::bare(Mode::InProcess);
    let big = home.path("big.bin");
    let mut random = Random::seeded(3);
    let noise: Vec<u8> = (0..8 << 20).flat_map(|_| random.number().to_le_bytes()).collect();
    fs::write(&big, noise).unwrap();
    let out = home.path("out");
    let mut command = home.command("git-sparse", &home.path(""));
    let args = ["delta", "compress", path(&big), path(&big), "-o", path(&out)];
    let mut child = command.args(args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // As soon as it has begun: its directory is there from the start.
    while !strangers(&home.path(""), &[]).iter().any(|name| name.contains("partial")) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(30));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let status = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert_eq!(status.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert!(!out.exists());
    assert_eq!(strangers(&home.path(""), &[]).iter().filter(|name| name.contains("partial")).count(), 0);
}

/// A pipe waits for its other end, a pointer is no weights, and half a model is none: each is refused at once.
#[test]
fn what_is_no_whole_model_is_refused() {
    let home = Home::bare(Mode::InProcess);
    let (base, out) = (model("tiny-base"), home.path("out"));
    let told = |name: &str, expected: &str| {
        let place = home.path(name);
        let (code, said) = delta(&home, &["compress", path(&base), path(&place), "-o", path(&out)]);
        assert!(code != 0 && said.contains(expected), "{name}: {said}");
        assert!(!out.exists());
    };
    assert!(Command::new("mkfifo").arg(home.path("pipe")).status().unwrap().success());
    told("pipe", "neither a file nor a directory");
    copy(&base, &home.path("linked"));
    std::os::unix::fs::symlink(&base, home.path("linked/more")).unwrap();
    told("linked", "more: neither a file nor a directory of its own");
    copy(&base, &home.path("pointer"));
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 9\n", "a".repeat(64));
    fs::write(home.path("pointer/model.safetensors"), pointer).unwrap();
    told("pointer", "model.safetensors is a Git LFS pointer");
    copy(&base, &home.path("shards"));
    let index = r#"{"weight_map":{"a":"model.safetensors","b":"model-2.safetensors"}}"#;
    fs::write(home.path("shards/model.safetensors.index.json"), index).unwrap();
    told("shards", "names model-2.safetensors, which is not there");

    let artifact = home.path("artifact");
    delta_json(&home, &["compress", path(&base), path(&model("tiny-sft")), "-o", path(&artifact)]);
    fs::remove_file(artifact.join("manifest.json")).unwrap();
    assert!(Command::new("mkfifo").arg(artifact.join("manifest.json")).status().unwrap().success());
    assert_ne!(delta(&home, &["info", path(&artifact)]).0, 0);
}

/// Caches hold what was loaded: a base without its README is the base, one without its weights is not.
#[test]
fn files_of_the_base_that_nothing_needs_may_be_missing() {
    let home = Home::bare(Mode::InProcess);
    let (base, artifact, out) = (home.path("base"), home.path("a.delta"), home.path("out"));
    copy(&model("tiny-base"), &base);
    delta_json(&home, &["compress", path(&base), path(&model("tiny-sft")), "-o", path(&artifact)]);
    fs::remove_file(base.join("README.md")).unwrap();
    delta_json(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&out)]);
    assert!(files(&out) == files(&model("tiny-sft")));
}

/// A manifest that calls an approximation lossless would pass another model off as the fine-tune.
#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let home = Home::bare(Mode::InProcess);
    let (base, artifact) = (model("tiny-base"), home.path("a.delta"));
    let tuned = model("tiny-sft-f32");
    delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact), "--lossy", "int8"]);
    let manifest = artifact.join("manifest.json");
    let good = fs::read_to_string(&manifest).unwrap();
    for (from, to) in
        [("\"lossy-int8\"", "\"lossless\""), ("\"totals\":{\"size\":", "\"totals\":{\"size\":1")]
    {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        fs::write(&manifest, bad).unwrap();
        for verb in ["info", "verify"] {
            let (code, said) = delta(&home, &[verb, path(&artifact)]);
            assert!(code == 5 && said.contains("the artifact is damaged"), "{verb}: {said}");
        }
    }
}

/// Who asks for an approximation must be told everywhere that it is one, and how far it lies off.
#[test]
fn an_approximation_is_measured_and_marked() {
    let home = Home::bare(Mode::InProcess);
    // In bf16 a lossless delta is smaller than 8 bits a weight: there is nothing to give up for.
    let (base, tuned, artifact) = (model("tiny-base"), model("tiny-sft-f32"), home.path("a.delta"));
    let whole = delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&home.path("whole"))]);
    let lossy = ["compress", path(&base), path(&tuned), "-o", path(&artifact), "--lossy", "int8"];
    let made = delta_json(&home, &lossy);
    assert_eq!((made["kind"].as_str(), whole["kind"].as_str()), (Some("lossy-int8"), Some("lossless")));
    let stored = |made: &Value| made["totals"]["stored"].as_f64().unwrap();
    assert!(stored(&made) < 0.7 * stored(&whole), "{} of {}", stored(&made), stored(&whole));

    let info = delta_json(&home, &["info", path(&artifact)]);
    let file = info["fine_tune"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["path"] == "model.safetensors");
    let file = file.unwrap();
    assert_ne!(file["sha256"], file["approximation"]);
    let out = home.path("out");
    let (code, said) = delta(&home, &["reconstruct", path(&base), path(&artifact), "-o", path(&out)]);
    assert!(code == 0 && said.contains("LOSSY"), "{said}");
    let sha = Command::new("sha256sum").arg(out.join("model.safetensors")).output().unwrap().stdout;
    assert_eq!(&String::from_utf8(sha).unwrap()[..64], file["approximation"].as_str().unwrap());
    assert!(delta(&home, &["verify", path(&artifact)]).1.contains("LOSSY"));

    let validate = ["validate", path(&base), path(&tuned), path(&artifact)];
    let found = delta_json(&home, &validate);
    let worst = found["worst"].as_f64().unwrap();
    assert!(worst > 0.0 && worst < 0.02, "{worst} of a tensor's change was lost");
    let (code, said) = delta(&home, &[&validate[..], &["--max-loss", "0.0001"]].concat());
    assert!(code == 1 && said.contains("FAILED"), "{said}");
    // The manifest's own word is the same.
    let tensors = info["tensors"].as_array().unwrap();
    let listed =
        tensors.iter().filter_map(|tensor| tensor["error"]["of_change"].as_f64()).fold(0.0, f64::max);
    assert_eq!(listed, worst);

    // The other tiers lose more, and weigh less.
    for (tier, rank) in [("svd", ["--rank", "8"].as_slice()), ("sparse-int8", &[])] {
        let artifact = home.path(tier);
        let lossy = ["compress", path(&base), path(&tuned), "-o", path(&artifact), "--lossy", tier];
        let smaller = delta_json(&home, &[&lossy, rank].concat());
        assert_eq!(smaller["kind"], format!("lossy-{tier}"));
        assert!(stored(&smaller) < 0.6 * stored(&made), "{tier}: {}", stored(&smaller));
        let all = ["validate", path(&base), path(&tuned), path(&artifact), "--max-loss", "1"];
        let found = delta_json(&home, &all)["worst"].as_f64().unwrap();
        assert!(found > worst && found < 1.0, "{tier} lost {found}");
    }

    let exact = delta_json(&home, &["validate", path(&base), path(&tuned), path(&home.path("whole"))]);
    assert_eq!((exact["passed"].as_bool(), exact["max"].as_f64()), (Some(true), Some(0.0)));
    let (other, whole) = (model("tiny-lora-merged"), home.path("whole"));
    assert_ne!(delta(&home, &["validate", path(&base), path(&other), path(&whole)]).0, 0);
}

/// Rows that the base does not have are the fine-tune's, too: an error in them must not pass.
#[test]
fn rows_that_were_added_are_measured() {
    let home = Home::bare(Mode::InProcess);
    let file = |rows: usize, last: f32| {
        let weights =
            (0..rows * 64).map(|at| (at as f32 * 0.37).sin() + if at >= 64 * 64 { last } else { 0.0 });
        let header = format!(
            r#"{{"embed.weight":{{"dtype":"F32","shape":[{rows},64],"data_offsets":[0,{}]}}}}"#,
            rows * 256
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        weights.for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
        bytes
    };
    for (name, bytes) in [("base", file(64, 0.0)), ("tuned", file(66, 0.0)), ("other", file(66, 0.5))] {
        fs::write(home.path(format!("{name}.safetensors")), bytes).unwrap();
    }
    let place = |name: &str| home.path(format!("{name}.safetensors"));
    let (base, tuned, other, artifact) =
        (place("base"), place("tuned"), place("other"), home.path("a.delta"));
    delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
    delta_json(&home, &["validate", path(&base), path(&tuned), path(&artifact)]);
    let (code, said) = delta(&home, &["validate", path(&base), path(&other), path(&artifact)]);
    assert!(code == 1 && said.contains("FAILED"), "{said}");
}

/// An approximation of NaN is a guess: it is refused by the tensor's name.
#[test]
fn what_is_not_finite_is_not_approximated() {
    let home = Home::bare(Mode::InProcess);
    let tensor = |weights: &[f32]| {
        let header = format!(
            r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}}"#,
            weights.len(),
            4 * weights.len()
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        weights.iter().for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
        bytes
    };
    let mut weights: Vec<f32> = (0..500).map(|at| (at as f32).sin()).collect();
    fs::write(home.path("base.safetensors"), tensor(&weights)).unwrap();
    weights.iter_mut().for_each(|weight| *weight += 1e-3 * (*weight * 1e4).sin());
    weights[77] = f32::NAN;
    fs::write(home.path("tuned.safetensors"), tensor(&weights)).unwrap();
    let (base, tuned) = (home.path("base.safetensors"), home.path("tuned.safetensors"));
    let out = home.path("x");
    let lossy = ["compress", path(&base), path(&tuned), "-o", path(&out), "--lossy", "int8"];
    let (code, said) = delta(&home, &lossy);
    assert!(code == 6 && said.contains("tensor w can't be approximated"), "{said}");
    // Without --lossy it comes back bit for bit, and is measured without the NaN.
    delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&out)]);
    let found = delta_json(&home, &["validate", path(&base), path(&tuned), path(&out)]);
    assert_eq!(found["passed"], true);
}
