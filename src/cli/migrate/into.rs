//! `git sparse migrate in`: the files of all revisions, oldest first, from git-lfs into the store and its remote.

use std::collections::BTreeSet;

use clap::Args;

use super::depot::{self, Depot};
use super::inward::{self, Inward};
use super::lfs::Absence;
use super::survey::{self, Survey};
use super::told::{self, Missing};
use super::{batch, settle};
use crate::cli::watch::Bar;
use crate::cli::{doctor, init, interrupt, report, unexpected, watch};
use crate::daemon::client::Client;
use crate::daemon::message::{Failure, Kind, RemotePlace, Reply, Request};
use crate::daemon::place::Place;
use crate::git::Appearance;
use crate::id::Oid;
use crate::locator::{self, Locator};

/// Store the Git LFS files of all branches and tags with git sparse, each verified; history stays as it is
#[derive(Debug, Args)]
pub struct In {
    /// The git remote whose LFS server has the files, and beside which sparse::origin is
    /// [default: the one a push would use]
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
    /// Where they go: sparse::origin (beside the git remote), sparse::file:///PATH, or the LFS URL of a hub
    /// [default: what lfs.url says, if it is a store, or sparse::origin]
    #[arg(long, value_name = "LOCATOR")]
    store: Option<String>,
    /// The LFS server that they are on [default: the one that git-lfs uses here]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Most bytes of fetched files that are kept at once [default: 4 GiB, or a quarter of the free space]
    #[arg(long, value_name = "BYTES")]
    batch_bytes: Option<u64>,
    /// Keep what is fetched in .git/lfs/objects
    #[arg(long)]
    keep: bool,
    /// Go over to the store even if the server lost files
    #[arg(long)]
    allow_missing: bool,
    /// Say what there is to do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document (schema git-sparse/migrate-in/1)
    #[arg(long)]
    json: bool,
}

impl In {
    pub fn run(self) -> Result<(), Failure> {
        interrupt::flag();
        let survey = Survey::of(self.remote.clone())?;
        let git = &survey.repo.git;
        let (url, remote) = self.target(&survey)?;
        settle::refuse_changed(git, Some(&url))?;
        let depot = Depot::open(&survey.repo)?;
        let mut client = Client::connect(&Place::from_environment()?)?;
        let plan = Plan::of(&survey, &depot, &mut client, &remote)?;
        self.refuse_unknown_server(&survey, &url, &plan.away)?;
        if self.dry_run || !self.json {
            self.tell_plan(&survey, &depot, &url, &plan);
        }
        if self.dry_run {
            return Ok(());
        }
        let mut work = Inward {
            survey: &survey,
            depot: &depot,
            client,
            remote,
            settings: self.settings(&survey),
            bar: Bar::of("migrating", survey::bytes(&plan.todo)),
            fetched: BTreeSet::new(),
            done: BTreeSet::new(),
            batch_bytes: self.batch_bytes,
            keep: self.keep,
            missing: Vec::new(),
            moved: 0,
            sent: 0,
        };
        work.adopt(&plan.present)?;
        let done = work.all(&plan.todo);
        work.bar.clear();
        done?;
        self.finish(work, &url, plan.present.len())
    }

    /// What `lfs.url` will say, and where that is.
    fn target(&self, survey: &Survey) -> Result<(String, RemotePlace), Failure> {
        let git = &survey.repo.git;
        if let Some(text) = &self.store {
            return survey.store_named(text, true);
        }
        let in_use = locator::configured(git, &survey.remote, true).map(|(url, _)| url);
        match in_use.filter(|url| Locator::parse(url).is_ok()) {
            // What only the repository names has to be trusted.
            Some(url) => Ok((url, survey.repo.remote(&survey.remote, true)?)),
            None => survey.store_named(&Locator::Origin.to_string(), true),
        }
    }

    /// Once `lfs.url` names the store, git-lfs would look for what the store lacks in the store.
    fn refuse_unknown_server(&self, survey: &Survey, url: &str, away: &[&Appearance]) -> Result<(), Failure> {
        let in_use = locator::configured(&survey.repo.git, &survey.remote, false);
        if away.is_empty() || self.from.is_some() || in_use.is_none_or(|(in_use, _)| in_use != url) {
            return Ok(());
        }
        let told = format!(
            "{} are neither in the store nor here, and lfs.url names the store already",
            Survey::words(away)
        );
        Err(Failure::new(Kind::Usage, told)
            .fix("name the LFS server that has them: git sparse migrate in --from URL"))
    }

    fn settings(&self, survey: &Survey) -> Vec<String> {
        let keys = ["lfs.url".to_owned(), format!("remote.{}.lfsurl", survey.remote)];
        self.from.iter().flat_map(|url| keys.iter().map(move |key| format!("{key}={url}"))).collect()
    }

