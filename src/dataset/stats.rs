//! What is in the columns of a table, in numbers.

use std::cmp::Ordering;
use std::collections::HashSet;

use arrow_array::{Array, ArrayRef, cast::AsArray, types::Float64Type};
use arrow_cast::{can_cast_types, cast};
use arrow_ord::ord::make_comparator;
use arrow_ord::sort::sort_to_indices;
use arrow_schema::{ArrowError, DataType, SortOptions};
use arrow_select::take::take;
use serde::Serialize;
use serde_json::Value;

use super::hash::{self, Hash};
use super::scan::CompareError;
use super::schema::shown;
use super::table::{Selection, Table};
use super::values;
use crate::progress::Progress;

/// Distinct values that are counted one by one.
const MOST_EXACT: usize = 1 << 16;
/// Registers of the estimate beyond: it errs by about 1.6 %.
const REGISTERS: usize = 1 << 12;

/// One column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnStats {
    pub name: String,
    pub dtype: String,
    pub count: u64,
    pub nulls: u64,
    /// Distinct values that are not null.
    pub distinct: u64,
    /// Whether that was counted, not estimated.
    pub exact: bool,
    /// Of what has an order; `null` elsewhere.
    pub min: Option<Value>,
    pub max: Option<Value>,
    /// Of finite numbers.
    pub mean: Option<f64>,
}

/// Reads the columns with these numbers, all rows of them.
pub fn stats(
    table: &Table,
    columns: Option<Vec<usize>>,
    progress: &Progress<'_>,
) -> Result<Vec<ColumnStats>, CompareError> {
    let batches = table.read(&Selection { columns, rows: None })?;
    let schema = batches.schema();
    let mut sums: Vec<Sum> = schema.fields().iter().map(|_| Sum::default()).collect();
    let failed =
        |error: ArrowError| CompareError::Values { name: table.name().to_owned(), why: error.to_string() };
    for batch in batches {
        let batch = batch?;
        for (sum, column) in sums.iter_mut().zip(batch.columns()) {
            sum.add(column).map_err(failed)?;
        }
        progress(batch.get_array_memory_size() as u64)?;
    }
    let fields = schema.fields().iter().zip(sums);
    fields.map(|(field, sum)| sum.done(field).map_err(failed)).collect()
}

#[derive(Default)]
struct Sum {
    count: u64,
    nulls: u64,
    distinct: Distinct,
    min: Option<ArrayRef>,
    max: Option<ArrayRef>,
    total: f64,
    finite: u64,
}

impl Sum {
    fn add(&mut self, column: &ArrayRef) -> Result<(), ArrowError> {
        let null = hash::null();
        let cells = hash::cells(column)?;
        self.count += cells.len() as u64;
        self.nulls += cells.iter().filter(|cell| **cell == null).count() as u64;
        cells.iter().filter(|cell| **cell != null).for_each(|cell| self.distinct.add(*cell));
        self.min = better(self.min.take(), column, false)?;
        self.max = better(self.max.take(), column, true)?;
        let dtype = column.data_type();
        if dtype.is_numeric() && can_cast_types(dtype, &DataType::Float64) {
            let numbers = cast(column, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            for number in numbers.iter().flatten().filter(|number| number.is_finite()) {
                self.total += number;
                self.finite += 1;
            }
        }
        Ok(())
    }

    fn done(self, field: &arrow_schema::Field) -> Result<ColumnStats, ArrowError> {
        let (distinct, exact) = self.distinct.count();
        let value = |cell: Option<ArrayRef>| cell.map(|cell| one(&cell)).transpose();
        Ok(ColumnStats {
            name: field.name().clone(),
            dtype: shown(field.data_type()),
            count: self.count,
            nulls: self.nulls,
            distinct,
            exact,
            min: value(self.min)?,
            max: value(self.max)?,
            mean: (self.finite > 0).then(|| self.total / self.finite as f64),
        })
    }
}

/// The least or greatest of a cell and a column; none where it has no order, or nothing but nulls.
fn better(best: Option<ArrayRef>, column: &ArrayRef, greatest: bool) -> Result<Option<ArrayRef>, ArrowError> {
    let has_order = !column.data_type().is_nested() && !matches!(column.data_type(), DataType::Null);
    if !has_order || column.len() == column.logical_null_count() {
        return Ok(best);
    }
    let options = SortOptions { descending: greatest, nulls_first: false };
    let first = sort_to_indices(column, Some(options), Some(1))?;
    let cell = take(column, &first, None)?;
    let Some(best) = best else { return Ok(Some(cell)) };
    let order = make_comparator(&cell, &best, options)?(0, 0);
    Ok(Some(if order == Ordering::Less { cell } else { best }))
}

fn one(cell: &ArrayRef) -> Result<Value, ArrowError> {
    let schema =
        arrow_schema::Schema::new(vec![arrow_schema::Field::new("x", cell.data_type().clone(), true)]);
    let batch = arrow_array::RecordBatch::try_new(schema.into(), vec![cell.clone()])?;
    Ok(values::objects(&batch)?.pop().and_then(|mut row| row.remove("x")).unwrap_or_default())
}

/// How many different hashes there were: exact while they are few, then HyperLogLog (Flajolet et al. 2007).
#[derive(Default)]
struct Distinct {
    seen: HashSet<Hash>,
    registers: Vec<u8>,
}

impl Distinct {
    fn add(&mut self, hash: Hash) {
        if self.registers.is_empty() {
            self.seen.insert(hash);
            if self.seen.len() <= MOST_EXACT {
                return;
            }
            self.registers = vec![0; REGISTERS];
            for hash in std::mem::take(&mut self.seen) {
                self.register(hash);
            }
        }
        self.register(hash);
    }

    fn register(&mut self, hash: Hash) {
        let place = hash as usize % REGISTERS;
        let rank = (hash >> 64) as u64;
        let register = &mut self.registers[place];
        *register = (*register).max(rank.leading_zeros() as u8 + 1);
    }

    fn count(&self) -> (u64, bool) {
        if self.registers.is_empty() {
            return (self.seen.len() as u64, true);
        }
        let count = REGISTERS as f64;
        let sum: f64 = self.registers.iter().map(|rank| 0.5f64.powi(i32::from(*rank))).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        (estimate.round() as u64, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An estimate that is far off is worse than none.
    #[test]
    fn many_distinct_values_are_estimated_well() {
        let mut distinct = Distinct::default();
        let mut count = |from: u64, to: u64| {
            (from..to).for_each(|value| distinct.add(hash::salt(&value.to_string())));
            distinct.count()
        };
        assert_eq!(count(0, 1000), (1000, true));
        assert_eq!(count(500, 2000), (2000, true));
        let (found, exact) = count(0, 300_000);
        assert!(!exact && (285_000..315_000).contains(&found), "{found}");
    }
}
