//! The rules of docs/style.md that a machine can check, each shown to fire on a bad sample.

mod source;

use source::{Source, sources, words};

/// Files that may hold `unsafe`, and why it is needed there.
const UNSAFE: [(&str, &str); 13] = [
    ("engine/src/distortion.rs", "calls of llama.cpp that no safe crate passes on"),
    ("engine/src/importance.rs", "llama.cpp is handed a function of ours to call with what it computes"),
    ("engine/src/log.rs", "llama.cpp is handed a function of ours to call with its words"),
    ("engine/src/usage.rs", "a call of the C library that no crate wraps"),
    ("tests/cut/watched.rs", "an allocator that counts, to prove that lies don't cost memory"),
    ("src/codec/lanes/avx2.rs", "instructions that the machine is asked for before"),
    ("src/codec/lanes/avx512.rs", "instructions that the machine is asked for before"),
    ("src/derive/product.rs", "instructions that the machine is asked for before"),
    ("src/codec/lanes/neon.rs", "instructions that every such machine has"),
    ("src/packing/lz4_frame/c.rs", "calls of LZ4 that no safe crate makes: all bytes at once"),
    ("src/packing/deflate/zlib.rs", "calls of zlib with parameters that no safe crate passes on"),
    ("src/heap.rs", "a call of the C library that no crate wraps"),
    ("src/backend/writeback.rs", "a call of the system that no crate wraps"),
];

/// Files outside the daemon that may hold a lock, and why.
const LOCKS: [(&str, &str); 3] = [
    ("src/backend/bucket/process.rs", "requests that need keys wait for one program that gives them"),
    ("src/dataset/cached.rs", "readers of one file share what was fetched of it"),
    ("engine/src/log.rs", "llama.cpp speaks from any of its threads"),
];

/// A rule: what is wrong in a file, a sentence each.
type Rule<'rule> = &'rule dyn Fn(&Source) -> Vec<String>;

/// Checks a rule on all sources.
#[track_caller]
fn check(rule: Rule) {
    let found: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Checks that a rule refuses `text` as the file `path`.
#[track_caller]
fn refuses(rule: Rule, path: &str, text: &str) {
    assert!(!rule(&Source::new(path, text)).is_empty(), "let pass as {path}:\n{text}");
}

/// Checks that a rule has nothing against `text` as the file `path`.
#[track_caller]
fn lets_pass(rule: Rule, path: &str, text: &str) {
    let found = rule(&Source::new(path, text));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A file that is named after nothing in particular gets everything in it.
#[test]
fn files_are_named_after_what_they_hold() {
    refuses(&vague_name, "src/util.rs", "");
    refuses(&vague_name, "src/core/pack.rs", "");
    refuses(&vague_name, "src/pack_manager.rs", "");
    lets_pass(&vague_name, "src/pack/writer.rs", "");
    check(&vague_name);
}

fn vague_name(source: &Source) -> Vec<String> {
    const VAGUE: [&str; 9] =
        ["util", "utils", "helpers", "common", "misc", "types", "constants", "core", "prelude"];
    const ENDINGS: [&str; 3] = ["_manager", "_service", "_helper"];
    let parts = source.path.strip_suffix(".rs").into_iter().flat_map(|path| path.split('/'));
    parts
        .filter(|part| VAGUE.contains(part) || ENDINGS.iter().any(|ending| part.ends_with(ending)))
        .map(|part| format!("{}: `{part}` says nothing: name the thing it holds", source.path))
        .collect()
}

/// Modules use only what lies below them, so that each can be read and tested without those above.
#[test]
fn modules_use_only_what_is_listed_before_them() {
    let sample = ranking("pub mod id;\n\n/// Docs.\npub mod store;\nmod cli;\n// pub mod gone;\n");
    assert_eq!(sample, ["id", "store", "cli"]);
    let upward = |source: &Source| uses_upward(source, &sample);
    refuses(&upward, "src/id.rs", "use crate::store::Store;");
    refuses(&upward, "src/store/pack.rs", "use crate::{id::Oid, cli};");
    refuses(&upward, "src/store.rs", "use crate::{\n    id::{self, Oid},\n    cli::{gc, ls},\n};");
    refuses(&upward, "src/id.rs", "fn f() { crate::store::open() }");
    lets_pass(&upward, "src/store/pack.rs", "use crate::{id::Oid, store::Store}; // crate::cli");
    lets_pass(&upward, "src/cli/gc.rs", "use crate::store; fn store(cli: u8) {}");

    let sources = sources();
    let lib = sources.iter().find(|source| source.path == "src/lib.rs").expect("src/lib.rs");
    let ranking = ranking(&lib.code);
    assert!(ranking.len() > 1, "src/lib.rs lists no modules");
    check(&|source: &Source| uses_upward(source, &ranking));
}

/// The modules of `lib.rs` in the order of their lines.
fn ranking(lib: &str) -> Vec<String> {
    let module = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.trim().to_owned())
    };
    lib.lines().filter_map(module).collect()
}

