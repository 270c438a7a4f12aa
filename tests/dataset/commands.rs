//! `git sparse dataset` in real repositories, with real git and git-lfs.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_ipc::reader::StreamReader;
use serde_json::Value;

use super::{data, parquet};
use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, text};

pub(super) fn rows(rows: &[(i64, &str)]) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let words: ArrayRef = Arc::new(StringArray::from(rows.iter().map(|row| row.1).collect::<Vec<_>>()));
    parquet(vec![("id", ids), ("word", words)], 100)
}

pub(super) const BASE: [(i64, &str); 4] = [(1, "a"), (2, "b"), (3, "c"), (4, "d")];

pub(super) fn put(repo: &Repo<'_>, path: &str, bytes: Vec<u8>) {
    let path = repo.path.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[track_caller]
pub(super) fn json(repo: &Repo<'_>, arguments: &[&str]) -> Value {
    let told = repo.git(&[&["sparse", "dataset"], arguments, &["--json"]].concat());
    let document: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!(document["schema"], format!("git-sparse/dataset-{}/1", arguments[0]));
    assert_documented(&document);
    document
}

/// Programs are written by docs/commands.md: every key that a verb prints stands there. Values are data.
#[track_caller]
fn assert_documented(value: &Value) {
    let docs = include_str!("../../docs/commands.md");
    match value {
        Value::Array(items) => items.iter().for_each(assert_documented),
        Value::Object(fields) => {
            for (key, value) in fields {
                let known = docs.contains(&format!("`{key}`")) || docs.contains(&format!("`{key}[]`"));
                assert!(known, "{key} is not documented");
                if key != "values" {
                    assert_documented(value);
                }
            }
        }
        _ => {}
    }
}

/// Runs `git sparse dataset …`, however it ends.
pub(super) fn run(repo: &Repo<'_>, arguments: &[&str]) -> (i32, String) {
    let mut command = repo.home.command("git-sparse", &repo.path);
    let Output { status, stdout, stderr } = repo.home.output(command.arg("dataset").args(arguments));
    (status.code().expect("an exit"), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// Two versions of a real table: what people ask of them, here and in a clone that has neither file.
#[test]
fn a_table_is_read_by_revision() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    for name in ["contrib-1", "contrib-2"] {
        put(&repo, "data/t.parquet", fs::read(data(&format!("tables/{name}.parquet"))).unwrap());
        repo.git(&["sparse", "dataset", "commit", "data", "-m", name]);
        repo.git(&["tag", name]);
    }
    repo.push();
    repo.git(&["push", "--quiet", "--tags"]);

    let clone = Repo::clone(&home, text(&repo.remote()), "clone", &[]);
    fs::remove_dir_all(clone.path.join(".git/lfs/objects")).unwrap();
    let shown = json(&clone, &["show", "contrib-1:data/t.parquet", "--rows", "2..5"]);
    assert_eq!(shown["values"].as_array().unwrap().len(), 3);
    assert_eq!(shown["first_rows"], serde_json::json!([2, 3, 4]));
    let column = shown["columns"][0]["name"].as_str().unwrap().to_owned();
    let sample = json(&clone, &["show", "HEAD:data/t.parquet", "--sample", "4", "--columns", &column]);
    assert_eq!(sample["values"].as_array().unwrap().len(), 4);
    let stats = json(&clone, &["show", "contrib-2:data/t.parquet", "--stats"]);
    assert_eq!(stats["stats"][0]["count"], stats["rows"]);
    assert!(!clone.path.join(".git/lfs/objects").exists(), "nothing was written to read it");

    let diff = json(&clone, &["diff", "contrib-1..contrib-2", "data/t.parquet", "--limit", "3"]);
    let added = diff["rows"]["added"].as_u64().unwrap();
    assert!(added > 0 && diff["changes"].as_array().unwrap().len() == 3 && diff["more"] == true);
    clone.git(&[
        "sparse",
        "dataset",
        "diff",
        "contrib-1",
        "contrib-2",
        "data/t.parquet",
        "--parquet",
        "d.parquet",
    ]);
    let written = json(&clone, &["show", "d.parquet", "--schema"]);
    assert_eq!(written["rows"].as_u64().unwrap(), added + diff["rows"]["removed"].as_u64().unwrap());

    let log = json(&clone, &["log", "data/t.parquet"]);
    let computed = json(&clone, &["log", "data/t.parquet", "--computed"]);
    assert_eq!(log["revisions"][0]["source"], "trailer");
    assert_eq!(computed["revisions"][0]["source"], "computed");
    assert_eq!(log["revisions"][0]["rows"], computed["revisions"][0]["rows"]);
    assert_eq!(log["revisions"][0]["rows"]["added"].as_u64(), Some(added));
    assert_eq!(log["revisions"][1]["rows"], computed["revisions"][1]["rows"]);

    let mut cat = home.command("git-sparse", &clone.path);
    let cat = home.output(cat.args(["dataset", "cat", "contrib-1:data/t.parquet", "--rows", "..7"]));
    let read = StreamReader::try_new(cat.stdout.as_slice(), None).unwrap();
    assert_eq!(read.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 7);

    clone.git(&["sparse", "dataset", "checkout", "contrib-1", "data/t.parquet"]);
    let old = fs::read(data("tables/contrib-1.parquet")).unwrap();
    assert!(fs::read(clone.path.join("data/t.parquet")).unwrap() == old);
    let (code, said) = run(&clone, &["checkout", "contrib-2", "data/t.parquet"]);
    assert_eq!(code, 6, "{said}");
    clone.git(&["sparse", "dataset", "checkout", "--force", "contrib-2", "data/t.parquet"]);
    assert_eq!(clone.git(&["status", "--porcelain"]).trim(), "?? d.parquet");
}

/// A commit says what it did, takes only what it was told to, and refuses what nobody wants.
#[test]
fn a_commit_tells_what_it_did() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    put(&repo, "a b.parquet", rows(&BASE));
    put(&repo, "other.txt", b"other\n".to_vec());
    repo.git(&["add", "other.txt"]);
    repo.git(&["sparse", "dataset", "commit", "a b.parquet", "-m", "First"]);
    let message = repo.git(&["log", "-1", "--format=%B"]);
    assert!(message.starts_with("First\n\na b.parquet: new, 4 rows"), "{message}");
    assert!(message.contains("Dataset: a%20b.parquet rows=0>4+4-0 bytes=0>"), "{message}");
    assert_eq!(repo.git(&["diff", "--cached", "--name-only"]).trim(), "other.txt");

    fs::write(repo.path.join(".gitattributes"), "*.parquet filter=lfs diff=sparse sparse-key=id -text\n")
        .unwrap();
    put(&repo, "a b.parquet", rows(&[(1, "a"), (2, "B"), (4, "d"), (5, "e")]));
    let told = json(&repo, &["commit", "a b.parquet", "-m", "Second"]);
    assert_eq!(told["files"][0]["rows"]["changed"], 1);
    let message = repo.git(&["log", "-1", "--format=%(trailers:key=Dataset,valueonly)"]);
    assert!(message.contains("rows=4>4+1-1~1 ") && message.trim().ends_with("key=id"), "{message}");

    let (code, said) = run(&repo, &["commit", "a b.parquet", "-m", "Third"]);
    assert!(code == 6 && said.contains("nothing changed"), "{code} {said}");
    put(&repo, "plain.csv", b"a,b\n1,2\n".to_vec());
    let (code, said) = run(&repo, &["commit", "plain.csv", "-m", "x"]);
    assert!(code == 6 && said.contains("not tracked by Git LFS") && said.contains("fix:"), "{code} {said}");
    assert_eq!(repo.git(&["diff", "--cached", "--name-only"]).trim(), "other.txt");
}

/// `git diff` shows which columns changed, from files and from pointers alike.
#[test]
fn git_diff_shows_columns() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    put(&repo, "t.parquet", rows(&BASE));
    repo.git(&["sparse", "dataset", "commit", "t.parquet", "-m", "1"]);
    put(&repo, "t.parquet", rows(&[(1, "a"), (2, "B"), (3, "c"), (4, "d")]));
    repo.git(&["sparse", "dataset", "commit", "t.parquet", "-m", "2"]);
    repo.push();
    let told = repo.git(&["diff", "HEAD~1", "HEAD", "--", "t.parquet"]);
    let changed: Vec<_> = told.lines().filter(|line| line.starts_with('+')).collect();
    assert!(told.contains("\n id int64 nulls 0 digest "), "{told}");
    assert!(changed.iter().any(|line| line.starts_with("+word string nulls 0 digest ")), "{told}");
    let told = repo.git(&["sparse", "diff", "HEAD~1", "HEAD"]);
    assert!(told.contains("git sparse dataset diff HEAD~1 HEAD t.parquet"), "{told}");
    fs::remove_dir_all(repo.path.join(".git/lfs/objects")).unwrap();
    let skipped = [("GIT_LFS_SKIP_SMUDGE", "1")];
    let shown =
        repo.home.git_with(&skipped, &repo.path, &["-c", "diff.sparse.cachetextconv=false", "show", "HEAD"]);
    assert!(shown.contains("+word string nulls 0 digest "), "{shown}");
}

