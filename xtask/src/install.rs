//! Installs `git-sparse` for a user: the binary, its man pages, its completions, its keys in git config.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, binary, prerequisites};

/// Where the parts go.
struct Places {
    bin: PathBuf,
    man: PathBuf,
    completions: PathBuf,
}

/// Builds and installs below `prefix`, or for the user that runs this, and says where everything went.
///
/// Ends with `git sparse install`, which tells git-lfs about the agent.
pub fn run(prefix: Option<&Path>) -> Result<(), Failure> {
    prerequisites::run()?;
    let places = places(prefix)?;
    let built = binary::release()?;
    let installed = install_binary(&built, &places.bin)?;
    generate(&installed, "man", &places.man)?;
    generate(&installed, "completions", &places.completions)?;
    finish(Command::new(&installed).arg("install"), "git sparse install")?;
    println!("binary       {}", installed.display());
    println!("man pages    {}", places.man.display());
    println!("completions  {}", places.completions.display());
    if !is_on_path(&places.bin) {
        println!("{} is not on PATH: add it, so that git finds `git sparse`", places.bin.display());
    }
    Ok(())
}

/// With no prefix the binary goes where cargo puts binaries, as that is on PATH wherever Rust is.
///
/// `man` looks into `share/man` beside each `bin` on PATH, so the pages lie beside it in both cases.
fn places(prefix: Option<&Path>) -> Result<Places, Failure> {
    let prefix = match prefix {
        Some(prefix) => std::path::absolute(prefix).map_err(|error| format!("--prefix: {error}"))?,
        None => cargo_home()?,
    };
    Ok(Places {
        bin: prefix.join("bin"),
        man: prefix.join("share/man/man1"),
        completions: prefix.join("share/git-sparse/completions"),
    })
}

fn cargo_home() -> Result<PathBuf, Failure> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::home_dir().ok_or("no home directory is known: give --prefix DIR")?;
    Ok(home.join(".cargo"))
}

/// Puts the binary in place by a rename: a running agent or daemon keeps the file that it started from.
fn install_binary(built: &Path, bin: &Path) -> Result<PathBuf, Failure> {
    let name = built.file_name().ok_or("the built binary has no name")?;
    let target = bin.join(name);
    let unfinished = bin.join(".git-sparse-new");
    fs::create_dir_all(bin)
        .and_then(|()| fs::copy(built, &unfinished))
        .and_then(|_| fs::rename(&unfinished, &target))
        .map_err(|error| format!("{} -> {}: {error}", built.display(), target.display()))?;
    Ok(target)
}

fn generate(installed: &Path, what: &str, directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut command = Command::new(installed);
    finish(command.args(["generate", what]).arg(directory), &format!("git sparse generate {what}"))
}

fn finish(command: &mut Command, name: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{name}` ended with {status}")),
        Err(error) => Err(format!("`{name}`: {error}")),
    }
}

fn is_on_path(directory: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|entry| entry == directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Man pages are found only if they lie in `share/man` beside the `bin` that is on PATH.
    #[test]
    fn man_pages_lie_beside_the_binary() {
        let places = places(Some(Path::new("/opt/sparse"))).expect("places");
        assert_eq!(places.bin, Path::new("/opt/sparse/bin"));
        assert_eq!(places.man, Path::new("/opt/sparse/share/man/man1"));
    }

    /// An update replaces the file and leaves no half-written one behind.
    #[test]
    fn an_installed_binary_is_replaced_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let built = directory.path().join("git-sparse");
        let bin = directory.path().join("bin");
        for text in ["old", "new"] {
            fs::write(&built, text).expect("a file");
            let target = install_binary(&built, &bin).expect("installed");
            assert_eq!(fs::read_to_string(target).expect("a file"), text);
        }
        assert_eq!(fs::read_dir(&bin).expect("a directory").count(), 1);
    }
}
