//! The footer of a Parquet file: which columns there are, and where their chunks lie.
//!
//! It is read from front to back and not kept: of all that it tells, statistics above all, only paths and
//! ranges matter here. Source: `parquet.thrift` of Apache Parquet, whose numbers of fields these are.

use std::ops::Range;

use super::super::array::{MAX_ARRAYS, MAX_NAME_BYTES};
use super::super::reader::Reader;
use super::super::{Refusal, Source};
use super::thrift::{Kind, Thrift};

/// Far above what people publish: the widest tables have tens of MiB.
const MAX_FOOTER_BYTES: u64 = 64 << 20;
const MAX_COLUMNS: usize = 1 << 18;
/// The paths of all columns together: those of nested ones repeat the groups they lie in.
const MAX_PATHS_BYTES: usize = 16 << 20;
/// Groups in groups.
const MAX_DEPTH: usize = 64;
/// How often an element may stand in its group: once; 1 is not at all or once.
const REQUIRED: i64 = 0;
const REPEATED: i64 = 2;
/// Length of the footer and magic, behind it.
const END_BYTES: u64 = 8;

/// What matters of a footer; nothing about the chunks is believed yet.
#[derive(Debug)]
pub(super) struct Footer {
    /// Where it lies in the file, with its length and the magic behind it.
    pub range: Range<u64>,
    /// Those that hold values.
    pub columns: Vec<Column>,
    /// In the order of the footer.
    pub chunks: Vec<Chunk>,
}

/// A column that holds values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name and those of the groups that it lies in, joined by dots.
    pub path: String,
    pub physical: Physical,
    /// How many of the groups and itself may be missing, and how many repeated.
    pub max_definition: u8,
    pub max_repetition: u8,
}

/// How a value is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Physical {
    Boolean,
    Int32,
    Int64,
    Int96,
    Float,
    Double,
    /// Bytes of any length.
    Bytes,
    /// Values of so many bytes.
    Fixed(u32),
}

impl Physical {
    /// Its number in `parquet.thrift`, and the width where it has one.
    pub const fn tag(self) -> (u8, u32) {
        match self {
            Physical::Boolean => (0, 0),
            Physical::Int32 => (1, 0),
            Physical::Int64 => (2, 0),
            Physical::Int96 => (3, 0),
            Physical::Float => (4, 0),
            Physical::Double => (5, 0),
            Physical::Bytes => (6, 0),
            Physical::Fixed(width) => (7, width),
        }
    }

    /// The layout of that number and width.
    pub const fn from_tag(tag: u8, width: u32) -> Option<Physical> {
        Some(match (tag, width) {
            (0, 0) => Physical::Boolean,
            (1, 0) => Physical::Int32,
            (2, 0) => Physical::Int64,
            (3, 0) => Physical::Int96,
            (4, 0) => Physical::Float,
            (5, 0) => Physical::Double,
            (6, 0) => Physical::Bytes,
            (7, 1..) => Physical::Fixed(width),
            _ => return None,
        })
    }
}

/// The values of a column in a group of rows.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Which of the columns.
    pub column: usize,
    /// Where its pages lie in the file.
    pub range: Range<u64>,
}

impl Footer {
    /// Reads the footer of a file that ends in `magic`.
    pub fn read(source: &dyn Source, magic: [u8; 4]) -> Result<Footer, Refusal> {
        let range = range(source, magic)?;
        let mut thrift = Thrift::new(Reader::new(source, range.start..range.end - END_BYTES));
        let (mut columns, mut chunks) = (Vec::new(), Vec::new());
        thrift.structure(|thrift, id, kind| match (id, kind) {
            (2, Kind::List) => schema(thrift).map(|found| columns = found),
            (4, Kind::List) => thrift.structures(|thrift| group_of_rows(thrift, &mut chunks)),
            _ => thrift.pass(kind),
        })?;
        Ok(Footer { range, columns, chunks })
    }
}

/// Where the footer lies: the last 8 bytes tell.
fn range(source: &dyn Source, magic: [u8; 4]) -> Result<Range<u64>, Refusal> {
    let end_at = source.len().checked_sub(END_BYTES).ok_or(Refusal::Malformed)?;
    let mut end = Reader::new(source, end_at..source.len());
    let len = u64::from(end.u32()?);
    if end.array()? != magic || len > MAX_FOOTER_BYTES {
        return Err(Refusal::Malformed);
    }
    let start = end_at.checked_sub(len).filter(|&start| start >= magic.len() as u64);
    start.map(|start| start..source.len()).ok_or(Refusal::Malformed)
}

/// The columns: the tree of the schema comes as a list, each group before what it holds.
fn schema(thrift: &mut Thrift) -> Result<Vec<Column>, Refusal> {
    let mut tree = Tree::default();
    thrift.structures(|thrift| Element::read(thrift).and_then(|element| tree.add(&element)))?;
    Ok(tree.columns)
}

/// A group or column of the schema.
struct Element {
    name: String,
    physical: Option<i64>,
    width: i64,
    repetition: i64,
    children: u64,
}

