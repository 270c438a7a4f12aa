//! Whether the store that a repository names can be used: reached, understood, read and written.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::{Check, State};
use crate::backend::{Backend, Local, Name, Privacy, bucket};
use crate::cli::repo::Repo;
use crate::daemon::message::RemotePlace;
use crate::daemon::{cloud, reach, words};
use crate::locator::{self, LocatorError, Place};
use crate::peer::{self, Line};
use crate::progress::unwatched;
use crate::store;

/// How a store is, in words, and what to do about it. Never a command that `--fix` would run: whom to
/// trust and where to write is for people to say.
type Finding = (State, String, String);

/// What can be said without changing anything there.
pub fn check(repo: &Repo) -> Check {
    let name = repo.default_remote();
    let (state, found, advice) = match locator::resolve(&repo.git, &name, false) {
        Ok(Place::Directory(dir)) => {
            let (state, found, advice) = store_at(&dir);
            (state, format!("{name}: {}{found}", dir.display()), advice)
        }
        Ok(place) => match reach::store(&repo.git, place) {
            Ok(place) => answering(&name, &place),
            Err(failure) => {
                (State::Fail, format!("{name}: {}", failure.message), failure.fix.unwrap_or_default())
            }
        },
        Err(error) if error.is_no_locator() => match reach::find(&repo.git, &name, false) {
            Ok(place) => answering(&name, &place),
            Err(_) => nowhere(&error),
        },
        Err(error) => nowhere(&error),
    };
    super::check("remote", state, found, None).advise(&advice)
}

/// Whether a hub lets us in.
fn answering(name: &str, place: &RemotePlace) -> Finding {
    let RemotePlace::Hub(hub) = place else {
        // Nothing is written that would need a place.
        let files = cloud::files(place, Path::new(""));
        let (state, found, advice) = bucket_at(&*files.expect("because all but a hub are storage"));
        return (state, format!("{name}: {}{found}", place.name()), advice);
    };
    let greeted = Line::to(hub).and_then(|line| peer::greet(&line, &unwatched));
    match greeted {
        Ok(()) => (State::Ok, format!("{name}: {}", hub.name()), String::new()),
        Err(error) => {
            let failure = words::line(&error);
            (State::Fail, format!("{name}: {}", failure.message), failure.fix.unwrap_or_default())
        }
    }
}

fn nowhere(error: &LocatorError) -> Finding {
    let failure = words::locator(error);
    let advice = failure.fix.unwrap_or_default();
    match error {
        LocatorError::Malformed(url) if !url.starts_with("sparse::") => {
            (State::Ok, format!("{url}: not a store of git sparse, left to git-lfs"), String::new())
        }
        // Not set up yet is no failure.
        LocatorError::Unset | LocatorError::NoRemote(_) => (State::Warn, failure.message, advice),
        _ => (State::Fail, failure.message, advice),
    }
}

fn store_at(dir: &Path) -> Finding {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => present(dir),
        Ok(_) => {
            fail(": not a directory", "take that file away, or name another place: git sparse init --store")
        }
        Err(error) if error.kind() == ErrorKind::NotFound => absent(dir),
        Err(error) => fail(&format!(": {error}"), "give yourself the right to look there"),
    }
}

/// What a bucket says when it is asked for one file.
fn bucket_at(backend: &dyn Backend) -> Finding {
    let checking = "git sparse remote check tries whether you may push there";
    match backend.tail(Name::Config, 200) {
        Ok(None) => (State::Ok, ", nothing pushed yet".into(), checking.into()),
        Ok(Some(config)) if config.bytes.ends_with(b"\n") => match store::check_config(backend) {
            Ok(()) => (State::Ok, String::new(), checking.into()),
            Err(error) => {
                let failure = words::store(&error);
                fail(&format!(": {}", failure.message), &failure.fix.unwrap_or_default())
            }
        },
        Ok(Some(_)) => (State::Ok, String::new(), checking.into()),
        Err(error) => fail(&format!(": {error}"), bucket::fix_of(&error).unwrap_or_default()),
    }
}

/// A store is made by the first push, with all directories above it.
fn absent(dir: &Path) -> Finding {
    let above = dir.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(dir);
    if !above.is_dir() || !may(above, Access::WRITE_OK | Access::EXEC_OK) {
        let found = format!(": nothing is there, and you may not write to {}", above.display());
        return fail(&found, "give yourself the right to, or name another place: git sparse init --store");
    }
    if Some(above) == dir.parent() {
        return (State::Ok, ", nothing pushed yet".into(), String::new());
    }
    let found = format!(": nothing is there, and of the directories above only {}", above.display());
    (State::Warn, found, "if it should be there, mount it; if not, the first push makes it".into())
}

fn present(dir: &Path) -> Finding {
    let folders =
        || ["", "packs", "recipes", "tmp"].map(|name| dir.join(name)).into_iter().filter(|dir| dir.exists());
    let closed = |wanted| folders().find(|dir| !may(dir, wanted));
    if let Some(folder) = closed(Access::READ_OK | Access::EXEC_OK) {
        return fail(&format!(": you may not read {}", folder.display()), "give yourself the right to");
    }
    if let Some(failure) = unreadable_format(dir) {
        return failure;
    }
    match closed(Access::WRITE_OK) {
        Some(folder) => {
            let found = format!(": you may not write to {}", folder.display());
            (State::Warn, found, "clones and pulls work, a push would not".into())
        }
        None => (State::Ok, String::new(), String::new()),
    }
}

/// A store of another format version, or a directory of somebody else.
fn unreadable_format(dir: &Path) -> Option<Finding> {
    let config: PathBuf = dir.join("config");
    let text = match fs::read(&config) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(fail(&format!(": config: {error}"), "give yourself the right to read it")),
        Ok(text) => text,
    };
    // One that was torn before its line end is written again by the next push; what is whole is only read.
    if !text.ends_with(b"\n") {
        return None;
    }
    let failure = words::store(&store::check_config(&Local::new(dir, Privacy::Shared)).err()?);
    Some(fail(&format!(": {}", failure.message), &failure.fix.unwrap_or_default()))
}

fn may(path: &Path, access: Access) -> bool {
    rustix::fs::access(path, access).is_ok()
}

fn fail(found: &str, advice: &str) -> Finding {
    (State::Fail, found.into(), advice.into())
}
