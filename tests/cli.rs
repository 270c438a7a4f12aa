//! The command line as a user meets it: what each verb prints, its JSON schema, its exit code.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, model, text, tree_of};

/// A repository with a base and a fine-tune, both pushed and tagged.
fn published(home: &Home) -> Repo<'_> {
    let repo = Repo::init(home, "work");
    for name in ["tiny-base", "tiny-sft"] {
        repo.commit(name, tree_of(&[("model", name)]));
        repo.git(&["tag", name]);
        repo.push();
    }
    repo
}

/// Runs `git sparse VERB … --json` and checks the schema that it names.
#[track_caller]
fn json(repo: &Repo<'_>, arguments: &[&str]) -> Value {
    let told = repo.git(&[&["sparse"], arguments, &["--json"]].concat());
    let document: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let verb = match arguments[0] {
        group @ ("daemon" | "delta" | "migrate") => format!("{group}-{}", arguments[1]),
        verb => verb.to_owned(),
    };
    assert_eq!(document["schema"], format!("git-sparse/{verb}/1"));
    document
}

/// Runs `git sparse …` and gives its exit code and all it said.
#[track_caller]
fn code(home: &Home, directory: &Path, arguments: &[&str]) -> (i32, String) {
    let output = home.output(home.command("git-sparse", directory).args(arguments));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit, not a signal"), String::from_utf8_lossy(&said).into_owned())
}

/// What people and scripts read about their files must be there, and be true.
#[test]
fn verbs_tell_what_is_stored() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let size = fs::metadata(model("tiny-sft").join("model.safetensors")).unwrap().len();

    let status = json(&repo, &["status"]);
    let file = &status["files"][0];
    assert_eq!((file["path"].as_str(), file["size"].as_u64()), (Some("model/model.safetensors"), Some(size)));
    assert_eq!(file["remote"], true);
    assert!(file["stored"].as_u64().unwrap() < size);

    let log = json(&repo, &["log", "model/model.safetensors"]);
    let revisions = log["revisions"].as_array().unwrap();
    assert_eq!(revisions.len(), 2);
    assert_eq!(revisions[0]["subject"], "tiny-sft");
    assert_eq!(revisions[0]["cost"]["reason"], "history");
    assert_eq!(revisions[1]["cost"]["base"], Value::Null);

    let show = json(&repo, &["show", "tiny-base:model/model.safetensors"]);
    let tensors = show["tensors"].as_array().unwrap();
    assert_eq!(tensors.iter().map(|tensor| tensor["size"].as_u64().unwrap()).sum::<u64>(), size);

    assert_eq!(sum(tensors, "stored"), show["file"]["stored"].as_u64().unwrap());

    let du = json(&repo, &["du"]);
    assert_eq!(du["total"]["size"].as_u64(), Some(2 * size));
    // What is the same in both is stored once: the revisions' shares add up to the whole.
    let costs: Vec<_> = revisions.iter().map(|line| line["cost"].clone()).collect();
    assert!(sum(&costs, "shared") > 0, "base and fine-tune have equal tensors");
    assert_eq!(sum(&costs, "stored"), du["total"]["stored"].as_u64().unwrap());
    let show = json(&repo, &["show", "tiny-sft:model/model.safetensors"]);
    let tensors = show["tensors"].as_array().unwrap();
    assert_eq!(sum(tensors, "stored"), costs[0]["stored"].as_u64().unwrap());
    let found = json(&repo, &["where", "model/model.safetensors"]);
    assert_eq!(found["remotes"][0]["has"], true);
    assert!(!found["file"]["packs"].as_array().unwrap().is_empty());
    assert_eq!(found["bases"].as_array().unwrap().len(), 1);

    let diff = json(&repo, &["diff", "tiny-base", "tiny-sft"]);
    let tensors = diff["files"][0]["tensors"].as_array().unwrap();
    let changed = tensors.iter().filter(|tensor| tensor["change"]["kind"] == "changed").count();
    assert!(changed > 0 && changed < tensors.len(), "{changed} of {} tensors changed", tensors.len());
}

fn sum(lines: &[Value], key: &str) -> u64 {
    lines.iter().map(|line| line[key].as_u64().expect("a number")).sum()
}

