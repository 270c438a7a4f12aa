//! What a migration leaves behind, in words and in JSON.

use serde::Serialize;

use super::lfs::Absence;
use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::git::Appearance;
use crate::id::Oid;

/// A file that did not get there.
#[derive(Debug, Serialize)]
pub struct Missing {
    pub oid: Oid,
    pub size: u64,
    pub path: String,
    /// The commit that brought it.
    pub commit: String,
    /// Whether the side that should have it says that it has not.
    pub lost: bool,
    pub why: String,
}

impl Missing {
    pub fn new(file: &Appearance, absence: Absence, why: impl Into<String>) -> Missing {
        Missing {
            oid: file.pointer.oid,
            size: file.pointer.size,
            path: file.path.clone(),
            commit: file.commit.clone(),
            lost: absence == Absence::Lost,
            why: why.into(),
        }
    }
}

/// A line for each.
pub fn list(missing: &[Missing]) {
    for file in missing {
        let word = if file.lost { "lost" } else { "FAIL" };
        let size = report::bytes(file.size);
        report::say(&format!("{word}  {} ({size}) of commit {:.12}: {}", file.path, file.commit, file.oid));
        report::say(&format!("      {}", file.why));
    }
}

/// How it ends with these missing: `allow` takes what is lost, nothing takes what failed.
pub fn verdict(missing: &[Missing], of: usize, allow: bool, lost_fix: &str) -> Result<(), Failure> {
    let failed = missing.iter().filter(|file| !file.lost).count();
    let (missing, of) = (missing.len(), report::count(of, "file"));
    if failed > 0 {
        let told = format!("{missing} of {of} did not get there; all others did");
        return Err(Failure::new(Kind::Remote, told).fix("run it again: only these are left"));
    }
    if missing > 0 && !allow {
        let told = format!("{missing} of {of} are lost where they were; all others got there");
        return Err(Failure::new(Kind::NotFound, told).fix(lost_fix));
    }
    Ok(())
}
