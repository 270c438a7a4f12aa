//! CSV, TSV and JSON Lines. Their types are those that all of the file fits, so that it is read twice.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use arrow_csv::reader::Format;
use arrow_json::reader::infer_json_schema_from_iterator;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use serde_json::Value;

use super::bytes::{File, Stream};
use super::json;
use super::kind::{Kind, Packing};
use super::records::Records;
use super::rows;
use super::table::Decoder;

/// Most rows of a batch,
const BATCH_ROWS: u64 = 8192;
/// and about so many bytes of them.
const BATCH_BYTES: u64 = 16 << 20;

/// What a first reading found.
pub struct Text {
    schema: SchemaRef,
    rows: u64,
    /// Unpacked.
    bytes: u64,
    kind: Kind,
    packing: Packing,
    /// Whether cells are what stands in the file.
    as_written: bool,
}

impl Text {
    pub fn open(file: &File, kind: Kind, packing: Packing) -> Result<Text, ArrowError> {
        let mut input = Counted { input: open(file, kind, packing)?, bytes: 0 };
        let (schema, rows) = match kind {
            Kind::JsonLines => infer_json(&mut input)?,
            _ => format(kind).infer_schema(&mut input, None)?,
        };
        Ok(Text {
            schema: Arc::new(schema),
            rows: rows as u64,
            bytes: input.bytes,
            kind,
            packing,
            as_written: false,
        })
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The same with its cells as they are written, for texts: those of JSON as `json` has them.
    pub fn as_written(&self) -> Text {
        let text = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
        let schema = Arc::new(Schema::new(self.schema.fields().iter().map(text).collect::<Vec<_>>()));
        Text { schema, as_written: true, ..*self }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the file, unpacked.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn batch_rows(&self) -> usize {
        (BATCH_BYTES / (self.bytes / self.rows.max(1)).max(1)).clamp(1, BATCH_ROWS) as usize
    }

    /// Whether its cells are values of JSON as they are written.
    pub fn has_json_cells(&self) -> bool {
        self.as_written && self.kind == Kind::JsonLines
    }

    pub fn is_packed(&self) -> bool {
        self.packing != Packing::Plain
    }

    pub(super) fn read(
        &self,
        file: &File,
        columns: &[usize],
        rows: Option<&[Range<u64>]>,
    ) -> Result<Decoder, ArrowError> {
        let input = open(file, self.kind, self.packing)?;
        let all: Decoder = match self.kind {
            Kind::JsonLines if self.as_written => {
                let schema = Arc::new(self.schema.project(columns)?);
                Box::new(json::Cells::of(input, schema, self.batch_rows()))
            }
            Kind::JsonLines => {
                let schema = Arc::new(self.schema.project(columns)?);
                let builder = arrow_json::ReaderBuilder::new(schema).with_coerce_primitive(true);
                Box::new(builder.with_batch_size(self.batch_rows()).build(input)?)
            }
            kind => {
                let builder = arrow_csv::ReaderBuilder::new(self.schema.clone()).with_format(format(kind));
                let builder = builder.with_projection(columns.to_vec()).with_batch_size(self.batch_rows());
                Box::new(builder.build_buffered(input)?)
            }
        };
        Ok(rows::only(all, rows))
    }
}

fn format(kind: Kind) -> Format {
    Format::default().with_header(true).with_delimiter(delimiter(kind))
}

fn delimiter(kind: Kind) -> u8 {
    if kind == Kind::Tsv { b'\t' } else { b',' }
}

type Input = Box<dyn BufRead + Send>;

/// What a file holds. Lines of JSON are bounded when they are read the first time.
fn open(file: &File, kind: Kind, packing: Packing) -> io::Result<Input> {
    let input = unpacked(file, packing)?;
    Ok(match kind {
        Kind::JsonLines => input,
        kind => Box::new(Records::new(input, delimiter(kind), MOST_LINE_BYTES)),
    })
}

fn unpacked(file: &File, packing: Packing) -> io::Result<Input> {
    let stream = BufReader::new(Stream::new(file.clone()));
    Ok(match packing {
        Packing::Plain => Box::new(stream),
        Packing::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(stream))),
        Packing::Zstd => Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(stream)?)),
    })
}

/// Counts the bytes that are read.
struct Counted {
    input: Input,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buf)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.bytes += count as u64;
        self.input.consume(count);
    }
}

/// Longest line of JSON Lines and longest record of CSV: one that never ends would fill memory.
pub(super) const MOST_LINE_BYTES: u64 = 256 << 20;

fn infer_json(input: impl BufRead) -> Result<(Schema, usize), ArrowError> {
    let mut objects = Objects { input, line: 0, found: 0 };
    let schema = infer_json_schema_from_iterator(&mut objects);
    let schema = schema.map_err(|error| match error {
        ArrowError::JsonError(why) if !why.starts_with("line ") => {
            ArrowError::JsonError(format!("line {}: {why}", objects.line))
        }
        other => other,
    })?;
    Ok((schema, objects.found))
}

/// What is wrong in a line, and where: an error of one line says that it is the first.
fn located(line: usize, error: &serde_json::Error) -> String {
    let (told, column) = (error.to_string(), error.column());
    let why = told.split(" at line ").next().unwrap_or(&told);
    match column {
        0 => format!("line {line}: {why}"),
        _ => format!("line {line}, column {column}: {why}"),
    }
}

/// The objects of JSON Lines; empty lines are none.
struct Objects<R> {
    input: R,
    line: usize,
    found: usize,
}

impl<R: BufRead> Iterator for Objects<R> {
    type Item = Result<Value, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.line += 1;
            let mut line = Vec::new();
            match (&mut self.input).take(MOST_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Err(error) => return Some(Err(error.into())),
                Ok(_) if line.trim_ascii().is_empty() => continue,
                Ok(_) => {}
            }
            let wrong = |why: String| Some(Err(ArrowError::JsonError(format!("line {}: {why}", self.line))));
            return match serde_json::from_slice(line.trim_ascii_end()) {
                Ok(object @ Value::Object(_)) => {
                    self.found += 1;
                    Some(Ok(object))
                }
                Ok(_) => wrong("expected an object, found another value".into()),
                Err(error) => Some(Err(ArrowError::JsonError(located(self.line, &error)))),
            };
        }
    }
}
