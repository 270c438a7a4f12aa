//! A table in a file, open for reading: its columns, its rows, and any part of both.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_ipc::CompressionType;
use arrow_schema::{ArrowError, SchemaRef};
use serde_json::{Map, Value};

use super::bytes::File;
use super::kind::{HEAD_BYTES, Kind};
use super::{ipc, json, parquet, text, values};

/// A table that was recognised, with the schema that its file declares (or, of text, that all of it fits).
pub struct Table {
    name: String,
    file: File,
    kind: Kind,
    schema: SchemaRef,
    inner: Inner,
}

enum Inner {
    Parquet(parquet::Parquet),
    Ipc(ipc::Ipc),
    Text(text::Text),
}

/// Which part of a table is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Columns by their numbers, in the order in which they are wanted; all where there is none.
    pub columns: Option<Vec<usize>>,
    /// Rows, ascending and apart; all where there is none.
    pub rows: Option<Vec<Range<u64>>>,
}

impl Selection {
    pub fn rows(rows: Range<u64>) -> Selection {
        Selection { rows: Some(Vec::from([rows])), columns: None }
    }

    pub fn columns(columns: Vec<usize>) -> Selection {
        Selection { columns: Some(columns), rows: None }
    }
}

/// Why a table can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("{name}: {error}")]
    Read { name: String, error: io::Error },
    #[error("{0}: no table that is known here; expected Parquet, Arrow, CSV, TSV or JSON Lines")]
    NotATable(String),
    #[error("{name}: this {kind} table can't be read: {why}")]
    Malformed { name: String, kind: Kind, why: String },
    #[error("{name}: no column {column:?}; it has {known}")]
    NoColumn { name: String, column: String, known: String },
    #[error("{name}: two columns are called {column:?}")]
    Ambiguous { name: String, column: String },
}

impl Table {
    /// Opens the table in a file. `name` is its path: for messages, and to tell text apart.
    pub fn open(file: File, name: &str) -> Result<Table, TableError> {
        let mut head = vec![0; HEAD_BYTES.min(usize::try_from(file.len()).unwrap_or(HEAD_BYTES))];
        let failed = |error| TableError::Read { name: name.to_owned(), error };
        file.read_at(&mut head, 0).map_err(failed)?;
        let strange = || match Kind::named(name) {
            None => TableError::NotATable(name.to_owned()),
            Some(kind) => {
                let why = "it does not begin as one does".into();
                TableError::Malformed { name: name.to_owned(), kind, why }
            }
        };
        let (kind, packing) = Kind::of(&head, name).ok_or_else(strange)?;
        let (schema, inner) = guarded(name, kind, || {
            Ok(match kind {
                Kind::Parquet => {
                    let table = parquet::Parquet::open(&file)?;
                    (table.schema(), Inner::Parquet(table))
                }
                Kind::ArrowFile | Kind::ArrowStream => {
                    let table = ipc::Ipc::open(&file, kind)?;
                    (table.schema(), Inner::Ipc(table))
                }
                Kind::Csv | Kind::Tsv | Kind::JsonLines => {
                    let table = text::Text::open(&file, kind, packing)?;
                    (table.schema(), Inner::Text(table))
                }
            })
        })?;
        Ok(Table { name: name.to_owned(), file, kind, schema, inner })
    }

    /// A table of text whose cells are texts as they stand in the file, so that 7 is not 007; none of another kind.
    pub fn as_written(&self) -> Option<Table> {
        let Inner::Text(text) = &self.inner else { return None };
        let text = text.as_written();
        let (name, file) = (self.name.clone(), self.file.clone());
        Some(Table { name, file, kind: self.kind, schema: text.schema(), inner: Inner::Text(text) })
    }

