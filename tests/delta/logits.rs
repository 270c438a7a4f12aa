//! What a delta does to a model's answers, by the real engine: nothing, where it is lossless.

use std::fs;

use serde_json::Value;

use super::path;
use crate::support::engine;
use crate::support::home::{Home, Mode};
use crate::support::repo::model;

/// A lossless delta changes no logit at all; a lossy one changes them, says by how much, and fails a limit.
#[test]
fn a_lossless_delta_changes_no_answer() {
    let Some(engine) = engine::engine("a_lossless_delta_changes_no_answer") else { return };
    let mut home = Home::bare(Mode::InProcess);
    home.set("GIT_SPARSE_ENGINE", path(&engine));
    let (base, tuned) = (model("tiny-base"), model("tiny-sft"));
    let prompts = home.path("prompts.txt");
    fs::write(&prompts, "def main():\n\nimport os, sys\n").unwrap();
    let validate = |name: &str, more: &[&str]| {
        let artifact = home.path(name);
        let text = engine::model("heldout-python.txt");
        let asked = [
            &["validate", path(&base), path(&tuned), path(&artifact), "--text", &text, "--samples", "8"][..],
            &["--max-length", "128", "--threads", "1", "--prompts", path(&prompts)],
            more,
        ];
        super::delta(&home, &asked.concat())
    };
    let compress = |name: &str, more: &[&str]| {
        let artifact = home.path(name);
        let made = ["compress", path(&base), path(&tuned), "-o", path(&artifact)];
        let (code, said) = super::delta(&home, &[&made[..], more].concat());
        assert_eq!(code, 0, "{said}");
    };
    compress("whole", &[]);
    compress("lossy", &["--lossy", "svd", "--rank", "8"]);
    let read = |(code, said): (i32, String)| {
        let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        (code, document)
    };
    let (code, whole) = read(validate("whole", &["--json"]));
    let logits = &whole["logits"];
    assert_eq!((code, logits["passed"].as_bool()), (0, Some(true)), "{whole}");
    assert_eq!(logits["prompts"].as_array().unwrap().len(), 2, "blank lines are no prompts");
    for answer in logits["prompts"].as_array().unwrap().iter().chain([&logits["text"]["comparison"]]) {
        for zero in ["max_logit", "mean_logit", "divergence"] {
            assert_eq!(answer[zero], 0.0, "{answer}");
        }
        assert_eq!(answer["same_top"], 1.0);
    }
    assert_eq!(logits["text"]["after"], logits["text"]["comparison"]["baseline"]);

    let (code, lossy) = read(validate("lossy", &["--json", "--max-loss", "1"]));
    assert_eq!(code, 0, "a lossy delta has no limit unless one is given: {lossy}");
    for answer in lossy["logits"]["prompts"].as_array().unwrap() {
        assert!(answer["max_logit"].as_f64().unwrap() > 0.0 && answer["divergence"].as_f64().unwrap() > 0.0);
    }
    let (code, said) = validate("lossy", &["--max-loss", "1", "--max-divergence", "0.000001"]);
    assert!(code == 1 && said.contains("answers: FAILED"), "{said}");
}
