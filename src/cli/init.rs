//! `git sparse init`: what a repository needs to use the store.

use std::fs;
use std::path::Path;

use clap::Args;

use super::report::{count, say};
use crate::daemon::message::{Failure, Kind};
use crate::git::command::Git;
use crate::locator::{self, Locator};

/// Prepare this repository: .lfsconfig names the store, .gitattributes the files
#[derive(Debug, Args)]
pub struct Init {
    /// Where the large files go: sparse::origin (beside the git remote), sparse::file:///PATH,
    /// sparse::s3://BUCKET/PREFIX (or gs://, az://)
    /// [default: what .lfsconfig says already, or sparse::origin]
    #[arg(long, value_name = "LOCATOR")]
    store: Option<String>,
    /// Name the store in this clone's configuration and not in .lfsconfig: people without git sparse can then clone the
    /// repository from an ssh host that has git-lfs-transfer
    #[arg(long, conflicts_with = "allow_pointers")]
    local: bool,
    /// Let clones without git sparse check out pointers; also hides real download errors
    #[arg(long)]
    allow_pointers: bool,
    /// Track these tables, too, as '*.csv': git alone keeps CSV and TSV, which many want to read as text. Changes nothing but
    /// .gitattributes and what git diff and git merge run in this clone
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["store", "local", "allow_pointers"])]
    track: Vec<String>,
}

/// Files of models and data sets, as people name them.
const MODELS: [&str; 11] = [
    "*.safetensors",
    "*.gguf",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.npy",
    "*.npz",
    "*.onnx",
    "*.h5",
    "*.msgpack",
];
/// Tables that nobody reads as text, or that are large as a rule.
const TABLES: [&str; 16] = [
    "*.parquet",
    "*.pq",
    "*.arrow",
    "*.arrows",
    "*.feather",
    "*.ipc",
    "*.jsonl",
    "*.jsonl.gz",
    "*.jsonl.zst",
    "*.ndjson",
    "*.ndjson.gz",
    "*.ndjson.zst",
    "*.csv.gz",
    "*.csv.zst",
    "*.tsv.gz",
    "*.tsv.zst",
];
const OTHERS: [&str; 1] = ["*.tar"];
const ATTRIBUTES: &str = "filter=lfs diff=sparse merge=lfs -text";
/// Tables are merged by rows and cells.
const TABLE_ATTRIBUTES: &str = "filter=lfs diff=sparse merge=sparse -text";
/// What `git diff` runs to show a model or a table; kept in this clone's configuration, never in the repository.
pub const TEXTCONV: [(&str, &str); 2] =
    [("diff.sparse.textconv", "git sparse textconv"), ("diff.sparse.cachetextconv", "true")];
/// What `git merge` runs to merge a table.
pub const MERGE: [(&str, &str); 2] = [
    ("merge.sparse.name", "rows and cells of tables"),
    ("merge.sparse.driver", "git sparse dataset merge-driver %O %A %B %P"),
];

impl Init {
    pub fn run(self) -> Result<(), Failure> {
        let git = Git::at(".");
        let top = git.top().map_err(|_| {
            Failure::new(Kind::Fatal, "this is not a git repository with a work tree").fix("git init")
        })?;
        if !self.track.is_empty() {
            return track(&git, &top, &self.track);
        }
        let of_all = git.lfsconfig().get("lfs.url").map(str::to_owned).filter(|_| self.store.is_none());
        let own = || git.run(&["config", "--local", "--get", "lfs.url"]).ok();
        let present = if self.local { own().filter(|_| self.store.is_none()) } else { of_all };
        let asked = self.store.is_some() || self.local;
        let server = server_of(&git).filter(|_| !asked && present.is_none());
        let locator = self.store.or(present.clone()).unwrap_or_else(|| Locator::Origin.to_string());
        let locator =
            Locator::parse(&locator).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
        let is_new = present.is_none() || self.allow_pointers;
        match present {
            None if server.is_some() => say(&format!(
                ".lfsconfig: no lfs.url is needed, since {} is a server: a hub moves only what changed for whoever has \
                 git sparse, and whole files for others",
                server.unwrap_or_default()
            )),
            Some(url) => {
                let place = if self.local { "this clone" } else { ".lfsconfig" };
                say(&format!("{place}: lfs.url = {url}, as it was; --store changes it"));
            }
            None if self.local => set_locally(&git, &locator)?,
            None => set(&git, &top, "lfs.url", &locator.to_string())?,
        }
        if self.allow_pointers {
            set(&git, &top, "lfs.skipdownloaderrors", "true")?;
        }
        show_models_in_diffs(&git)?;
        say("git diff shows what changed in a model or table (diff.sparse.textconv, in this clone)");
        say("git merge merges tables by rows and cells (merge.sparse.driver, in this clone)");
        let added = add_patterns(&top.join(".gitattributes"))?;
        match added {
            0 => say(".gitattributes: it has the patterns of model and data files"),
            added => {
                say(&format!(".gitattributes: {} added for model and data files", count(added, "pattern")))
            }
        }
        if !self.local && !locator::is_trusted(&git, &locator) {
            say(&format!("next, here and wherever this is cloned: git sparse trust {locator}"));
        }
        if is_new && !self.local || added > 0 {
            let has_config = !self.local && top.join(".lfsconfig").exists();
            let files = if has_config { ".lfsconfig .gitattributes" } else { ".gitattributes" };
            say(&format!("next: git add {files}, then your files; git push sends what changed"));
        }
        Ok(())
    }
}

