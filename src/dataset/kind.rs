//! Which kind of table a file is: by its first bytes, and text by its name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way in which tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Parquet,
    /// Arrow IPC with a footer; also called Feather V2.
    ArrowFile,
    ArrowStream,
    Csv,
    Tsv,
    /// A JSON object a line.
    JsonLines,
}

/// What is packed around text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// First bytes that are enough to know a kind.
pub const HEAD_BYTES: usize = 64;

impl Kind {
    /// The kind of a file that begins with `head` and has that name, or none.
    pub fn of(head: &[u8], name: &str) -> Option<(Kind, Packing)> {
        let plain = |kind| Some((kind, Packing::Plain));
        if head.starts_with(b"PAR1") || head.starts_with(b"PARE") {
            return plain(Kind::Parquet);
        }
        if head.starts_with(b"ARROW1") {
            return plain(Kind::ArrowFile);
        }
        // A continuation mark, then the length of the schema's message.
        if head.starts_with(&[0xff; 4]) && head.len() > 8 {
            return plain(Kind::ArrowStream);
        }
        if head.starts_with(&[0x1f, 0x8b]) {
            return Kind::text(name.strip_suffix(".gz")?).map(|kind| (kind, Packing::Gzip));
        }
        if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let name = name.strip_suffix(".zst").or(name.strip_suffix(".zstd"))?;
            return Kind::text(name).map(|kind| (kind, Packing::Zstd));
        }
        Kind::text(name).and_then(plain)
    }

    /// The kind that a name promises.
    pub fn named(name: &str) -> Option<Kind> {
        let plain = [".gz", ".zst", ".zstd"].iter().find_map(|ending| name.strip_suffix(ending));
        if let Some(kind) = Kind::text(plain.unwrap_or(name)) {
            return Some(kind);
        }
        match ending(name).as_deref() {
            Some("parquet" | "pq") => Some(Kind::Parquet),
            Some("arrow" | "feather" | "ipc") => Some(Kind::ArrowFile),
            Some("arrows") => Some(Kind::ArrowStream),
            _ => None,
        }
    }

    fn text(name: &str) -> Option<Kind> {
        match ending(name)?.as_str() {
            "csv" => Some(Kind::Csv),
            "tsv" | "tab" => Some(Kind::Tsv),
            "jsonl" | "ndjson" => Some(Kind::JsonLines),
            _ => None,
        }
    }
}

fn ending(name: &str) -> Option<String> {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase())
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Parquet => "Parquet",
            Kind::ArrowFile => "Arrow file",
            Kind::ArrowStream => "Arrow stream",
            Kind::Csv => "CSV",
            Kind::Tsv => "TSV",
            Kind::JsonLines => "JSON Lines",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file says of itself counts more than its name; text says nothing.
    #[test]
    fn content_comes_before_the_name() {
        let kind = |head: &[u8], name: &str| Kind::of(head, name).map(|(kind, _)| kind);
        assert_eq!(kind(b"PAR1....", "x.csv"), Some(Kind::Parquet));
        assert_eq!(kind(b"ARROW1\0\0", "x.feather"), Some(Kind::ArrowFile));
        assert_eq!(kind(b"a,b\n", "data.dir/x.CSV"), Some(Kind::Csv));
        assert_eq!(Kind::of(&[0x1f, 0x8b, 8], "x.jsonl.gz"), Some((Kind::JsonLines, Packing::Gzip)));
        assert_eq!(kind(b"a,b\n", "data.csv/x"), None);
        assert_eq!(kind(b"PK", "x.parquet"), None);
        assert_eq!(Kind::named("a/b.jsonl.zst"), Some(Kind::JsonLines));
        assert_eq!(Kind::named("a/b.safetensors"), None);
    }
}
