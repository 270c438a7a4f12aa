//! The last step: `.lfsconfig` and `.gitattributes` of the work tree say where the files are now. Nothing is committed.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::dataset;
use crate::git::command::Git;

const CONFIG: &str = ".lfsconfig";

/// A file of the work tree that is another one now.
#[derive(Debug, Serialize)]
pub struct Change {
    pub path: String,
    pub what: String,
}

impl Change {
    fn new(path: &str, what: impl Into<String>) -> Change {
        Change { path: path.into(), what: what.into() }
    }
}

/// A line for each.
pub fn tell(changes: &[Change]) {
    changes.iter().for_each(|change| report::say(&format!("{}: {}", change.path, change.what)));
}

/// What of it is not committed.
fn uncommitted(git: &Git) -> String {
    let Ok(top) = git.top() else { return String::new() };
    Git::at(&top).run(&["status", "--porcelain", "--", CONFIG]).unwrap_or_default()
}

/// Refuses a `.lfsconfig` with changes that are not committed, unless it names `url` already: it is written to.
pub fn refuse_changed(git: &Git, url: Option<&str>) -> Result<(), Failure> {
    if uncommitted(git).is_empty() || git.lfsconfig().get("lfs.url") == url {
        return Ok(());
    }
    Err(Failure::new(Kind::Refused, ".lfsconfig has changes that are not committed, and would be written to")
        .fix("git commit .lfsconfig, or take them back: git checkout HEAD -- .lfsconfig"))
}

/// Has `.lfsconfig` name `url`, or nothing; what else it says of servers would count first, and goes. Returns what
/// changed.
pub fn point(git: &Git, url: Option<&str>) -> Result<Vec<Change>, Failure> {
    let Ok(top) = git.top() else { return Ok(Vec::new()) };
    let path = top.join(CONFIG);
    let file =
        path.to_str().ok_or_else(|| Failure::new(Kind::Usage, "the repository's path is not UTF-8"))?;
    let run = |args: &[&str]| {
        let done = git.run(&[&["config", "-f", file], args].concat());
        done.map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
    };
    let mut told = Vec::new();
    let keys = if path.is_file() { run(&["--list", "--name-only"])? } else { String::new() };
    for key in keys.lines().filter(|key| is_of_server(key) || *key == "lfs.url" && url.is_none()) {
        run(&["--unset-all", key])?;
        told.push(Change::new(CONFIG, format!("{key} is gone")));
    }
    match url {
        Some(url) if git.lfsconfig().get("lfs.url") == Some(url) => {}
        Some(url) => {
            run(&["--replace-all", "lfs.url", url])?;
            told.push(Change::new(CONFIG, format!("lfs.url = {url}")));
        }
        None if path.is_file() && fs::read_to_string(&path).is_ok_and(|text| text.trim().is_empty()) => {
            fs::remove_file(&path).map_err(|error| words::file(&path, &error))?;
            told.push(Change::new(CONFIG, "it said nothing else, and is gone"));
        }
        None => {}
    }
    Ok(told)
}

/// Keys by which a push or one remote goes elsewhere than `lfs.url` says.
fn is_of_server(key: &str) -> bool {
    key == "lfs.pushurl"
        || key.starts_with("remote.") && (key.ends_with(".lfsurl") || key.ends_with(".lfspushurl"))
}

/// The steps that are left to the user: to commit, and to have the user's own configuration not count first.
pub fn next(git: &Git, url: Option<&str>, message: &str) -> Vec<String> {
    let mut next = Vec::new();
    if !uncommitted(git).is_empty() {
        next.push(format!(
            "next: git add --all -- {CONFIG} '*.gitattributes' && git commit -m \"{message}\" && git push"
        ));
    }
    for key in overruling(git).iter().filter(|key| git.config(key).as_deref() != url) {
        next.push(format!("next: git config --unset {key} (your own configuration counts before {CONFIG})"));
    }
    next
}

