//! `git sparse status`: the large files of HEAD, what they cost, and where they are.

use clap::Args;
use serde::Serialize;

use super::repo::{Place, Repo};
use super::{report, watch};
use crate::daemon::message::{Failure, FileAnswer, Reply, Request};

/// The large files of HEAD: what they cost, and whether store and remote have them
#[derive(Debug, Args)]
pub struct Status {
    /// Print one JSON document (schema git-sparse/status/1)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    path: String,
    oid: crate::id::Oid,
    size: u64,
    /// Bytes that the file added to the store; none when it isn't there.
    stored: Option<u64>,
    /// Bytes that it has in common with its base.
    shared: Option<u64>,
    depth: Option<u8>,
    /// Whether the remote has it; none when there is no remote to ask.
    remote: Option<bool>,
}

impl Status {
    pub fn run(self) -> Result<(), Failure> {
        let repo = Repo::here()?;
        let places = if repo.git.run(&["rev-parse", "--verify", "-q", "HEAD"]).is_ok() {
            repo.files("HEAD")?
        } else {
            Vec::new()
        };
        let lines = lines(&repo, &places)?;
        if self.json {
            report::json("status", serde_json::json!({ "files": lines }));
            return Ok(());
        }
        if lines.is_empty() {
            report::say("no large files in HEAD; git sparse init, git add, git commit");
            return Ok(());
        }
        let rows = lines.iter().map(|line| {
            vec![
                line.path.clone(),
                report::bytes(line.size),
                line.stored.map_or("-".into(), report::bytes),
                line.shared.map_or("-".into(), report::bytes),
                line.stored.map_or("-".into(), |stored| report::share(stored, line.size)),
                line.depth.map_or("-".into(), |depth| depth.to_string()),
                line.remote.map_or("?", |there| if there { "yes" } else { "no" }).to_owned(),
            ]
        });
        report::table(&["file", ">size", ">stored", ">shared", ">ratio", ">depth", "on remote"], rows);
        let waiting = lines.iter().filter(|line| line.remote == Some(false)).count();
        if waiting > 0 {
            let waiting = report::count(waiting, "file");
            report::say(&format!("{waiting} not on the remote yet; git push sends what it lacks"));
        }
        Ok(())
    }
}

fn lines(repo: &Repo, places: &[Place]) -> Result<Vec<Line>, Failure> {
    let oids: Vec<_> = places.iter().map(|place| place.pointer.oid).collect();
    let Reply::Files { files, .. } = watch::call(&Request::Files { oids: oids.clone() })? else {
        return Err(super::unexpected());
    };
    let remote = repo.remote(&repo.default_remote(), false).ok();
    let has = remote.and_then(|remote| match watch::call(&Request::RemoteHas { oids, remote }) {
        Ok(Reply::RemoteHas { has }) => Some(has),
        _ => None,
    });
    let line = |(index, (place, file)): (usize, (&Place, FileAnswer))| {
        let cost = if let FileAnswer::Stored(cost) = file { Some(cost) } else { None };
        Line {
            path: place.path.clone(),
            oid: place.pointer.oid,
            size: place.pointer.size,
            stored: cost.as_ref().map(|cost| cost.stored),
            shared: cost.as_ref().map(|cost| cost.shared),
            depth: cost.as_ref().map(|cost| cost.depth),
            remote: has.as_ref().map(|has| has[index]),
        }
    };
    Ok(places.iter().zip(files).enumerate().map(line).collect())
}
