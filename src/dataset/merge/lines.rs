//! Merged tables of text: what neither side changed stands there byte for byte.
//!
//! Whole lines are copied; where cells of both sides meet in a row, its fields (CSV) or members (JSON) are, as they were
//! written. What they bring gets our line ends.

use std::io::{self, BufRead, Write};
use std::ops::Range;

use super::super::bytes::{File, Stream};
use super::super::kind::Kind;
use super::super::members::Object;
use super::super::pairing::NONE;
use super::super::scan::CompareError;
use super::super::table::Table;
use super::columns::Column;
use super::write::WriteError;
use super::{Plan, Row, Sides};
use crate::progress::Progress;

/// So much is read at a time: rows are mostly taken one after the other.
const WINDOW_BYTES: u64 = 1 << 20;
/// What some programs begin files of UTF-8 with.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether merged tables of these kinds are written line by line.
pub(super) fn may_write(sides: Sides<'_>) -> bool {
    let kind = sides.ours.kind();
    matches!(kind, Kind::Csv | Kind::Tsv | Kind::JsonLines) && sides.theirs.kind() == kind
}

pub(super) fn write(
    plan: &Plan,
    sides: Sides<'_>,
    out: &mut (dyn Write + Send),
    progress: &Progress<'_>,
) -> Result<(), WriteError> {
    let (mut ours, mut theirs) = (Lines::of(sides.ours)?, Lines::of(sides.theirs)?);
    let form = Form::of(plan, sides);
    let end = ours.line_end()?;
    if let Some(delimiter) = delimiter(sides.ours.kind()) {
        let lines = [ours.header()?, theirs.header()?];
        out.write_all(&form.header(plan, sides, &lines, delimiter, &end)).map_err(io_error)?;
    }
    let last = plan.rows.len().saturating_sub(1);
    for (at, row) in plan.rows.iter().enumerate() {
        let mut line = form.row(plan, row, &mut ours, &mut theirs)?;
        if at < last || ours.ends_with_line_end {
            line.extend_from_slice(&end);
        }
        out.write_all(&line).map_err(io_error)?;
        progress(line.len() as u64)?;
    }
    Ok(())
}

fn delimiter(kind: Kind) -> Option<u8> {
    match kind {
        Kind::Csv => Some(b','),
        Kind::Tsv => Some(b'\t'),
        _ => None,
    }
}

fn io_error(error: io::Error) -> WriteError {
    WriteError::Values(error.into())
}

/// How the merged columns come from the two sides.
struct Form {
    delimiter: Option<u8>,
    /// Whether a side's own line has the merged columns, in their order.
    is_ours: bool,
    is_theirs: bool,
}

impl Form {
    fn of(plan: &Plan, sides: Sides<'_>) -> Form {
        let columns = &plan.columns.columns;
        let delimiter = delimiter(sides.ours.kind());
        let names: Vec<&String> = plan.columns.schema.fields().iter().map(|field| field.name()).collect();
        // Members of JSON have names, fields of CSV places.
        let is_at = |own_names: &[String], at: usize, number: Option<usize>| match delimiter {
            Some(_) => number == Some(at),
            None => number.and_then(|number| own_names.get(number)) == Some(names[at]),
        };
        let is_whole = |own_names: &[String], number: fn(&Column) -> Option<usize>| {
            let mut all = columns.iter().enumerate();
            own_names.len() == columns.len() && all.all(|(at, column)| is_at(own_names, at, number(column)))
        };
        Form {
            delimiter,
            is_ours: is_whole(&plan.columns.our_names, |column| column.ours),
            is_theirs: is_whole(&plan.columns.their_names, |column| column.theirs),
        }
    }

