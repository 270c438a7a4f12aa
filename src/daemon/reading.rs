//! A file of the store, read in parts through the daemon.

use std::io;
use std::ops::Range;

use base64::prelude::{BASE64_STANDARD, Engine};

use super::client::{Client, unexpected};
use super::message::{Failure, Kind, Reply, Request};
use crate::dataset::{Cached, Piece};
use crate::format::Source;
use crate::id::Oid;
use crate::progress::unwatched;

/// Bytes that are asked for at least: a question costs as much as decoding so many.
const AHEAD_BYTES: u64 = 1 << 20;

/// Opens a file that the store must hold.
pub fn open(mut client: Client, oid: Oid) -> Result<impl Source + Send, Failure> {
    let (size, first) = read(&mut client, oid, 0..1)?;
    let mut first = Some(first);
    Ok(Cached::new(size, move |wanted: Range<u64>| {
        if let Some(first) = first.take_if(|first| first.start == wanted.start && !first.bytes.is_empty()) {
            return Ok(first);
        }
        let end = wanted.end.max(wanted.start.saturating_add(AHEAD_BYTES));
        let (_, piece) = read(&mut client, oid, wanted.start..end).map_err(io::Error::other)?;
        Ok(piece)
    }))
}

fn read(client: &mut Client, oid: Oid, wanted: Range<u64>) -> Result<(u64, Piece), Failure> {
    let request = Request::Read { oid, start: wanted.start, end: wanted.end };
    match client.call(&request, &unwatched)? {
        Reply::Read { size, start, bytes } => {
            let bytes = BASE64_STANDARD.decode(bytes);
            let bytes = bytes.map_err(|error| Failure::new(Kind::Fatal, format!("the daemon: {error}")))?;
            Ok((size, Piece { start, bytes }))
        }
        other => Err(unexpected(&other)),
    }
}
