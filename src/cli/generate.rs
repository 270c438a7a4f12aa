//! `git sparse generate`: man pages and shell completions, for packagers and the install task.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::{Cli, report};
use crate::daemon::message::{Failure, Kind};

/// Write man pages or shell completions (for packagers; cargo xtask install runs it)
#[derive(Debug, Args)]
pub struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// git-sparse.1 and one page a verb, without those that only programs call
    Man {
        /// Where they go; it is made
        dir: PathBuf,
    },
    /// For bash, zsh and fish, for `git sparse` and `git-sparse`
    Completions {
        /// Where they go; it is made
        dir: PathBuf,
    },
}

/// So that `git sparse <TAB>` works: git's own completion calls these.
const BASH_SHIM: &str = "
_git_sparse() { COMP_WORDS=(git-sparse \"${COMP_WORDS[@]:2}\"); COMP_CWORD=$((COMP_CWORD - 1)); _git-sparse git-sparse \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; }
";
const FISH_SHIM: &str = "
complete -c git -n '__fish_git_using_command sparse' -f -a '(complete -C \"git-sparse \"(commandline -ct))'
";

const EXTRA_SECTIONS: &str = include_str!("manual.roff");

impl Generate {
    pub fn run(self) -> Result<(), Failure> {
        let (dir, written) = match &self.what {
            What::Man { dir } => (dir, man(dir)),
            What::Completions { dir } => (dir, completions(dir)),
        };
        let count =
            written.map_err(|error| Failure::new(Kind::Fatal, format!("{}: {error}", dir.display())))?;
        report::say(&format!("{} in {}", report::count(count, "file"), dir.display()));
        Ok(())
    }
}

fn man(dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    let mut command = Cli::command();
    command.build();
    pages(&command, "git-sparse", dir)
}

/// A command's page, and those of its verbs: each page names the next ones.
fn pages(command: &clap::Command, name: &str, dir: &Path) -> io::Result<usize> {
    page(command, name, dir)?;
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    verbs
        .map(|verb| pages(verb, &format!("{name}-{}", verb.get_name()), dir))
        .try_fold(1, |sum, count| Ok(sum + count?))
}

fn page(command: &clap::Command, name: &str, dir: &Path) -> io::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().display_name(name)).title(name).render(&mut page)?;
    page.extend_from_slice(EXTRA_SECTIONS.as_bytes());
    fs::write(dir.join(format!("{name}.1")), page)
}

fn completions(dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    let shells = [
        (Shell::Bash, "git-sparse.bash", BASH_SHIM),
        (Shell::Zsh, "_git-sparse", ""),
        (Shell::Fish, "git-sparse.fish", FISH_SHIM),
    ];
    for (shell, file, shim) in shells {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "git-sparse", &mut script);
        script.extend_from_slice(shim.as_bytes());
        fs::write(dir.join(file), script)?;
    }
    Ok(shells.len())
}