    /// The names of the columns, each as the side that has it wrote it.
    fn header(
        &self,
        plan: &Plan,
        sides: Sides<'_>,
        lines: &[Vec<u8>; 2],
        delimiter: u8,
        end: &[u8],
    ) -> Vec<u8> {
        // The mark of UTF-8 belongs to the file and not to its first name.
        let marked = lines.each_ref().map(|line| line.strip_prefix(MARK));
        let fields = [0, 1].map(|side| fields(marked[side].unwrap_or(&lines[side]), delimiter));
        let parts = plan.columns.columns.iter().zip(plan.columns.schema.fields()).map(|(column, merged)| {
            let of = |table: &Table, fields: &[&[u8]], at: Option<usize>| {
                let at = at.filter(|at| table.schema().field(*at).name() == merged.name())?;
                fields.get(at).map(|field| field.to_vec())
            };
            of(sides.ours, &fields[0], column.ours)
                .or_else(|| of(sides.theirs, &fields[1], column.theirs))
                .unwrap_or_else(|| quoted(merged.name(), delimiter))
        });
        let mut line = if marked[0].is_some() { MARK.to_vec() } else { Vec::new() };
        line.extend_from_slice(&parts.collect::<Vec<_>>().join(&delimiter));
        line.extend_from_slice(end);
        line
    }

    /// A row without its line end.
    fn row(
        &self,
        plan: &Plan,
        row: &Row,
        ours: &mut Lines,
        theirs: &mut Lines,
    ) -> Result<Vec<u8>, WriteError> {
        let from_theirs: Vec<bool> = plan
            .columns
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let has_theirs = row.theirs != NONE && column.theirs.is_some();
                let has_ours = row.ours != NONE && column.ours.is_some();
                has_theirs && (plan.is_theirs(row, at) || !has_ours)
            })
            .collect();
        if self.is_ours && row.ours != NONE && !from_theirs.contains(&true) {
            return ours.row(row.ours);
        }
        if self.is_theirs && row.theirs != NONE && !from_theirs.contains(&false) {
            return theirs.row(row.theirs);
        }
        let line = |lines: &mut Lines, row: u32| match row {
            NONE => Ok(Vec::new()),
            row => lines.row(row),
        };
        let (ours, theirs) = (line(ours, row.ours)?, line(theirs, row.theirs)?);
        match self.delimiter {
            Some(delimiter) => {
                mixed_fields(plan, &from_theirs, [&ours, &theirs], delimiter).ok_or_else(|| {
                    io_error(io::Error::other("a line has no longer as many fields as the header"))
                })
            }
            None => mixed_members(plan, &from_theirs, [&ours, &theirs])
                .ok_or_else(|| io_error(io::Error::other("a line is no longer an object"))),
        }
    }
}

/// A row of CSV whose fields come from both sides; where neither has one it is empty. None where a side's line, unless it
/// has none, has not a field for each of its columns.
fn mixed_fields(plan: &Plan, from_theirs: &[bool], lines: [&[u8]; 2], delimiter: u8) -> Option<Vec<u8>> {
    let [ours, theirs] = lines.map(|line| fields(line, delimiter));
    let names = [&plan.columns.our_names, &plan.columns.their_names];
    let mut sides = lines.iter().zip([&ours, &theirs]).zip(names);
    if !sides.all(|((line, fields), names)| line.is_empty() || fields.len() == names.len()) {
        return None;
    }
    let parts = plan.columns.columns.iter().zip(from_theirs).map(|(column, from_theirs)| {
        let (fields, at) = if *from_theirs { (&theirs, column.theirs) } else { (&ours, column.ours) };
        at.and_then(|at| fields.get(at).copied()).unwrap_or_default()
    });
    Some(parts.collect::<Vec<_>>().join(&delimiter))
}

