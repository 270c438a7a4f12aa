//! The demo: real models pushed to a git remote, cloned in another home, every byte compared.
//!
//! It is the first command of the README and at the same time a check: it fails when a file differs.

pub mod story;

pub mod table;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::home::Home;
use crate::tree::{self, Expected};
use crate::{Failure, binary, prerequisites};
use story::Step;
use table::Row;

/// Files that belong to the repository itself and to no step of the story.
const REPOSITORY_FILES: [&str; 2] = [".gitattributes", ".lfsconfig"];

/// What the command line says.
pub struct Options {
    /// A user's own base and fine-tune, in place of the models in `tests/data/models`.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Leave homes and repositories where they are.
    pub keep: bool,
    /// Say nothing but the verdict.
    pub check: bool,
}

/// A pushed revision, and the tree that everybody has to get back for it.
struct Revision {
    commit: String,
    expected: Expected,
    row: Row,
}

/// What came back.
#[derive(Default)]
struct Verdict {
    clone_seconds: f64,
    files: usize,
    bytes: u64,
    differences: Vec<String>,
}

/// Runs the demo; `Ok(false)` if any file came back different.
pub fn run(options: &Options) -> Result<bool, Failure> {
    let steps = match &options.own {
        Some((base, fine_tune)) => story::own(base, fine_tune)?,
        None => story::real_models()?,
    };
    prerequisites::run()?;
    let binary = binary::release()?;
    // Two homes: the second shares no store with the first, so its bytes can only come from the remote.
    let (mut publisher, mut reader) = (Home::new(&binary)?, Home::new(&binary)?);
    if options.keep {
        eprintln!("publisher's home: {}", publisher.keep().display());
        eprintln!("reader's home:    {}", reader.keep().display());
    }
    let remote = publisher.path("remote.git");
    let mut revisions = publish(&publisher, &remote, &steps, !options.check)?;
    let verdict = verify(&reader, &remote, &mut revisions, !options.check)?;
    if !options.check {
        print!("\n{}", table::render(revisions.iter().map(|revision| &revision.row)));
        print_totals(&remote, &revisions, &verdict)?;
    }
    Ok(conclude(&revisions, &verdict))
}

/// Pushes each step as a commit of one repository and measures what the remote grew by.
fn publish(home: &Home, remote: &Path, steps: &[Step], aloud: bool) -> Result<Vec<Revision>, Failure> {
    let work = home.path("work");
    set_up(home)?;
    home.git(&home.path(""), &["init", "--quiet", "--bare", &text(remote)?])?;
    home.git(&home.path(""), &["init", "--quiet", &text(&work)?])?;
    home.git(&work, &["remote", "add", "origin", &text(remote)?])?;
    home.git(&work, &["sparse", "init"])?;
    home.git(&work, &["add", "--all"])?;
    home.git(&work, &["commit", "--quiet", "--message", "Store models with git sparse"])?;
    let mut expected = Expected::new();
    let mut revisions = Vec::new();
    for step in steps {
        if aloud {
            eprintln!("push {}: {}", step.directory, step.name);
        }
        expected.retain(|path, _| !path.starts_with(&step.directory));
        expected.extend(step.expected()?);
        let row = push(home, &work, remote, step)?;
        let commit = home.git(&work, &["rev-parse", "HEAD"])?.trim().to_owned();
        revisions.push(Revision { commit, expected: expected.clone(), row });
    }
    // A stranger's agent, or none, would show here: git-lfs' own transfer puts whole files there.
    if tree::size_bytes(&remote.join("lfs"))? > 0 {
        return Err(format!("{}/lfs holds whole files: git-lfs did not use our agent", remote.display()));
    }
    Ok(revisions)
}

/// Commits and pushes one step.
fn push(home: &Home, work: &Path, remote: &Path, step: &Step) -> Result<Row, Failure> {
    let target = work.join(&step.directory);
    if target.exists() {
        std::fs::remove_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
    }
    for (path, source) in step.expected()? {
        tree::copy(&source, &work.join(path))?;
    }
    track_large_files(home, work, step)?;
    home.git(work, &["add", "--all"])?;
    home.git(work, &["commit", "--quiet", "--message", &step.name])?;
    let before = tree::stored_bytes(remote)?;
    let start = Instant::now();
    home.git(work, &["push", "--quiet", "--set-upstream", "origin", "main"])?;
    let push_seconds = start.elapsed().as_secs_f64();
    let changed = changed_models(home, work)?;
    let (Some(first), stored_bytes) = (changed.first(), tree::stored_bytes(remote)? - before) else {
        return Err(format!("{}: no changed file is tracked by git-lfs, nothing to show", step.name));
    };
    let file = if changed.len() == 1 {
        first.clone()
    } else {
        format!("{}/ ({} files)", step.directory, changed.len())
    };
    let mut size_bytes = 0;
    for name in &changed {
        size_bytes += tree::size_bytes(&work.join(name))?;
    }
    let depth = changed.iter().filter_map(|name| depth(home, work, name)).max();
    Ok(Row {
        file,
        revision: step.name.clone(),
        size_bytes,
        stored_bytes,
        depth,
        push_seconds,
        checkout_seconds: 0.0,
    })
}

