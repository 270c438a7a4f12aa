//! The release binaries: built by cargo, found where cargo says they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// Builds `git-sparse` as it is released, with cargo's own progress on stderr.
pub fn release() -> Result<PathBuf, Failure> {
    build("git-sparse")
}

/// Builds `git-sparse-engine`, and llama.cpp with it.
pub fn engine() -> Result<PathBuf, Failure> {
    build("git-sparse-engine")
}

/// Builds the binary that is named as its package is.
fn build(name: &str) -> Result<PathBuf, Failure> {
    let output = cargo()
        .args(["build", "--release", "--package", name, "--bin", name])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo build: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo build --release --package {name} ended with {}", output.status));
    }
    executable(&String::from_utf8_lossy(&output.stdout), name)
        .ok_or_else(|| format!("cargo build --release named no binary {name}"))
}

/// The cargo that runs this task, or the first on PATH, at the top of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// The top of the clone that this task was built in.
pub fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("because xtask/ lies in the workspace").into()
}

/// The path that cargo reports, as `CARGO_TARGET_DIR` and configuration may put it anywhere.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library has the same package and no executable; other lines may not be JSON at all.
    #[test]
    fn the_executable_is_the_one_that_cargo_names() {
        let messages = concat!(
            "warning: not json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"git_sparse"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"git-sparse"},"executable":"/t/git-sparse"}"#,
            "\n",
        );
        assert_eq!(executable(messages, "git-sparse"), Some("/t/git-sparse".into()));
        assert_eq!(executable("{}", "git-sparse"), None);
    }
}