/// A row of JSON whose members come from both sides: ours in its order, where there is one, then what they added.
fn mixed_members(plan: &Plan, from_theirs: &[bool], lines: [&[u8]; 2]) -> Option<Vec<u8>> {
    let [ours, theirs] =
        lines.map(|line| if line.is_empty() { Some(None) } else { Object::of(line).map(Some) });
    let (ours, theirs) = (ours?, theirs?);
    let names = plan.columns.schema.fields().iter().map(|field| field.name().as_str());
    let columns: Vec<_> = plan.columns.columns.iter().zip(names).zip(from_theirs).collect();
    let value = |object: &Option<Object<'_>>, at: Option<usize>, names: &[String]| -> Option<Vec<u8>> {
        object.as_ref()?.value(names.get(at?)?).map(<[u8]>::to_vec)
    };
    let [our_names, their_names] = [&plan.columns.our_names, &plan.columns.their_names];
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for ((column, name), from_theirs) in columns {
        let value = match from_theirs {
            true => value(&theirs, column.theirs, their_names),
            false => value(&ours, column.ours, our_names),
        };
        found.extend(value.map(|value| (name.to_owned(), value)));
    }
    let (like, names) = match &ours {
        Some(ours) => (ours, our_names),
        None => (theirs.as_ref()?, their_names),
    };
    // A column that was renamed stands where it stood.
    let renamed =
        plan.columns.columns.iter().zip(plan.columns.schema.fields()).filter_map(|(column, field)| {
            let at = if ours.is_some() { column.ours } else { column.theirs };
            Some((names.get(at?)?.as_str(), field.name().as_str()))
        });
    Some(like.with(found, &renamed.collect()))
}

/// The fields of a line of CSV as they are written, with their quotes: split as the reader of tables splits them.
fn fields(line: &[u8], delimiter: u8) -> Vec<&[u8]> {
    let (mut fields, mut start) = (Vec::new(), 0);
    let mut quotes = Quotes::MayOpen;
    for (at, byte) in line.iter().enumerate() {
        quotes = match (quotes, *byte) {
            (Quotes::Open, b'"') => Quotes::JustClosed,
            (Quotes::Open, _) => Quotes::Open,
            (_, byte) if byte == delimiter => {
                fields.push(&line[start..at]);
                start = at + 1;
                Quotes::MayOpen
            }
            // A quote in quotes is doubled: the second one opens them again.
            (Quotes::MayOpen | Quotes::JustClosed, b'"') => Quotes::Open,
            _ => Quotes::Literal,
        };
    }
    fields.push(&line[start..]);
    fields
}

/// What a quote means at a place of a field.
#[derive(Clone, Copy)]
enum Quotes {
    /// At its start.
    MayOpen,
    Open,
    JustClosed,
    /// Behind anything that was not in quotes.
    Literal,
}

fn quoted(name: &str, delimiter: u8) -> Vec<u8> {
    if name.bytes().any(|byte| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r')) {
        return format!("\"{}\"", name.replace('"', "\"\"")).into_bytes();
    }
    name.as_bytes().to_vec()
}

/// The lines of a table of text.
struct Lines {
    file: File,
    header: Range<u64>,
    rows: Vec<Range<u64>>,
    ends_with_line_end: bool,
    window: (u64, Vec<u8>),
}

impl Lines {
    fn of(table: &Table) -> Result<Lines, WriteError> {
        let file = table.file().clone();
        let mut all = match delimiter(table.kind()) {
            Some(delimiter) => records(&file, delimiter)?,
            None => objects(&file)?,
        };
        let header = match table.kind() {
            Kind::JsonLines => 0..0,
            _ if all.is_empty() => 0..0,
            _ => all.remove(0),
        };
        let mut last = [0];
        if !file.is_empty() {
            file.read_at(&mut last, file.len() - 1).map_err(io_error)?;
        }
        let ends_with_line_end = matches!(last[0], b'\n' | b'\r');
        if all.len() as u64 != table.rows().map_err(CompareError::from)? {
            return Err(io_error(io::Error::other("the table changed while it was read")));
        }
        Ok(Lines { file, header, rows: all, ends_with_line_end, window: (0, Vec::new()) })
    }

    fn header(&mut self) -> Result<Vec<u8>, WriteError> {
        Ok(alone(&self.read(self.header.clone())?))
    }

    /// A row without its line end.
    fn row(&mut self, row: u32) -> Result<Vec<u8>, WriteError> {
        Ok(alone(&self.read(self.rows[row as usize].clone())?))
    }