/// Programs are written by docs/commands.md: every key that a verb prints stands there.
#[test]
fn every_json_key_is_documented() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    repo.git(&["sparse", "cache", "pin", "model/model.safetensors"]);
    let other = format!("file://{}", home.path("other.git").display());
    home.git(&home.path(""), &["init", "--quiet", "--bare", "other.git"]);
    let verbs: [&[&str]; 27] = [
        &["status"],
        &["log", "model/model.safetensors"],
        &["show", "model/model.safetensors"],
        &["diff", "tiny-base", "tiny-sft"],
        &["du"],
        &["du", "--all"],
        &SAVINGS,
        &["where", "model/model.safetensors"],
        &["verify"],
        &["fsck"],
        &["repack"],
        &["gc", "--dry-run"],
        &["prune", "--dry-run"],
        &["migrate", "in", "--dry-run"],
        &["migrate", "in"],
        &["migrate", "out", "--to", &other],
        &["cache", "ls"],
        &["doctor"],
        &["daemon", "status"],
        &["delta", "estimate", "tiny-base:model", "tiny-sft:model"],
        &["delta", "compress", "tiny-base:model", "tiny-sft:model", "-o", "a.delta", "--lossy", "int8"],
        &["delta", "info", "a.delta"],
        &["delta", "verify", "a.delta"],
        &["delta", "validate", "tiny-base:model", "tiny-sft:model", "a.delta"],
        &["delta", "reconstruct", "tiny-base:model", "a.delta", "-o", "out"],
        &["delta", "extract-adapter", "tiny-base:model", "tiny-sft:model", "--rank", "4", "-o", "lora"],
        &["delta", "compress-adapter", "tiny-base:model", "lora", "-o", "lora.delta"],
    ];
    let docs = include_str!("../docs/commands.md");
    for verb in verbs {
        let document = json(&repo, verb);
        let keys = keys(&document);
        let known = |key: &str| docs.contains(&format!("`{key}`")) || docs.contains(&format!("`{key}[]`"));
        let missing: Vec<_> = keys.iter().filter(|key| !known(key)).collect();
        assert!(keys.len() > 1 && missing.is_empty(), "{verb:?} prints {missing:?}");
    }
}

/// All keys of a document but those that are data: the names of codecs.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(keys).collect(),
        Value::Object(fields) => {
            let below = fields.iter().filter(|(key, _)| *key != "codecs").flat_map(|(_, value)| keys(value));
            fields.keys().cloned().chain(below).collect()
        }
        _ => Vec::new(),
    }
}

/// Commits of one second are in an order too, the one of parent and child: bases hang on it.
#[test]
fn log_is_in_order_whatever_the_clocks_say() {
    let home = Home::new(Mode::InProcess);
    let repo = Repo::init(&home, "work");
    let names = ["tiny-base", "tiny-sft", "tiny-sft-2"];
    for name in names {
        fs::create_dir_all(repo.path.join("model")).unwrap();
        fs::copy(model(name).join("model.safetensors"), repo.path.join("model/model.safetensors")).unwrap();
        repo.git(&["add", "--all"]);
        let clock = [("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")];
        home.git_with(&clock, &repo.path, &["commit", "--quiet", "--message", name]);
        repo.git(&["tag", name]);
    }
    let log = json(&repo, &["log", "model/model.safetensors"]);
    let found: Vec<_> =
        log["revisions"].as_array().unwrap().iter().map(|line| line["subject"].clone()).collect();
    assert_eq!(found, ["tiny-sft-2", "tiny-sft", "tiny-base"]);
}

/// `git diff` is where people look first: it names the tensors that changed and leaves out the rest.
#[test]
fn git_diff_names_the_changed_tensors() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let diff = repo.git(&["diff", "tiny-base", "tiny-sft"]);
    assert!(diff.contains("-model.embed_tokens.weight bf16 2048×128 norm"), "{diff}");
    assert!(!diff.contains("-model.layers.0.input_layernorm.weight"), "an equal tensor is shown:\n{diff}");
}

