//! Arrow IPC, as a file with a footer and as a stream.

use std::io::BufReader;
use std::ops::Range;

use arrow_ipc::CompressionType;
use arrow_ipc::reader::{FileReader, FileReaderBuilder, StreamReader};
use arrow_schema::{ArrowError, SchemaRef};

use super::bytes::{File, Stream};
use super::frames::{self, Frames};
use super::kind::Kind;
use super::rows;
use super::table::Decoder;

/// What the schema's message says.
pub struct Ipc {
    schema: SchemaRef,
    frames: Frames,
    is_stream: bool,
}

impl Ipc {
    pub fn open(file: &File, kind: Kind) -> Result<Ipc, ArrowError> {
        let is_stream = kind == Kind::ArrowStream;
        let check = if is_stream { frames::check_stream } else { frames::check_file };
        let frames = check(&**file).map_err(ArrowError::IpcError)?;
        let schema = match is_stream {
            true => StreamReader::try_new(stream(file), None)?.schema(),
            false => file_reader(file, None)?.schema(),
        };
        Ok(Ipc { schema, frames, is_stream })
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Bytes of all buffers, unpacked.
    pub fn bytes(&self) -> u64 {
        self.frames.bytes
    }

    /// What its buffers are packed with, if they are.
    pub fn codec(&self) -> Option<CompressionType> {
        self.frames.codec
    }

    pub(super) fn read(
        &self,
        file: &File,
        columns: &[usize],
        rows: Option<&[Range<u64>]>,
    ) -> Result<Decoder, ArrowError> {
        let columns = Some(columns.to_vec());
        let all: Decoder = match self.is_stream {
            true => Box::new(StreamReader::try_new(stream(file), columns)?),
            false => Box::new(file_reader(file, columns)?),
        };
        Ok(rows::only(all, rows))
    }
}

fn stream(file: &File) -> BufReader<Stream> {
    BufReader::new(Stream::new(file.clone()))
}

fn file_reader(
    file: &File,
    columns: Option<Vec<usize>>,
) -> Result<FileReader<BufReader<Stream>>, ArrowError> {
    let builder = FileReaderBuilder::new();
    let builder = match columns {
        Some(columns) => builder.with_projection(columns),
        None => builder,
    };
    builder.build(stream(file))
}
