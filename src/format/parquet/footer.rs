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
/// Length of the footer and magic, behind it.
const END_BYTES: u64 = 8;

/// What matters of a footer; nothing about the chunks is believed yet.
#[derive(Debug)]
pub(super) struct Footer {
    /// Where it lies in the file, with its length and the magic behind it.
    pub range: Range<u64>,
    /// Paths of the columns that hold values, names joined by dots.
    pub paths: Vec<String>,
    /// In the order of the footer.
    pub chunks: Vec<Chunk>,
}

/// The values of a column in a group of rows.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Which of the paths.
    pub column: usize,
    /// Where its pages lie in the file.
    pub range: Range<u64>,
}

impl Footer {
    /// Reads the footer of a file that ends in `magic`.
    pub fn read(source: &dyn Source, magic: [u8; 4]) -> Result<Footer, Refusal> {
        let range = range(source, magic)?;
        let mut thrift = Thrift::new(Reader::new(source, range.start..range.end - END_BYTES));
        let (mut paths, mut chunks) = (Vec::new(), Vec::new());
        thrift.structure(|thrift, id, kind| match (id, kind) {
            (2, Kind::List) => schema(thrift).map(|found| paths = found),
            (4, Kind::List) => thrift.structures(|thrift| group_of_rows(thrift, &mut chunks)),
            _ => thrift.pass(kind),
        })?;
        Ok(Footer { range, paths, chunks })
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

/// The paths of the columns: the tree of the schema comes as a list, each group before what it holds.
fn schema(thrift: &mut Thrift) -> Result<Vec<String>, Refusal> {
    let mut tree = Tree::default();
    thrift.structures(|thrift| Element::read(thrift).and_then(|element| tree.add(&element)))?;
    Ok(tree.columns)
}

/// A group or column of the schema.
struct Element {
    name: String,
    has_type: bool,
    children: u64,
}

impl Element {
    fn read(thrift: &mut Thrift) -> Result<Element, Refusal> {
        let (mut name, mut has_type, mut children) = (Vec::new(), false, 0);
        thrift.structure(|thrift, id, kind| {
            match (id, kind) {
                (1, Kind::Int) => has_type = thrift.int().map(|_| true)?,
                (4, Kind::Binary) => name = thrift.binary(MAX_NAME_BYTES)?,
                (5, Kind::Int) => children = thrift.int()?,
                _ => thrift.pass(kind)?,
            }
            Ok(())
        })?;
        let name = String::from_utf8(name).map_err(|_| Refusal::Malformed)?;
        let children = u64::try_from(children).map_err(|_| Refusal::Malformed)?;
        Ok(Element { name, has_type, children })
    }
}

/// The columns so far, and the groups that the next element lies in.
#[derive(Default)]
struct Tree {
    columns: Vec<String>,
    columns_bytes: usize,
    has_root: bool,
    groups: Vec<Group>,
    /// Of the last element.
    path: String,
}

struct Group {
    path_len: usize,
    /// Elements in it that did not come yet.
    left: u64,
}

impl Tree {
    fn add(&mut self, element: &Element) -> Result<(), Refusal> {
        if !self.has_root {
            self.has_root = true;
            self.groups.push(Group { path_len: 0, left: element.children });
            return Ok(());
        }
        while self.groups.pop_if(|group| group.left == 0).is_some() {}
        let group = self.groups.last_mut().ok_or(Refusal::Malformed)?;
        group.left -= 1;
        self.path.truncate(group.path_len);
        if self.groups.len() > 1 {
            self.path.push('.');
        }
        self.path.push_str(&element.name);

        let is_column = element.has_type && element.children == 0;
        if is_column {
            self.columns_bytes += self.path.len();
            self.columns.push(self.path.clone());
        } else {
            self.groups.push(Group { path_len: self.path.len(), left: element.children });
        }
        let is_sound = self.path.len() <= MAX_NAME_BYTES
            && self.groups.len() <= MAX_DEPTH
            && self.columns.len() <= MAX_COLUMNS
            && self.columns_bytes <= MAX_PATHS_BYTES;
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