    /// Rows of this table as objects, without the members that a row of JSON as it is written lacks.
    pub(super) fn objects(&self, rows: &RecordBatch) -> Result<Vec<Map<String, Value>>, ArrowError> {
        let objects = values::objects(rows)?;
        match &self.inner {
            Inner::Text(text) if text.has_json_cells() => Ok(objects.into_iter().map(json::values).collect()),
            _ => Ok(objects),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the whole file is packed, as `.csv.gz` is.
    pub fn is_packed(&self) -> bool {
        matches!(&self.inner, Inner::Text(text) if text.is_packed())
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.file.len()
    }

    /// Bytes of its rows unpacked, as far as its kind tells.
    pub fn bytes(&self) -> u64 {
        match &self.inner {
            Inner::Parquet(table) => table.bytes(),
            Inner::Ipc(table) => table.bytes(),
            Inner::Text(table) => table.bytes(),
        }
    }

    /// Whether rows are read without those before them.
    pub(super) fn seeks(&self) -> bool {
        matches!(self.inner, Inner::Parquet(_))
    }

    /// How many rows it has. Arrow files don't say: they are read through once.
    pub fn rows(&self) -> Result<u64, TableError> {
        match &self.inner {
            Inner::Parquet(table) => Ok(table.rows()),
            Inner::Text(table) => Ok(table.rows()),
            Inner::Ipc(_) => {
                let first = if self.schema.fields().is_empty() { Vec::new() } else { vec![0] };
                let batches = self.read(&Selection::columns(first))?;
                batches.map(|batch| Ok(batch?.num_rows() as u64)).sum()
            }
        }
    }

    /// What a writer of the same kind has to know to write alike; only of Parquet.
    pub fn parquet(&self) -> Option<&parquet::Parquet> {
        if let Inner::Parquet(table) = &self.inner { Some(table) } else { None }
    }

    /// What the buffers of an Arrow table are packed with, if they are.
    pub(super) fn arrow_codec(&self) -> Option<CompressionType> {
        if let Inner::Ipc(table) = &self.inner { table.codec() } else { None }
    }

    /// The numbers of columns by their names.
    pub fn columns(&self, names: &[String]) -> Result<Vec<usize>, TableError> {
        names.iter().map(|name| self.column(name)).collect()
    }

    fn column(&self, column: &str) -> Result<usize, TableError> {
        let fields = self.schema.fields();
        let mut found = fields.iter().enumerate().filter(|(_, field)| field.name() == column);
        let (name, column) = (self.name.clone(), column.to_owned());
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(at),
            (Some(_), Some(_)) => Err(TableError::Ambiguous { name, column }),
            (None, _) => {
                let known: Vec<_> = fields.iter().take(20).map(|field| field.name().as_str()).collect();
                Err(TableError::NoColumn { name, column, known: known.join(", ") })
            }
        }
    }

    /// Refuses a table in which a name does not tell which column is meant.
    pub fn with_distinct_names(&self) -> Result<&Table, TableError> {
        let mut names: Vec<_> = self.schema.fields().iter().map(|field| field.name()).collect();
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(self),
            Some(pair) => Err(TableError::Ambiguous { name: self.name.clone(), column: pair[0].clone() }),
        }
    }

    /// Reads a part of the table, a batch at a time. What is not asked for is, as far as the format lets it,
    /// neither fetched nor decoded.
    pub fn read(&self, selection: &Selection) -> Result<Batches, TableError> {
        let wanted = selection.columns.clone().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = self.schema.project(&wanted).map_err(|error| self.malformed(&error))?;
        // Decoders give columns in the file's order, and each once.
        let mut columns = wanted.clone();
        columns.sort_unstable();
        columns.dedup();
        let places = wanted.iter().map(|column| columns.binary_search(column).expect("because it is in it"));
        let places: Vec<usize> = places.collect();
        let rows = selection.rows.as_deref();
        let inner = guarded(&self.name, self.kind, || match &self.inner {
            Inner::Parquet(table) => table.read(&self.file, &columns, rows),
            Inner::Ipc(table) => table.read(&self.file, &columns, rows),
            Inner::Text(table) => table.read(&self.file, &columns, rows),
        })?;
        Ok(Batches { schema: schema.into(), places, inner, name: self.name.clone(), kind: self.kind })
    }

