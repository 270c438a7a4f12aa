//! The line in a commit's message that says for programs what the commit did to a table.
//!
//! `Dataset: PATH rows=100>105+10-5~3^2 columns=+flag,-old,a>b,~x bytes=1000>1200 key=id`: rows before and
//! after, added, removed, changed (with a key) and moved; columns added, dropped, renamed, and changed in type
//! or place; bytes of the file. Without rows it was not read as a table. What would be taken for a separator
//! stands as `%` and two digits.

use std::fmt;

use serde::Serialize;

use super::diff::TableDiff;
use super::schema::ColumnChange;

/// The trailer's name.
pub const KEY: &str = "Dataset";

/// What a commit did to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    pub path: String,
    pub rows: Option<RowChange>,
    pub columns: Vec<Mark>,
    /// Before and after; 0 where there was, or is, no file.
    pub bytes: (u64, u64),
    pub key: Vec<String>,
}

/// Rows in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RowChange {
    pub old: u64,
    pub new: u64,
    pub added: u64,
    pub removed: u64,
    /// Only with a key.
    pub changed: Option<u64>,
    pub moved: u64,
}

/// A column that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Mark {
    Added {
        name: String,
    },
    Dropped {
        name: String,
    },
    Renamed {
        name: String,
        old_name: String,
    },
    /// In type or place.
    Changed {
        name: String,
    },
}

impl RowChange {
    pub fn of(diff: &TableDiff) -> RowChange {
        RowChange {
            old: diff.old_rows,
            new: diff.new_rows,
            added: diff.added.len() as u64,
            removed: diff.removed.len() as u64,
            changed: (!diff.key.is_empty()).then_some(diff.changed.len() as u64),
            moved: diff.moved,
        }
    }

    /// A table that one side lacks.
    pub fn whole(old: u64, new: u64) -> RowChange {
        RowChange { old, new, added: new, removed: old, ..RowChange::default() }
    }
}

impl Mark {
    pub fn of(change: &ColumnChange) -> Mark {
        match change.clone() {
            ColumnChange::Added { name, .. } => Mark::Added { name },
            ColumnChange::Dropped { name, .. } => Mark::Dropped { name },
            ColumnChange::Renamed { name, old_name } => Mark::Renamed { name, old_name },
            ColumnChange::Retyped { name, .. } | ColumnChange::Moved { name } => Mark::Changed { name },
        }
    }
}

impl fmt::Display for RowChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}>{}+{}-{}", self.old, self.new, self.added, self.removed)?;
        if let Some(changed) = self.changed {
            write!(out, "~{changed}")?;
        }
        if self.moved > 0 {
            write!(out, "^{}", self.moved)?;
        }
        Ok(())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Added { name } => write!(out, "+{}", escaped(name)),
            Mark::Dropped { name } => write!(out, "-{}", escaped(name)),
            Mark::Renamed { name, old_name } => write!(out, "{}>{}", escaped(old_name), escaped(name)),
            Mark::Changed { name } => write!(out, "~{}", escaped(name)),
        }
    }
}

impl fmt::Display for Trailer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{KEY}: {}", escaped(&self.path))?;
        if let Some(rows) = self.rows {
            write!(out, " rows={rows}")?;
        }
        if !self.columns.is_empty() {
            write!(out, " columns={}", joined(self.columns.iter().map(Mark::to_string)))?;
        }
        write!(out, " bytes={}>{}", self.bytes.0, self.bytes.1)?;
        if !self.key.is_empty() {
            write!(out, " key={}", joined(self.key.iter().map(|name| escaped(name))))?;
        }
        Ok(())
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

