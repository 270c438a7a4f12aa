//! A derived table as a portable delta: small, as estimated, and every byte back.

use std::fs;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use serde_json::Value;

use super::parquet;
use crate::support::home::{Home, Mode};
use crate::support::random::Random;

/// So many rows, some of them changed or left out.
fn table(words: &[String], is_derived: bool) -> Vec<u8> {
    let rows: Vec<usize> = (0..words.len()).filter(|row| !is_derived || row % 50 != 7).collect();
    let word = |row: &usize| if is_derived && row % 90 == 5 { "corrected" } else { words[*row].as_str() };
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| *row as i64 * 977)));
    let words: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(word)));
    parquet(vec![("number", numbers), ("word", words)], 1500)
}

/// So many rows of a large table.
fn rows(range: std::ops::Range<i64>) -> Vec<u8> {
    let mut random = Random::seeded(7);
    let words: Vec<String> = (0..20_000).map(|_| format!("{:016x}", random.number())).collect();
    let word = |row: i64| words[row as usize].as_str();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(range.clone().map(|row| row * 977 % 7919)));
    let words: ArrayRef = Arc::new(StringArray::from_iter_values(range.map(word)));
    parquet(vec![("number", numbers), ("word", words)], 1500)
}

/// Splits of a data set in other files than in the base: each file takes its rows from whichever has them.
#[test]
fn splits_may_be_cut_anew() {
    let home = Home::new(Mode::InProcess);
    let (base, derived) = (home.path("base"), home.path("derived"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&derived).unwrap();
    for shard in 0..4 {
        let range = shard * 3000..(shard + 1) * 3000;
        fs::write(base.join(format!("train-{shard}.parquet")), rows(range.clone())).unwrap();
        let text: String = range.map(|row| format!("{row},{}\n", row * row * 7919)).collect();
        fs::write(base.join(format!("text-{shard}.csv")), text).unwrap();
    }
    for (file, range) in [("all", 0..12_000), ("one", 1000..7000), ("train-1", 6000..12_000)] {
        fs::write(derived.join(format!("{file}.parquet")), rows(range)).unwrap();
    }
    let text: String = (0..12_000u64).map(|row| format!("{row},{}\n", row * row * 7919)).collect();
    fs::write(derived.join("all.csv"), text).unwrap();
    let run = |arguments: &[&str]| -> Value {
        let told = home.git(&home.path(""), &[&["sparse", "dataset"], arguments, &["--json"]].concat());
        serde_json::from_str(&told).unwrap()
    };
    let estimate = run(&["estimate", "base", "derived"]);
    let made = run(&["compress", "base", "derived", "-o", "delta"]);
    let (size, stored) =
        (made["totals"]["size"].as_u64().unwrap(), made["totals"]["stored"].as_u64().unwrap());
    assert!(stored * 12 < size, "{stored} of {size} bytes");
    let expected = estimate["strategies"][0]["bytes"].as_u64().unwrap();
    assert!(expected.abs_diff(stored) * 10 < size, "{expected} expected, {stored} of {size} bytes");
    run(&["reconstruct", "base", "delta", "-o", "back"]);
    for file in ["all.parquet", "one.parquet", "train-1.parquet", "all.csv"] {
        assert!(fs::read(home.path("back").join(file)).unwrap() == fs::read(derived.join(file)).unwrap());
    }
}

/// A colleague who has the first data set needs no more than what changed.
#[test]
fn a_derived_table_is_a_small_delta() {
    let home = Home::new(Mode::InProcess);
    let mut random = Random::seeded(5);
    let words: Vec<String> = (0..4000).map(|_| format!("{:016x}", random.number())).collect();
    let (base, derived) = (home.path("base"), home.path("derived"));
    for (dir, is_derived) in [(&base, false), (&derived, true)] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("train.parquet"), table(&words, is_derived)).unwrap();
        fs::write(dir.join("README.md"), "what it is").unwrap();
    }
    let run = |arguments: &[&str]| -> Value {
        let told = home.git(&home.path(""), &[&["sparse", "dataset"], arguments, &["--json"]].concat());
        serde_json::from_str(&told).unwrap()
    };
    let estimate = run(&["estimate", "base", "derived"]);
    let made = run(&["compress", "base", "derived", "-o", "delta"]);
    let (size, stored) =
        (made["totals"]["size"].as_u64().unwrap(), made["totals"]["stored"].as_u64().unwrap());
    assert!(stored * 12 < size, "{stored} of {size} bytes");
    let expected = estimate["strategies"][0]["bytes"].as_u64().unwrap();
    assert!(expected.abs_diff(stored) * 10 < size, "{expected} expected, {stored} of {size} bytes");
    run(&["reconstruct", "base", "delta", "-o", "back"]);
    for file in ["train.parquet", "README.md"] {
        assert_eq!(fs::read(home.path("back").join(file)).unwrap(), fs::read(derived.join(file)).unwrap());
    }
    // Another base is no base.
    home.git_fails(&home.path(""), &["sparse", "dataset", "reconstruct", "derived", "delta", "-o", "other"]);
}

/// Text is estimated as it is stored: by its lines, wherever they went.
#[test]
fn text_is_estimated_as_it_is_stored() {
    let home = Home::new(Mode::InProcess);
    let mut random = Random::seeded(6);
    let lines: Vec<String> = (0..40_000).map(|row| format!("{row},{:016x}\n", random.number())).collect();
    let edited = lines.iter().enumerate().map(|(row, line)| match row % 4001 {
        7 => format!("{row},corrected\n"),
        _ => line.clone(),
    });
    fs::write(home.path("a.csv"), format!("id,word\n{}", lines.concat())).unwrap();
    fs::write(home.path("b.csv"), format!("id,word\n{}", edited.collect::<String>())).unwrap();
    let run = |arguments: &[&str]| -> Value {
        let told = home.git(&home.path(""), &[&["sparse", "dataset"], arguments, &["--json"]].concat());
        serde_json::from_str(&told).unwrap()
    };
    let estimate = run(&["estimate", "a.csv", "b.csv"]);
    let made = run(&["compress", "a.csv", "b.csv", "-o", "delta"]);
    let number = |value: &Value| value.as_u64().unwrap();
    let (size, stored) = (number(&made["totals"]["size"]), number(&made["totals"]["stored"]));
    let expected = number(&estimate["strategies"][0]["bytes"]);
    assert!(expected.abs_diff(stored) * 50 < size, "{expected} expected, {stored} of {size} bytes");
}
