//! `git sparse trust`: agree to a place that only a repository names.

use clap::Args;

use crate::daemon::message::{Failure, Kind};
use crate::git::command::Git;
use crate::locator::{Locator, TRUST_KEY};

/// Trust a store that a repository names, kept in your git configuration
#[derive(Debug, Args)]
pub struct Trust {
    /// As in the repository's .lfsconfig, for example sparse::s3://bucket/prefix; none lists them
    locator: Option<String>,
    /// Take the trust back
    #[arg(long, requires = "locator")]
    remove: bool,
}

impl Trust {
    pub fn run(self) -> Result<(), Failure> {
        let git = Git::at(".");
        let settings = git.settings();
        let trusted: Vec<_> = settings.all(TRUST_KEY).collect();
        let Some(locator) = self.locator else {
            trusted.iter().for_each(|locator| println!("{locator}"));
            return Ok(());
        };
        Locator::parse(&locator).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
        let known = trusted.contains(&locator.as_str());
        if self.remove && !known {
            return Err(Failure::new(Kind::NotFound, format!("{locator} is not trusted")));
        }
        let done = match (self.remove, known) {
            (true, _) => {
                git.run(&["config", "--global", "--fixed-value", "--unset-all", TRUST_KEY, &locator])
            }
            (false, true) => Ok(String::new()),
            (false, false) => git.run(&["config", "--global", "--add", TRUST_KEY, &locator]),
        };
        done.map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        println!("{} {locator}", if self.remove { "no longer trusted:" } else { "trusted:" });
        Ok(())
    }
}
