//! A derived table as a portable delta: small, as estimated, and every byte back.

use std::fs;
use std::io::Write;
use std::path::Path;
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

/// What a dataset verb prints as JSON, under its own name.
fn run(home: &Home, arguments: &[&str]) -> Value {
    let told = home.git(&home.path(""), &[&["sparse", "dataset"], arguments, &["--json"]].concat());
    let document: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(document["schema"], format!("git-sparse/dataset-{}/1", arguments[0]));
    document
}

/// Compresses, checks, rebuilds, and compares; tells which share of the derived files the artifact has.
fn share(home: &Home, base: &str, derived: &str) -> f64 {
    let (artifact, back) = (format!("{base}-{derived}.delta"), format!("{base}-{derived}.back"));
    let estimate = run(home, &["estimate", base, derived]);
    let made = run(home, &["compress", base, derived, "-o", &artifact]);
    let of = |value: &Value| value.as_f64().unwrap();
    let (size, stored) = (of(&made["totals"]["size"]), of(&made["totals"]["stored"]));
    let expected = of(&estimate["strategies"][0]["bytes"]);
    assert!(
        (expected - stored).abs() < 0.1 * size,
        "{derived}: {expected} expected, {stored} of {size} bytes"
    );
    home.git(&home.path(""), &["sparse", "delta", "verify", &artifact, "--base", base]);
    run(home, &["reconstruct", base, &artifact, "-o", &back]);
    let original = home.path(derived);
    let same = |path: &Path| {
        let name = path.file_name().unwrap();
        assert!(
            fs::read(home.path(&back).join(name)).unwrap() == fs::read(path).unwrap(),
            "{}",
            path.display()
        );
    };
    match original.is_dir() {
        true => fs::read_dir(original).unwrap().for_each(|entry| same(&entry.unwrap().path())),
        false => same(&original),
    }
    stored / size
}

fn gzip(text: &str, flushes_at: Option<usize>) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let (first, rest) = text.as_bytes().split_at(flushes_at.unwrap_or(text.len()));
    packed.write_all(first).unwrap();
    if flushes_at.is_some() {
        packed.flush().unwrap();
        packed.write_all(rest).unwrap();
    }
    packed.finish().unwrap()
}

/// A packed file is compared by what it holds, as a push does it; with the same unpacked, and with what another program
/// packed.
#[test]
fn packed_text_is_compared_by_what_it_holds() {
    let home = Home::new(Mode::InProcess);
    let mut random = Random::seeded(8);
    let lines: Vec<String> = (0..40_000).map(|row| format!("{row},{:016x}\n", random.number())).collect();
    let base = lines.concat();
    let edited = lines.iter().enumerate().map(|(row, line)| match row % 401 {
        7 => format!("{row},corrected\n"),
        _ => line.clone(),
    });
    let derived: String = edited.collect();
    for (name, text) in [("base", &base), ("derived", &derived)] {
        fs::write(home.path(format!("{name}.csv")), text).unwrap();
        fs::write(home.path(format!("{name}.csv.gz")), gzip(text, None)).unwrap();
        fs::write(home.path(format!("{name}.csv.zst")), zstd::encode_all(text.as_bytes(), 3).unwrap())
            .unwrap();
        let odd = format!("{name}.odd.csv.gz");
        fs::write(home.path(odd), gzip(text, Some(text.len() / 3))).unwrap();
    }
    for (base, derived) in [
        ("base.csv.gz", "derived.csv.gz"),
        ("base.csv.zst", "derived.csv.zst"),
        ("base.csv.gz", "derived.csv.zst"),
        ("base.csv", "derived.csv.gz"),
        ("base.csv.zst", "derived.csv"),
        ("base.odd.csv.gz", "derived.csv.gz"),
    ] {
        let share = share(&home, base, derived);
        assert!(share < 0.02, "{derived} on {base}: {share}");
    }
    // No packer gives it again: what it chose otherwise than zlib is stored, too.
    assert!(share(&home, "base.csv.gz", "derived.odd.csv.gz") < 0.15);
    // Two streams one after the other are stored as they are, and come back all the same.
    let (first, second) = derived.split_at(derived.len() / 2);
    fs::write(home.path("derived.two.csv.gz"), [gzip(first, None), gzip(second, None)].concat()).unwrap();
    assert!(share(&home, "base.csv.gz", "derived.two.csv.gz") > 0.5);
    // What is in the base as it is costs nothing, whatever is in it.
    assert!(share(&home, "derived.odd.csv.gz", "derived.odd.csv.gz") < 0.01);
}

