//! `git sparse optimize` killed in the middle, and on full disks: what was measured stays, and the next run goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::{TEXT, document, optimize};
use crate::support::engine::{engine, model};
use crate::support::home::{Home, Mode};
use crate::support::tmpfs::Tmpfs;

/// What was kept of the one source in a store: whole lines.
fn lines(store: &Path) -> Vec<String> {
    let Ok(mut entries) = fs::read_dir(store.join("measurements")) else { return Vec::new() };
    let file = entries.find_map(|entry| {
        let path: PathBuf = entry.ok()?.path();
        path.extension().is_some_and(|ending| ending == "jsonl").then_some(path)
    });
    let text = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.len() > 1);
    whole.filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).map(str::to_owned).collect()
}

/// A kill loses the measurement that was running and no other, wherever it comes; the run after it measures what is missing, each
/// thing once, and ends with the choice of a run that nothing disturbed.
#[test]
fn a_run_that_is_killed_goes_on() {
    let Some(engine) = engine("a_run_that_is_killed_goes_on") else { return };
    let mut home = Home::new(Mode::InProcess);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    let wish = [&source, "--text", &text, "--candidates", "Q8_0,Q4_0,Q4_1", "--max-ppl-delta", "0.3"];
    let wish = [&wish[..], &["--eval-samples", "24", "--benchmark-samples", "0"]].concat();
    home.set_store(&home.path("undisturbed"));
    let (code, expected) = document(&home, &engine, &wish);
    assert_eq!(code, 0, "{expected}");
    let all = lines(&home.path("undisturbed")).len();

    let store = home.path("disturbed");
    home.set_store(&store);
    let (code, _, err) = optimize(&home, &engine, &[&wish[..], &["--resume"]].concat());
    assert!(code == 3 && err.contains("nothing was measured"), "{code}: {err}");
    let mut known = Vec::new();
    for share in [4, 2] {
        let mut command = home.command("git-sparse", &home.path(""));
        command.arg("optimize").args(&wish).args(TEXT).env("GIT_SPARSE_ENGINE", &engine);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while lines(&store).len() < all / share {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            assert!(begun.elapsed() < Duration::from_secs(120), "nothing was measured");
            thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let left = lines(&store);
        assert!(left.len() >= all / share && left.starts_with(&known), "what was known is gone");
        known = left;
    }
    let (code, found) = document(&home, &engine, &[&wish[..], &["--resume"]].concat());
    assert_eq!((code, &found["chosen"]), (0, &expected["chosen"]), "{found}");
    assert_eq!(found["candidates"], expected["candidates"]);
    let left = lines(&store);
    assert!(left.starts_with(&known));
    // Not even what was measured before the kills was measured again.
    let keys: BTreeSet<String> = left
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].to_string())
        .collect();
    assert_eq!((keys.len(), left.len()), (left.len(), all));
}

/// A full disk ends the run with its name and what to do; when there is room again, it goes on from there.
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let Some(engine) = engine("a_full_disk_is_told_and_loses_nothing") else { return };
    let mut home = Home::new(Mode::InProcess);
    let (source, text) = (model("tiny-sft"), model("heldout-python.txt"));
    let wish = [&source, "--text", &text, "--candidates", "Q8_0,Q4_1", "--max-ppl-delta", "0.3"];
    let wish = [&wish[..], &["--eval-samples", "24", "--benchmark-samples", "0"]].concat();

    // The store's disk.
    let Some(small) = Tmpfs::mount(home.path("small"), "size=24k") else { return };
    home.set_store(&small.0.join("store"));
    let (code, _, err) = optimize(&home, &engine, &wish);
    assert!(code != 0 && code != 1, "{code}: {err}");
    assert!(err.contains("No space left") && err.contains("make room"), "{code}: {err}");
    let known = lines(&small.0.join("store"));
    assert!(!known.is_empty(), "{err}");
    small.remount("size=24m");
    let (code, found) = document(&home, &engine, &wish);
    assert_eq!((code, &found["chosen"]), (0, &"Q4_1".into()), "{found}");
    assert!(lines(&small.0.join("store")).starts_with(&known));

    // The disk of files that are only made to be measured.
    let scratch = Tmpfs::mount(home.path("scratch"), "size=2500k").expect("because one was mounted before");
    home.set_store(&home.path("roomy"));
    home.set("TMPDIR", scratch.0.to_str().unwrap());
    let (code, _, err) = optimize(&home, &engine, &wish);
    assert!(code != 0 && code != 1, "{code}: {err}");
    assert!(err.contains("TMPDIR"), "{code}: {err}");
    scratch.remount("size=64m");
    let (code, found) = document(&home, &engine, &wish);
    assert_eq!((code, &found["chosen"]), (0, &"Q4_1".into()), "{found}");
}
