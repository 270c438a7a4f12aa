//! `git sparse install` and `uninstall`: the four keys by which git-lfs finds the agent.

use std::path::Path;

use clap::Args;

use crate::daemon::message::{Failure, Kind};
use crate::git::command::Git;

/// Register the transfer agent with git-lfs, in your git configuration
#[derive(Debug, Args)]
pub struct Install {
    #[command(flatten)]
    scope: Scope,
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
        let git = Git::at(".");
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Kind::Fatal, format!("own path: {error}")))?;
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