/// Clones, checks out every revision, and compares every file of each.
fn verify(home: &Home, remote: &Path, revisions: &mut [Revision], aloud: bool) -> Result<Verdict, Failure> {
    let copy = home.path("clone");
    set_up(home)?;
    let start = Instant::now();
    home.git(&home.path(""), &["clone", "--quiet", &text(remote)?, &text(&copy)?])?;
    let mut verdict = Verdict { clone_seconds: start.elapsed().as_secs_f64(), ..Verdict::default() };
    for revision in revisions {
        if aloud {
            eprintln!("check out and compare: {}", revision.row.revision);
        }
        let start = Instant::now();
        home.git(&copy, &["checkout", "--quiet", "--detach", &revision.commit])?;
        revision.row.checkout_seconds = start.elapsed().as_secs_f64();
        let compared = tree::compare(&copy, &revision.expected, &REPOSITORY_FILES)?;
        verdict.files += compared.equal;
        verdict.bytes += compared.equal_bytes;
        verdict.differences.extend(compared.differences);
    }
    Ok(verdict)
}

fn set_up(home: &Home) -> Result<(), Failure> {
    home.git(&home.path(""), &["lfs", "install", "--skip-repo"])?;
    home.git(&home.path(""), &["sparse", "install"]).map(drop)
}

/// Has git-lfs track what `git sparse init` does not know by its ending: a user's own big files.
fn track_large_files(home: &Home, work: &Path, step: &Step) -> Result<(), Failure> {
    for (path, source) in step.expected()? {
        if !step.track_all && tree::size_bytes(&source)? < 1 << 20 {
            continue;
        }
        let name = text(&path)?;
        let attribute = home.git(work, &["check-attr", "-z", "filter", "--", &name])?;
        if attribute.split('\0').nth(2) != Some("lfs") {
            home.git(work, &["lfs", "track", "--filename", &name])?;
        }
    }
    Ok(())
}

/// The files tracked by git-lfs that the last commit changed.
fn changed_models(home: &Home, work: &Path) -> Result<Vec<String>, Failure> {
    let tracked = home.git(work, &["lfs", "ls-files", "--name-only"])?;
    let changed = home.git(work, &["diff", "--name-only", "--diff-filter=d", "-z", "HEAD~1", "HEAD"])?;
    let is_tracked = |name: &&str| tracked.lines().any(|line| line == *name);
    Ok(changed.split('\0').filter(is_tracked).map(str::to_owned).collect())
}

/// The deepest of the objects behind a file, as `git sparse where --json` tells; `None` if it doesn't.
fn depth(home: &Home, work: &Path, name: &str) -> Option<u64> {
    let told = home.git(work, &["sparse", "where", name, "--json"]).ok()?;
    deepest(&serde_json::from_str(&told).ok()?)
}

/// The largest number under any key `depth`, however the document around it is built.
fn deepest(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::Object(fields) => {
            let here = fields.get("depth").and_then(serde_json::Value::as_u64);
            fields.values().filter_map(deepest).chain(here).max()
        }
        serde_json::Value::Array(items) => items.iter().filter_map(deepest).max(),
        _ => None,
    }
}

fn print_totals(remote: &Path, revisions: &[Revision], verdict: &Verdict) -> Result<(), Failure> {
    let size: u64 = revisions.iter().map(|revision| revision.row.size_bytes).sum();
    let all = tree::size_bytes(&remote.join("sparse"))?;
    println!(
        "\nstored: what the packs and recipes in the remote's sparse/ grew by with the push. All of sparse/,\n\
         index and the rest included, holds {} bytes for {} bytes of files. The clone took {:.2} s.",
        table::grouped(all),
        table::grouped(size),
        verdict.clone_seconds
    );
    Ok(())
}

/// Says what was verified, in one last line, and whether it was all as it should be.
fn conclude(revisions: &[Revision], verdict: &Verdict) -> bool {
    for difference in &verdict.differences {
        eprintln!("DIFFERENT: {difference}");
    }
    // Nothing compared is nothing verified.
    let whole = verdict.differences.is_empty() && verdict.files > 0;
    println!(
        "{}: {} revisions cloned with a second home; {} files, {} bytes compared equal byte for byte \
         (read and compared here, as cmp does); {} different",
        if whole { "verified" } else { "FAILED" },
        revisions.len(),
        verdict.files,
        table::grouped(verdict.bytes),
        verdict.differences.len()
    );
    whole
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{}: not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exit code rests on this: a difference fails, and so does a comparison of nothing.
    #[test]
    fn only_equal_files_are_a_success() {
        let equal = Verdict { files: 2, ..Verdict::default() };
        assert!(conclude(&[], &equal));
        assert!(!conclude(&[], &Verdict { differences: vec!["a differs".into()], ..equal }));
        assert!(!conclude(&[], &Verdict::default()));
    }

    /// `where --json` may nest its objects as it likes; the table shows the deepest of them.
    #[test]
    fn the_deepest_object_is_found_wherever_it_stands() {
        let document = serde_json::json!({
            "schema": "git-sparse/where/1", "depth": 1,
            "files": [{"objects": [{"depth": 0}, {"depth": 3}, {"depth": "none"}]}],
        });
        assert_eq!(deepest(&document), Some(3));
        assert_eq!(deepest(&serde_json::json!({"files": []})), None);
    }
}
