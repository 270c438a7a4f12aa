//! Pages of Parquet files: a header in Thrift, then levels and values.
//!
//! Source: `parquet.thrift` of Apache Parquet, whose numbers these are.

use super::super::Refusal;
use super::super::reader::Reader;
use super::thrift::{Kind, Thrift};

/// Bytes that are read at a time: a header has some tens, unless it repeats long values as statistics.
pub(super) const WINDOW_BYTES: usize = 4 << 10;

/// Most pages of a run, or of a file.
pub(super) const MAX_PAGES: usize = 1 << 19;

/// The parts of a page, which follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageParts<'a> {
    pub kind: PageKind,
    /// Entries of the column, or of its dictionary; up to 2 Gi, and may be a lie.
    pub values: usize,
    /// How the values are written: a number of `parquet.thrift`.
    pub encoding: u8,
    /// Lengths of the repetition and definition levels in `plain`, where a page of the second kind has them.
    pub levels: Option<[usize; 2]>,
    pub header: &'a [u8],
    /// What no codec ever packs: levels of a page of the second kind, all of one that says so.
    pub plain: &'a [u8],
    /// What the column's codec packed. Only the footer tells which codec that is; it may be none.
    pub packed: &'a [u8],
    /// Length of `packed` when it is unpacked, as the header tells; up to 2 GiB, and may be a lie.
    pub unpacked_bytes: usize,
}

/// Takes a run of pages apart; none where the bytes are not exactly pages of values and dictionaries.
pub fn pages(mut bytes: &[u8]) -> Option<Vec<PageParts<'_>>> {
    let mut pages = Vec::new();
    while !bytes.is_empty() {
        if pages.len() == MAX_PAGES {
            return None;
        }
        let header = header(bytes)?;
        let len = header.header.len() + header.body_bytes;
        pages.push(header.with_body(bytes.get(header.header.len()..len)?)?);
        bytes = &bytes[len..];
    }
    Some(pages)
}

/// The header of a page, which the bytes begin with.
#[derive(Debug, Clone, Copy)]
pub struct PageHeader<'a> {
    pub header: &'a [u8],
    /// Length of what follows it.
    pub body_bytes: usize,
    fields: Header,
}

/// Reads the header that the bytes begin with; none where it is no page of values or of a dictionary.
pub fn header(bytes: &[u8]) -> Option<PageHeader<'_>> {
    let mut thrift = Thrift::new(Reader::with_window(&bytes, 0..bytes.len() as u64, WINDOW_BYTES));
    let fields = Header::read(&mut thrift).ok().filter(|header| header.kind != PageKind::Other)?;
    let header = &bytes[..thrift.position() as usize];
    Some(PageHeader { header, body_bytes: usize::try_from(fields.body_bytes).ok()?, fields })
}

impl<'a> PageHeader<'a> {
    /// The page; none where that can't be its body.
    fn with_body(self, body: &'a [u8]) -> Option<PageParts<'a>> {
        let parts = self.without_body()?;
        if !self.fields.is_packed {
            return Some(PageParts { plain: body, unpacked_bytes: 0, ..parts });
        }
        let (plain, packed) = body.split_at_checked(usize::try_from(self.fields.levels_bytes()).ok()?)?;
        Some(PageParts { plain, packed, ..parts })
    }

    /// What the header tells of the page.
    pub fn without_body(self) -> Option<PageParts<'a>> {
        let Header { kind, unpacked_bytes, values, encoding, levels, .. } = self.fields;
        let unpacked_bytes = unpacked_bytes.checked_sub(self.fields.levels_bytes())?;
        Some(PageParts {
            kind,
            values: usize::try_from(values).ok()?,
            encoding,
            levels: levels.map(|levels| levels.map(|len| len as usize)),
            header: self.header,
            plain: &[],
            packed: &[],
            unpacked_bytes: usize::try_from(unpacked_bytes).ok()?,
        })
    }

    /// Whether the column's codec was used.
    pub fn is_packed(&self) -> bool {
        self.fields.is_packed
    }
}

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    Values,
    Dictionary,
    /// An index page, which nobody writes, or one of a later version.
    Other,
}