/// Branches with `word` and rows changed apart from each other, or against each other.
fn branches(repo: &Repo<'_>, ours: &[(i64, &str)], theirs: &[(i64, &str)]) {
    let attributes = fs::read_to_string(repo.path.join(".gitattributes")).unwrap();
    assert!(attributes.contains("*.parquet filter=lfs diff=sparse merge=sparse -text"), "{attributes}");
    fs::write(repo.path.join(".gitattributes"), format!("{attributes}*.parquet sparse-key=id\n")).unwrap();
    put(repo, "data/t.parquet", rows(&BASE));
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "-m", "base"]);
    repo.git(&["checkout", "--quiet", "-b", "theirs"]);
    put(repo, "data/t.parquet", rows(theirs));
    repo.git(&["commit", "--quiet", "-am", "theirs"]);
    repo.git(&["checkout", "--quiet", "main"]);
    put(repo, "data/t.parquet", rows(ours));
    repo.git(&["commit", "--quiet", "-am", "ours"]);
}

fn words(repo: &Repo<'_>, spec: &str) -> Vec<String> {
    let shown = json(repo, &["show", spec, "--rows", "0.."]);
    let rows = shown["values"].as_array().unwrap().iter();
    rows.map(|row| format!("{}{}", row["id"], row["word"].as_str().unwrap())).collect()
}

