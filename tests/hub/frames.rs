//! Streams of transfer `sparse` made by hand, lies and all.

use git_sparse::pack::{self, Record};
use git_sparse::peer::write_frame;

/// An object as it goes over the wire, with length and checksum of `payload`.
pub fn object(record: Record, payload: &[u8]) -> Vec<u8> {
    let (payload_len, checksum) = (payload.len() as u32, pack::checksum(payload));
    framed(1, Record { payload_len, checksum, ..record }, payload)
}

/// A frame of any kind.
pub fn framed(tag: u8, record: Record, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, &record, Some(payload)).expect("because memory takes all");
    out[0] = tag;
    out
}

/// The end of a stream.
pub fn end() -> Vec<u8> {
    vec![0]
}
