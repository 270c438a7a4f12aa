//! Cells and rows as hashes: equal where their values are, whatever Arrow holds them in.
//!
//! A value has one hash in all types that can hold it: 3 in int8, int64 and double; a string in a dictionary, a
//! view or plain; an instant in any unit. So a column that got another type is compared by what it says. NaN
//! equals NaN, and -0.0 equals 0.0, which is what people mean by "the same". 128 bits: among 10^9 rows two others have the
//! same hash with a chance of 10^-21.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, PrimitiveArray, RecordBatch, downcast_dictionary_array, downcast_run_array,
};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use twox_hash::XxHash3_128;

/// The hash of a cell, or of all cells of a row.
pub type Hash = u128;

/// Hashes of values of different sorts are apart.
#[derive(Clone, Copy)]
enum Sort {
    Null = 1,
    Bool,
    Int,
    Float,
    Text,
    Binary,
    Date,
    Time,
    Instant,
    Duration,
    Interval,
    Decimal,
    List,
    Struct,
    Map,
}

const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// A permutation of 128 bits in which each bit of the input moves all of the output.
fn mix(value: u128) -> Hash {
    let mut x = value.wrapping_mul(ODD);
    x ^= x >> 67;
    x = x.wrapping_mul(ODD);
    x ^ (x >> 61)
}

fn of(sort: Sort, value: u128) -> Hash {
    mix(value ^ mix(sort as u128))
}

fn of_bytes(sort: Sort, bytes: &[u8]) -> Hash {
    XxHash3_128::oneshot(bytes) ^ mix(sort as u128)
}

/// Joins hashes in an order.
fn fold(sum: Hash, next: Hash) -> Hash {
    mix(sum.rotate_left(29) ^ next)
}

/// The hash of a cell without a value.
pub fn null() -> Hash {
    of(Sort::Null, 0)
}