/// What a page tells of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub kind: PageKind,
    /// Bytes of the body in the file, levels included.
    pub body_bytes: u64,
    /// Bytes of the body when it is unpacked, levels included.
    pub unpacked_bytes: u64,
    /// Entries in the page.
    pub values: u64,
    pub encoding: u8,
    /// Bytes of repetition and definition levels before the values that are never packed.
    levels: Option<[u64; 2]>,
    /// Whether the column's codec was used.
    is_packed: bool,
}

impl Header {
    /// Reads the header that starts here.
    pub fn read(thrift: &mut Thrift) -> Result<Header, Refusal> {
        let (mut kind, mut unpacked_bytes, mut body_bytes) = (None, None, None);
        let mut of_kind: [Option<OfKind>; 3] = [None; 3];
        thrift.structure(|thrift, id, field| {
            match (id, field) {
                (1, Kind::Int) => kind = Some(thrift.int()?),
                (2, Kind::Int) => unpacked_bytes = Some(length(thrift)?),
                (3, Kind::Int) => body_bytes = Some(length(thrift)?),
                (5, Kind::Struct) => of_kind[0] = Some(OfKind::read(thrift, 2)?),
                (7, Kind::Struct) => of_kind[1] = Some(OfKind::read(thrift, 2)?),
                (8, Kind::Struct) => of_kind[2] = Some(OfKind::read(thrift, 4)?),
                _ => thrift.pass(field)?,
            }
            Ok(())
        })?;
        let (kind, place) = match kind.ok_or(Refusal::Malformed)? {
            0 => (PageKind::Values, 0),
            2 => (PageKind::Dictionary, 1),
            3 => (PageKind::Values, 2),
            _ => (PageKind::Other, 0),
        };
        let OfKind { values, encoding, levels, is_packed } = of_kind[place].unwrap_or_default();
        Ok(Header {
            kind,
            body_bytes: body_bytes.ok_or(Refusal::Malformed)?,
            unpacked_bytes: unpacked_bytes.ok_or(Refusal::Malformed)?,
            values,
            encoding,
            levels: (place == 2).then_some(levels),
            is_packed: place != 2 || is_packed,
        })
    }

    fn levels_bytes(&self) -> u64 {
        self.levels.map_or(0, |[repetitions, definitions]| repetitions + definitions)
    }

    /// Whether the values are numbers of entries in the dictionary.
    pub fn is_coded(&self) -> bool {
        self.kind == PageKind::Values && is_coded(self.encoding)
    }
}

/// Whether values of that encoding are numbers of entries in the dictionary: `PLAIN_DICTIONARY`, `RLE_DICTIONARY`.
pub const fn is_coded(encoding: u8) -> bool {
    matches!(encoding, 2 | 8)
}

/// What pages of one kind tell besides. The levels of those of the second lie before the values, unpacked.
#[derive(Clone, Copy)]
struct OfKind {
    values: u64,
    encoding: u8,
    levels: [u64; 2],
    is_packed: bool,
}

impl Default for OfKind {
    fn default() -> Self {
        OfKind { values: 0, encoding: u8::MAX, levels: [0; 2], is_packed: true }
    }
}

impl OfKind {
    /// Reads it where the encoding is the field of that number.
    fn read(thrift: &mut Thrift, encoding_id: i64) -> Result<OfKind, Refusal> {
        let is_second = encoding_id == 4;
        let mut found = OfKind::default();
        thrift.structure(|thrift, id, kind| {
            match (id, kind) {
                (1, Kind::Int) => found.values = length(thrift)?,
                (id, Kind::Int) if id == encoding_id => {
                    found.encoding = u8::try_from(thrift.int()?).unwrap_or(u8::MAX);
                }
                (5, Kind::Int) if is_second => found.levels[1] = length(thrift)?,
                (6, Kind::Int) if is_second => found.levels[0] = length(thrift)?,
                (7, Kind::Bool(value)) if is_second => found.is_packed = value,
                _ => thrift.pass(kind)?,
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// A length, which Parquet keeps in 31 bits.
fn length(thrift: &mut Thrift) -> Result<u64, Refusal> {
    let number = i32::try_from(thrift.int()?).map_err(|_| Refusal::Malformed)?;
    u64::try_from(number).map_err(|_| Refusal::Malformed)
}