/// The address of the remote, if it is on the web.
fn server_of(git: &Git) -> Option<String> {
    let remotes = git.run(&["remote"]).ok()?;
    let url = locator::remote_url(git, remotes.lines().next()?, true);
    locator::lfs_url_of(&url).map(|_| url)
}

/// Has `git diff` show models and tables as text and `git merge` merge tables, in this clone.
pub fn show_models_in_diffs(git: &Git) -> Result<(), Failure> {
    TEXTCONV.iter().chain(&MERGE).try_for_each(|(key, value)| {
        let done = git.run(&["config", "--local", key, value]);
        done.map(drop).map_err(|error| Failure::new(Kind::Fatal, error.to_string()))
    })
}

/// Has git-lfs take these tables, and git show and merge them as such.
fn track(git: &Git, top: &Path, patterns: &[String]) -> Result<(), Failure> {
    if let Some(bad) =
        patterns.iter().find(|pattern| pattern.is_empty() || pattern.contains(['"', '\n', '#', '!']))
    {
        return Err(Failure::new(Kind::Usage, format!("{bad:?} is no pattern of .gitattributes here"))
            .fix("name files as in --track '*.csv' or --track data/train.csv"));
    }
    show_models_in_diffs(git)?;
    // As git-lfs writes it: a space would end the pattern.
    let escaped: Vec<String> = patterns.iter().map(|pattern| pattern.replace(' ', "[[:space:]]")).collect();
    let lines: Vec<_> = escaped.iter().map(|pattern| (pattern.as_str(), TABLE_ATTRIBUTES)).collect();
    let is_tracked =
        |line: &str| ["filter=lfs", "diff=sparse", "merge=sparse"].iter().all(|part| line.contains(part));
    match add_lines(&top.join(".gitattributes"), &lines, is_tracked)? {
        0 => say(".gitattributes: it has these patterns"),
        added => {
            say(&format!(".gitattributes: {} added", count(added, "pattern")));
            say("next: git add .gitattributes, then your files");
        }
    }
    Ok(())
}

fn set_locally(git: &Git, locator: &Locator) -> Result<(), Failure> {
    git.run(&["config", "--local", "lfs.url", &locator.to_string()])
        .map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    say(&format!("this clone: lfs.url = {locator}"));
    Ok(())
}

fn set(git: &Git, top: &Path, key: &str, value: &str) -> Result<(), Failure> {
    let file = top.join(".lfsconfig");
    let text =
        file.to_str().ok_or_else(|| Failure::new(Kind::Usage, "the repository's path is not UTF-8"))?;
    git.run(&["config", "-f", text, key, value])
        .map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
    say(&format!(".lfsconfig: {key} = {value}"));
    Ok(())
}

/// Appends the patterns that are missing; what the user wrote stays as it is.
fn add_patterns(path: &Path) -> Result<usize, Failure> {
    let of = |patterns: &[&'static str], attributes| -> Vec<_> {
        patterns.iter().map(|pattern| (*pattern, attributes)).collect()
    };
    let all = [of(&MODELS, ATTRIBUTES), of(&TABLES, TABLE_ATTRIBUTES), of(&OTHERS, ATTRIBUTES)].concat();
    // A line that names a key and no filter is not about who keeps the file.
    add_lines(path, &all, |line| line.contains("filter"))
}

/// Appends the lines whose pattern has none yet that will do.
fn add_lines(path: &Path, lines: &[(&str, &str)], will_do: impl Fn(&str) -> bool) -> Result<usize, Failure> {
    let failed = |error: std::io::Error| Failure::new(Kind::Fatal, format!("{}: {error}", path.display()));
    let mut text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        found => found.map_err(failed)?,
    };
    let of = |line: &&str, pattern| line.split_whitespace().next() == Some(pattern);
    let has = |pattern| text.lines().filter(|line| of(line, pattern)).any(&will_do);
    let missing: Vec<_> = lines.iter().filter(|(pattern, _)| !has(pattern)).collect();
    if missing.is_empty() {
        return Ok(0);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    missing.iter().for_each(|(pattern, attributes)| text.push_str(&format!("{pattern} {attributes}\n")));
    fs::write(path, text).map_err(failed)?;
    Ok(missing.len())
}