/// The hash of each cell of a column.
pub fn cells(column: &dyn Array) -> Result<Vec<Hash>, ArrowError> {
    use DataType as T;
    let hashes = match column.data_type() {
        T::Null => vec![null(); column.len()],
        T::Boolean => {
            let values = column.as_boolean();
            each(column, |at| of(Sort::Bool, u128::from(values.value(at))))
        }
        T::Int8 => ints::<Int8Type>(column, Sort::Int, i128::from),
        T::Int16 => ints::<Int16Type>(column, Sort::Int, i128::from),
        T::Int32 => ints::<Int32Type>(column, Sort::Int, i128::from),
        T::Int64 => ints::<Int64Type>(column, Sort::Int, i128::from),
        T::UInt8 => ints::<UInt8Type>(column, Sort::Int, i128::from),
        T::UInt16 => ints::<UInt16Type>(column, Sort::Int, i128::from),
        T::UInt32 => ints::<UInt32Type>(column, Sort::Int, i128::from),
        T::UInt64 => ints::<UInt64Type>(column, Sort::Int, i128::from),
        T::Float16 => floats::<Float16Type>(column, |value| value.to_f64()),
        T::Float32 => floats::<Float32Type>(column, f64::from),
        T::Float64 => floats::<Float64Type>(column, |value| value),
        T::Utf8 => texts(column, |at| column.as_string::<i32>().value(at)),
        T::LargeUtf8 => texts(column, |at| column.as_string::<i64>().value(at)),
        T::Utf8View => texts(column, |at| column.as_string_view().value(at)),
        T::Binary => binaries(column, |at| column.as_binary::<i32>().value(at)),
        T::LargeBinary => binaries(column, |at| column.as_binary::<i64>().value(at)),
        T::BinaryView => binaries(column, |at| column.as_binary_view().value(at)),
        T::FixedSizeBinary(_) => binaries(column, |at| column.as_fixed_size_binary().value(at)),
        T::Date32 => ints::<Date32Type>(column, Sort::Date, |days| i128::from(days) * 86_400_000),
        T::Date64 => ints::<Date64Type>(column, Sort::Date, i128::from),
        T::Time32(TimeUnit::Second) => ints::<Time32SecondType>(column, Sort::Time, seconds),
        T::Time32(_) => ints::<Time32MillisecondType>(column, Sort::Time, millis),
        T::Time64(TimeUnit::Microsecond) => ints::<Time64MicrosecondType>(column, Sort::Time, micros),
        T::Time64(_) => ints::<Time64NanosecondType>(column, Sort::Time, i128::from),
        T::Timestamp(TimeUnit::Second, _) => ints::<TimestampSecondType>(column, Sort::Instant, seconds),
        T::Timestamp(TimeUnit::Millisecond, _) => {
            ints::<TimestampMillisecondType>(column, Sort::Instant, millis)
        }
        T::Timestamp(TimeUnit::Microsecond, _) => {
            ints::<TimestampMicrosecondType>(column, Sort::Instant, micros)
        }
        T::Timestamp(TimeUnit::Nanosecond, _) => {
            ints::<TimestampNanosecondType>(column, Sort::Instant, i128::from)
        }
        T::Duration(TimeUnit::Second) => ints::<DurationSecondType>(column, Sort::Duration, seconds),
        T::Duration(TimeUnit::Millisecond) => ints::<DurationMillisecondType>(column, Sort::Duration, millis),
        T::Duration(TimeUnit::Microsecond) => ints::<DurationMicrosecondType>(column, Sort::Duration, micros),
        T::Duration(TimeUnit::Nanosecond) => {
            ints::<DurationNanosecondType>(column, Sort::Duration, i128::from)
        }
        T::Interval(_) => by_data(column, Sort::Interval)?,
        T::Decimal32(_, scale) => decimals::<Decimal32Type>(column, *scale, i128::from),
        T::Decimal64(_, scale) => decimals::<Decimal64Type>(column, *scale, i128::from),
        T::Decimal128(_, scale) => decimals::<Decimal128Type>(column, *scale, |value| value),
        T::Decimal256(..) => by_data(column, Sort::Decimal)?,
        T::List(_) => {
            let list = column.as_list::<i32>();
            let offsets: Vec<_> = list.value_offsets().iter().map(|offset| *offset as usize).collect();
            lists(column, list.values(), |at| offsets[at]..offsets[at + 1])?
        }
        T::LargeList(_) => {
            let list = column.as_list::<i64>();
            let offsets: Vec<_> = list.value_offsets().iter().map(|offset| *offset as usize).collect();
            lists(column, list.values(), |at| offsets[at]..offsets[at + 1])?
        }
        T::FixedSizeList(_, len) => {
            let (list, len) = (column.as_fixed_size_list(), (*len).max(0) as usize);
            lists(column, list.values(), |at| at * len..(at + 1) * len)?
        }
        T::Map(..) => {
            let map = column.as_map();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            let offsets: Vec<_> = map.value_offsets().iter().map(|offset| *offset as usize).collect();
            let hashes = lists(column, &entries, |at| offsets[at]..offsets[at + 1])?;
            hashes.into_iter().map(|hash| fold(Sort::Map as u128, hash)).collect()
        }
        T::Struct(_) => structs(column)?,
        T::Dictionary(..) => by_key(column)?,
        T::RunEndEncoded(..) => by_run(column)?,
        other => return Err(ArrowError::NotYetImplemented(format!("values of type {other}"))),
    };
    Ok(hashes)
}

/// The hash of each row over some columns, each with a name that it is known by: their order does not matter.
pub fn rows(batch: &RecordBatch, salts: &[Option<Hash>]) -> Result<(Vec<Hash>, Vec<Vec<Hash>>), ArrowError> {
    let mut sums = vec![0; batch.num_rows()];
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (column, salt) in batch.columns().iter().zip(salts) {
        let hashes = cells(column)?;
        if let Some(salt) = salt {
            sums.iter_mut().zip(&hashes).for_each(|(sum, hash)| *sum = salted(*sum, *hash, *salt));
        }
        columns.push(hashes);
    }
    Ok((sums, columns))
}

fn salted(sum: Hash, hash: Hash, salt: Hash) -> Hash {
    sum.wrapping_add(mix(hash ^ salt))
}

/// The hash of a sequence of hashes.
pub fn sequence(hashes: impl Iterator<Item = Hash>) -> Hash {
    hashes.fold(0, fold)
}

/// What sets a column apart from others in a row's hash.
pub fn salt(name: &str) -> Hash {
    mix(XxHash3_128::oneshot(name.as_bytes()))
}

/// The digest of the cells of a column: in their order, or by their keys in any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(Hash);

impl Digest {
    pub fn add(&mut self, hashes: &[Hash]) {
        hashes.iter().for_each(|hash| self.0 = fold(self.0, *hash));
    }

