//! The back ends that a user named: their environments, and the scripts that speak for them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::optimize::run::Tool;

/// What each tool's script shares with the others.
const SHARED: (&str, &str) = ("protocol.py", include_str!("../../../adapters/protocol.py"));
/// The tools that are known, and their scripts; `adapters/` has them for people to read.
const SCRIPTS: [(&str, &str); 5] = [
    ("bitsandbytes", include_str!("../../../adapters/bitsandbytes.py")),
    ("gptqmodel", include_str!("../../../adapters/gptqmodel.py")),
    ("hqq", include_str!("../../../adapters/hqq.py")),
    ("quanto", include_str!("../../../adapters/quanto.py")),
    ("torchao", include_str!("../../../adapters/torchao.py")),
];

/// A back end as it was named: `hqq=/opt/venv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    venv: PathBuf,
}

/// Reads `NAME=VENV`.
pub fn parse(text: &str) -> Result<Named, Failure> {
    let usage = |told: String| Failure::new(Kind::Usage, told);
    let (name, venv) = text
        .split_once('=')
        .filter(|(name, venv)| !name.is_empty() && !venv.is_empty())
        .ok_or_else(|| usage(format!("--backend {text}: expected NAME=VENV, as hqq=/opt/venv")))?;
    if !SCRIPTS.iter().any(|(known, _)| known == &name) {
        let known: Vec<&str> = SCRIPTS.iter().map(|(name, _)| *name).collect();
        return Err(usage(format!("--backend {text}: no back end is called {name}"))
            .fix(format!("there are {}", known.join(", "))));
    }
    Ok(Named { name: name.to_owned(), venv: PathBuf::from(venv) })
}

/// Writes the scripts of the tools into `dir`, and says how each is run.
pub fn prepare(
    named: &[Named],
    dir: &Path,
    source: Option<PathBuf>,
    text: Option<PathBuf>,
) -> Result<Vec<Tool>, Failure> {
    let write = |name: &str, content: &str| {
        let path = dir.join(name);
        fs::write(&path, content).map(|()| path.clone()).map_err(|error| words::file(&path, &error))
    };
    if !named.is_empty() {
        write(SHARED.0, SHARED.1)?;
    }
    let tool = |named: &Named| {
        let script = SCRIPTS.iter().find(|(name, _)| *name == named.name).map_or("", |(_, script)| script);
        // Not under the tool's own name: Python would import the script in its place.
        let script = write(&format!("adapter_{}.py", named.name), script)?;
        let (venv, source, text) = (named.venv.clone(), source.clone(), text.clone());
        Ok(Tool { name: named.name.clone(), venv, script, source, text })
    };
    named.iter().map(tool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A back end that is spelt wrong must not be left out quietly.
    #[test]
    fn back_ends_are_known_by_name() {
        assert_eq!(parse("hqq=/opt/venv").unwrap().venv, Path::new("/opt/venv"));
        for bad in ["hqq", "=venv", "hqq=", "hhq=/opt/venv"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
