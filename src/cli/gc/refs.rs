//! Everything that can still be asked for: what the refs of a git remote name, and those of this repository.

use std::collections::BTreeSet;

use crate::cli::repo::Repo;
use crate::daemon::message::{Failure, Kind, Reached};
use crate::git::command::GitError;
use crate::git::reach;

/// The refs of a remote may move while they are fetched.
const ROUNDS: usize = 3;
/// Refs that one command names.
const AT_ONCE: usize = 500;

/// Asks the remote for its refs now, and has what they name fetched if `fetching`. None where it is not here
/// and not fetched.
pub fn reached(repo: &Repo, remote: &str, fetching: bool) -> Result<Option<Reached>, Failure> {
    let mut tips = BTreeSet::new();
    for url in urls(repo, remote) {
        let Some(there) = tips_of(repo, remote, &url, fetching)? else { return Ok(None) };
        tips.extend(there);
    }
    tips.extend(own(repo));
    Ok(Some(Reached { repo: absolute(repo)?, tips: tips.into_iter().collect() }))
}

/// All places that the remote stands for: refs are read from one and pushed to another where the user says so.
fn urls(repo: &Repo, remote: &str) -> BTreeSet<String> {
    let ask = |push: &[&str]| {
        let told = repo.git.run(&[&["remote", "get-url", "--all"], push, &["--", remote]].concat());
        told.unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let found: BTreeSet<_> = ask(&[]).into_iter().chain(ask(&["--push"])).collect();
    // A name that git does not know is a path or a URL itself.
    if found.is_empty() { BTreeSet::from([remote.to_owned()]) } else { found }
}

/// What the refs at a URL name.
///
/// Nothing in this repository changes but its objects: no ref, no FETCH_HEAD.
fn tips_of(
    repo: &Repo,
    remote: &str,
    url: &str,
    fetching: bool,
) -> Result<Option<BTreeSet<String>>, Failure> {
    for _ in 0..ROUNDS {
        let refs = listed(repo, remote, url)?;
        let tips: BTreeSet<String> = refs.iter().map(|(tip, _)| tip.clone()).collect();
        let missing = reach::missing(&repo.git_dir, &tips.iter().cloned().collect::<Vec<_>>());
        let missing = missing.map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        if missing.is_empty() {
            return Ok(Some(tips));
        }
        if !fetching {
            return Ok(None);
        }
        let names: Vec<_> =
            refs.iter().filter(|(tip, _)| missing.contains(tip)).map(|(_, name)| name).collect();
        for names in names.chunks(AT_ONCE) {
            let mut command = vec!["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"];
            command.extend(["--no-auto-maintenance", "--no-recurse-submodules", "--", url]);
            command.extend(names.iter().map(|name| name.as_str()));
            repo.git.run(&command).map_err(|error| unreadable(remote, &error))?;
        }
    }
    Err(Failure::new(Kind::Remote, format!("the refs of {remote} move faster than they are fetched"))
        .fix("try again when less is pushed"))
}

/// Tips and names of the refs at a URL.
fn listed(repo: &Repo, remote: &str, url: &str) -> Result<Vec<(String, String)>, Failure> {
    let told =
        repo.git.run(&["ls-remote", "--quiet", "--", url]).map_err(|error| unreadable(remote, &error))?;
    let lines = told.lines().filter_map(|line| line.split_once('\t'));
    // What a tag points to comes with the tag.
    let refs = lines.filter(|(_, name)| !name.ends_with("^{}"));
    Ok(refs.map(|(tip, name)| (tip.to_owned(), name.to_owned())).collect())
}

fn unreadable(remote: &str, error: &GitError) -> Failure {
    Failure::new(Kind::Remote, format!("the refs of {remote} can't be read: {error}"))
        .fix(format!("see that this works: git ls-remote {remote}"))
}

/// What this repository names itself: refs, stashes, and the heads of its work trees. A file that was pushed and
/// is only in a branch here would be lost, once git sparse prune took git-lfs' copy.
fn own(repo: &Repo) -> BTreeSet<String> {
    let ask = |command: &[&str]| repo.git.run(command).unwrap_or_default();
    let refs = ask(&["for-each-ref", "--format=%(objectname)"]);
    let stashes = ask(&["stash", "list", "--format=%H"]);
    let trees = ask(&["worktree", "list", "--porcelain"]);
    let heads = trees.lines().filter_map(|line| line.strip_prefix("HEAD "));
    let named = refs.lines().chain(stashes.lines()).chain(heads);
    named.filter(|tip| !tip.is_empty() && tip.bytes().any(|digit| digit != b'0')).map(str::to_owned).collect()
}

fn absolute(repo: &Repo) -> Result<std::path::PathBuf, Failure> {
    let at =
        |error: std::io::Error| Failure::new(Kind::Fatal, format!("{}: {error}", repo.git_dir.display()));
    repo.git_dir.canonicalize().map_err(at)
}