    fn tell_plan(&self, survey: &Survey, depot: &Depot, url: &str, plan: &Plan<'_>) {
        if self.json {
            let document = serde_json::json!({
                "dry_run": true, "store": url, "files": survey.files.len(), "size": survey.size,
                "present": plan.present.len(), "to_move": plan.todo.len(), "to_fetch_bytes": survey::bytes(&plan.away),
            });
            return report::json("migrate-in", document);
        }
        let all: Vec<_> = survey.files.iter().collect();
        report::say(&format!("in all branches and tags: {}", Survey::words(&all)));
        if !plan.present.is_empty() {
            report::say(&format!("  in {url} already: {}", report::count(plan.present.len(), "file")));
        }
        if !plan.here.is_empty() {
            report::say(&format!("  in .git/lfs/objects: {}", Survey::words(&plan.here)));
        }
        if !plan.away.is_empty() {
            let server = self.from.clone().unwrap_or_else(|| format!("the LFS server of {}", survey.remote));
            report::say(&format!("  to fetch from {server}: {}", Survey::words(&plan.away)));
            report::say(&format!("  {}", batch::words(self.batch_bytes, doctor::free_bytes(&depot.objects))));
        }
        if self.dry_run {
            if !plan.todo.is_empty() {
                let most = report::bytes(survey::bytes(&plan.todo));
                report::say(&format!("  to store, here and in {url}: at most {most} each, mostly far less"));
            }
            report::say("nothing was done: --dry-run");
        }
    }

    /// Asks the store once more for all, goes over to it, and says what is next.
    fn finish(&self, mut work: Inward<'_>, url: &str, present: usize) -> Result<(), Failure> {
        let survey = work.survey;
        let missing: BTreeSet<_> = work.missing.iter().map(|missing| missing.oid).collect();
        let there: Vec<_> =
            survey.files.iter().filter(|file| !missing.contains(&file.pointer.oid)).cloned().collect();
        let has = inward::has(&mut work.client, &there, &work.remote)?;
        for (file, _) in there.iter().zip(has).filter(|(_, has)| !has) {
            work.missing.push(Missing::new(
                file,
                Absence::Failed,
                format!("{url} does not have it after all"),
            ));
        }
        let oids = there.iter().map(|file| file.pointer.oid).collect();
        let Reply::Files { total, .. } = watch::call_with(&mut work.client, &Request::Files { oids }, "")?
        else {
            return Err(unexpected());
        };
        let whole = told::verdict(
            &work.missing,
            survey.files.len(),
            self.allow_missing,
            "put them into .git/lfs/objects, if another clone has them there, and run it again; or go on without them: \
             git sparse migrate in --allow-missing",
        );
        let git = &survey.repo.git;
        let (mut changes, mut next) = (Vec::new(), Vec::new());
        if whole.is_ok() {
            changes.extend(settle::point(git, Some(url))?);
            changes.extend(settle::attributes(git, true)?);
            init::show_models_in_diffs(git)?;
            next = self::next(survey, url);
        }
        // A store that was filled from another machine is not measured from here.
        let stored = (total.files == there.len() as u64).then_some(total.stored);
        if self.json {
            let document = serde_json::json!({
                "dry_run": false, "store": url, "files": survey.files.len(), "size": survey.size,
                "present": present, "moved": work.moved, "sent": work.sent, "stored": stored,
                "missing": work.missing, "changes": changes, "next": next,
            });
            report::json("migrate-in", document);
            return whole;
        }
        told::list(&work.missing);
        report::say(&match work.moved {
            0 => "nothing was left to move".to_owned(),
            moved => {
                format!("moved {}, each rebuilt and compared with its SHA-256", report::count(moved, "file"))
            }
        });
        if let Some(stored) = stored {
            let (files, size) = (report::count(total.files, "file"), report::bytes(total.size));
            let share = report::share(stored, total.size);
            report::say(&format!("in {url}: {files}, {size} in {} ({share})", report::bytes(stored)));
        }
        settle::tell(&changes);
        next.iter().for_each(|line| report::say(line));
        whole
    }
}

/// What there is to do.
struct Plan<'a> {
    /// In the store already.
    present: BTreeSet<Oid>,
    todo: Vec<&'a Appearance>,
    /// Of these, in `.git/lfs/objects`; and not.
    here: Vec<&'a Appearance>,
    away: Vec<&'a Appearance>,
}

impl<'a> Plan<'a> {
    fn of(
        survey: &'a Survey,
        depot: &Depot,
        client: &mut Client,
        remote: &RemotePlace,
    ) -> Result<Plan<'a>, Failure> {
        let has = inward::has(client, &survey.files, remote)?;
        let (present, todo): (Vec<_>, Vec<_>) = survey.files.iter().zip(has).partition(|(_, has)| *has);
        let todo: Vec<_> = todo.into_iter().map(|(file, _)| file).collect();
        let (here, away) = todo.iter().partition(|file| depot::is_there(&depot.objects, &file.pointer));
        Ok(Plan {
            present: present.into_iter().map(|(file, _)| file.pointer.oid).collect(),
            todo,
            here,
            away,
        })
    }
}

/// What is left to the user.
fn next(survey: &Survey, url: &str) -> Vec<String> {
    let git = &survey.repo.git;
    let steps = settle::next(git, Some(url), "Large files in git sparse");
    let mut next = Vec::new();
    if Locator::parse(url).is_ok_and(|locator| !locator::is_trusted(git, &locator)) {
        next.push(format!("next, here and wherever this is cloned: git sparse trust {url}"));
    }
    next.extend(steps);
    if git.top().is_err() {
        let prepared = format!("git config -f .lfsconfig lfs.url {url}");
        next.push(format!("next, in a clone with a work tree: {prepared}, git commit, git push"));
    }
    if !next.is_empty() {
        next.extend(settle::of_old_commits(url, "the old server"));
    }
    next
}