    fn malformed(&self, why: &dyn Display) -> TableError {
        TableError::Malformed { name: self.name.clone(), kind: self.kind, why: why.to_string() }
    }
}

/// What the decoders of all kinds give.
pub(super) type Decoder = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// A part of a table, batch by batch.
pub struct Batches {
    schema: SchemaRef,
    /// Where the wanted columns are in what is decoded.
    places: Vec<usize>,
    inner: Decoder,
    name: String,
    kind: Kind,
}

impl Batches {
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The same for whoever reads Arrow, as the C stream interface does. An error is an `ArrowError::ExternalError` of a
    /// [`TableError`], which names the file.
    ///
    /// Columns and rows of a revision, without its file: of the objects that the recipe lists, those are decoded that the
    /// columns and rows lie in, one batch after the other.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use arrow_array::RecordBatchReader;
    /// use git_sparse::dataset::{Selection, Stored, Table};
    ///
    /// # use git_sparse::{backend::Memory, base::Hints, codec::Effort, id::Oid, index::Index, ingest::ingest, store::Store};
    /// # let store = Store::over(Box::new(Memory::default()), Index::in_memory());
    /// # let bytes = std::fs::read("tests/data/tables/contrib-1.parquet")?;
    /// # let oid = Oid::of(&bytes);
    /// # ingest(&store, &bytes.as_slice(), oid, &Hints::default(), Effort::Push, &|_| Ok(()))?;
    /// # let store = Arc::new(store);
    /// // `oid` is what the LFS pointer of the revision says, and `store` was opened by `Store::open`.
    /// let recipe = store.recipe(&oid)?.expect("a file that was pushed or fetched");
    /// let table = Table::open(Arc::new(Stored::new(store, &recipe)), "packages.parquet")?;
    /// let columns = table.columns(&["package".into(), "size".into()])?;
    /// let part = Selection { columns: Some(columns), rows: Some(vec![100..150, 300..302]) };
    /// let reader = table.read(&part)?.into_reader();
    /// assert_eq!(reader.schema().field(1).name(), "size");
    /// let rows: Result<usize, _> = reader.map(|batch| Ok::<_, arrow_schema::ArrowError>(batch?.num_rows())).sum();
    /// assert_eq!(rows?, 52);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A process without the store asks its daemon: `daemon::reading::open` gives a file for [`Table::open`], too.
    pub fn into_reader(self) -> impl RecordBatchReader + Send {
        Reader(self)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = guarded(&self.name, self.kind, || match self.inner.next() {
            None => Ok(None),
            Some(batch) => {
                let columns = self.places.iter().zip(self.schema.fields());
                let batch = batch?;
                // A schema of a file has metadata that batches of some decoders lack.
                let columns = columns.map(|(place, _)| batch.column(*place).clone()).collect();
                let rows = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows).map(Some)
            }
        });
        next.transpose()
    }
}

struct Reader(Batches);

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let error = |error: TableError| ArrowError::ExternalError(Box::new(error));
        self.0.next().map(|batch| batch.map_err(error))
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }
}

/// Runs a decoder. They are made for files that don't lie: one that panics over a lie must not take more down.
fn guarded<T>(
    name: &str,
    kind: Kind,
    decode: impl FnOnce() -> Result<T, ArrowError>,
) -> Result<T, TableError> {
    let malformed = |why: String| TableError::Malformed { name: name.to_owned(), kind, why };
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(ArrowError::IoError(_, error))) => Err(TableError::Read { name: name.to_owned(), error }),
        Ok(Err(error)) => Err(malformed(words(&error))),
        Err(panic) => Err(malformed(format!("the decoder gave up: {}", said(&*panic)))),
    }
}

fn words(error: &ArrowError) -> String {
    match error {
        ArrowError::ExternalError(inner) => inner.to_string(),
        ArrowError::CsvError(text)
        | ArrowError::JsonError(text)
        | ArrowError::ParquetError(text)
        | ArrowError::IpcError(text) => text.clone(),
        other => other.to_string(),
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given").to_owned()
}
