//! `git sparse dataset cat`: a table as Arrow, for other programs.

use std::io::{self, BufWriter, IsTerminal, Write};

use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use clap::Args;

use super::open::{open, unreadable};
use super::show::{Rows, select};
use crate::daemon::message::{Failure, Kind};

/// A table as an Arrow IPC stream on standard output, for pandas, polars, DuckDB and others
#[derive(Debug, Args)]
pub struct Cat {
    /// REV:PATH, a file on disk, or a SHA-256
    table: String,
    /// Only these columns, in this order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// Only these rows: A..B from 0, without B
    #[arg(long, value_name = "A..B", allow_hyphen_values = true)]
    rows: Option<Rows>,
}

impl Cat {
    pub fn run(self) -> Result<(), Failure> {
        let out = io::stdout();
        if out.is_terminal() {
            return Err(Failure::new(Kind::Usage, "Arrow is not for a terminal")
                .fix("send it to a file or a program: git sparse dataset cat … > table.arrows"));
        }
        let table = open(&self.table)?;
        let batches = table.read(&select(&table, &self.columns, self.rows)?).map_err(|e| unreadable(&e))?;
        let failed = |error: ArrowError| Failure::new(Kind::Fatal, format!("standard output: {error}"));
        let mut writer =
            StreamWriter::try_new(BufWriter::new(out.lock()), &batches.schema()).map_err(failed)?;
        for batch in batches {
            match writer.write(&batch.map_err(|error| unreadable(&error))?) {
                // Whoever reads has enough.
                Err(ArrowError::IoError(_, error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(());
                }
                done => done.map_err(failed)?,
            }
        }
        writer.finish().map_err(failed)?;
        writer.get_mut().flush().map_err(|error| failed(error.into()))
    }
}
