//! `git sparse dataset show`: what is in a table: columns, some rows, or numbers about them.

use std::collections::HashSet;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, Schema};
use clap::Args;
use serde::Serialize;

use super::open::{failed, open, unreadable};
use crate::cli::{report, watch};
use crate::daemon::message::{Failure, Kind};
use crate::dataset::stats::{self, ColumnStats};
use crate::dataset::{Selection, Table, ranges, sample, shown, values};

/// What a table at a revision has: its columns, some rows of it, or numbers about each column
#[derive(Debug, Args)]
pub struct Show {
    /// REV:PATH, a file on disk, or a SHA-256
    table: String,
    /// These rows: A..B from 0, without B [default: the first 10]
    #[arg(long, value_name = "A..B", allow_hyphen_values = true, conflicts_with_all = ["sample", "schema", "stats"])]
    rows: Option<Rows>,
    /// So many rows by chance; the same ones for the same --seed
    #[arg(long, value_name = "N", conflicts_with_all = ["schema", "stats"])]
    sample: Option<u64>,
    /// What the chance begins with
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "sample")]
    seed: u64,
    /// Columns and types only
    #[arg(long, conflicts_with = "stats")]
    schema: bool,
    /// Of each column: nulls, distinct values, least, greatest, mean
    #[arg(long)]
    stats: bool,
    /// Only these columns, in this order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// Print one JSON document (schema git-sparse/dataset-show/1)
    #[arg(long)]
    json: bool,
}

const FIRST_ROWS: u64 = 10;
/// Signs of a cell that are shown.
const MOST_SIGNS: usize = 40;

/// Rows from 0, without the last.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    start: u64,
    end: Option<u64>,
}

impl FromStr for Rows {
    type Err = String;

    fn from_str(text: &str) -> Result<Rows, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number of a row"));
        let (start, end) = text.split_once("..").ok_or("expected A..B, such as 0..10")?;
        let start = if start.is_empty() { 0 } else { number(start)? };
        let end = if end.is_empty() { None } else { Some(number(end)?) };
        match end {
            Some(end) if end < start => Err(format!("{end} comes before {start}")),
            _ => Ok(Rows { start, end }),
        }
    }
}

/// The part of a table that these columns and rows are.
pub fn select(table: &Table, columns: &[String], rows: Option<Rows>) -> Result<Selection, Failure> {
    let columns = numbers(table, columns)?;
    let rows = rows.map(|rows| one(rows.start..rows.end.unwrap_or(u64::MAX)));
    Ok(Selection { columns, rows })
}

fn one(rows: Range<u64>) -> Vec<Range<u64>> {
    Vec::from([rows])
}

fn numbers(table: &Table, columns: &[String]) -> Result<Option<Vec<usize>>, Failure> {
    let numbers = (!columns.is_empty()).then(|| table.columns(columns)).transpose();
    numbers.map_err(|error| unreadable(&error))
}

#[derive(Serialize)]
struct Document<'a> {
    table: &'a str,
    format: String,
    size: u64,
    rows: u64,
    columns: Vec<Column>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Vec<ColumnStats>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_rows: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<serde_json::Map<String, serde_json::Value>>>,
}

#[derive(Serialize)]
struct Column {
    name: String,
    dtype: String,
    nullable: bool,
}

impl Show {
    pub fn run(self) -> Result<(), Failure> {
        let table = open(&self.table)?;
        let wanted = numbers(&table, &self.columns)?;
        let rows = table.rows().map_err(|error| unreadable(&error))?;
        let columns = columns(&table, wanted.as_deref());
        if !self.json {
            let told = report::count(columns.len(), "column");
            let size = report::bytes(table.size());
            report::say(&format!(
                "{}: {}, {}, {told}, {size}",
                self.table,
                table.kind(),
                report::count(rows, "row")
            ));
        }
        let mut document = Document {
            table: &self.table,
            format: table.kind().to_string(),
            size: table.size(),
            rows,
            columns,
            stats: None,
            first_rows: None,
            values: None,
        };
        if self.stats {
            let found = watch::here("stats", |progress| stats::stats(&table, wanted, progress));
            document.stats = Some(found.map_err(|error| failed(&error))?);
        } else if !self.schema {
            let rows = self.rows_of(rows)?;
            let selection = Selection { columns: wanted, rows: Some(rows.clone()) };
            let batches = table.read(&selection).map_err(|error| unreadable(&error))?;
            let batches: Result<Vec<_>, _> = batches.collect();
            let batches = batches.map_err(|error| unreadable(&error))?;
            let numbers: Vec<u64> = rows.into_iter().flatten().collect();
            if !self.json {
                return print_rows(&document.columns, &numbers, &batches);
            }
            let objects: Result<Vec<_>, _> = batches.iter().map(objects).collect();
            document.values = Some(objects.map_err(|error| no_text(&error))?.concat());
            document.first_rows = Some(numbers);
        }
        match (self.json, &document.stats) {
            (true, _) => report::long_json("dataset-show", &document),
            (false, Some(stats)) => print_stats(stats),
            (false, None) => print_schema(&document.columns),
        }
        Ok(())
    }