    /// Adds cells of rows with these keys.
    pub fn add_keyed(&mut self, keys: &[Hash], hashes: &[Hash]) {
        keys.iter().zip(hashes).for_each(|(key, hash)| self.0 = self.0.wrapping_add(fold(*key, *hash)));
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:016x}", (self.0 >> 64) as u64)
    }
}

fn each(column: &dyn Array, hash: impl Fn(usize) -> Hash) -> Vec<Hash> {
    match column.logical_nulls() {
        None => (0..column.len()).map(hash).collect(),
        Some(nulls) => {
            let null = null();
            (0..column.len()).map(|at| if nulls.is_null(at) { null } else { hash(at) }).collect()
        }
    }
}

fn ints<T: ArrowPrimitiveType>(
    column: &dyn Array,
    sort: Sort,
    value: impl Fn(T::Native) -> i128,
) -> Vec<Hash> {
    let values: &PrimitiveArray<T> = column.as_primitive();
    each(column, |at| of(sort, value(values.value(at)) as u128))
}

fn seconds(value: impl Into<i128>) -> i128 {
    value.into() * 1_000_000_000
}

fn millis(value: impl Into<i128>) -> i128 {
    value.into() * 1_000_000
}

fn micros(value: impl Into<i128>) -> i128 {
    value.into() * 1_000
}

fn floats<T: ArrowPrimitiveType>(column: &dyn Array, value: impl Fn(T::Native) -> f64) -> Vec<Hash> {
    let values: &PrimitiveArray<T> = column.as_primitive();
    each(column, |at| float(value(values.value(at))))
}

/// A float that is a whole number is that number.
fn float(value: f64) -> Hash {
    if value.is_nan() {
        return of(Sort::Float, f64::NAN.to_bits().into());
    }
    match value.trunc() == value && value.abs() < 2f64.powi(100) {
        true => of(Sort::Int, value as i128 as u128),
        false => of(Sort::Float, value.to_bits().into()),
    }
}

fn texts<'a>(column: &'a dyn Array, value: impl Fn(usize) -> &'a str) -> Vec<Hash> {
    each(column, |at| of_bytes(Sort::Text, value(at).as_bytes()))
}

fn binaries<'a>(column: &'a dyn Array, value: impl Fn(usize) -> &'a [u8]) -> Vec<Hash> {
    each(column, |at| of_bytes(Sort::Binary, value(at)))
}

fn decimals<T: ArrowPrimitiveType>(
    column: &dyn Array,
    scale: i8,
    value: impl Fn(T::Native) -> i128,
) -> Vec<Hash> {
    let values: &PrimitiveArray<T> = column.as_primitive();
    each(column, |at| decimal(value(values.value(at)), scale))
}

/// 1.50 is 1.5, whatever the scale of its column.
fn decimal(mut value: i128, scale: i8) -> Hash {
    let mut scale = i32::from(scale);
    while scale > 0 && value % 10 == 0 {
        (value, scale) = (value / 10, scale - 1);
    }
    fold(of(Sort::Decimal, value as u128), scale as u128)
}

/// Values of a fixed width by their bytes.
fn by_data(column: &dyn Array, sort: Sort) -> Result<Vec<Hash>, ArrowError> {
    let data = column.to_data();
    let width = column.data_type().primitive_width();
    let width = width.ok_or_else(|| ArrowError::NotYetImplemented(format!("{}", column.data_type())))?;
    let bytes = data.buffers()[0].as_slice();
    let start = data.offset();
    Ok(each(column, |at| of_bytes(sort, &bytes[(start + at) * width..(start + at + 1) * width])))
}

fn lists(
    column: &dyn Array,
    values: &ArrayRef,
    range: impl Fn(usize) -> std::ops::Range<usize>,
) -> Result<Vec<Hash>, ArrowError> {
    if column.is_empty() {
        return Ok(Vec::new());
    }
    // A slice of a column still has the values of all.
    let (start, end) = (range(0).start, range(column.len() - 1).end);
    let hashes = cells(&values.slice(start, end - start))?;
    Ok(each(column, |at| {
        let range = range(at);
        let head = of(Sort::List, range.len() as u128);
        hashes[range.start - start..range.end - start].iter().fold(head, |sum, hash| fold(sum, *hash))
    }))
}