impl Trailer {
    /// Reads what follows `Dataset: `; none for what is no such line. Words that are not known are passed over.
    pub fn parse(value: &str) -> Option<Trailer> {
        let mut words = value.split_ascii_whitespace();
        let path = plain(words.next()?)?;
        let mut trailer = Trailer { path, rows: None, columns: Vec::new(), bytes: (0, 0), key: Vec::new() };
        for word in words {
            let (name, value) = word.split_once('=')?;
            match name {
                "rows" => trailer.rows = Some(rows(value)?),
                "columns" => trailer.columns = value.split(',').map(mark).collect::<Option<_>>()?,
                "bytes" => {
                    let (old, new) = value.split_once('>')?;
                    trailer.bytes = (old.parse().ok()?, new.parse().ok()?);
                }
                "key" => trailer.key = value.split(',').map(plain).collect::<Option<_>>()?,
                _ => {}
            }
        }
        Some(trailer)
    }
}

fn rows(text: &str) -> Option<RowChange> {
    let (old, rest) = text.split_once('>')?;
    let (new, rest) = rest.split_once('+')?;
    let (rest, moved) = rest.split_once('^').unwrap_or((rest, "0"));
    let (rest, changed) = rest.split_once('~').map_or((rest, None), |(rest, changed)| (rest, Some(changed)));
    let (added, removed) = rest.split_once('-')?;
    let number = |text: &str| text.parse().ok();
    Some(RowChange {
        old: number(old)?,
        new: number(new)?,
        added: number(added)?,
        removed: number(removed)?,
        changed: changed.map(|changed| number(changed).ok_or(())).transpose().ok()?,
        moved: number(moved)?,
    })
}

fn mark(text: &str) -> Option<Mark> {
    if let Some((old_name, name)) = text.split_once('>') {
        return Some(Mark::Renamed { name: plain(name)?, old_name: plain(old_name)? });
    }
    let name = plain(text.get(1..)?)?;
    match text.as_bytes().first()? {
        b'+' => Some(Mark::Added { name }),
        b'-' => Some(Mark::Dropped { name }),
        b'~' => Some(Mark::Changed { name }),
        _ => None,
    }
}

/// Without what would be taken for a separator.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for sign in text.chars() {
        if sign.is_whitespace() || sign.is_control() || "%,>=".contains(sign) {
            let mut bytes = [0; 4];
            sign.encode_utf8(&mut bytes).bytes().for_each(|byte| out.push_str(&format!("%{byte:02x}")));
        } else {
            out.push(sign);
        }
    }
    out
}

fn plain(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        bytes.push(value as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What stands in docs/commands.md is what is written, and is read again.
    #[test]
    fn a_trailer_reads_as_documented() {
        let text = "Dataset: data/my%20table.parquet rows=100>105+10-5~3^2 columns=+flag,-old,a>b,~x \
                    bytes=1000>1200 key=id";
        let trailer = Trailer::parse(text.strip_prefix("Dataset: ").unwrap()).unwrap();
        assert_eq!(trailer.path, "data/my table.parquet");
        assert_eq!(trailer.rows.unwrap().changed, Some(3));
        assert_eq!(trailer.to_string(), text);
        assert!(Trailer::parse("x rows=1").is_none());
        assert!(Trailer::parse("").is_none());
    }

    proptest! {
        /// Paths and columns may be called anything.
        #[test]
        fn any_name_comes_back(path in ".+", name in ".+", old_name in ".+", numbers in any::<[u32; 6]>()) {
            let [old, new, added, removed, changed, moved] = numbers.map(u64::from);
            let rows = RowChange { old, new, added, removed, changed: Some(changed), moved };
            let columns = vec![
                Mark::Added { name: name.clone() },
                Mark::Renamed { name: name.clone(), old_name },
                Mark::Changed { name: name.clone() },
                Mark::Dropped { name: name.clone() },
            ];
            let trailer = Trailer { path, rows: Some(rows), columns, bytes: (old, new), key: vec![name] };
            let text = trailer.to_string();
            prop_assert_eq!(text.lines().count(), 1);
            prop_assert_eq!(Trailer::parse(text.strip_prefix("Dataset: ").unwrap()), Some(trailer));
        }

        /// A message may say anything.
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = Trailer::parse(&text);
        }
    }
}
