//! `git sparse dataset log`, `commit` and `diff` where the history is no line, and tables are not what a diff wants.

use std::fs;

use serde_json::{Value, json};

use super::commands::{BASE, json, put, rows, run};
use crate::support::home::{Home, Mode};
use crate::support::repo::Repo;

/// A log is of one line of work: what each commit did to what stood before it, and not to what happened meanwhile elsewhere.
#[test]
fn a_log_follows_parents() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    fs::write(
        repo.path.join(".gitattributes"),
        "*.parquet filter=lfs diff=sparse merge=sparse sparse-key=id -text\n",
    )
    .unwrap();
    let commit = |message: &str, with: &[(i64, &str)]| {
        put(&repo, "t.parquet", rows(with));
        repo.git(&["add", "."]);
        repo.git(&["commit", "--quiet", "-m", message]);
    };
    let with = |row: (i64, &'static str)| [&BASE[..], &[row]].concat();
    commit("base", &BASE);
    let ours = repo.git(&["symbolic-ref", "--short", "HEAD"]).trim().to_owned();
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    commit("theirs", &with((9, "theirs")));
    repo.git(&["checkout", "--quiet", &ours]);
    commit("ours", &with((8, "ours")));
    let log = |what: &[&str]| -> Vec<Value> {
        json(&repo, &[&["log"], what].concat())["revisions"].as_array().unwrap().clone()
    };
    let told = |lines: &[Value]| -> Vec<Value> {
        lines
            .iter()
            .map(|line| json!([line["subject"], line["rows"]["added"], line["rows"]["removed"]]))
            .collect()
    };
    assert_eq!(told(&log(&["t.parquet"])), [json!(["ours", 1, 0]), json!(["base", 4, 0])]);
    assert_eq!(told(&log(&["side", "t.parquet"])), [json!(["theirs", 1, 0]), json!(["base", 4, 0])]);
    repo.git(&["merge", "--quiet", "--no-edit", "-m", "both", "side"]);
    let lines = log(&["t.parquet"]);
    assert_eq!((&told(&lines)[0], &lines[0]["merge"]), (&json!(["both", 1, 0]), &json!(true)));
    assert_eq!(lines.iter().filter(|line| line["merge"] == true).count(), 1);
    assert!(told(&lines).contains(&json!(["ours", 1, 0])) && told(&lines).contains(&json!(["theirs", 1, 0])));
    assert_eq!(log(&["-n", "1", "t.parquet"]).len(), 1);
}

/// What a commit of another history says of itself does not hold for this one.
#[test]
fn a_trailer_is_about_its_own_parent() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    let commit = |message: &str, with: &[(i64, &str)]| {
        put(&repo, "t.parquet", rows(with));
        repo.git(&["sparse", "dataset", "commit", "t.parquet", "-m", message]);
    };
    commit("one", &BASE[..1]);
    commit("two", &[&BASE[..], &[(7, "a word that is longer than the others")]].concat());
    commit("three", &BASE[..3]);
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let message = repo.git(&["log", "-1", "--format=%B"]);
    let moved = repo.git(&["commit-tree", tree.trim(), "-p", "HEAD~2", "-m", &message]);
    let line = |revision: &str| json(&repo, &["log", revision, "t.parquet"])["revisions"][0].clone();
    assert_eq!(line("HEAD")["source"], "trailer");
    let moved = line(moved.trim());
    assert_eq!((&moved["source"], &moved["rows"]["added"]), (&json!("computed"), &json!(2)));
}

/// A table that no diff can be made of is committed all the same, and its message says why it tells no rows.
#[test]
fn a_commit_needs_no_diff() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    repo.git(&["sparse", "init", "--track", "*.csv"]);
    let commit = |name: &str, text: &str| {
        put(&repo, name, text.into());
        let told = json(&repo, &["commit", name, "-m", "Data"]);
        assert_eq!(repo.git(&["status", "--porcelain", "--", name]), "");
        (told["files"][0]["rows"].clone(), repo.git(&["log", "-1", "--format=%B"]))
    };
    commit("a.csv", "id,id\n1,2\n");
    let (rows, message) = commit("a.csv", "id,id\n1,3\n");
    assert!(rows.is_null() && message.contains("rows were not compared"), "{message}");
    assert!(message.contains("two columns are called"), "{message}");
    // Cells of all types are compared as they are written.
    commit("m.jsonl", "{\"a\":1}\n{\"a\":[1]}\n");
    let (rows, message) = commit("m.jsonl", "{\"a\":1}\n{\"a\":[2]}\n");
    assert_eq!((&rows["added"], &rows["removed"]), (&json!(1), &json!(1)), "{message}");

    // A key that is none is a mistake, after which nothing is staged.
    put(&repo, "m.jsonl", b"{\"a\":1}\n{\"a\":1}\n".to_vec());
    let (code, said) = run(&repo, &["commit", "m.jsonl", "-m", "Data", "--key", "nope"]);
    assert!(code == 2 && said.contains("nope"), "{code} {said}");
    assert_eq!(repo.git(&["diff", "--cached", "--name-only"]), "");
}

