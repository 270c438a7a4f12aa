//! Columns of every type that Arrow's writers of Parquet and IPC take, in two versions: both come back.

use std::sync::Arc;

use arrow_array::builder::{
    FixedSizeBinaryBuilder, FixedSizeListBuilder, Int32Builder, Int64Builder, ListBuilder, MapBuilder,
    StringBuilder, StructBuilder,
};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, NullArray, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use git_sparse::backend::Memory;
use git_sparse::format::{Format, cut};
use git_sparse::id::Oid;
use proptest::prelude::*;

use super::generated::{Row, next, style, write};
use super::keep;
use crate::support::samples::{Sample, assert_gives_back, fresh};

/// A table's rows, and after how many of them a page may end.
struct Rows<'a> {
    rows: &'a [Row],
    page_rows: usize,
}

impl Rows<'_> {
    /// Whether a row has no value: some rows, and on request those at the borders of pages.
    fn is_null(&self, at: usize, seed: u8) -> bool {
        let place = at % self.page_rows;
        seed.is_multiple_of(7) || (seed >= 128 && (place == 0 || place + 1 == self.page_rows))
    }

    fn each<T>(&self, of: impl Fn(u8, u8) -> T) -> Vec<Option<T>> {
        let row = |(at, &(seed, salt)): (usize, &Row)| (!self.is_null(at, seed)).then(|| of(seed, salt));
        self.rows.iter().enumerate().map(row).collect()
    }

    /// Types that follow from whole numbers.
    fn numbers(&self) -> Vec<ArrayRef> {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        let wide = |seed: u8, salt: u8| (i64::from(seed) - 100) * 1_000_003 + i64::from(salt % 3);
        let wide: ArrayRef = Arc::new(Int64Array::from(self.each(wide)));
        let narrow: ArrayRef = Arc::new(Int32Array::from(
            self.each(|seed, salt| i32::from(seed % 50) * 700 + i32::from(salt % 2)),
        ));
        let mut of_wide = vec![
            DataType::Int64,
            DataType::UInt64,
            DataType::Float64,
            DataType::Decimal128(18, 3),
            DataType::Decimal128(38, 10),
            DataType::Decimal256(76, 20),
            DataType::Date64,
            DataType::Time64(Microsecond),
            DataType::Time64(Nanosecond),
        ];
        for unit in [Second, Millisecond, Microsecond, Nanosecond] {
            of_wide.push(DataType::Duration(unit));
            for zone in [None, Some("UTC"), Some("+05:30"), Some("Europe/Berlin")] {
                of_wide.push(DataType::Timestamp(unit, zone.map(Into::into)));
            }
        }
        let of_narrow = [
            DataType::Int8,
            DataType::UInt8,
            DataType::Int16,
            DataType::UInt16,
            DataType::Int32,
            DataType::UInt32,
            DataType::Float16,
            DataType::Float32,
            DataType::Boolean,
            DataType::Decimal128(9, 2),
            DataType::Date32,
            DataType::Time32(Second),
            DataType::Time32(Millisecond),
        ];
        let to =
            |from: &ArrayRef, to: &DataType| cast(from, to).unwrap_or_else(|error| panic!("{to}: {error}"));
        let wide = of_wide.iter().map(|of| to(&wide, of));
        wide.chain(of_narrow.iter().map(|of| to(&narrow, of))).collect()
    }

    /// Types that follow from text.
    fn texts(&self) -> Vec<ArrayRef> {
        let few: ArrayRef = Arc::new(StringArray::from(self.each(|seed, _| format!("word {}", seed % 40))));
        let many = |seed, salt| blake3::hash(&[seed, salt]).to_hex().repeat(usize::from(salt % 4));
        let many: ArrayRef = Arc::new(StringArray::from(self.each(many)));
        let plain = [
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Utf8View,
            DataType::Binary,
            DataType::LargeBinary,
        ];
        let coded = [
            (DataType::Int8, DataType::Utf8),
            (DataType::UInt16, DataType::LargeUtf8),
            (DataType::Int32, DataType::Binary),
        ];
        let coded = coded.map(|(key, value)| DataType::Dictionary(Box::new(key), Box::new(value)));
        let to =
            |from: &ArrayRef, to: &DataType| cast(from, to).unwrap_or_else(|error| panic!("{to}: {error}"));
        plain.iter().map(|of| to(&many, of)).chain(coded.iter().map(|of| to(&few, of))).collect()
    }

    /// Types of types.
    fn nested(&self) -> Vec<ArrayRef> {
        let fields = vec![
            Field::new("number", DataType::Int64, true),
            Field::new("words", DataType::List(Field::new_list_field(DataType::Utf8, true).into()), true),
        ];
        let words = Box::new(ListBuilder::new(StringBuilder::new()));
        let inner = StructBuilder::new(fields, vec![Box::new(Int64Builder::new()), words]);
        let mut lists = ListBuilder::new(inner);
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        let mut pairs = FixedSizeListBuilder::new(Int32Builder::new(), 2);
        let mut digests = FixedSizeBinaryBuilder::new(11);
        for (at, &(seed, salt)) in self.rows.iter().enumerate() {
            let is_null = self.is_null(at, seed);
            for number in 0..if is_null { 0 } else { seed % 4 } {
                let item = lists.values();
                let numbers = item.field_builder::<Int64Builder>(0).expect("the numbers of an item");
                numbers.append_option((number != 1).then_some(i64::from(seed)));
                let words = item.field_builder::<ListBuilder<StringBuilder>>(1).expect("its words");
                (0..salt % 3).for_each(|word| words.values().append_option((word != 1).then_some("a word")));
                words.append(salt % 5 > 0);
                item.append(number != 2 || salt % 2 == 0);
                maps.keys().append_value(format!("key {number}"));
                maps.values().append_option((salt % 3 > 0).then_some(i64::from(salt)));
            }
            lists.append(!is_null);
            maps.append(!is_null).expect("as many keys as values");
            (0..2).for_each(|_| pairs.values().append_option((salt % 6 > 0).then_some(i32::from(seed))));
            pairs.append(!is_null);
            match is_null {
                true => digests.append_null(),
                false => digests.append_value(&blake3::hash(&[seed % 9]).as_bytes()[..11]).expect("11 bytes"),
            }
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let DataType::List(item) = lists.data_type() else { panic!("a list") };
        let large = cast(&lists, &DataType::LargeList(item.clone())).expect("the same with larger offsets");
        let nothing = Arc::new(NullArray::new(self.rows.len()));
        vec![
            lists,
            large,
            Arc::new(maps.finish()),
            Arc::new(pairs.finish()),
            Arc::new(digests.finish()),
            nothing,
        ]
    }

    /// Those of all columns that `chosen` has a bit for; two may have one name.
    fn table(&self, chosen: u64, is_named_twice: bool) -> RecordBatch {
        let all = [self.numbers(), self.texts(), self.nested()].concat();
        assert!(all.len() <= 64, "{} columns", all.len());
        let all = all.into_iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
        let (mut fields, mut columns) = (vec![Field::new("row", DataType::Int64, false)], Vec::new());
        columns.push(Arc::new(Int64Array::from_iter_values(0..self.rows.len() as i64)) as ArrayRef);
        for (at, column) in all {
            let name = if is_named_twice { format!("c{}", at / 2) } else { format!("c{at}") };
            fields.push(Field::new(name, column.data_type().clone(), true));
            columns.push(column);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
    }
}

/// Half of the bits, or all.
fn chosen() -> impl Strategy<Value = u64> {
    prop_oneof![Just(u64::MAX), (any::<u64>(), any::<u64>()).prop_map(|(a, b)| a & b)]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop_oneof![1 => Just(Vec::new()), 20 => proptest::collection::vec(any::<Row>(), 1..250)]
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, Option<Row>)>> {
    proptest::collection::vec((0..250usize, 0..150usize, proptest::option::of(any::<Row>())), 0..6)
}

/// The next version of these rows; of none, the steps' new ones.
fn after(rows: &[Row], steps: &[(usize, usize, Option<Row>)]) -> Vec<Row> {
    match rows.is_empty() {
        true => steps.iter().filter_map(|(.., row)| *row).collect(),
        false => next(rows, steps),
    }
}

/// Stores a file and its next version, and has both back.
fn come_back(old: Vec<u8>, new: Vec<u8>, format: Format) {
    assert_eq!(cut(&old).unwrap().format(), format);
    let store = fresh(Memory::default());
    let base = keep(&store, &old, &[]);
    keep(&store, &new, &[base.oid]);
    let files = [old, new].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &files, "of all kinds");
}