/// Buffers of Arrow that pyarrow packed are unpacked, too.
#[test]
fn packed_arrow_is_compared_by_what_it_holds() {
    let home = Home::new(Mode::InProcess);
    for name in ["zstd-1.arrow", "zstd-2.arrow"] {
        fs::copy(super::data(&format!("arrow/{name}")), home.path(name)).unwrap();
    }
    let share = share(&home, "zstd-1.arrow", "zstd-2.arrow");
    assert!(share < 0.3, "{share}");
}

/// A table in many groups of rows, some of its words corrected, some rows new.
fn grouped(rows: i64, is_derived: bool) -> Vec<u8> {
    let mut random = Random::seeded(9);
    let words: Vec<String> = (0..rows).map(|_| format!("{:016x}", random.number())).collect();
    let added = if is_derived { rows / 20 } else { 0 };
    let word = |row: i64| match row {
        row if row >= rows => format!("{:016x}", Random::seeded(row as u64).number()),
        row if is_derived && row % 50 == 5 => format!("corrected {row}"),
        row => words[row as usize].clone(),
    };
    let numbers: ArrayRef =
        Arc::new(Int64Array::from_iter_values((0..rows + added).map(|row| row * 977 % 7919)));
    let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows + added).map(word)));
    parquet(vec![("number", numbers), ("word", words)], 200)
}

/// Some rows tell what all of them take: within ten points of what compress gives.
#[test]
fn a_sample_of_rows_tells_what_all_take() {
    let home = Home::new(Mode::InProcess);
    for (dir, is_derived) in [("base", false), ("derived", true)] {
        fs::create_dir(home.path(dir)).unwrap();
        for (split, rows) in [("train", 30_000), ("test", 3000)] {
            fs::write(home.path(dir).join(format!("{split}.parquet")), grouped(rows, is_derived)).unwrap();
        }
    }
    let made = run(&home, &["compress", "base", "derived", "-o", "delta"]);
    let of = |value: &Value| value.as_f64().unwrap();
    let (size, stored) = (of(&made["totals"]["size"]), of(&made["totals"]["stored"]));
    let mut found = Vec::new();
    for rows in ["1", "5000", "1000000"] {
        let estimate = run(&home, &["estimate", "base", "derived", "--sample-size", rows]);
        let expected = of(&estimate["strategies"][0]["bytes"]);
        assert!((expected - stored).abs() < 0.1 * size, "{rows}: {expected} expected, {stored} of {size}");
        assert_eq!(estimate["best"], "delta");
        found.push(expected);
    }
    assert!(found[0] != found[2], "a sample of one row was all rows");
    let same = run(&home, &["estimate", "base", "base", "--sample-size", "5000"]);
    assert_eq!(same["identical"], true);
}

/// Tables have no weights to round, and are no models.
#[test]
fn data_sets_are_called_so() {
    let home = Home::new(Mode::InProcess);
    fs::write(home.path("a.csv"), "id\n1\n").unwrap();
    fs::write(home.path("b.csv"), "id\n2\n").unwrap();
    let top = home.path("");
    for verb in ["compress", "reconstruct", "estimate"] {
        let help = home.git(&top, &["sparse", "dataset", verb, "-h"]);
        for word in ["model", "fine-tune", "FINE_TUNE", "lossy", "rank", "adapter"] {
            assert!(!help.contains(word), "{verb} speaks of {word}: {help}");
        }
    }
    let told = home.git(&top, &["sparse", "dataset", "compress", "a.csv", "b.csv", "-o", "d"]);
    let estimated = home.git(&top, &["sparse", "dataset", "estimate", "a.csv", "b.csv"]);
    let told = format!("{told}{estimated}");
    assert!(told.contains("derived ") && !told.contains("model") && !told.contains("fine-tune"), "{told}");
    let lossy = ["sparse", "dataset", "compress", "a.csv", "b.csv", "-o", "e", "--lossy", "int8"];
    let output = home.output(home.command("git", &top).args(lossy));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("unexpected argument '--lossy'"), "{said}");
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
