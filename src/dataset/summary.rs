//! A table in short: a line about each column and one about the rows, that differ where the tables do.

use serde::{Deserialize, Serialize};

use super::hash::{self, Digest, Hash};
use super::scan::{self, CompareError};
use super::schema::shown;
use super::table::Table;
use crate::progress::Progress;

/// What `git diff` shows of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub kind: super::Kind,
    pub size: u64,
    pub rows: u64,
    /// Over all rows in their order.
    pub digest: String,
    /// Over all rows in any order.
    pub bag: String,
    pub columns: Vec<ColumnSummary>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnSummary {
    pub name: String,
    pub dtype: String,
    pub nulls: u64,
    /// Over its cells in their order: equal for equal values, also of another type.
    pub digest: String,
}

/// Reads all of a table once.
pub fn summary(table: &Table, progress: &Progress<'_>) -> Result<Summary, CompareError> {
    let fields = table.schema().fields();
    let salts: Vec<_> = fields.iter().map(|field| Some(hash::salt(field.name()))).collect();
    let found = scan::scan(table, &salts, &[], progress)?;
    let mut digest = Digest::default();
    digest.add(&found.rows);
    let mut bag = Digest::default();
    bag.add(&[found.rows.iter().fold(0, |sum: Hash, row| sum.wrapping_add(*row))]);
    let columns = fields.iter().zip(&found.columns).zip(&found.nulls);
    let columns = columns.map(|((field, digest), nulls)| ColumnSummary {
        name: field.name().clone(),
        dtype: shown(field.data_type()),
        nulls: *nulls,
        digest: digest.to_string(),
    });
    Ok(Summary {
        kind: table.kind(),
        size: table.size(),
        rows: found.rows.len() as u64,
        digest: digest.to_string(),
        bag: bag.to_string(),
        columns: columns.collect(),
    })
}
