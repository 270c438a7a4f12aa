//! What there is to move, and whether this clone can tell.

use std::collections::BTreeSet;

use crate::cli::repo::Repo;
use crate::cli::report;
use crate::daemon::message::{Failure, Kind, RemotePlace};
use crate::daemon::{reach, words};
use crate::git::appearance::{self, Appearance};
use crate::locator::{self, Locator, LocatorError};

/// Refs that a message names.
const MOST_NAMED: usize = 5;
/// The name that git and git-lfs give to nothing: no server is asked for it.
const EMPTY_FILE: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A repository, and all large files that it ever had.
pub struct Survey {
    pub repo: Repo,
    /// The git remote that counts.
    pub remote: String,
    /// Oldest first; an earlier version at a path before a later one.
    pub files: Vec<Appearance>,
    pub size: u64,
}

impl Survey {
    /// Lists them, or says why this clone can't.
    pub fn of(remote: Option<String>) -> Result<Survey, Failure> {
        let repo = Repo::here()?;
        crate::cli::doctor::set_up(&repo.git)?;
        let remote = remote.unwrap_or_else(|| repo.default_remote());
        refuse_partial(&repo, &remote)?;
        let also = refs_there(&repo, &remote)?;
        let files = appearance::all(&repo.git_dir, &also).map_err(|error| {
            Failure::new(Kind::Corrupt, error.to_string())
                .fix("git fsck tells what is missing; git fetch may bring it")
        })?;
        let files: Vec<_> =
            files.into_iter().filter(|file| file.pointer.oid.to_string() != EMPTY_FILE).collect();
        if files.is_empty() {
            let told = "nothing to migrate: no branch and no tag has a file in Git LFS";
            return Err(
                Failure::new(Kind::NotFound, told).fix("to begin with git sparse here: git sparse init")
            );
        }
        let size = bytes(&files.iter().collect::<Vec<_>>());
        Ok(Survey { repo, remote, files, size })
    }

    /// The store or hub that the user names: what `lfs.url` says for it, and where it is.
    pub fn store_named(&self, text: &str, pushing: bool) -> Result<(String, RemotePlace), Failure> {
        let git = &self.repo.git;
        if text.starts_with("https://") || text.starts_with("http://") {
            let url = text.trim_end_matches('/');
            refuse_password(url)?;
            let none = || {
                Failure::new(Kind::Remote, format!("{url} is no hub of git sparse"))
                    .fix("name its LFS address, https://HOST/ORG/NAME.git/info/lfs; is git sparse serve running there?")
            };
            return Ok((url.into(), reach::hub(git, url)?.ok_or_else(none)?));
        }
        let locator = Locator::parse(text).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
        let elsewhere = "name a directory, or the LFS URL of a hub: --store sparse::file:///PATH";
        let place = locator::resolve_named(git, &locator, &self.remote, pushing);
        let place = place.map_err(|error| match error {
            LocatorError::NotLocal { .. } => words::locator(&error).fix(elsewhere),
            error => words::locator(&error),
        })?;
        let is_web = matches!(place, locator::Place::Web(_));
        let place = reach::store(git, place);
        let place = place.map_err(|failure| match failure.kind {
            // The old server is no hub: that is why its files are to move.
            Kind::NotFound if is_web => failure.fix(elsewhere),
            _ => failure,
        })?;
        Ok((locator.to_string(), place))
    }

    /// `14 files, 27.0 MiB`.
    pub fn words(files: &[&Appearance]) -> String {
        format!("{}, {}", report::count(files.len(), "file"), report::bytes(bytes(files)))
    }
}

/// What `.lfsconfig` would publish.
pub fn refuse_password(url: &str) -> Result<(), Failure> {
    let host = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    if !host.contains('@') {
        return Ok(());
    }
    let told = "the URL has a user name or a password, and .lfsconfig would publish it";
    Err(Failure::new(Kind::Usage, told).fix("leave it out: git-lfs asks git credential"))
}

/// What files weigh together; pointers may lie.
pub fn bytes(files: &[&Appearance]) -> u64 {
    files.iter().fold(0, |sum, file| sum.saturating_add(file.pointer.size))
}

/// A clone that has only a part of the history would leave the rest behind, and nobody would notice.
fn refuse_partial(repo: &Repo, remote: &str) -> Result<(), Failure> {
    if repo.git.run(&["rev-parse", "--is-shallow-repository"]).is_ok_and(|told| told == "true") {
        return Err(Failure::new(
            Kind::Refused,
            "this is a shallow clone: it does not have the whole history",
        )
        .fix(format!("git fetch --unshallow {remote}")));
    }
    let promised =
        repo.git.run(&["config", "--get-regexp", r"^(remote\..*\.promisor|extensions\.partialclone)$"]);
    if promised.is_ok() {
        return Err(Failure::new(
            Kind::Refused,
            "this is a partial clone: it does not have all objects of git",
        )
        .fix("clone it once more without --filter, and migrate there"));
    }
    Ok(())
}

/// What the remote's branches and tags point to; refused where this clone lacks some of it.
fn refs_there(repo: &Repo, remote: &str) -> Result<Vec<String>, Failure> {
    if repo.git.run(&["remote", "get-url", "--", remote]).is_err() {
        return Ok(Vec::new());
    }
    let listed = match repo.git.run(&["ls-remote", "--heads", "--tags", "--", remote]) {
        Ok(listed) => listed,
        Err(error) => {
            report::note(&format!(
                "whether {remote} has branches that this clone lacks can't be asked: {error}"
            ));
            return Ok(Vec::new());
        }
    };
    let refs: Vec<_> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
    let ids: BTreeSet<String> = refs.iter().map(|(id, _)| (*id).to_owned()).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let lacking = appearance::lacking(&repo.git_dir, &ids)
        .map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    if lacking.is_empty() {
        return Ok(ids);
    }
    let names: Vec<_> =
        refs.iter().filter(|(id, _)| lacking.iter().any(|l| l == id)).map(|(_, name)| *name).collect();
    let more = names.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named = names[..names.len().min(MOST_NAMED)].join(", ");
    let told = format!("{remote} has what this clone lacks: {named}{more}");
    let heads =
        if repo.git.top().is_ok() { format!("refs/remotes/{remote}/*") } else { "refs/heads/*".into() };
    Err(Failure::new(Kind::Refused, told).fix(format!("git fetch --tags {remote} '+refs/heads/*:{heads}'")))
}