/// `git merge` merges tables behind pointers, and what it gives is pushed and cloned as any file.
#[test]
fn git_merges_tables() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    branches(&repo, &[(1, "A"), (2, "b"), (3, "c"), (4, "d")], &[(1, "a"), (2, "B"), (4, "d"), (5, "e")]);
    repo.git(&["merge", "--quiet", "-m", "merged", "theirs"]);
    let expected = ["1A", "2B", "4d", "5e"];
    assert_eq!(words(&repo, "data/t.parquet"), expected);
    assert_eq!(words(&repo, "HEAD:data/t.parquet"), expected);
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    let pointer = repo.git(&["cat-file", "blob", "HEAD:data/t.parquet"]);
    assert!(pointer.starts_with("version https://git-lfs"), "{pointer}");
    repo.git(&["lfs", "fsck"]);
    repo.push();
    let other = Home::new(Mode::Daemon);
    let clone = Repo::clone(&other, text(&repo.remote()), "clone", &[]);
    assert_eq!(words(&clone, "data/t.parquet"), expected);
}

/// After a conflict our file is there, the conflicts beside it, and git says so.
#[test]
fn conflicts_leave_ours() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    branches(&repo, &[(1, "A"), (2, "b"), (3, "c"), (4, "d")], &[(1, "X"), (2, "B"), (3, "c"), (4, "d")]);
    let said = home.git_fails(&repo.path, &["merge", "theirs"]);
    assert!(said.contains("CONFLICT") && said.contains("cell 1 word: base a, ours A, theirs X"), "{said}");
    assert_eq!(words(&repo, "data/t.parquet"), ["1A", "2b", "3c", "4d"]);
    let listed = json(&repo, &["show", "data/t.parquet.conflicts.parquet"]);
    assert_eq!(listed["values"][0]["theirs"], "X");
    assert!(repo.git(&["status", "--porcelain"]).contains("UU data/t.parquet"));
    repo.git(&["merge", "--abort"]);

    let merge =
        ["merge", "HEAD~1:data/t.parquet", "HEAD:data/t.parquet", "theirs:data/t.parquet", "-o", "m.parquet"];
    let (code, said) = run(&repo, &[&merge[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, told["conflicts"][0]["conflict"].as_str()), (1, Some("cell")));
    assert!(!repo.path.join("m.parquet").exists() && repo.path.join("m.parquet.conflicts.parquet").exists());
}

/// Lines of text keep their bytes: they are merged as git merges text.
#[test]
fn lines_are_merged_as_lines() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    let file = |name: &str, text: &str| fs::write(repo.path.join(name), text).unwrap();
    file("base.jsonl", "{\"a\": 1.0}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n");
    file("ours.jsonl", "{\"a\": 1.0}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n{\"a\":5}\n");
    file("theirs.jsonl", "{\"a\": 1.00}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n");
    repo.git(&["sparse", "dataset", "merge", "base.jsonl", "ours.jsonl", "theirs.jsonl", "-o", "out.jsonl"]);
    let merged = fs::read_to_string(repo.path.join("out.jsonl")).unwrap();
    assert_eq!(merged, "{\"a\": 1.00}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n{\"a\":5}\n");
    file("base.csv", "id,code\n1,007\n2,008\n");
    file("ours.csv", "id,code\n1,007\n2,009\n");
    file("theirs.csv", "id,code\n1,006\n2,008\n");
    let csv = ["merge", "base.csv", "ours.csv", "theirs.csv", "-o", "out.csv", "--key", "id"];
    let (code, said) = run(&repo, &csv);
    assert_eq!(code, 0, "{said}");
    assert_eq!(fs::read_to_string(repo.path.join("out.csv")).unwrap(), "id,code\n1,006\n2,009\n");
}

