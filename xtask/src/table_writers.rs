//! The programs that write people's tables, from PyPI: tests store what they write.
//!
//! Each version is pinned, so that a file which does not come back today does not come back tomorrow either.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Failure;
use crate::binary::workspace;
use crate::python::{Venv, run};

const PACKAGES: [&str; 6] = [
    "pyarrow==26.0.1",
    "pandas==3.1.1",
    "polars==2.1.0",
    "duckdb==2.0.1",
    "fastparquet==2026.9.0",
    "datasets==5.2.0",
];
/// Older ones have no such packages.
const OLDEST_PYTHON: &str = "import sys; sys.exit(sys.version_info < (3, 11))";
const DIRECTORY: &str = "table-writers";

/// Installs what is missing and says on stderr what it did; `false` where there is no Python that they run with.
pub fn install() -> Result<bool, Failure> {
    if python().is_some() {
        return Ok(true);
    }
    if run(Command::new("python3").args(["-c", OLDEST_PYTHON])).is_err() {
        return Ok(false);
    }
    eprintln!("writers of tables are missing: installing {}", PACKAGES.join(" "));
    venv().install(&PACKAGES)?;
    let mark = mark();
    fs::write(&mark, PACKAGES.join("\n")).map_err(|error| format!("{}: {error}", mark.display()))?;
    Ok(true)
}

/// The Python that has them all, if these versions were installed.
pub fn python() -> Option<PathBuf> {
    let installed = fs::read_to_string(mark()).ok()?;
    venv().program("python").filter(|_| installed == PACKAGES.join("\n"))
}

fn venv() -> Venv {
    Venv::below_target(DIRECTORY)
}

/// A file that says what was installed; without it an installation came to no end.
fn mark() -> PathBuf {
    workspace().join("target").join(DIRECTORY).join("installed")
}
