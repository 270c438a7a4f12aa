//! What the header of a page tells that follows from the page: lengths, missing values, the least and the greatest.
//!
//! A page that is given back from its cells gives these as well, so they are left out of the header that is kept. Each
//! is left out only where it is written as it would be here.

use std::cell::LazyCell;
use std::ops::Range;

use super::super::Refusal;
use super::super::reader::Reader;
use super::page::WINDOW_BYTES;
use super::thrift::{Kind, Thrift};
use crate::varint;

/// The least and the greatest value, looked for where a header tells them; none where there is no value.
pub type Extremes<'a> = LazyCell<Option<[&'a [u8]; 2]>, Box<dyn FnOnce() -> Option<[&'a [u8]; 2]> + 'a>>;

/// What follows from a page.
pub struct Follows<'a> {
    /// Bytes of the body, unpacked and as it stands in the file; levels included.
    pub unpacked: usize,
    pub packed: usize,
    /// Entries without a value.
    pub missing: usize,
    pub extremes: Extremes<'a>,
}

// One bit for each field that may be left out.
const UNPACKED: u8 = 1;
const PACKED: u8 = 2;
const MISSING: u8 = 4;
const MAX: u8 = 8;
const MIN: u8 = 16;
const MAX_VALUE: u8 = 32;
const MIN_VALUE: u8 = 64;
const MISSING_OF_SECOND: u8 = 128;

/// A field that is left out has this value, so that the rest reads as a header.
const EMPTY: [u8; 1] = [0];

impl Follows<'_> {
    /// A header without the fields that follow from its page, and which these are.
    pub fn leave_out(&self, header: &[u8]) -> (Vec<u8>, u8) {
        let Some(fields) = fields(header) else { return (header.to_vec(), 0) };
        let (mut rest, mut left_out, mut end) = (Vec::with_capacity(header.len()), 0, 0);
        for (field, range) in fields {
            if self.written(field).as_deref() == Some(&header[range.clone()]) {
                rest.extend_from_slice(&header[end..range.start]);
                rest.extend(EMPTY);
                left_out |= field;
                end = range.end;
            }
        }
        rest.extend_from_slice(&header[end..]);
        (rest, left_out)
    }

    /// The header again; none where it has none of these fields, or nothing is known of one.
    pub fn fill_in(&self, rest: &[u8], left_out: u8) -> Option<Vec<u8>> {
        let (mut header, mut end) = (Vec::with_capacity(rest.len()), 0);
        if left_out != 0 {
            let fields = fields(rest)?;
            let there = fields.iter().fold(0, |all, (field, _)| all | field);
            (there & left_out == left_out).then_some(())?;
            for (field, range) in fields.into_iter().filter(|(field, _)| field & left_out != 0) {
                header.extend_from_slice(&rest[end..range.start]);
                header.extend(self.written(field)?);
                end = range.end;
            }
        }
        header.extend_from_slice(&rest[end..]);
        Some(header)
    }

    fn written(&self, field: u8) -> Option<Vec<u8>> {
        Some(match field {
            UNPACKED => int(self.unpacked),
            PACKED => int(self.packed),
            MISSING | MISSING_OF_SECOND => int(self.missing),
            MIN | MIN_VALUE => binary((*self.extremes)?[0]),
            _ => binary((*self.extremes)?[1]),
        })
    }
}