/// Exit codes are an interface: scripts branch on them, so each documented one is produced here.
#[test]
fn exit_codes_are_as_documented() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let at = |arguments: &[&str]| code(&home, &repo.path, arguments);
    assert_eq!(at(&["status"]).0, 0);
    assert_eq!(at(&["diff", "tiny-base", "tiny-sft", "--exit-code"]).0, 1);
    assert_eq!(at(&["diff", "tiny-sft", "tiny-sft", "--exit-code"]).0, 0);
    assert_eq!(at(&["no-such-verb"]).0, 2);
    let (code_found, said) = at(&["show", "HEAD:nothing"]);
    assert!(code_found == 3 && said.contains("model/model.safetensors"), "{code_found} {said}");
    let (code_found, said) = code(&home, &home.path(""), &["status"]);
    assert!(code_found == 128 && said.contains("fix:"), "{code_found} {said}");
    let (code_found, said) = at(&["checkout", "x"]);
    assert!(code_found == 2 && said.contains("sparse-checkout"), "{code_found} {said}");
    assert_eq!(at(&["verify", "tiny-base"]).0, 0);
    let (code_found, said) = at(&["verify", "HEAD~99"]);
    assert!(code_found == 3 && said.contains("no revision of this name"), "{code_found} {said}");
    let (code_found, said) = at(&["prune", "--remote", "nowhere"]);
    assert!(code_found == 3 && said.contains("no remote named \"nowhere\""), "{code_found} {said}");
    let (code_found, said) = at(&["fsck"]);
    assert!(code_found == 0 && said.contains("no problems in "), "{code_found} {said}");
    assert_eq!(at(&["doctor"]).0, 0);
}

/// What is there already may be all that somebody has: it is refused, and stays as it is.
#[test]
fn what_is_there_is_not_overwritten() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let present = home.path("present");
    fs::create_dir_all(&present).unwrap();
    fs::write(present.join("notes"), "mine").unwrap();
    let notes = present.join("notes");
    for arguments in [
        ["show", "HEAD:model/model.safetensors", "--output", text(&notes)],
        ["clone", text(&repo.remote()), text(&present), "--"],
    ] {
        let (found, said) = code(&home, &repo.path, &arguments);
        assert!(found == 6 && said.contains("it is there already"), "{found} {said}");
    }
    assert_eq!(fs::read_to_string(&notes).unwrap(), "mine");
}

/// People name files as git does, from where they stand; a SHA-256 needs no place to stand at all.
#[test]
fn files_are_named_as_in_git() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let (model, top) = (repo.path.join("model"), home.path(""));
    let absolute = model.join("model.safetensors");
    for spec in
        ["model.safetensors", "HEAD:./model.safetensors", "HEAD:../model/model.safetensors", text(&absolute)]
    {
        let (found, said) = code(&home, &model, &["where", spec]);
        assert!(found == 0 && said.contains("path     model/model.safetensors"), "{spec}: {found} {said}");
    }
    assert_eq!(code(&home, &model, &["log", text(&absolute)]).0, 0);
    for outside in ["../../model/model.safetensors", "/etc/hostname"] {
        let (found, said) = code(&home, &model, &["where", outside]);
        assert!(found == 2 && said.contains("outside of this repository"), "{outside}: {found} {said}");
    }
    let oid = repo.oids(&["HEAD"]).pop().unwrap();
    let (found, said) = code(&home, &top, &["where", &oid[1..]]);
    assert!(found == 128 && said.contains("by its SHA-256, 64"), "{found} {said}");
    for verb in ["where", "verify", "show"] {
        let (found, said) = code(&home, &top, &[verb, &oid]);
        assert!(found == 0 && said.contains(&oid), "{verb}: {found} {said}");
    }
}