    /// The rows to show of so many.
    fn rows_of(&self, count: u64) -> Result<Vec<Range<u64>>, Failure> {
        if let Some(wanted) = self.sample {
            return Ok(ranges(sample::rows(count, wanted, self.seed)));
        }
        let Rows { start, end } = self.rows.unwrap_or(Rows { start: 0, end: Some(FIRST_ROWS) });
        if start > count {
            let told =
                format!("{}: it has {}, none from {start} on", self.table, report::count(count, "row"));
            return Err(Failure::new(Kind::Usage, told).fix(format!("--rows 0..{count}")));
        }
        Ok(one(start..end.unwrap_or(count).min(count)))
    }
}

/// Rows as objects: the second of two columns that are called a is a.1 there, the third a.2.
fn objects(batch: &RecordBatch) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, ArrowError> {
    let schema = batch.schema();
    let names: HashSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut used = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut number = 1;
        while !used.insert(name.clone()) {
            while used.contains(&name) || names.contains(name.as_str()) {
                name = format!("{}.{number}", field.name());
                number += 1;
            }
        }
        field.as_ref().clone().with_name(name)
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let named = RecordBatch::try_new_with_options(Arc::new(schema), batch.columns().to_vec(), &rows)?;
    values::objects(&named)
}

fn columns(table: &Table, wanted: Option<&[usize]>) -> Vec<Column> {
    let fields = table.schema().fields();
    let all: Vec<usize> = (0..fields.len()).collect();
    let column = |at: &usize| Column {
        name: fields[*at].name().clone(),
        dtype: shown(fields[*at].data_type()),
        nullable: fields[*at].is_nullable(),
    };
    wanted.unwrap_or(&all).iter().map(column).collect()
}

fn print_schema(columns: &[Column]) {
    let row = |column: &Column| {
        let nullable = if column.nullable { "nullable" } else { "not null" };
        vec![column.name.clone(), column.dtype.clone(), nullable.into()]
    };
    report::table(&["column", "type", ""], columns.iter().map(row));
}

fn print_stats(stats: &[ColumnStats]) {
    let value =
        |value: &Option<serde_json::Value>| value.as_ref().map_or("-".into(), |value| clipped(&text(value)));
    let row = |stats: &ColumnStats| {
        let about = if stats.exact { "" } else { "≈" };
        vec![
            stats.name.clone(),
            stats.dtype.clone(),
            stats.count.to_string(),
            stats.nulls.to_string(),
            format!("{about}{}", stats.distinct),
            value(&stats.min),
            value(&stats.max),
            stats.mean.map_or("-".into(), |mean| format!("{mean:.6}")),
        ]
    };
    let head = ["column", "type", ">count", ">nulls", ">distinct", "min", "max", ">mean"];
    report::table(&head, stats.iter().map(row));
}

fn print_rows(columns: &[Column], numbers: &[u64], batches: &[RecordBatch]) -> Result<(), Failure> {
    let is_number = |column: &Column| {
        ["int", "uint", "float", "double", "half", "decimal"]
            .iter()
            .any(|kind| column.dtype.starts_with(kind))
    };
    let mut head = vec![">row".to_owned()];
    head.extend(columns.iter().map(|column| {
        let mark = if is_number(column) { ">" } else { "" };
        format!("{mark}{}", column.name)
    }));
    let mut lines = Vec::new();
    for batch in batches {
        let texts: Result<Vec<_>, _> = batch.columns().iter().map(|column| values::texts(column)).collect();
        let texts = texts.map_err(|error| no_text(&error))?;
        for row in 0..batch.num_rows() {
            let number = numbers.get(lines.len()).map_or("?".into(), u64::to_string);
            let cells = texts.iter().map(|column| column[row].as_deref().map_or("null".into(), clipped));
            lines.push(std::iter::once(number).chain(cells).collect());
        }
    }
    report::table(&head.iter().map(String::as_str).collect::<Vec<_>>(), lines);
    Ok(())
}

/// A value without the quotes of JSON.
pub fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The beginning of a text, on one line.
pub fn clipped(text: &str) -> String {
    let line = text.replace(['\n', '\r', '\t'], " ");
    match line.char_indices().nth(MOST_SIGNS) {
        None => line,
        Some((at, _)) => format!("{}…", &line[..at]),
    }
}

fn no_text(error: &ArrowError) -> Failure {
    Failure::new(Kind::Fatal, format!("a value can't be shown: {error}"))
}