/// With a key, text is merged cell by cell, and what did not change keeps its spelling.
#[test]
fn text_that_did_not_change_keeps_its_bytes() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    let merged = |ending: &str, [base, ours, theirs]: [&str; 3]| {
        let names = ["base", "ours", "theirs", "out"].map(|name| format!("{name}.{ending}"));
        let files = names.iter().zip([base, ours, theirs]);
        files.for_each(|(name, text)| fs::write(repo.path.join(name), text).unwrap());
        let _ = fs::remove_file(repo.path.join(&names[3]));
        let [base, ours, theirs, out] = names.each_ref().map(String::as_str);
        let (code, said) = run(&repo, &["merge", base, ours, theirs, "-o", out, "--key", "id"]);
        assert_eq!(code, 0, "{said}");
        fs::read_to_string(repo.path.join(out)).unwrap()
    };
    // Quotes, line ends, a line that has none.
    let base = "id,\"name\",n\r\n\"1\",\"a, b\",1.50\r\n2,x,\"2\"\r\n3,y,3\r\n4,z,04";
    let ours = "id,\"name\",n\r\n\"1\",\"a, b\",1.50\r\n2,\"xx\",\"2\"\r\n3,y,3\r\n4,z,04";
    let theirs = "id,name,n\n1,\"a, b\",1.50\n2,x,\"7,\"\n3,\"y\"\"\",3\n4,z,04\n\"5\",w,\"5\"\n";
    let found = merged("csv", [base, ours, theirs]);
    let lines = [
        "id,\"name\",n",
        "\"1\",\"a, b\",1.50",
        "2,\"xx\",\"7,\"",
        "3,\"y\"\"\",3",
        "4,z,04",
        "\"5\",w,\"5\"",
    ];
    assert_eq!(found, lines.join("\r\n"));
    // A column that one side dropped, and one that the other added.
    let found = merged("tsv", ["id\ta\tb\n1\t01\tx\n", "id\tb\n1\tx\n", "id\ta\tb\tc\n1\t01\ty\t\"\"\n"]);
    assert_eq!(found, "id\tb\tc\n1\ty\t\"\"\n");
    // Members in any order, and one that is missing.
    let base = "{\"id\": 1, \"a\": 1.0, \"b\": [1]}\n\n{\"b\":[],\"id\":2}\n";
    let ours = "{\"id\": 1, \"a\": 1.0, \"b\": [1, 2]}\n\n{\"b\":[],\"id\":2}\n";
    let theirs = "{\"id\":1,\"a\":1.25,\"b\":[1]}\n{\"id\":2,\"b\":[],\"a\":2e0}\n{ \"id\": 3 }\n";
    let found = merged("jsonl", [base, ours, theirs]);
    let lines = ["{\"id\": 1, \"a\": 1.25, \"b\": [1, 2]}", "{\"id\":2,\"b\":[],\"a\":2e0}", "{ \"id\": 3 }"];
    assert_eq!(found, format!("{}\n", lines.join("\n")));
}

/// A leading zero is a digit, and one word in a column of numbers changes one row.
#[test]
fn text_is_compared_as_it_is_written() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    let file = |name: &str, text: &str| fs::write(repo.path.join(name), text).unwrap();
    file("old.csv", "id,code,n\n1,007,1\n2,8,2\n3,9,3\n");
    file("new.csv", "id,code,n\n1,7,1\n2,8,none\n3,9,3\n");
    let told = json(&repo, &["diff", "--no-index", "old.csv", "new.csv", "--key", "id"]);
    assert_eq!(told["rows"]["changed"], 2, "{told}");
    let cell = |at: usize| &told["changes"][at]["cells"][0];
    assert_eq!((&cell(0)["old"], &cell(0)["new"]), (&Value::from("007"), &Value::from(7)));
    assert_eq!((&cell(1)["old"], &cell(1)["new"]), (&Value::from(2), &Value::from("none")));
    assert_eq!(told["columns"][0]["kind"], "retyped");
}

