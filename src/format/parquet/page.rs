//! Pages of Parquet files: a header in Thrift, then levels and values.
//!
//! Source: `parquet.thrift` of Apache Parquet, whose numbers these are.

use super::super::Refusal;
use super::super::reader::Reader;
use super::thrift::{Kind, Thrift};

/// Bytes that are read at a time: a header has some tens, unless it repeats long values as statistics.
pub(super) const WINDOW_BYTES: usize = 4 << 10;

/// The parts of a page, which follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageParts<'a> {
    pub header: &'a [u8],
    /// What no codec ever packs: levels of a page of the second kind, all of one that says so.
    pub plain: &'a [u8],
    /// What the column's codec packed. Only the footer tells which codec that is; it may be none.
    pub packed: &'a [u8],
    /// Length of `packed` when it is unpacked, as the header tells; up to 2 GiB, and may be a lie.
    pub unpacked_bytes: usize,
}

/// Takes a page apart; none where the bytes are not exactly one page of values or of a dictionary.
pub fn page(bytes: &[u8]) -> Option<PageParts<'_>> {
    let mut thrift = Thrift::new(Reader::with_window(&bytes, 0..bytes.len() as u64, WINDOW_BYTES));
    let header = Header::read(&mut thrift).ok()?;
    let (head, body) = bytes.split_at(thrift.position() as usize);
    if header.kind == PageKind::Other || header.body_bytes != body.len() as u64 {
        return None;
    }
    let unpacked_bytes = header.unpacked_bytes.checked_sub(header.levels_bytes)?;
    if !header.is_packed {
        return Some(PageParts { header: head, plain: body, packed: &[], unpacked_bytes: 0 });
    }
    let (plain, packed) = body.split_at_checked(usize::try_from(header.levels_bytes).ok()?)?;
    Some(PageParts { header: head, plain, packed, unpacked_bytes: usize::try_from(unpacked_bytes).ok()? })
}

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Values,
    Dictionary,
    /// An index page, which nobody writes, or one of a later version.
    Other,
}

/// What a page tells of itself.
#[derive(Debug)]
pub(super) struct Header {
    pub kind: PageKind,
    /// Bytes of the body in the file, levels included.
    pub body_bytes: u64,
    /// Bytes of the body when it is unpacked, levels included.
    unpacked_bytes: u64,
    /// Levels before the values that are never packed.
    levels_bytes: u64,
    /// Whether the column's codec was used.
    is_packed: bool,
}

impl Header {
    /// Reads the header that starts here.
    pub fn read(thrift: &mut Thrift) -> Result<Header, Refusal> {
        let (mut kind, mut unpacked_bytes, mut body_bytes) = (None, None, None);
        let mut second = SecondKind::default();
        thrift.structure(|thrift, id, field| {
            match (id, field) {
                (1, Kind::Int) => kind = Some(thrift.int()?),
                (2, Kind::Int) => unpacked_bytes = Some(length(thrift)?),
                (3, Kind::Int) => body_bytes = Some(length(thrift)?),
                (8, Kind::Struct) => second = SecondKind::read(thrift)?,
                _ => thrift.pass(field)?,
            }
            Ok(())
        })?;
        let second = if kind == Some(3) { second } else { SecondKind::default() };
        Ok(Header {
            kind: match kind.ok_or(Refusal::Malformed)? {
                0 | 3 => PageKind::Values,
                2 => PageKind::Dictionary,
                _ => PageKind::Other,
            },
            body_bytes: body_bytes.ok_or(Refusal::Malformed)?,
            unpacked_bytes: unpacked_bytes.ok_or(Refusal::Malformed)?,
            levels_bytes: second.levels_bytes,
            is_packed: second.is_packed,
        })
    }
}

/// What pages of the second kind tell besides: their levels lie before the values, unpacked.
struct SecondKind {
    levels_bytes: u64,
    is_packed: bool,
}

impl Default for SecondKind {
    fn default() -> Self {
        SecondKind { levels_bytes: 0, is_packed: true }
    }
}

impl SecondKind {
    fn read(thrift: &mut Thrift) -> Result<SecondKind, Refusal> {
        let (mut definitions, mut repetitions, mut is_packed) = (0, 0, true);
        thrift.structure(|thrift, id, kind| {
            match (id, kind) {
                (5, Kind::Int) => definitions = length(thrift)?,
                (6, Kind::Int) => repetitions = length(thrift)?,
                (7, Kind::Bool(value)) => is_packed = value,
                _ => thrift.pass(kind)?,
            }
            Ok(())
        })?;
        Ok(SecondKind { levels_bytes: definitions + repetitions, is_packed })
    }
}

/// A length, which Parquet keeps in 31 bits.
fn length(thrift: &mut Thrift) -> Result<u64, Refusal> {
    let number = i32::try_from(thrift.int()?).map_err(|_| Refusal::Malformed)?;
    u64::try_from(number).map_err(|_| Refusal::Malformed)
}