/// A push that fails tells late what `doctor` can tell now: whether the remote's store is of use.
#[test]
fn doctor_looks_at_the_remotes_store() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    let store = repo.remote().join("sparse");
    let (found, said) = code(&home, &repo.path, &["doctor"]);
    assert!(found == 0 && said.contains("nothing pushed yet"), "{found} {said}");
    let fails = |expected: &str| {
        let (found, said) = code(&home, &repo.path, &["doctor"]);
        assert!(found == 1 && said.contains(expected), "{found} {said}");
    };
    fs::write(&store, "").unwrap();
    fails("not a directory");
    fs::remove_file(&store).unwrap();
    fs::create_dir(&store).unwrap();
    fs::write(store.join("config"), "git-sparse store, format version 99\n").unwrap();
    fails("install a newer git-sparse");
    let elsewhere = format!("sparse::file://{}", home.path("mount/data/store").display());
    repo.git(&["sparse", "init", "--store", &elsewhere]);
    fails("git sparse trust");
    repo.git(&["sparse", "trust", &elsewhere]);
    let (found, said) = code(&home, &repo.path, &["doctor"]);
    assert!(found == 0 && said.contains("if it should be there, mount it"), "{found} {said}");
    assert!(!home.path("mount").exists(), "doctor made what it looked for");
}

/// git clones no commands: doctor names those that this clone lacks, or has of an older version, and sets them.
#[test]
fn doctor_knows_what_git_diff_and_git_merge_run() {
    let home = Home::new(Mode::Daemon);
    let repo = Repo::init(&home, "work");
    let driver = "git sparse dataset merge-driver %O %A %B %P";
    let doctor = |arguments: &[&str]| code(&home, &repo.path, &[["doctor"].as_slice(), arguments].concat()).1;
    let told = doctor(&[]);
    assert!(told.contains("ok    diffs      git sparse textconv"), "{told}");
    assert!(told.contains(&format!("ok    merges     {driver}")), "{told}");
    repo.git(&["config", "--unset", "diff.sparse.textconv"]);
    repo.git(&["config", "merge.sparse.driver", "git sparse merge %A"]);
    let told = doctor(&[]);
    assert!(told.contains("warn  diffs      diff.sparse.textconv is not set"), "{told}");
    assert!(told.contains("warn  merges     merge.sparse.driver is \"git sparse merge %A\""), "{told}");
    let told = doctor(&["--fix"]);
    assert!(told.contains("ok    diffs") && told.contains(&format!("ok    merges     {driver}")), "{told}");
    assert_eq!(repo.git(&["config", "merge.sparse.driver"]).trim(), driver);
}

/// Without git-lfs' filters or our agent a clone would keep its pointers, and nobody would say so.
#[test]
fn a_sparse_clone_needs_what_makes_files_of_pointers() {
    let (home, bare) = (Home::new(Mode::Daemon), Home::bare(Mode::Daemon));
    let repo = published(&home);
    let top = bare.path("");
    for fix in [["lfs", "install", "--skip-repo"].as_slice(), &["sparse", "install"]] {
        let (found, said) = code(&bare, &top, &["clone", text(&repo.remote()), "clone"]);
        assert!(found == 2 && said.contains(&format!("fix: git {}", fix[..2].join(" "))), "{found} {said}");
        assert!(!bare.path("clone").exists(), "half a clone is left");
        bare.git(&top, fix);
    }
    assert_eq!(code(&bare, &top, &["clone", text(&repo.remote()), "clone"]).0, 0);
}

/// The uninstalled state is the installed one minus exactly our keys.
#[test]
fn uninstall_takes_back_what_install_wrote() {
    let home = Home::bare(Mode::Daemon);
    let top = home.path("");
    home.git(&top, &["config", "--global", "lfs.customtransfer.other.path", "/bin/true"]);
    let before = home.git(&top, &["config", "--global", "--list"]);
    home.git(&top, &["sparse", "install"]);
    let installed = home.git(&top, &["config", "--global", "--list"]);
    let added: Vec<_> = installed.lines().filter(|line| !before.contains(line)).collect();
    assert_eq!(added.len(), 4, "{added:?}");
    home.git(&top, &["sparse", "uninstall"]);
    assert_eq!(home.git(&top, &["config", "--global", "--list"]), before);
}