/// A table that can't be read says so by its exit code, whichever verb reads it.
#[test]
fn damaged_tables_have_an_exit_code() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    let whole = rows(&(0..4000).map(|row| (row, "a word")).collect::<Vec<_>>());
    let arrow = std::fs::read(data("arrow/zstd-1.arrow")).unwrap();
    let stream = std::fs::read(data("arrow/stream-1.arrow")).unwrap();
    let line = |row: u64| format!("{{\"id\":{row},\"word\":\"{}\"}}\n", row * row * 7919);
    let lines: String = (0..5000).map(line).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, lines.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::bulk::compress(lines.as_bytes(), 3).unwrap();
    let cut_off = |bytes: &[u8]| bytes[..bytes.len() * 2 / 3].to_vec();
    let changed = |bytes: &[u8]| {
        let mut changed = bytes.to_vec();
        // The beginning of a page or a message, and of a stream of zstd.
        changed[4..24].fill(0xff);
        changed
    };
    for (name, good, bad) in [
        ("a.parquet", &whole, cut_off(&whole)),
        ("b.parquet", &whole, changed(&whole)),
        ("c.parquet", &whole, vec![0; 1000]),
        ("d.arrow", &arrow, cut_off(&arrow)),
        ("e.arrows", &stream, cut_off(&stream)),
        ("f.jsonl.gz", &gzip, cut_off(&gzip)),
        ("g.jsonl.zst", &zstd, cut_off(&zstd)),
        ("h.jsonl.zst", &zstd, changed(&zstd)),
    ] {
        let bad_name = format!("bad-{name}");
        put(&repo, name, good.clone());
        put(&repo, &bad_name, bad);
        let verbs: [&[&str]; 4] = [
            &["show", &bad_name],
            &["cat", &bad_name],
            &["diff", &bad_name, name],
            &["diff", name, &bad_name],
        ];
        for arguments in verbs {
            let (code, said) = run(&repo, arguments);
            let is_told = said.contains(&bad_name) && said.contains("fix: the file is kept as it is");
            assert!(code == 5 && is_told, "{arguments:?}: {code} {said}");
        }
        assert_eq!(run(&repo, &["show", name]).0, 0);
    }
}

/// One of a thing is one thing.
#[test]
fn one_row_is_a_row() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    put(&repo, "t.parquet", rows(&BASE[..1]));
    repo.git(&["sparse", "dataset", "commit", "t.parquet", "-m", "first"]);
    put(&repo, "t.parquet", rows(&[(1, "other")]));
    let (_, diff) = run(&repo, &["diff", "HEAD", "t.parquet"]);
    put(&repo, "t.parquet", rows(&BASE[..2]));
    let (_, longer) = run(&repo, &["diff", "HEAD", "t.parquet"]);
    let (_, beyond) = run(&repo, &["show", "HEAD:t.parquet", "--rows", "5..6"]);
    let (_, show) = run(&repo, &["show", "HEAD:t.parquet"]);
    for (told, expected) in [
        (diff, "t.parquet: 1 row, +1 -1"),
        (longer, "t.parquet: 1 → 2 rows, +1 -0"),
        (beyond, "it has 1 row, none from 5 on"),
        (show, "1 row, 2 columns"),
    ] {
        assert!(told.contains(expected), "expected {expected:?} in: {told}");
    }
}

/// Whoever names the wrong thing hears which one, and what to do.
#[test]
fn errors_say_what_to_do() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    put(&repo, "t.parquet", rows(&BASE));
    put(&repo, "model.bin", vec![7; 3000]);
    put(&repo, "broken.jsonl", b"{\"a\":1}\n{".to_vec());
    let cases: [(&[&str], i32, &str); 8] = [
        (&["commit", "nowhere.parquet", "-m", "x"], 3, "nowhere.parquet"),
        (&["show", "nowhere.parquet"], 3, "no such file"),
        (&["show", "model.bin"], 2, "no table"),
        (&["show", "broken.jsonl"], 5, "line 2"),
        (&["show", "t.parquet", "--columns", "nope"], 2, "it has id, word"),
        (&["show", "t.parquet", "--rows", "9..12"], 2, "it has 4 rows"),
        (&["diff", "t.parquet", "t.parquet", "--key", "nope"], 2, "no column \"nope\""),
        (&["log", "t.parquet"], 3, "no table of this name"),
    ];
    for (arguments, expected, why) in cases {
        let (code, said) = run(&repo, arguments);
        assert!(
            code == expected && said.contains(why) && said.contains("fix:"),
            "{arguments:?}: {code} {said}"
        );
    }
    assert!(Path::new(&repo.path).join("t.parquet").exists());
    let (code, said) = run(&repo, &["show", "t.parquet", "--rows", "-3.."]);
    assert!(code == 2 && said.contains("is no number of a row"), "{said}");
}
