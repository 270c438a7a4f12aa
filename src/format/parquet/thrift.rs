//! Thrift's compact protocol, as far as Parquet uses it: structures field by field, all else passed over.
//!
//! Lengths and counts are held against what is left of the stretch before anything is done with them. Each
//! element takes a byte at least, so that no count makes it long, and nothing nests deeper than
//! [`MAX_NESTING`]. Source: Apache Thrift, `doc/specs/thrift-compact-protocol.md`.

use super::super::Refusal;
use super::super::reader::Reader;

/// What is passed over; Parquet's own structures are about 6 deep.
const MAX_NESTING: u32 = 16;
/// Ends a structure.
const STOP: u8 = 0;
/// Sign of a list that its length stands behind.
const LONG_LIST: u8 = 15;

/// A place in a stretch of compact Thrift.
pub(super) struct Thrift<'a> {
    reader: Reader<'a>,
}

/// Type of a field or element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Fields have their value in the type, elements a byte of their own.
    Bool(bool),
    Byte,
    /// 16, 32 or 64 bits, which are written alike.
    Int,
    Double,
    Binary,
    /// A set, too.
    List,
    Map,
    Struct,
    Uuid,
}

impl<'a> Thrift<'a> {
    /// Reads from where the reader stands.
    pub fn new(reader: Reader<'a>) -> Self {
        Thrift { reader }
    }

    /// Where the next byte lies in the source.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Bytes up to the end of the stretch.
    pub fn left(&self) -> u64 {
        self.reader.left()
    }

    /// Passes over `len` bytes that are no Thrift.
    pub fn skip(&mut self, len: u64) -> Result<(), Refusal> {
        self.reader.skip(len)
    }

    /// Reads a structure: `field` is given each number and type, and reads the value or passes over it.
    pub fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, Kind) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut id = 0i64;
        loop {
            let byte = self.reader.u8()?;
            if byte == STOP {
                return Ok(());
            }
            let kind = Kind::of(byte & 15)?;
            id = match byte >> 4 {
                0 => self.int()?,
                step => id.checked_add(step.into()).ok_or(Refusal::Malformed)?,
            };
            field(self, id, kind)?;
        }
    }

    /// Reads a list of structures, which `element` is called for.
    pub fn structures(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let (kind, count) = self.list()?;
        if kind != Kind::Struct && count > 0 {
            return Err(Refusal::Malformed);
        }
        (0..count).try_for_each(|_| element(self))
    }

    /// The next integer.
    pub fn int(&mut self) -> Result<i64, Refusal> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// The next bytes with their length before them, of which there must be no more than `limit`.
    pub fn binary(&mut self, limit: usize) -> Result<Vec<u8>, Refusal> {
        let len = self.varint()?;
        self.reader.bytes(len, limit)
    }

    /// Passes over the value of a field.
    pub fn pass(&mut self, kind: Kind) -> Result<(), Refusal> {
        self.pass_within(kind, MAX_NESTING)
    }

    fn pass_within(&mut self, kind: Kind, nesting: u32) -> Result<(), Refusal> {
        let inner = || nesting.checked_sub(1).ok_or(Refusal::Malformed);
        match kind {
            Kind::Bool(_) => Ok(()),
            Kind::Byte => self.reader.skip(1),
            Kind::Int => self.varint().map(drop),
            Kind::Double => self.reader.skip(8),
            Kind::Uuid => self.reader.skip(16),
            Kind::Binary => {
                let len = self.varint()?;
                self.reader.skip(len)
            }
            Kind::List => {
                let nesting = inner()?;
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.pass_element(kind, nesting))
            }
            Kind::Map => {
                let nesting = inner()?;
                let count = self.varint()?;
                self.pass_pairs(count, nesting)
            }
            Kind::Struct => {
                let nesting = inner()?;
                self.structure(|thrift, _, kind| thrift.pass_within(kind, nesting))
            }
        }
    }

    fn pass_pairs(&mut self, count: u64, nesting: u32) -> Result<(), Refusal> {
        if count == 0 {
            return Ok(());
        }
        let kinds = self.reader.u8()?;
        let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 15)?);
        for _ in 0..count {
            self.pass_element(key, nesting)?;
            self.pass_element(value, nesting)?;
        }
        Ok(())
    }

    fn pass_element(&mut self, kind: Kind, nesting: u32) -> Result<(), Refusal> {
        match kind {
            Kind::Bool(_) => self.reader.skip(1),
            kind => self.pass_within(kind, nesting),
        }
    }

    /// Type and number of the elements of a list, which follow.
    fn list(&mut self) -> Result<(Kind, u64), Refusal> {
        let byte = self.reader.u8()?;
        let count = match byte >> 4 {
            LONG_LIST => self.varint()?,
            count => count.into(),
        };
        let kind = Kind::of(byte & 15);
        match count <= self.left() {
            true => Ok((if count == 0 { kind.unwrap_or(Kind::Byte) } else { kind? }, count)),
            false => Err(Refusal::Malformed),
        }
    }

    /// An unsigned number, seven bits a byte, the low ones first.
    fn varint(&mut self) -> Result<u64, Refusal> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.reader.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Refusal::Malformed);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Refusal::Malformed)
    }
}

