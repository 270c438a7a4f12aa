//! `git credential`: what the user, or a helper of theirs, knows of a host. Nothing is kept here.

use std::io::Write;
use std::process::{Command, Stdio};

use super::command::Git;

/// A user name and a password.
pub struct Credential {
    pub user: String,
    pub password: String,
}

/// Asks for the credential of an address; none where nobody knows one.
pub fn fill(git: &Git, url: &str) -> Option<Credential> {
    let answer = say(git, "fill", &format!("url={url}\n\n"))?;
    let value = |key: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(str::to_owned)
    };
    Some(Credential { user: value("username")?, password: value("password")? })
}

/// Tells git whether a credential was good, so that it is kept or forgotten.
pub fn judge(git: &Git, url: &str, credential: &Credential, good: bool) {
    let Credential { user, password } = credential;
    // A line end would begin another key.
    if user.contains('\n') || password.contains('\n') {
        return;
    }
    let verb = if good { "approve" } else { "reject" };
    say(git, verb, &format!("url={url}\nusername={user}\npassword={password}\n\n"));
}

fn say(git: &Git, verb: &str, words: &str) -> Option<String> {
    if words.contains('\0') || words.contains('\r') {
        return None;
    }
    let mut child = Command::new("git")
        .arg("-C")
        .arg(git.dir())
        .args(["credential", verb])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let written = child.stdin.take()?.write_all(words.as_bytes());
    let output = child.wait_with_output().ok()?;
    (written.is_ok() && output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
