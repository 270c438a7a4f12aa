//! `git sparse install` and `uninstall`: the four keys by which git-lfs finds the agent, and on an ssh host the links by
//! which it finds us there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::ssh_host::NAMES;
use crate::daemon::message::{Failure, Kind};
use crate::git::command::Git;

/// Register the transfer agent with git-lfs, in your git configuration
#[derive(Debug, Args)]
pub struct Install {
    #[command(flatten)]
    scope: Scope,
    /// Instead, on a machine that others reach by ssh: make git-lfs-transfer and git-lfs-authenticate, links to this
    /// program, in a directory on the PATH of ssh commands [default: where git-sparse is found]
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with_all = ["system", "local"])]
    ssh_host: Option<Option<PathBuf>>,
}

/// Take the agent out of the git configuration again
#[derive(Debug, Args)]
pub struct Uninstall {
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct Scope {
    /// For all users of this machine
    #[arg(long)]
    system: bool,
    /// For this repository only
    #[arg(long)]
    local: bool,
}

const PATH_KEY: &str = "lfs.customtransfer.sparse.path";
const SECTIONS: [&str; 2] = ["lfs.customtransfer.sparse", "lfs.sparse::"];

impl Install {
    pub fn run(self) -> Result<(), Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Kind::Fatal, format!("own path: {error}")))?;
        if let Some(dir) = &self.ssh_host {
            return link(&program, dir.as_deref());
        }
        let git = Git::at(".");
        for (key, value) in keys(&program)? {
            let before = git.run(&["config", self.scope.flag(), "--get", key]).ok();
            if before.as_deref() == Some(value.as_str()) {
                println!("{key} = {value} (unchanged)");
                continue;
            }
            set(&git, self.scope.flag(), key, &value)?;
            println!("{key} = {value}");
        }
        if git.config("filter.lfs.process").is_none() {
            println!("git-lfs' own filters are not set up yet; do it once: git lfs install");
        }
        Ok(())
    }
}

/// Makes the links of an ssh host in `dir`, or beside the program that PATH has.
fn link(program: &Path, dir: Option<&Path>) -> Result<(), Failure> {
    let program = found_on_path(program).unwrap_or_else(|| program.to_owned());
    let dir = dir.or(program.parent()).unwrap_or(Path::new("."));
    for (name, _) in NAMES {
        let link = dir.join(name);
        let failed = |error: io::Error| {
            let told = format!("{}: {error}", link.display());
            Failure::new(Kind::Fatal, told).fix("name a directory that you can write: --ssh-host DIR")
        };
        match std::os::unix::fs::symlink(&program, &link) {
            Ok(()) => println!("{} -> {}", link.display(), program.display()),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            Err(_) if is_same(&link, &program) => println!("{} (unchanged)", link.display()),
            // A link of ours to a program that moved; a file may be another's program.
            Err(_) if fs::read_link(&link).is_ok_and(|old| old.file_name() == program.file_name()) => {
                fs::remove_file(&link)
                    .and_then(|()| std::os::unix::fs::symlink(&program, &link))
                    .map_err(failed)?;
                println!("{} -> {}", link.display(), program.display());
            }
            Err(_) => {
                let told = format!("{}: another program has this name", link.display());
                return Err(Failure::new(Kind::Refused, told)
                    .fix("take it away, or name another directory: --ssh-host DIR"));
            }
        }
    }
    println!("next, from a client: ssh HOST command -v git-lfs-transfer git-sparse; it must name both");
    Ok(())
}

/// What PATH has under the program's name, if that is this program: a path that outlives an update.
fn found_on_path(program: &Path) -> Option<PathBuf> {
    let name = program.file_name()?;
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|found| is_same(found, program))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

impl Uninstall {
    pub fn run(self) -> Result<(), Failure> {
        let git = Git::at(".");
        for section in SECTIONS {
            match git.run(&["config", self.scope.flag(), "--remove-section", section]) {
                Ok(_) => println!("removed {section}.*"),
                Err(_) => println!("{section}.* was not set"),
            }
        }
        Ok(())
    }
}

impl Scope {
    fn flag(&self) -> &'static str {
        match (self.system, self.local) {
            (true, _) => "--system",
            (_, true) => "--local",
            _ => "--global",
        }
    }
}

fn keys(program: &Path) -> Result<[(&'static str, String); 4], Failure> {
    let program = program.to_str().ok_or_else(|| {
        Failure::new(Kind::Usage, format!("{}: the path is not UTF-8, git can't hold it", program.display()))
            .fix("install git-sparse elsewhere")
    })?;
    Ok([
        (PATH_KEY, program.to_owned()),
        ("lfs.customtransfer.sparse.args", "lfs-agent".to_owned()),
        ("lfs.customtransfer.sparse.concurrent", "true".to_owned()),
        ("lfs.sparse::.standalonetransferagent", "sparse".to_owned()),
    ])
}

fn set(git: &Git, scope: &str, key: &str, value: &str) -> Result<(), Failure> {
    git.run(&["config", scope, key, value]).map(drop).map_err(|error| {
        Failure::new(Kind::Fatal, error.to_string()).fix("make that git configuration writable for you")
    })
}
