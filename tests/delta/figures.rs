//! What a manifest says of its tensors, held against the packs.

use std::fs;

use serde_json::{Value, json};

use super::{delta, delta_json, path};
use crate::support::home::{Home, Mode};
use crate::support::repo::model;

/// People choose by these figures what to download, and programs find tensors by these checksums: one that is not
/// so must be named.
#[test]
fn a_figure_that_is_not_so_is_named_with_its_tensor() {
    let home = Home::bare(Mode::InProcess);
    let (base, tuned, artifact) = (model("tiny-base"), model("tiny-sft"), home.path("a.delta"));
    delta_json(&home, &["compress", path(&base), path(&tuned), "-o", path(&artifact)]);
    delta_json(&home, &["verify", path(&artifact)]);
    let place = artifact.join("manifest.json");
    let good: Value = serde_json::from_slice(&fs::read(&place).unwrap()).unwrap();
    let refused = |manifest: &Value, told: &[&str]| {
        fs::write(&place, manifest.to_string()).unwrap();
        let (code, said) = delta(&home, &["verify", path(&artifact)]);
        assert_eq!(code, 5, "{told:?}: {said}");
        told.iter().for_each(|told| assert!(said.contains(told), "expected {told:?} in: {said}"));
    };
    let name = good["tensors"][3]["name"].as_str().unwrap();
    let lies = [
        ("method", json!("same+again")),
        ("size", json!(1)),
        ("stored", json!(0)),
        ("checksum", json!("0".repeat(64))),
        ("dtype", json!("f64")),
        ("shape", json!([1, 2])),
        ("file", json!("README.md")),
    ];
    for (key, lie) in lies {
        let mut bad = good.clone();
        bad["tensors"][3][key] = lie;
        refused(&bad, &[name, &format!("the manifest says {key} ")]);
    }
    let mut fewer = good.clone();
    fewer["tensors"].as_array_mut().unwrap().pop();
    refused(&fewer, &["the manifest says tensors"]);
    for key in ["same", "stored"] {
        let mut bad = good.clone();
        bad["totals"][key] = json!(1);
        refused(&bad, &[&format!("the manifest says {key} 1, the artifact has")]);
    }
    fs::write(&place, good.to_string()).unwrap();
    delta_json(&home, &["verify", path(&artifact)]);
}
