//! What a place can do, tried with a file of its own: servers that speak S3 differ in what they leave out.
//!
//! The worst ones say yes to a condition and pass it over: two machines that both ask for a name that must
//! be new both get it, and one's work is gone without a word. Such a place is refused before anything is
//! kept there.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::{Area, Backend, Name, Taken};

const FIRST: &[u8] = b"git sparse looks what this place can do; this file may be deleted\n";
const SECOND: &[u8] = b"and what it does with a name that is taken\n";

/// One thing that a store needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A file can be made where there is none.
    Write,
    /// A name that is taken is refused to all others.
    Refuse,
    /// What was just written is read, and replaced.
    Read,
    /// Parts of a file can be read, also from its end.
    Ranges,
    /// What was just written is listed.
    List,
    /// A file can be deleted.
    Delete,
}

/// What was found of one need; no reason means that it is met.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub need: Need,
    pub failure: Option<String>,
    #[serde(skip)]
    pub error: Option<io::Error>,
}

/// Tries all that a store needs, and leaves nothing behind. Ends at the first need that is not met, since
/// those behind it stand on it.
pub fn all(backend: &dyn Backend, number: u64) -> Vec<Finding> {
    let name = Name::Probe(number);
    let needs: [(Need, &dyn Fn() -> io::Result<()>); 6] = [
        (Need::Write, &|| put(backend, name, FIRST, Taken::Refuse)),
        (Need::Refuse, &|| refuses(backend, name)),
        (Need::Read, &|| reads(backend, name)),
        (Need::Ranges, &|| has_ranges(backend, name)),
        (Need::List, &|| lists(backend, name)),
        (Need::Delete, &|| deletes(backend, name)),
    ];
    let mut found = Vec::new();
    for (need, probe) in needs {
        let error = probe().err();
        let failed = error.is_some();
        found.push(Finding { need, failure: error.as_ref().map(io::Error::to_string), error });
        if failed {
            let _ = backend.delete(name);
            break;
        }
    }
    found
}

/// Tries only what loses work where it is missing: a name that is taken must be refused.
pub fn condition(backend: &dyn Backend, number: u64) -> io::Result<()> {
    let name = Name::Probe(number);
    put(backend, name, FIRST, Taken::Refuse)?;
    let refused = refuses(backend, name);
    refused.and(backend.delete(name))
}

fn put(backend: &dyn Backend, name: Name, bytes: &[u8], taken: Taken) -> io::Result<()> {
    let mut staged = backend.create()?;
    staged.write_all(bytes)?;
    staged.publish(name, taken)
}

fn refuses(backend: &dyn Backend, name: Name) -> io::Result<()> {
    match put(backend, name, SECOND, Taken::Refuse) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let _ = backend.delete(name);
            let why = format!(
                "{}: the server takes no notice of If-None-Match: it made {name} twice, where the second must \
                 fail, so the work of machines that push at once would be lost",
                backend.place()
            );
            Err(io::Error::new(ErrorKind::Unsupported, why))
        }
    }
}

fn reads(backend: &dyn Backend, name: Name) -> io::Result<()> {
    is(backend, name, FIRST)?;
    put(backend, name, SECOND, Taken::Replace)?;
    is(backend, name, SECOND)
}

fn is(backend: &dyn Backend, name: Name, expected: &[u8]) -> io::Result<()> {
    let end = expected.len() as u64;
    match backend.len(name)? == Some(end) && backend.read(name, 0..end)? == expected {
        true => Ok(()),
        false => Err(wrong(backend, "what was just written is not what is read")),
    }
}

fn has_ranges(backend: &dyn Backend, name: Name) -> io::Result<()> {
    let middle = backend.read(name, 4..9)?;
    let tail = backend.tail(name, 5)?.map(|tail| (tail.bytes, tail.len));
    let end = SECOND.len();
    match middle == SECOND[4..9] && tail == Some((SECOND[end - 5..].to_vec(), end as u64)) {
        true => Ok(()),
        false => Err(wrong(backend, "other bytes come than were asked for")),
    }
}

fn lists(backend: &dyn Backend, name: Name) -> io::Result<()> {
    match backend.list(Area::Probes)?.contains(&name) {
        true => Ok(()),
        false => Err(wrong(backend, "what was just written is in no list")),
    }
}

fn deletes(backend: &dyn Backend, name: Name) -> io::Result<()> {
    backend.delete(name)?;
    match backend.len(name)? {
        None => Ok(()),
        Some(_) => Err(wrong(backend, "what was just deleted is there")),
    }
}

fn wrong(backend: &dyn Backend, why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{}: {why}", backend.place()))
}