    /// How the first line ends.
    fn line_end(&mut self) -> Result<Vec<u8>, WriteError> {
        let first =
            if self.header.is_empty() { self.rows.first().cloned() } else { Some(self.header.clone()) };
        let first = first.unwrap_or_default();
        let line = self.read(first.start..self.file.len().min(first.end + 1))?;
        let (line, next) = line.split_at((first.end - first.start) as usize);
        Ok(match () {
            () if line.ends_with(b"\r\n") || (line.ends_with(b"\r") && next == b"\n") => b"\r\n".to_vec(),
            () if line.ends_with(b"\r") => b"\r".to_vec(),
            () => b"\n".to_vec(),
        })
    }

    fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, WriteError> {
        let (start, bytes) = &mut self.window;
        let end = *start + bytes.len() as u64;
        if range.start < *start || range.end > end {
            let len = (range.end - range.start).max(WINDOW_BYTES).min(self.file.len() - range.start);
            bytes.resize(len as usize, 0);
            self.file.read_at(bytes, range.start).map_err(io_error)?;
            *start = range.start;
        }
        Ok(bytes[(range.start - *start) as usize..(range.end - *start) as usize].to_vec())
    }
}

/// A line without what ends it, and the lines before it.
fn alone(line: &[u8]) -> Vec<u8> {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let start = line.iter().take_while(|byte| is_end(byte)).count();
    let end = line.iter().rposition(|byte| !is_end(byte)).map_or(start, |last| last + 1);
    line[start..end].to_vec()
}

/// Where the records of CSV are, the header first. Empty lines belong to the next one, and the second half of a line end may,
/// too.
fn records(file: &File, delimiter: u8) -> Result<Vec<Range<u64>>, WriteError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(Stream::new(file.clone()));
    let (mut record, mut ranges, mut start) = (csv::ByteRecord::new(), Vec::new(), 0);
    while reader.read_byte_record(&mut record).map_err(|error| io_error(io::Error::other(error)))? {
        let end = reader.position().byte();
        ranges.push(start..end);
        start = end;
    }
    Ok(ranges)
}

/// Where the lines of JSON are that hold something.
fn objects(file: &File) -> Result<Vec<Range<u64>>, WriteError> {
    let mut reader = io::BufReader::new(Stream::new(file.clone()));
    let (mut line, mut at, mut found) = (Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        let len = reader.read_until(b'\n', &mut line).map_err(io_error)? as u64;
        if len == 0 {
            return Ok(found);
        }
        if !line.trim_ascii().is_empty() {
            found.push(at..at + len);
        }
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A delimiter in quotes is none, and quotes stay as they are.
    #[test]
    fn fields_keep_their_quotes() {
        let told = |line: &str| -> Vec<String> {
            fields(line.as_bytes(), b',')
                .iter()
                .map(|field| String::from_utf8(field.to_vec()).unwrap())
                .collect()
        };
        assert_eq!(told("a,\"b,\"\"c\"\"\",,d"), ["a", "\"b,\"\"c\"\"\"", "", "d"]);
        assert_eq!(told("\"\",\",\""), ["\"\"", "\",\""]);
        assert_eq!(told("a\"b,c"), ["a\"b", "c"]);
        assert_eq!(told("1,5\"\"x,1,\"a\"b\"\",c"), ["1", "5\"\"x", "1", "\"a\"b\"\"", "c"]);
        assert_eq!(told(""), [""]);
        assert_eq!(quoted("a,\"b", b','), b"\"a,\"\"b\"");
    }

    /// Rows are numbered as the reader of tables numbers them, whatever ends their lines.
    #[test]
    fn records_are_found() {
        let found = |text: &str| -> Vec<String> {
            let file: File = Arc::new(text.as_bytes().to_vec());
            let ranges = records(&file, b',').unwrap();
            let line = |range: &Range<u64>| alone(&text.as_bytes()[range.start as usize..range.end as usize]);
            ranges.iter().map(|range| String::from_utf8(line(range)).unwrap()).collect()
        };
        for end in ["\n", "\r\n", "\r"] {
            let text = ["a,b", "1,\"x", "y\"", "", "2,z"].join(end);
            assert_eq!(found(&text), ["a,b", &format!("1,\"x{end}y\""), "2,z"], "{end:?}");
            assert_eq!(found(&format!("{text}{end}")).len(), 3);
        }
    }
}