fn int(number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, (number as u64) << 1);
    out
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    varint::put(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

/// Where the values of such fields stand, in order; none where a field comes twice, or this is no header.
fn fields(header: &[u8]) -> Option<Vec<(u8, Range<usize>)>> {
    let mut thrift = Thrift::new(Reader::with_window(&header, 0..header.len() as u64, WINDOW_BYTES));
    let mut found = Found::default();
    let read = thrift.structure(|thrift, id, kind| match (id, kind) {
        (2, Kind::Int) => found.pass(thrift, UNPACKED, kind),
        (3, Kind::Int) => found.pass(thrift, PACKED, kind),
        (5, Kind::Struct) => found.of_kind(thrift, 5),
        (8, Kind::Struct) => found.of_kind(thrift, 8),
        _ => thrift.pass(kind),
    });
    if found.is_second {
        // Its length is held against that of its levels, which are told as well.
        found.fields.retain(|(field, _)| *field != UNPACKED);
    }
    (read.is_ok() && thrift.left() == 0 && !found.is_twice).then_some(found.fields)
}

#[derive(Default)]
struct Found {
    fields: Vec<(u8, Range<usize>)>,
    is_twice: bool,
    is_second: bool,
}

impl Found {
    fn pass(&mut self, thrift: &mut Thrift<'_>, field: u8, kind: Kind) -> Result<(), Refusal> {
        let start = thrift.position() as usize;
        thrift.pass(kind)?;
        self.is_twice |= self.fields.iter().any(|(known, _)| *known == field);
        self.fields.push((field, start..thrift.position() as usize));
        Ok(())
    }

    /// What pages of one kind tell: the statistics of the first are field 5, of the second field 8.
    fn of_kind(&mut self, thrift: &mut Thrift<'_>, statistics: i64) -> Result<(), Refusal> {
        self.is_second |= statistics == 8;
        thrift.structure(|thrift, id, kind| match (id, kind) {
            (2, Kind::Int) if statistics == 8 => self.pass(thrift, MISSING_OF_SECOND, kind),
            (id, Kind::Struct) if id == statistics => thrift.structure(|thrift, id, kind| match (id, kind) {
                (1, Kind::Binary) => self.pass(thrift, MAX, kind),
                (2, Kind::Binary) => self.pass(thrift, MIN, kind),
                (3, Kind::Int) => self.pass(thrift, MISSING, kind),
                (5, Kind::Binary) => self.pass(thrift, MAX_VALUE, kind),
                (6, Kind::Binary) => self.pass(thrift, MIN_VALUE, kind),
                _ => thrift.pass(kind),
            }),
            _ => thrift.pass(kind),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of the first kind: lengths 300 and 200, a checksum, 20 values with statistics.
    const HEADER: &[u8] = &[
        0x15, 0, 0x15, 0xd8, 4, 0x15, 0x90, 3, 0x15, 9, 0x1c, 0x15, 40, 0x15, 16, 0x15, 6, 0x15, 6, 0x1c,
        0x18, 2, b'z', b'z', 0x18, 1, b'a', 0x16, 6, 0x28, 2, b'z', b'z', 0x18, 1, b'a', 0, 0, 0,
    ];

    fn follows<'a>(extremes: Option<[&'a [u8]; 2]>) -> Follows<'a> {
        Follows {
            unpacked: 300,
            packed: 200,
            missing: 3,
            extremes: Extremes::new(Box::new(move || extremes)),
        }
    }

    /// A header that comes back with another length is another file.
    #[test]
    fn headers_come_back_without_what_follows() {
        let right = follows(Some([b"a", b"zz"]));
        let (rest, left_out) = right.leave_out(HEADER);
        assert_eq!((left_out, rest.len()), (0x7f, HEADER.len() - 1 - 1 - 2 - 1 - 2 - 1));
        assert_eq!(right.fill_in(&rest, left_out).unwrap(), HEADER);
        // What is written otherwise than it would be here is kept.
        let wrong = Follows { packed: 201, ..follows(Some([b"b", b"zz"])) };
        let (rest, left_out) = wrong.leave_out(HEADER);
        assert_eq!(left_out, UNPACKED | MISSING | MAX | MAX_VALUE);
        assert_eq!(wrong.fill_in(&rest, left_out).unwrap(), HEADER);
        assert_eq!(follows(None).leave_out(HEADER).1, UNPACKED | PACKED | MISSING);
    }

    /// A run may have many pages, and extremes cost a look at all values of one.
    #[test]
    fn extremes_are_looked_for_only_where_a_header_tells_them() {
        let nobody = || -> Follows<'static> {
            Follows { extremes: Extremes::new(Box::new(|| panic!("nobody asked"))), ..follows(None) }
        };
        let bare: &[u8] = &[0x15, 0, 0x15, 0xd8, 4, 0x15, 0x90, 3, 0x1c, 0x15, 40, 0x15, 16, 0, 0];
        let (rest, left_out) = nobody().leave_out(bare);
        assert_eq!(left_out, UNPACKED | PACKED);
        assert_eq!(nobody().fill_in(&rest, left_out).unwrap(), bare);
    }

    /// Whoever wrote the rest may lie: about the fields, and about how often one comes.
    #[test]
    fn lies_are_refused() {
        let right = follows(Some([b"a", b"zz"]));
        let (rest, left_out) = right.leave_out(HEADER);
        assert_eq!(right.fill_in(&rest, left_out | MISSING_OF_SECOND), None);
        assert_eq!(follows(None).fill_in(&rest, left_out), None);
        let twice = [0x25, 0, 0x05, 4, 0, 0];
        assert_eq!(right.fill_in(&twice, UNPACKED), None);
        for at in 0..rest.len() {
            let mut bad = rest.clone();
            bad[at] ^= 0x15;
            let _ = right.fill_in(&bad, left_out);
            let _ = right.fill_in(&rest[..at], left_out);
            let _ = right.leave_out(&bad);
        }
    }
}
