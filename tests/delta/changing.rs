//! Files that somebody writes to while they are read: an error by the file's name, and no artifact.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use git_sparse::artifact::{Artifact, Tree, compress, rebuild};
use git_sparse::progress::unwatched;

use super::{MADE, copy};
use crate::support::repo::model;

const WEIGHTS: &str = "model.safetensors";

/// What somebody does to a file, and its name.
type Deed = (&'static str, fn(&Path));

const DEEDS: [Deed; 3] = [
    ("shrunk", |file| File::options().write(true).open(file).unwrap().set_len(5000).unwrap()),
    ("emptied", |file| drop(File::create(file).unwrap())),
    ("changed", |file| {
        let mut bytes = fs::read(file).unwrap();
        bytes.iter_mut().skip(4000).for_each(|byte| *byte ^= 1);
        fs::write(file, bytes).unwrap();
    }),
];

/// A base on a disk that others use must not pass for a damaged artifact: the error names the file.
#[test]
fn a_base_that_changes_while_a_fine_tune_is_rebuilt_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (place, artifact, out) =
        (dir.path().join("base"), dir.path().join("a.delta"), dir.path().join("out"));
    copy(&model("tiny-base"), &place);
    let tuned = Tree::read("tuned", &model("tiny-sft")).unwrap();
    fs::create_dir(&artifact).unwrap();
    compress(&Tree::read("base", &place).unwrap(), &tuned, &artifact, &MADE, &unwatched).unwrap();
    for (what, deed) in DEEDS {
        copy(&model("tiny-base"), &place);
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        let artifact = Artifact::open(&artifact).unwrap();
        let store = artifact.on(&Tree::read("base", &place).unwrap(), &unwatched).unwrap();
        deed(&place.join(WEIGHTS));
        let error = rebuild(&artifact, &store, &out, &unwatched).unwrap_err().to_string();
        assert!(
            error.contains("the base's file model.safetensors was changed while it was read"),
            "{what}: {error}"
        );
    }
}

/// At every point of compress: either the change came too late to matter, or the error names a file.
#[test]
fn a_model_that_changes_while_it_is_compressed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (base, tuned, artifact) = (dir.path().join("base"), dir.path().join("tuned"), dir.path().join("a"));
    let mut named = 0;
    for (side, (what, deed)) in [&base, &tuned].into_iter().flat_map(|side| DEEDS.map(|deed| (side, deed))) {
        for moment in [1, 9, 30, 50] {
            copy(&model("tiny-base"), &base);
            copy(&model("tiny-sft"), &tuned);
            let _ = fs::remove_dir_all(&artifact);
            fs::create_dir(&artifact).unwrap();
            let trees = [&base, &tuned].map(|place| Tree::read("model", place).unwrap());
            let calls = AtomicU64::new(0);
            let made = compress(&trees[0], &trees[1], &artifact, &MADE, &|_| {
                if calls.fetch_add(1, Ordering::Relaxed) == moment {
                    deed(&side.join(WEIGHTS));
                }
                Ok(())
            });
            match made {
                Ok(_) => assert!(artifact.join("manifest.json").is_file()),
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains(WEIGHTS), "{what} at {moment}: {error}");
                    assert!(!artifact.join("manifest.json").exists());
                    named += 1;
                }
            }
        }
    }
    assert!(named > 4, "{named} changes were noticed");
}
