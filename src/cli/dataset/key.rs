//! The key of a table: columns that tell which row is which, as `.gitattributes` says.

use crate::cli::repo::Repo;
use crate::daemon::message::{Failure, Kind};

/// `*.parquet sparse-key=id`, or of several columns `sparse-key=year,month`.
pub const ATTRIBUTE: &str = "sparse-key";

/// The columns that the attribute of a path names; none where it has none.
pub fn of(path: Option<&str>) -> Result<Vec<String>, Failure> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let Ok(repo) = Repo::here() else { return Ok(Vec::new()) };
    let Some(value) = attribute(&repo, ATTRIBUTE, path)? else { return Ok(Vec::new()) };
    Ok(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// What `.gitattributes` says of a path, counted from the top.
pub fn attribute(repo: &Repo, name: &str, path: &str) -> Result<Option<String>, Failure> {
    let failed = |error: crate::git::command::GitError| Failure::new(Kind::Fatal, error.to_string());
    // A path from the top, wherever the user stands.
    let top = repo.git.top().map_err(failed)?;
    let git = crate::git::command::Git::at(top);
    let told = git.run(&["check-attr", "-z", name, "--", path]).map_err(failed)?;
    let value = told.split('\0').nth(2).unwrap_or("unspecified");
    Ok((!matches!(value, "unspecified" | "unset" | "set")).then(|| value.to_owned()))
}