/// A place that only a repository names is a stranger's wish: it is refused until the user agrees.
#[test]
fn a_place_that_only_the_repository_names_needs_trust() {
    let (home, other) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
    let store = home.path("elsewhere");
    let locator = format!("sparse::file://{}", store.display());
    let repo = Repo::init(&home, "work");
    repo.git(&["sparse", "init", "--store", &locator]);
    home.git(&home.path(""), &["sparse", "trust", &locator]);
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    repo.push();
    assert!(store.join("packs").is_dir(), "the push went elsewhere");

    let said = other.git_fails(&other.path(""), &["clone", "--quiet", text(&repo.remote()), "clone"]);
    assert!(said.contains(&format!("git sparse trust {locator}")), "{said}");
    other.git(&other.path(""), &["sparse", "trust", &locator]);
    fs::remove_dir_all(other.path("clone")).unwrap_or_default();
    Repo::clone(&other, text(&repo.remote()), "again", &[]).assert_is(&tree_of(&[("model", "tiny-base")]));
}

/// `git sparse clone` gives the same tree as git, and no second copy of anything.
#[test]
fn a_sparse_clone_is_whole_and_single() {
    let (home, other) = (Home::new(Mode::Daemon), Home::new(Mode::Daemon));
    let repo = published(&home);
    let top = other.path("");
    other.git(&top, &["sparse", "clone", text(&repo.remote()), "clone"]);
    let clone = Repo { home: &other, path: other.path("clone") };
    clone.assert_is(&tree_of(&[("model", "tiny-sft")]));
    if git_sparse::daemon::cache::reflink(&clone.path.join(".lfsconfig"), &other.path("reflink")).is_err() {
        let copies = xtask::tree::size_bytes(&clone.path.join(".git/lfs/objects")).unwrap_or_default();
        assert_eq!(copies, 0, "there is a second copy, and no reflink that could make it free");
    }
    let diff = clone.git(&["diff", "HEAD~1", "HEAD"]);
    assert!(diff.contains("-model.embed_tokens.weight bf16 2048×128 norm"), "{diff}");
    clone.git(&["checkout", "--quiet", "HEAD~1"]);
    clone.assert_is(&tree_of(&[("model", "tiny-base")]));
}

/// What gc, repack and prune take away is never needed: everything comes back afterwards.
#[test]
fn care_of_the_store_loses_nothing() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    let before = json(&repo, &["du"])["total"]["stored"].as_u64().unwrap();
    let repacked = json(&repo, &["repack"]);
    assert!(repacked["after"].as_u64() <= repacked["before"].as_u64());
    assert!(json(&repo, &["du"])["total"]["stored"].as_u64().unwrap() <= before);
    let (found, said) = code(&home, &repo.path, &["gc", "--grace", "0"]);
    assert!(found == 6 && said.contains("git sparse gc --grace 0 --yes"), "{found} {said}");
    json(&repo, &["gc", "--grace", "0", "--yes"]);
    json(&repo, &["fsck"]);
    let pruned = json(&repo, &["prune", "--yes"]);
    assert_eq!(pruned["removed"].as_array().unwrap().len(), 1, "the base's copy can go: {pruned}");
    repo.git(&["checkout", "--quiet", "tiny-base"]);
    repo.assert_is(&tree_of(&[("model", "tiny-base")]));
    json(&repo, &["verify", "tiny-base"]);
}

/// git-lfs' own prune deletes what no remote has; ours asks first and keeps it.
#[test]
fn prune_keeps_what_the_remote_lacks() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    repo.commit("unpushed", tree_of(&[("model", "tiny-sft-2")]));
    let oid = repo.oids(&["HEAD"]).pop().unwrap();
    repo.git(&["reset", "--quiet", "--hard", "tiny-base"]);
    let pruned = json(&repo, &["prune", "--yes"]);
    let kept: Vec<_> = pruned["kept"].as_array().unwrap().iter().map(|oid| oid.as_str().unwrap()).collect();
    assert!(kept.contains(&oid.as_str()), "{oid} went: {pruned}");
}

/// A pinned file stays rebuilt, and what the cache hands out is the file.
#[test]
fn a_pinned_file_stays_in_the_cache() {
    let home = Home::new(Mode::Daemon);
    let repo = published(&home);
    repo.git(&["sparse", "cache", "pin", "model/model.safetensors"]);
    repo.git(&["sparse", "cache", "prune", "--all"]);
    let cache = json(&repo, &["cache", "ls"]);
    assert_eq!(cache["files"][0]["pinned"], true);
    repo.git(&["sparse", "cache", "unpin", "model/model.safetensors"]);
    repo.git(&["sparse", "cache", "prune", "--all"]);
    assert_eq!(json(&repo, &["cache", "ls"])["files"].as_array().unwrap().len(), 0);
}

