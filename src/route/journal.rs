//! Logs of one JSON document a line: outcomes that were learnt, decisions that were taken.
//!
//! A line is appended and on the disk before anyone hears of it. What a crash left of a line, with no
//! newline at its end, was never acknowledged: readers leave it out, the next writer takes it away.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The most lines of a log.
pub const MAX_LINES: usize = 1_000_000;

/// Why a log can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: line {line}: {why}", path.display())]
    Line { path: PathBuf, line: usize, why: String },
    #[error("{}: more than {MAX_LINES} lines", .0.display())]
    Lines(PathBuf),
}

/// A log as it was read.
#[derive(Debug)]
pub struct Journal<T> {
    pub entries: Vec<T>,
    /// SHA-256 over each line that came before, and over all: `digests[n]` is of the first n lines.
    pub digests: Vec<[u8; 32]>,
}

impl<T> Journal<T> {
    /// Reads a log through `parse`; one that is missing is empty.
    pub fn read(path: &Path, parse: impl Fn(&str) -> Result<T, String>) -> Result<Journal<T>, JournalError> {
        let failed = |error| JournalError::Io { path: path.to_owned(), error };
        let mut journal = Journal { entries: Vec::new(), digests: vec![Sha256::digest([]).into()] };
        let mut reader = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(journal),
            Err(error) => return Err(failed(error)),
        };
        let mut hash = Sha256::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = MAX_LINE_BYTES as u64 + 1;
            reader.by_ref().take(most).read_until(b'\n', &mut line).map_err(failed)?;
            let wrong = |why: String| JournalError::Line {
                path: path.to_owned(),
                line: journal.entries.len() + 1,
                why,
            };
            if line.len() > MAX_LINE_BYTES {
                return Err(wrong(format!("longer than {MAX_LINE_BYTES} bytes")));
            }
            if !line.ends_with(b"\n") {
                return Ok(journal);
            }
            if journal.entries.len() == MAX_LINES {
                return Err(JournalError::Lines(path.to_owned()));
            }
            let text = std::str::from_utf8(&line).map_err(|_| wrong("not UTF-8".into()))?;
            let entry = parse(text).map_err(wrong)?;
            hash.update(&line);
            journal.entries.push(entry);
            journal.digests.push(hash.clone().finalize().into());
        }
    }

    /// SHA-256 of all lines, as hexadecimal digits.
    pub fn digest(&self) -> String {
        self.digest_of(self.entries.len()).expect("because there is one for each count of lines")
    }

    /// The same of the first lines; none where there are fewer.
    pub fn digest_of(&self, lines: usize) -> Option<String> {
        Some(self.digests.get(lines)?.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Appends the documents that are not in the log yet, and says how many those were: a file that is imported twice is no
/// more evidence than once. Of lines that are alike the log keeps as many as one file has.
pub fn append_new<T: serde::Serialize>(path: &Path, documents: &[T]) -> Result<usize, JournalError> {
    let known = Journal::read(path, |line| Ok(line.trim_end().to_owned()))?;
    let mut left: HashMap<String, usize> = HashMap::new();
    known.entries.into_iter().for_each(|line| *left.entry(line).or_default() += 1);
    let failed = |error: serde_json::Error| JournalError::Io { path: path.to_owned(), error: error.into() };
    let mut new = Vec::new();
    for document in documents {
        match left.get_mut(&serde_json::to_string(document).map_err(failed)?) {
            Some(count) if *count > 0 => *count -= 1,
            _ => new.push(document),
        }
    }
    append(path, &new)?;
    Ok(new.len())
}

/// Appends documents, a line each; they are on the disk when this returns.
pub fn append<T: serde::Serialize>(path: &Path, documents: &[T]) -> Result<(), JournalError> {
    let failed = |error| JournalError::Io { path: path.to_owned(), error };
    let mut text = Vec::new();
    for document in documents {
        serde_json::to_writer(&mut text, document).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
    // Writers of one log wait for each other; the lock ends with the file.
    file.lock().map_err(failed)?;
    let whole = whole_bytes(&mut file).map_err(failed)?;
    file.set_len(whole).and_then(|()| file.write_all(&text)).and_then(|()| file.sync_data()).map_err(failed)
}

/// Bytes up to the end of the last whole line.
fn whole_bytes(file: &mut File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(MAX_LINE_BYTES as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.take(MAX_LINE_BYTES as u64).read_to_end(&mut end)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    // A file that is no log, all one line, is left as it is: reading it says what is wrong.
    Ok(if whole == 0 && from > 0 { len } else { from + whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u64, String> {
        text.trim().parse().map_err(|_| format!("{:?} is no number", text.trim()))
    }

    /// A crash in the middle of a line must lose that line only, and never join it to the next one.
    #[test]
    fn a_torn_line_is_left_out_and_taken_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.jsonl");
        assert!(Journal::read(&path, number).expect("no log is an empty one").entries.is_empty());
        append(&path, &[1, 2]).expect("two lines");
        std::fs::write(&path, "1\n2\n3").expect("a torn line");
        let read = Journal::read(&path, number).expect("a log");
        assert_eq!(read.entries, [1, 2]);
        append(&path, &[4]).expect("a line");
        assert_eq!(std::fs::read_to_string(&path).expect("the log"), "1\n2\n4\n");
        let more = Journal::read(&path, number).expect("a log");
        assert_eq!(more.digest_of(2), Some(read.digest()));
        assert_ne!(more.digest(), read.digest());
        assert_eq!(more.digest_of(4), None);
    }

    /// A log that is imported twice teaches once.
    #[test]
    fn what_is_known_is_not_appended_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.jsonl");
        assert_eq!(append_new(&path, &[1, 2, 2]).expect("lines"), 3);
        assert_eq!(append_new(&path, &[1, 2, 2, 2, 3]).expect("lines"), 2);
        assert_eq!(append_new(&path, &[2, 1]).expect("lines"), 0);
        assert_eq!(std::fs::read_to_string(&path).expect("the log"), "1\n2\n2\n2\n3\n");
    }

    /// Logs come from anywhere: a bad line is named by its number, and a long one is not read into memory.
    #[test]
    fn hostile_lines_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.jsonl");
        for (bytes, said) in [
            (b"1\nx\n".to_vec(), "line 2: \"x\" is no number"),
            (b"1\n\xff\n".to_vec(), "line 2: not UTF-8"),
            (vec![b'1'; MAX_LINE_BYTES + 10], "line 1: longer than"),
        ] {
            std::fs::write(&path, bytes).expect("a log");
            let error = Journal::read(&path, number).expect_err("a bad line").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