/// What an error tells to do helps: the table is git-lfs' then, shown and merged as one.
#[test]
fn a_refused_table_is_tracked_as_told() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    put(&repo, "a.csv", b"id,n\n1,2\n".to_vec());
    let (code, said) = run(&repo, &["commit", "a.csv", "-m", "Data"]);
    assert!(code == 6 && said.contains("fix: git sparse init --track '*.csv'"), "{code} {said}");
    for _ in 0..2 {
        repo.git(&["sparse", "init", "--track", "*.csv"]);
    }
    let attributes = fs::read_to_string(repo.path.join(".gitattributes")).unwrap();
    assert_eq!(
        attributes.matches("*.csv filter=lfs diff=sparse merge=sparse -text").count(),
        1,
        "{attributes}"
    );
    assert_eq!(run(&repo, &["commit", "a.csv", "-m", "Data"]).0, 0);
    assert!(repo.git(&["show", "HEAD:a.csv"]).starts_with("version https://git-lfs"));
    repo.git(&["sparse", "init"]);
    for name in ["x.csv.gz", "x.ndjson", "x.pq", "x.arrows", "x.ipc"] {
        let told = repo.git(&["check-attr", "merge", name]);
        assert!(told.trim().ends_with("merge: sparse"), "{told}");
    }
}

/// A table that came or went is written whole.
#[test]
fn an_added_table_is_written_too() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    repo.git(&["commit", "--quiet", "--allow-empty", "-m", "Nothing"]);
    put(&repo, "t.parquet", rows(&BASE));
    repo.git(&["sparse", "dataset", "commit", "t.parquet", "-m", "First"]);
    for (revisions, change) in [(["HEAD~1", "HEAD"], "added"), (["HEAD", "HEAD~1"], "removed")] {
        let out = format!("{change}.parquet");
        let [old, new] = revisions;
        assert_eq!(json(&repo, &["diff", old, new, "t.parquet", "--parquet", &out])["state"], change);
        let values = json(&repo, &["show", &out])["values"].clone();
        let rows = BASE.iter().enumerate();
        let expected =
            rows.map(|(row, (id, word))| json!({"change": change, "row": row, "id": id, "word": word}));
        assert_eq!(values, Value::from(expected.collect::<Vec<_>>()));
    }
    let (code, said) = run(&repo, &["diff", "HEAD~1", "HEAD"]);
    assert!(code == 3 && said.contains("diff REV REV PATH"), "{code} {said}");
}

/// No value of a row is lost to another one of its name.
#[test]
fn columns_of_one_name_are_shown() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    put(&repo, "a.csv", b"a,a,a.1,a\n1,2,3,4\n".to_vec());
    let shown = json(&repo, &["show", "a.csv"]);
    assert_eq!(shown["values"], json!([{"a": 1, "a.2": 2, "a.1": 3, "a.3": 4}]));
}

/// Text of one kind is not written into a file of another.
#[test]
fn kinds_of_text_are_not_mixed() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    for (name, text) in [("b.jsonl", "{\"a\":1}\n"), ("t.csv", "a\n1\n")] {
        put(&repo, name, text.into());
    }
    for key in [&[][..], &["--key", "a"]] {
        let merge = [&["merge", "b.jsonl", "b.jsonl", "t.csv", "-o", "out.jsonl"], key].concat();
        let (code, said) = run(&repo, &merge);
        assert!(code == 6 && said.contains("t.csv is CSV") && said.contains("fix:"), "{code} {said}");
        assert!(!repo.path.join("out.jsonl").exists());
    }
}
