//! A configuration, read once: every look-up by git itself is a process.

/// Keys and values as `git config --list -z` gives them, later ones in force.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    entries: Vec<(String, String)>,
}

impl Settings {
    /// Reads the output of `git config --list -z`.
    pub fn parse(listing: &str) -> Settings {
        let entry = |text: &str| match text.split_once('\n') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            // A key without a value is a boolean that is true.
            None => (text.to_owned(), "true".to_owned()),
        };
        Settings { entries: listing.split('\0').filter(|text| !text.is_empty()).map(entry).collect() }
    }

    /// The value in force; an empty one counts as none.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).last().filter(|value| !value.is_empty())
    }

    /// Whether a variable, in lower case, is set in a section or in any part of it.
    pub fn has_any(&self, section: &str, variable: &str) -> bool {
        let is_it =
            |key: &str| key.split('.').next() == Some(section) && key.rsplit('.').next() == Some(variable);
        self.entries.iter().any(|(key, _)| is_it(key))
    }

    /// All values of a key.
    pub fn all(&self, key: &str) -> impl DoubleEndedIterator<Item = &str> {
        let key = normal(key);
        self.entries.iter().filter(move |(found, _)| *found == key).map(|(_, value)| value.as_str())
    }
}

/// Section and variable are the same in any case; what stands between them is not.
fn normal(key: &str) -> String {
    match (key.split_once('.'), key.rsplit_once('.')) {
        (Some((section, _)), Some((before, variable))) if before.len() > section.len() => {
            let subsection = &before[section.len()..];
            format!("{}{subsection}.{}", section.to_ascii_lowercase(), variable.to_ascii_lowercase())
        }
        _ => key.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which store is used hangs on this: the last value counts, and only some parts in any case.
    #[test]
    fn values_are_found_as_git_finds_them() {
        let listing = "lfs.url\nold\0remote.My.Own.lfsurl\nsparse::origin\0lfs.url\nnew\0core.bare\0a.b\n\0";
        let settings = Settings::parse(listing);
        assert_eq!(settings.get("LFS.URL"), Some("new"));
        assert_eq!(settings.all("lfs.url").collect::<Vec<_>>(), ["old", "new"]);
        assert_eq!(settings.get("Remote.My.Own.LfsURL"), Some("sparse::origin"));
        assert_eq!(settings.get("remote.my.own.lfsurl"), None);
        assert_eq!(settings.get("core.bare"), Some("true"));
        assert_eq!(settings.get("a.b"), None);
        assert_eq!(settings.get("a.c"), None);
        assert!(settings.has_any("remote", "lfsurl") && settings.has_any("core", "bare"));
        assert!(!settings.has_any("remote", "url") && !settings.has_any("url", "insteadof"));
    }
}