/// Help must be there in the shapes that people ask for it.
#[test]
fn man_pages_and_completions_are_written() {
    let home = Home::new(Mode::Daemon);
    let dir = home.path("pages");
    home.run("git-sparse", &home.path(""), &["generate", "man", text(&dir)]);
    home.run("git-sparse", &home.path(""), &["generate", "completions", text(&dir)]);
    for (file, word) in [
        ("git-sparse.1", "EXIT STATUS"),
        ("git-sparse-log.1", "newest first"),
        ("git-sparse-daemon-log.1", "log"),
        ("git-sparse.bash", "_git_sparse"),
        ("_git-sparse", "#compdef"),
        ("git-sparse.fish", "__fish_git_using_command"),
    ] {
        let page = fs::read_to_string(dir.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(page.contains(word), "{file} lacks {word:?}");
    }
    let short = home.run("git-sparse", &home.path(""), &["-h"]);
    assert!(short.lines().count() <= 40, "-h should fit a screen:\n{short}");
}

/// A hundred fine-tunes of a 14 GB base for a year, and all prices.
const SAVINGS: [&str; 11] = [
    "savings",
    "--fine-tunes=100",
    "--base-size=14GB",
    "--ratio=0.25",
    "--price-per-tb-month=20",
    "--price-per-gb-traffic=0.05",
    "--downloads=3",
    "--months=12",
    "--base-at-hand",
    "--currency=EUR",
    "--fine-tune-size=14GB",
];

/// People decide by these numbers: they add up as printed, and what was not said is not made up.
#[test]
fn savings_are_computed_from_what_was_said_and_nothing_else() {
    let home = Home::new(Mode::InProcess);
    let at = |arguments: &[&str]| code(&home, &home.path(""), &[&["savings"], arguments].concat());
    let (exit, said) = at(&SAVINGS[1..]);
    assert_eq!(exit, 0, "{said}");
    let row = |name: &str| {
        let line =
            said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {said}"));
        line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("stored"), "1414.00 GB 364.00 GB 1050.00 GB 25.7 %");
    assert_eq!(row("storage cost"), "339.36 EUR 87.36 EUR 252.00 EUR 25.7 %");
    assert_eq!(row("traffic "), "50.40 TB 12.60 TB 37.80 TB 25.0 %");
    assert_eq!(row("traffic cost"), "2520.00 EUR 630.00 EUR 1890.00 EUR 25.0 %");
    assert_eq!(row("total cost"), "2859.36 EUR 717.36 EUR 2142.00 EUR 25.1 %");

    let few = ["--fine-tunes=2", "--base-size=1GB", "--delta-size=100MB", "--months=1"];
    let (exit, said) = at(&few);
    assert!(exit == 0 && !said.contains("cost  "), "{said}");
    for missing in ["--price-per-tb-month", "--price-per-gb-traffic", "--downloads"] {
        assert!(said.contains(missing), "{missing}: {said}");
    }
    for wrong in ["--downloads=0", "--price-per-tb-month=NaN", "--price-per-gb-traffic=-1", "--ratio=0.1"] {
        let (exit, said) = at(&[&few[..], &[wrong]].concat());
        assert_eq!(exit, 2, "{wrong}: {said}");
    }
    let (exit, said) = at(&["--fine-tunes=2", "--base-size=1GB", "--delta-size=2GB", "--months=1"]);
    assert!(exit == 2 && said.contains("fix: check --delta-size"), "{said}");
    let (exit, said) = at(&["--fine-tunes=2", "--base-size=1GB", "--months=1"]);
    assert!(exit == 2 && said.contains("--delta-size") && said.contains("--ratio"), "{said}");
    for (size, told) in [("1,5GB", "no commas"), ("7G", "\"G\" is no unit"), ("-1GB", "above 0")] {
        let (exit, said) = at(&[&few[..], &[&format!("--fine-tune-size={size}")]].concat());
        assert!(exit == 2 && said.contains(told), "{size}: {said}");
    }
}