impl Kind {
    fn of(tag: u8) -> Result<Kind, Refusal> {
        Ok(match tag {
            1 => Kind::Bool(true),
            2 => Kind::Bool(false),
            3 => Kind::Byte,
            4..=6 => Kind::Int,
            7 => Kind::Double,
            8 => Kind::Binary,
            9 | 10 => Kind::List,
            11 => Kind::Map,
            12 => Kind::Struct,
            13 => Kind::Uuid,
            _ => return Err(Refusal::Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thrift<'a>(bytes: &'a &'a [u8]) -> Thrift<'a> {
        Thrift::new(Reader::new(bytes, 0..bytes.len() as u64))
    }

    /// Offsets in a file are such numbers; one that is read wrongly cuts somewhere else.
    #[test]
    fn integers_are_read_as_they_were_written() {
        let long = [&[0xff; 9], [1].as_slice()].concat();
        let written: [(&[u8], i64); 7] = [
            (&[0], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0xac, 2], 150),
            (&[0x80, 0], 0),
            (&[&[0xfe], &long[1..]].concat(), i64::MAX),
            (&long, i64::MIN),
        ];
        for (bytes, number) in written {
            assert_eq!(thrift(&bytes).int().unwrap(), number, "{bytes:?}");
        }
        let refused: [&[u8]; 3] = [&[], &[0x80], &[&[0xff; 9], [2].as_slice()].concat()];
        refused.iter().for_each(|bytes| assert!(thrift(bytes).int().is_err(), "{bytes:?}"));
    }

    /// What nobody asks for must be passed over to the byte, or all behind it is misread.
    #[test]
    fn every_type_is_passed_over() {
        let values: [(u8, &[u8]); 15] = [
            (1, &[]),
            (2, &[]),
            (3, &[9]),
            (4, &[0x80, 1]),
            (6, &[1]),
            (7, &[9; 8]),
            (8, &[2, 9, 9]),
            (9, &[0x21, 1, 2]),
            (9, &[0x10 | 12, 0x15, 2, 0]),
            (9, &[0xf3, 16, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]),
            (9, &[0]),
            (10, &[0x18, 1, 9]),
            (11, &[0]),
            (11, &[1, 0x82, 1, 9, 1]),
            (13, &[9; 16]),
        ];
        for (kind, value) in values {
            let bytes = [&[0x10 | kind], value, &[0x16, 84, 0]].concat();
            let (mut passed, mut found) = (0, None);
            let read = thrift(&bytes.as_slice()).structure(|thrift, id, kind| match id {
                1 => thrift.pass(kind).map(|()| passed += 1),
                id => thrift.int().map(|number| found = Some((id, number))),
            });
            assert_eq!((read.is_ok(), passed, found), (true, 1, Some((2, 42))), "type {kind}: {value:?}");
        }
    }
}