impl Element {
    fn read(thrift: &mut Thrift) -> Result<Element, Refusal> {
        let (mut name, mut physical, mut width, mut repetition, mut children) = (Vec::new(), None, 0, 0, 0);
        thrift.structure(|thrift, id, kind| {
            match (id, kind) {
                (1, Kind::Int) => physical = Some(thrift.int()?),
                (2, Kind::Int) => width = thrift.int()?,
                (3, Kind::Int) => repetition = thrift.int()?,
                (4, Kind::Binary) => name = thrift.binary(MAX_NAME_BYTES)?,
                (5, Kind::Int) => children = thrift.int()?,
                _ => thrift.pass(kind)?,
            }
            Ok(())
        })?;
        let name = String::from_utf8(name).map_err(|_| Refusal::Malformed)?;
        let children = u64::try_from(children).map_err(|_| Refusal::Malformed)?;
        Ok(Element { name, physical, width, repetition, children })
    }

    /// How its values are laid out; none for a group.
    fn physical(&self) -> Result<Option<Physical>, Refusal> {
        let Some(tag) = self.physical.filter(|_| self.children == 0) else { return Ok(None) };
        let tag = u8::try_from(tag).map_err(|_| Refusal::Malformed)?;
        let width = if tag == Physical::Fixed(1).tag().0 { self.width } else { 0 };
        let physical = u32::try_from(width).ok().and_then(|width| Physical::from_tag(tag, width));
        physical.map(Some).ok_or(Refusal::Malformed)
    }
}

/// The columns so far, and the groups that the next element lies in.
#[derive(Default)]
struct Tree {
    columns: Vec<Column>,
    paths_bytes: usize,
    has_root: bool,
    groups: Vec<Group>,
    /// Of the last element.
    path: String,
}

struct Group {
    path_len: usize,
    max_definition: u8,
    max_repetition: u8,
    /// Elements in it that did not come yet.
    left: u64,
}

impl Tree {
    fn add(&mut self, element: &Element) -> Result<(), Refusal> {
        if !self.has_root {
            self.has_root = true;
            let (path_len, max_definition, max_repetition) = (0, 0, 0);
            self.groups.push(Group { path_len, max_definition, max_repetition, left: element.children });
            return Ok(());
        }
        while self.groups.pop_if(|group| group.left == 0).is_some() {}
        let group = self.groups.last_mut().ok_or(Refusal::Malformed)?;
        group.left -= 1;
        self.path.truncate(group.path_len);
        let (max_definition, max_repetition) = (group.max_definition, group.max_repetition);
        if self.groups.len() > 1 {
            self.path.push('.');
        }
        self.path.push_str(&element.name);

        let max_definition = max_definition + u8::from(element.repetition != REQUIRED);
        let max_repetition = max_repetition + u8::from(element.repetition == REPEATED);
        match element.physical()? {
            Some(physical) => {
                self.paths_bytes += self.path.len();
                let path = self.path.clone();
                self.columns.push(Column { path, physical, max_definition, max_repetition });
            }
            None => {
                let (path_len, left) = (self.path.len(), element.children);
                self.groups.push(Group { path_len, max_definition, max_repetition, left });
            }
        }
        let is_sound = self.path.len() <= MAX_NAME_BYTES
            && self.groups.len() <= MAX_DEPTH
            && self.columns.len() <= MAX_COLUMNS
            && self.paths_bytes <= MAX_PATHS_BYTES;
        is_sound.then_some(()).ok_or(Refusal::Malformed)
    }
}

/// Adds the chunks of a group of rows; they come in the order of the schema's columns.
fn group_of_rows(thrift: &mut Thrift, chunks: &mut Vec<Chunk>) -> Result<(), Refusal> {
    thrift.structure(|thrift, id, kind| match (id, kind) {
        (1, Kind::List) => {
            let mut column = 0;
            thrift.structures(|thrift| {
                chunks.extend(chunk(thrift)?.map(|range| Chunk { column, range }));
                column += 1;
                (chunks.len() <= MAX_ARRAYS).then_some(()).ok_or(Refusal::Malformed)
            })
        }
        _ => thrift.pass(kind),
    })
}

/// Where a chunk lies; none where that is another file, nowhere, or hidden by encryption.
fn chunk(thrift: &mut Thrift) -> Result<Option<Range<u64>>, Refusal> {
    let (mut is_here, mut range) = (true, None);
    thrift.structure(|thrift, id, kind| match (id, kind) {
        // A path of no bytes is none.
        (1, Kind::Binary) => thrift.binary(MAX_NAME_BYTES).map(|path| is_here = path.is_empty()),
        (3, Kind::Struct) => chunk_range(thrift).map(|found| range = found),
        _ => thrift.pass(kind),
    })?;
    Ok(range.filter(|_| is_here))
}

fn chunk_range(thrift: &mut Thrift) -> Result<Option<Range<u64>>, Refusal> {
    let (mut len, mut data_at, mut dictionary_at) = (None, None, None);
    thrift.structure(|thrift, id, kind| {
        let number = match (id, kind) {
            (7, Kind::Int) => &mut len,
            (9, Kind::Int) => &mut data_at,
            (11, Kind::Int) => &mut dictionary_at,
            _ => return thrift.pass(kind),
        };
        *number = u64::try_from(thrift.int()?).ok();
        Ok(())
    })?;
    // Writers say 0 where there is no dictionary, or nothing but one.
    let start = data_at.into_iter().chain(dictionary_at).filter(|&at| at > 0).min();
    Ok(start.zip(len).and_then(|(start, len)| Some(start..start.checked_add(len)?)))
}