/// What a user has to know of commits that are there already.
pub fn of_old_commits(url: &str, old: &str) -> [String; 2] {
    [
        format!("other branches go over when that commit is merged into them; {old} was not changed"),
        format!(
            "older commits still name {old}. Once it is gone, for their files: git config lfs.url {url} in a clone, \
             git clone -c lfs.url={url} for a new one"
        ),
    ]
}

/// Keys of the user's own configuration that count before `.lfsconfig`.
fn overruling(git: &Git) -> Vec<String> {
    let listed = git.run(&["config", "--list", "--name-only"]).unwrap_or_default();
    let mut keys: Vec<_> =
        listed.lines().filter(|key| *key == "lfs.url" || is_of_server(key)).map(str::to_owned).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Has lines that track files with Git LFS show and merge them as `git sparse init` does, or as git-lfs does. No pattern
/// is added: a file that git itself has would show as changed. Returns what changed.
pub fn attributes(git: &Git, ours: bool) -> Result<Vec<Change>, Failure> {
    let Ok(top) = git.top() else { return Ok(Vec::new()) };
    let files = Git::at(&top).run(&["ls-files", "-z", "--", ".gitattributes", "**/.gitattributes"]);
    let files = files.map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    let mut told = Vec::new();
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        if rewrite(&top.join(name), ours)? {
            let drivers = if ours { "sparse" } else { "lfs" };
            told.push(Change::new(
                name,
                format!("diff={drivers} for files in Git LFS, and merge={drivers} for tables"),
            ));
        }
    }
    Ok(told)
}

fn rewrite(path: &Path, ours: bool) -> Result<bool, Failure> {
    let is_plain = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    // What is no text is nothing that we wrote or can mend.
    let Some(text) = is_plain.then(|| fs::read_to_string(path).ok()).flatten() else { return Ok(false) };
    let new: String = text.split_inclusive('\n').map(|line| attributes_of(line, ours)).collect();
    if new == text {
        return Ok(false);
    }
    fs::write(path, new).map_err(|error| words::file(path, &error))?;
    Ok(true)
}

/// One line of `.gitattributes`, with its spaces as they were.
fn attributes_of(line: &str, ours: bool) -> String {
    let mut tokens = line.split_whitespace();
    let pattern = tokens.next().unwrap_or_default();
    if pattern.starts_with('#') || !tokens.any(|token| token == "filter=lfs") {
        return line.to_owned();
    }
    let is_table = dataset::Kind::named(pattern).is_some();
    let new = |token: &str| {
        match (token, ours) {
            ("diff=lfs", true) => "diff=sparse",
            ("merge=lfs", true) if is_table => "merge=sparse",
            ("diff=sparse", false) => "diff=lfs",
            ("merge=sparse", false) => "merge=lfs",
            _ => return None,
        }
        .into()
    };
    let mut told = String::with_capacity(line.len());
    for part in line.split_inclusive(char::is_whitespace) {
        let token = part.trim_end();
        let token: &str = new(token).map_or(token, |new: &'static str| new);
        told.push_str(token);
        told.push_str(&part[part.trim_end().len()..]);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a user wrote beside our words stays: other attributes, spaces, comments, files that are not in Git LFS.
    #[test]
    fn only_drivers_of_large_files_change() {
        let lfs = "*.bin\tfilter=lfs  diff=lfs merge=lfs -text\n";
        let ours = "*.bin\tfilter=lfs  diff=sparse merge=lfs -text\n";
        assert_eq!(attributes_of(lfs, true), ours);
        assert_eq!(attributes_of(ours, false), lfs);
        let table = "d/*.parquet filter=lfs diff=lfs merge=lfs -text";
        let merged = "d/*.parquet filter=lfs diff=sparse merge=sparse -text";
        assert_eq!(attributes_of(table, true), merged);
        assert_eq!(attributes_of(merged, false), table);
        for same in ["# *.bin filter=lfs diff=lfs\n", "*.txt diff=lfs\n", "\n", "  *.c   text\r\n"] {
            assert_eq!(attributes_of(same, true), same);
        }
    }
}
