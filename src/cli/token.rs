//! `git sparse token`: who may do what at a hub.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::report;
use super::serve::Right;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::words;
use crate::serve::{Access, AccessError, May, Rule};

/// Make, list and take back the tokens of a hub
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it, once: only its hash is kept
    Add {
        /// Whose it is, as the log and locks name it
        name: String,
        /// What it allows
        #[arg(long, value_name = "WHAT", default_value = "read")]
        may: Right,
        /// A repository, or a prefix that ends with *; may be given several times
        #[arg(long = "repository", value_name = "NAME", default_value = "*")]
        repositories: Vec<String>,
        /// Days after which it is good no more
        #[arg(long, value_name = "DAYS")]
        expires: Option<u64>,
        #[command(flatten)]
        file: File,
    },
    /// List them, without the tokens
    List {
        #[command(flatten)]
        file: File,
        /// Print one JSON document (schema git-sparse/tokens/1)
        #[arg(long)]
        json: bool,
    },
    /// Take one back; a running hub knows at once
    Remove {
        /// Whose it is
        name: String,
        #[command(flatten)]
        file: File,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The file that the hub reads
    #[arg(long, value_name = "FILE", default_value = "access.json")]
    access: PathBuf,
}

const DAY: u64 = 86_400;

impl Token {
    pub fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Add { name, may, repositories, expires, file } => {
                let _alone = file.alone()?;
                let mut access = file.read()?;
                let end = expires.map(|days| now().saturating_add(days.saturating_mul(DAY)));
                let rule = Rule { may: may.into(), repositories };
                let secret = access.add(&name, rule, end).map_err(|error| in_words(&error))?;
                file.write(&access)?;
                println!("{secret}");
                report::note(
                    "keep it like a password: it is shown only now. git asks for a user name (any) and a password (this)",
                );
                Ok(())
            }
            Action::List { file, json } => list(&file.read()?, json),
            Action::Remove { name, file } => {
                let _alone = file.alone()?;
                let mut access = file.read()?;
                access.remove(&name).map_err(|error| in_words(&error))?;
                file.write(&access)?;
                report::say(&format!("{name}: its token is good no more"));
                Ok(())
            }
        }
    }
}

impl File {
    /// Whoever changes the file reads it first: of two at once, one would undo what the other did.
    fn alone(&self) -> Result<fs::File, Failure> {
        let path = self.access.with_extension("lock");
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let locked = fs::create_dir_all(dir).and_then(|()| {
            let opened =
                fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            opened.lock().map(|()| opened)
        });
        locked.map_err(|error| words::file(&path, &error))
    }

    fn read(&self) -> Result<Access, Failure> {
        Access::read(&self.access).map_err(|error| in_words(&error))
    }

    fn write(&self, access: &Access) -> Result<(), Failure> {
        access.write(&self.access).map_err(|error| in_words(&error))
    }
}

fn list(access: &Access, json: bool) -> Result<(), Failure> {
    if json {
        let tokens = access.tokens.iter().map(|token| {
            serde_json::json!({
                "name": token.name,
                "may": token.rule.may,
                "repositories": token.rule.repositories,
                "expires": token.expires,
            })
        });
        report::json(
            "tokens",
            serde_json::json!({
                "tokens": tokens.collect::<Vec<_>>(),
                "anonymous": access.anonymous,
            }),
        );
        return Ok(());
    }
    let word = |may: May| format!("{may:?}").to_lowercase();
    let until = |end: Option<u64>| match end {
        None => "for ever".to_owned(),
        Some(end) if end <= now() => "over".to_owned(),
        Some(end) => format!("until {}", report::date(end as i64)),
    };
    let tokens = access.tokens.iter().map(|token| {
        vec![
            token.name.clone(),
            word(token.rule.may),
            token.rule.repositories.join(" "),
            until(token.expires),
        ]
    });
    let open = access
        .anonymous
        .iter()
        .map(|rule| vec!["(anyone)".to_owned(), word(rule.may), rule.repositories.join(" "), until(None)]);
    report::table(&["name", "may", "repositories", "good"], tokens.chain(open));
    Ok(())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn in_words(error: &AccessError) -> Failure {
    let failure = |kind| Failure::new(kind, error.to_string());
    match error {
        AccessError::Io { .. } => failure(Kind::Fatal),
        AccessError::Malformed { .. } => {
            failure(Kind::Usage).fix("mend it by hand, or take it away and begin anew")
        }
        AccessError::Loose { .. } => failure(Kind::Refused).fix("chmod go-w that file"),
        AccessError::Taken(name) => {
            failure(Kind::Usage).fix(format!("take another name, or first: git sparse token remove {name}"))
        }
        AccessError::Unknown(_) => failure(Kind::NotFound).fix("git sparse token list"),
    }
}