fn uses_upward(source: &Source, ranking: &[String]) -> Vec<String> {
    let rank = |name: &str| ranking.iter().position(|module| module == name);
    let own = source.path.strip_prefix("src/").and_then(|path| path.split(['/', '.']).next());
    let Some(own_rank) = own.and_then(rank) else { return Vec::new() };
    words(&source.code)
        .filter(|word| word.name == "crate" && word.after.starts_with("::"))
        .flat_map(|word| named_modules(&word.after[2..]).into_iter().map(move |name| (word.line, name)))
        .filter(|(_, name)| rank(name).is_some_and(|rank| rank > own_rank))
        .map(|(line, name)| {
            format!("{}:{line}: uses `{name}`, which src/lib.rs lists after its own module", source.path)
        })
        .collect()
}

/// The first names after `crate::`: one, or those at the top of a `{…}` list.
fn named_modules(after: &str) -> Vec<&str> {
    let Some(list) = after.trim_start().strip_prefix('{') else {
        return words(after).next().map(|word| word.name).into_iter().collect();
    };
    let mut names = Vec::new();
    let (mut depth, mut item) = (1, 0);
    for (at, sign) in list.char_indices() {
        depth += i32::from(sign == '{') - i32::from(sign == '}');
        if depth == 0 || (depth == 1 && sign == ',') {
            names.extend(words(&list[item..at]).next().map(|word| word.name));
            item = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// A reader opens a file and knows from its first line whether it is the right one.
#[test]
fn files_open_with_what_they_are() {
    refuses(&without_opening, "src/pack.rs", "use std::fs;\n//! Packs.\n");
    refuses(&without_opening, "src/pack.rs", "");
    lets_pass(&without_opening, "src/pack.rs", "//! Packs.\n");
    check(&without_opening);
}

fn without_opening(source: &Source) -> Vec<String> {
    let missing = source.is_rust() && !source.text.starts_with("//! ");
    missing.then(|| format!("{}: does not open with a `//!` line", source.path)).into_iter().collect()
}

/// Only the edge talks to people: a print below it would get into a protocol on the same stream.
#[test]
fn only_the_command_line_prints() {
    refuses(&prints, "src/store.rs", "fn f() { println!(\"x\") }");
    refuses(&prints, "lfs-agent/src/lib.rs", "fn f() { eprint!(\"x\") }");
    lets_pass(&prints, "src/cli/gc.rs", "fn f() { println!(\"x\") }");
    lets_pass(&prints, "src/store.rs", "// println!\nfn print() {}");
    check(&prints);
}

fn prints(source: &Source) -> Vec<String> {
    const MACROS: [&str; 4] = ["println", "print", "eprintln", "eprint"];
    const PLACES: [&str; 6] = ["src/cli/", "engine/src/main.rs", "xtask/", "tests/", "benches/", "fuzz/"];
    offences(source, &PLACES, "only src/cli/ prints", |word| {
        MACROS.contains(&word.name) && word.after.starts_with('!')
    })
}

/// `async` is for servers and for buckets: what waits below them returns a `Result`.
#[test]
fn only_the_daemon_is_async() {
    refuses(&asynchronous, "src/store.rs", "use tokio::fs;");
    lets_pass(&asynchronous, "src/daemon/server.rs", "use tokio::fs;");
    check(&asynchronous);
}

fn asynchronous(source: &Source) -> Vec<String> {
    const PLACES: [&str; 4] = ["src/daemon/", "src/serve/", "src/backend/bucket/", "tests/support/s3.rs"];
    const RULE: &str = "tokio stands only under src/daemon/, src/serve/ and src/backend/bucket/";
    offences(source, &PLACES, RULE, |word| word.name == "tokio")
}

/// `unsafe` stands in few files, each with a reason that a reviewer has seen.
#[test]
fn unsafe_stands_only_where_the_list_says_why() {
    refuses(&unlisted_unsafe, "src/pack.rs", "fn f() { unsafe { g() } }");
    lets_pass(&unlisted_unsafe, "src/pack.rs", "//! Not unsafe.\n#![forbid(unsafe_code)]\n");
    check(&unlisted_unsafe);
    check_list(&UNSAFE, &["unsafe"]);
}

fn unlisted_unsafe(source: &Source) -> Vec<String> {
    let listed: Vec<&str> = UNSAFE.iter().map(|(path, _)| *path).collect();
    offences(source, &listed, "unsafe needs a line in the list of tests/tidy.rs", |word| {
        word.name == "unsafe"
    })
}

/// Locks are the daemon's and the hub's, the processes in which requests meet.
#[test]
fn only_the_daemon_locks() {
    refuses(&locks, "src/index.rs", "use std::sync::{Arc, Mutex};");
    refuses(&locks, "src/index.rs", "fn f(x: &std::sync::RwLock<u8>) {}");
    lets_pass(&locks, "src/daemon/handle.rs", "use std::sync::Mutex;");
    lets_pass(&locks, "src/index.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}\n");
    check(&locks);
    check_list(&LOCKS, &["Mutex", "RwLock"]);
}

fn locks(source: &Source) -> Vec<String> {
    let listed = LOCKS.iter().map(|(path, _)| *path);
    let places: Vec<&str> =
        ["src/daemon/", "src/serve/", "tests/", "xtask/", "benches/"].into_iter().chain(listed).collect();
    offences(source, &places, "locks stand only under src/daemon/ and src/serve/", |word| {
        ["Mutex", "RwLock"].contains(&word.name)
    })
}

/// What decodes may be waited for with a lock held, and a thread that splits its work takes up any other work meanwhile:
/// it would wait for itself.
#[test]
fn decoding_splits_no_work() {
    refuses(&splits, "src/codec/zstd.rs", "use rayon::prelude::*;");
    refuses(&splits, "src/derive/product.rs", "fn f(x: &[u8]) { rayon::join(|| 1, || 2); }");
    lets_pass(&splits, "src/repack.rs", "use rayon::prelude::*;");
    check(&splits);
}

fn splits(source: &Source) -> Vec<String> {
    const DECODING: [&str; 5] = ["src/format/", "src/packing/", "src/derive/", "src/table/", "src/codec/"];
    if !DECODING.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    offences(source, &[], "rayon is not for what decodes", |word| word.name == "rayon")
}

/// Below the edges, the same bytes in give the same bytes out: no environment and no clock is read there.
#[test]
fn environment_and_clock_are_read_at_the_edges() {
    refuses(&environment, "src/store.rs", "fn f() { std::env::var(\"X\"); }");
    refuses(&environment, "src/store.rs", "use std::{env, fs};");
    refuses(&environment, "src/store.rs", "fn f() { SystemTime::now(); }");
    lets_pass(&environment, "src/daemon/place.rs", "use std::env;");
    lets_pass(&environment, "src/main.rs", "fn main() { std::env::args(); }");
    lets_pass(&environment, "src/git/command.rs", "fn f() { command.env(\"A\", env!(\"B\")); }");
    check(&environment);
}

fn environment(source: &Source) -> Vec<String> {
    // A store in memory has the clock that other places have by themselves.
    const MEMORY: &str = "src/backend/memory.rs";
    // Keys that a program gives end at a point in time, and requests go on.
    const KEYS: &str = "src/backend/bucket/process.rs";
    const PLACES: [&str; 9] = [
        "src/daemon/",
        "src/serve/",
        "src/cli/",
        "src/main.rs",
        MEMORY,
        KEYS,
        "tests/",
        "xtask/",
        "benches/",
    ];
    offences(source, &PLACES, "environment and clock are read at the edges", |word| match word.name {
        "env" => {
            let line = word.before.rsplit('\n').next().unwrap_or_default();
            let imported = line.trim_start().starts_with("use std::{");
            word.after.starts_with("::") || word.before.ends_with("std::") || imported
        }
        "SystemTime" => word.after.starts_with("::now"),
        _ => false,
    })
}

/// A file that fills many screens holds more than one thing.
#[test]
fn files_are_short() {
    refuses(&too_long, "src/store.rs", &"//\n".repeat(601));
    lets_pass(&too_long, "src/store.rs", &"//\n".repeat(600));
    check(&too_long);
}

fn too_long(source: &Source) -> Vec<String> {
    const MOST: usize = 600;
    let lines = source.text.lines().count();
    let long = source.is_rust() && lines > MOST;
    long.then(|| format!("{}: {lines} lines, at most {MOST}", source.path)).into_iter().collect()
}

/// What is not done stands in an issue, not in the code.
#[test]
fn nothing_is_left_to_do_in_code() {
    refuses(&unfinished, "src/store.rs", concat!("// TO", "DO: write\n"));
    refuses(&unfinished, "src/store.rs", concat!("fn f() { to", "do!() }"));
    refuses(&unfinished, "src/store.rs", concat!("fn f() { unimple", "mented!() }"));
    refuses(&unfinished, "src/store.rs", concat!("fn f() { d", "bg!(1) }"));
    lets_pass(&unfinished, "src/store.rs", "fn f() { unreachable!() }");
    check(&unfinished);
}

fn unfinished(source: &Source) -> Vec<String> {
    const MARKS: [&str; 4] =
        [concat!("TO", "DO"), concat!("to", "do!"), concat!("unimple", "mented!"), concat!("d", "bg!")];
    if !source.is_rust() {
        return Vec::new();
    }
    holding(source, &MARKS)
}

/// A fresh clone builds anywhere: no path or registry of the machine that it was written on is in it.
#[test]
fn nothing_of_one_machine_is_tracked() {
    refuses(&of_one_machine, "docs/testing.md", concat!("see /wo", "rk/main\n"));
    refuses(&of_one_machine, ".ci/run", concat!("cd /tmp/", "h-harness\n"));
    refuses(&of_one_machine, ".cargo/config.toml", concat!("replace", "-with = \"mirror\"\n"));
    refuses(&of_one_machine, "Cargo.lock", "source = \"registry+https://mirror.example/index\"\n");
    lets_pass(
        &of_one_machine,
        "Cargo.lock",
        "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
    );
    check(&of_one_machine);
}

fn of_one_machine(source: &Source) -> Vec<String> {
    const MARKS: [&str; 4] =
        [concat!("/wo", "rk/"), concat!("/tmp/", "h-"), concat!("/ro", "ot/"), concat!("replace", "-with")];
    const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let mut found = holding(source, &MARKS);
    if source.path.ends_with("Cargo.lock") {
        let strange = source.text.lines().filter(|line| line.starts_with("source = ") && *line != REGISTRY);
        found.extend(strange.map(|line| format!("{}: another registry: {line}", source.path)));
    }
    found
}

/// The places in shipped code, outside of the paths that begin with one of `places`, that `is_bad` finds.
fn offences(
    source: &Source,
    places: &[&str],
    rule: &str,
    is_bad: impl Fn(&source::Word) -> bool,
) -> Vec<String> {
    if places.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    words(source.shipped())
        .filter(is_bad)
        .map(|word| format!("{}:{}: `{}`: {rule}", source.path, word.line, word.name))
        .collect()
}

/// The lines of a file that hold one of `marks`.
fn holding(source: &Source, marks: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for mark in marks.iter().filter(|mark| line.contains(**mark)) {
            found.push(format!("{}:{}: holds `{mark}`", source.path, at + 1));
        }
    }
    found
}

/// An exception that no file needs any more must go, or the next offence hides behind it.
#[track_caller]
fn check_list(list: &[(&str, &str)], names: &[&str]) {
    let sources = sources();
    for (path, why) in list {
        let source = sources.iter().find(|source| source.path == *path);
        let needed = source.is_some_and(|it| words(it.shipped()).any(|word| names.contains(&word.name)));
        assert!(needed, "{path} is listed as an exception ({why}) and needs none");
        assert!(why.len() > 10, "{path} is listed as an exception without a reason");
    }
}
