//! `git sparse verify`: rebuild files and compare their hashes.

use clap::Args;

use super::repo::{self, Repo};
use super::{report, watch};
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::daemon::words;

/// Rebuild the files of a revision, or one file, and compare their SHA-256
#[derive(Debug, Args)]
pub struct Verify {
    /// REV, REV:PATH, PATH (at HEAD), or a file's SHA-256
    #[arg(default_value = "HEAD")]
    what: String,
    /// Print one JSON document (schema git-sparse/verify/1)
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(self) -> Result<(), Failure> {
        let places = match self.what.parse::<crate::id::Oid>() {
            Ok(_) => vec![repo::file(&self.what)?],
            Err(_) => Repo::here()?.find(&self.what)?,
        };
        let oids = places.iter().map(|place| place.pointer.oid).collect();
        let Reply::Verified { files } = watch::call(&Request::Verify { oids })? else {
            return Err(super::unexpected());
        };
        let bad = files.iter().filter(|file| file.failure.is_some()).count();
        if self.json {
            report::json("verify", serde_json::json!({ "files": files, "damaged": bad }));
        } else {
            for (place, file) in places.iter().zip(&files) {
                let word = file.failure.as_ref().map_or("ok".into(), |failure| format!("FAIL: {failure}"));
                report::say(&format!(
                    "{}  {word}",
                    if place.path.is_empty() { &self.what } else { &place.path }
                ));
            }
        }
        let failures = || files.iter().filter_map(|file| file.failure.as_ref());
        let told = format!("{bad} of {} did not come back", report::count(files.len(), "file"));
        if bad == 0 {
            Ok(())
        } else if failures().all(|failure| failure.kind == Kind::NotFound) {
            Err(Failure::new(Kind::NotFound, told).fix(words::FETCH))
        } else {
            Err(Failure::new(Kind::Corrupt, told).fix("git sparse fsck --repair"))
        }
    }
}