fn structs(column: &dyn Array) -> Result<Vec<Hash>, ArrowError> {
    let parts = column.as_struct();
    let mut sums = vec![of(Sort::Struct, 0); column.len()];
    for (field, values) in parts.fields().iter().zip(parts.columns()) {
        let salt = salt(field.name());
        for (sum, hash) in sums.iter_mut().zip(cells(values)?) {
            *sum = salted(*sum, hash, salt);
        }
    }
    Ok(each(column, |at| sums[at]))
}

fn by_key(column: &dyn Array) -> Result<Vec<Hash>, ArrowError> {
    downcast_dictionary_array!(
        column => {
            let values = cells(column.values())?;
            let null = null();
            Ok(column.keys_iter().map(|key| key.map_or(null, |key| values[key])).collect())
        }
        other => Err(ArrowError::NotYetImplemented(format!("values of type {other}"))),
    )
}

fn by_run(column: &dyn Array) -> Result<Vec<Hash>, ArrowError> {
    downcast_run_array!(
        column => {
            let values = cells(column.values())?;
            Ok((0..column.len()).map(|at| values[column.get_physical_index(at)]).collect())
        }
        other => Err(ArrowError::NotYetImplemented(format!("values of type {other}"))),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        Decimal128Array, DictionaryArray, Float64Array, Int8Array, Int64Array, ListArray, StringArray,
        StringViewArray, StructArray, TimestampMicrosecondArray, TimestampSecondArray,
    };

    use super::*;

    /// What people take for the same has one hash in all types; what they don't has not.
    #[test]
    fn a_value_has_one_hash_in_all_types() {
        let hash = |column: &dyn Array| cells(column).unwrap();
        let ints = Int64Array::from(vec![Some(3), None, Some(-7)]);
        assert_eq!(hash(&ints), hash(&Int8Array::from(vec![Some(3), None, Some(-7)])));
        assert_eq!(hash(&ints), hash(&Float64Array::from(vec![Some(3.0), None, Some(-7.0)])));
        let odd = Float64Array::from(vec![0.0, -0.0, f64::NAN, f64::from_bits(0x7ff8_0000_0000_0001), 0.5]);
        let odd = hash(&odd);
        assert_eq!((odd[0], odd[2]), (odd[1], odd[3]));
        assert_ne!(odd[0], odd[4]);
        let words = StringArray::from(vec![Some("a"), None, Some("")]);
        assert_eq!(hash(&words), hash(&StringViewArray::from(vec![Some("a"), None, Some("")])));
        let dictionary: DictionaryArray<Int8Type> = [Some("a"), None, Some("")].into_iter().collect();
        assert_eq!(hash(&words), hash(&dictionary));
        assert_eq!(hash(&TimestampSecondArray::from(vec![9])), {
            hash(&TimestampMicrosecondArray::from(vec![9_000_000]))
        });
        let cents = |cents, scale| {
            hash(&Decimal128Array::from(vec![cents]).with_precision_and_scale(20, scale).unwrap())
        };
        assert_eq!(cents(150, 2), cents(15, 1));
        assert_ne!(cents(150, 2), cents(150, 1));
        let distinct = [hash(&ints)[0], hash(&words)[0], hash(&words)[1], hash(&words)[2]];
        assert_eq!(distinct.iter().collect::<std::collections::HashSet<_>>().len(), 4);
    }

    /// Slices and nested values hash as what they show, not as what lies in their buffers.
    #[test]
    fn slices_hash_as_what_they_show() {
        let list =
            |rows: Vec<Option<Vec<Option<i32>>>>| ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
        let long = list(vec![Some(vec![Some(1)]), Some(vec![Some(2), None]), None, Some(vec![])]);
        let short = list(vec![Some(vec![Some(2), None]), None, Some(vec![])]);
        assert_eq!(cells(&long.slice(1, 3)).unwrap(), cells(&short).unwrap());
        let field = Arc::new(arrow_schema::Field::new("x", DataType::Int64, true));
        let of = |values: Vec<i64>| {
            let values: ArrayRef = Arc::new(Int64Array::from(values));
            StructArray::from(vec![(field.clone(), values)])
        };
        assert_eq!(cells(&of(vec![1, 2, 3]).slice(1, 2)).unwrap(), cells(&of(vec![2, 3])).unwrap());
        let batch = RecordBatch::from(of(vec![1, 2]));
        assert_ne!(rows(&batch, &[Some(salt("x"))]).unwrap().0, rows(&batch, &[Some(salt("y"))]).unwrap().0);
    }
}