/// An Arrow file or stream in batches of so many rows.
fn ipc(table: &RecordBatch, packed: Option<CompressionType>, is_stream: bool, batch_rows: usize) -> Vec<u8> {
    let options =
        IpcWriteOptions::default().try_with_compression(packed).expect("a compression that is built in");
    let starts = (0..table.num_rows()).step_by(batch_rows);
    let batches = starts.map(|start| table.slice(start, batch_rows.min(table.num_rows() - start)));
    if is_stream {
        let mut writer =
            StreamWriter::try_new_with_options(Vec::new(), &table.schema(), options).expect("a writer");
        batches.for_each(|batch| writer.write(&batch).expect("a batch"));
        return writer.into_inner().expect("a stream");
    }
    let mut writer =
        FileWriter::try_new_with_options(Vec::new(), &table.schema(), options).expect("a writer");
    batches.for_each(|batch| writer.write(&batch).expect("a batch"));
    writer.into_inner().expect("a file")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn parquet_of_every_type_comes_back(
        (rows, steps, chosen) in (rows(), steps(), chosen()),
        [first, second] in [style(), style()],
        [is_restyled, is_named_twice, has_other_columns]: [bool; 3],
    ) {
        let after = after(&rows, &steps);
        let style = if is_restyled { &second } else { &first };
        let old = Rows { rows: &rows, page_rows: first.page_rows }.table(chosen, is_named_twice);
        let kept = if has_other_columns { chosen.rotate_left(1) } else { chosen };
        let new = Rows { rows: &after, page_rows: style.page_rows }.table(kept, is_named_twice);
        come_back(write(&old, &first), write(&new, style), Format::Parquet);
    }

    #[test]
    fn arrow_of_every_type_comes_back(
        (rows, steps, chosen) in (rows(), steps(), chosen()),
        (batch_rows, packed) in (1..200usize, 0..3usize),
        [is_named_twice, is_stream, becomes_stream]: [bool; 3],
    ) {
        let after = after(&rows, &steps);
        let packed = [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)][packed];
        let [old, new] = [&rows, &after]
            .map(|rows| Rows { rows, page_rows: batch_rows }.table(chosen, is_named_twice));
        let old = ipc(&old, packed, is_stream, batch_rows);
        come_back(old, ipc(&new, packed, is_stream ^ becomes_stream, batch_rows), Format::Arrow);
    }
}
