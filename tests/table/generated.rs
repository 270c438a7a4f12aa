//! Tables of all kinds of columns, written in all ways that parquet-rs knows, in two versions: both come back.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, UInt16Array,
};
use arrow_schema::{DataType, Field};
use git_sparse::backend::Memory;
use git_sparse::id::Oid;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use proptest::prelude::*;

use super::keep;
use crate::support::samples::{Sample, assert_gives_back, fresh};

/// What a row's cells follow from, and what one of them follows from besides.
pub(super) type Row = (u8, u8);

fn table(rows: &[Row], has_extra: bool, is_cast: bool) -> RecordBatch {
    let each = |of: &dyn Fn(u8, u8) -> Option<i64>| -> Vec<Option<i64>> {
        rows.iter().map(|&(seed, salt)| of(seed, salt)).collect()
    };
    let numbers = each(&|seed, _| (seed % 5 > 0).then_some(i64::from(seed) * 1_000_003));
    let number: ArrayRef = match is_cast {
        true => {
            Arc::new(Float64Array::from_iter(numbers.iter().map(|number| number.map(|number| number as f64))))
        }
        false => Arc::new(Int64Array::from(numbers.clone())),
    };
    let words = || rows.iter().map(|(seed, _)| (seed % 7 > 0).then(|| format!("word {}", seed % 40)));
    let real = |&(seed, salt): &Row| match seed % 11 {
        0 => f64::from_bits(0x7ff8_0000_0000_0000 | u64::from(salt)),
        1 => -0.0,
        _ => f64::from(salt) / 7.0,
    };
    let mut lists = ListBuilder::new(StringBuilder::new());
    for (seed, salt) in rows {
        (0..seed % 4).for_each(|at| lists.values().append_option((at != 1).then(|| format!("{salt}"))));
        lists.append(seed % 9 > 0);
    }
    let inner = Field::new("inner", DataType::UInt16, true);
    let values =
        UInt16Array::from_iter(rows.iter().map(|(seed, _)| (seed % 3 > 0).then_some(u16::from(*seed))));
    let nested = StructArray::new(vec![inner].into(), vec![Arc::new(values)], None);
    let digests =
        rows.iter().map(|(seed, salt)| Some(blake3::hash(&[*seed, *salt]).as_bytes()[..16].to_vec()));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("number", number),
        ("word", Arc::new(StringArray::from_iter(words()))),
        ("real", Arc::new(Float64Array::from_iter_values(rows.iter().map(real)))),
        ("small", Arc::new(Float32Array::from_iter(rows.iter().map(|(seed, _)| Some(f32::from(*seed)))))),
        ("flag", Arc::new(BooleanArray::from_iter(rows.iter().map(|(seed, _)| Some(seed % 2 == 0))))),
        ("tags", Arc::new(lists.finish())),
        ("nested", Arc::new(nested)),
        ("cents", Arc::new(Decimal128Array::from_iter(numbers.iter().map(|n| n.map(i128::from))))),
        ("at", Arc::new(TimestampMicrosecondArray::from(numbers))),
        ("digest", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(digests, 16).unwrap())),
    ];
    if has_extra {
        let words: Vec<String> = words().map(Option::unwrap_or_default).collect();
        let words: DictionaryArray<Int32Type> = words.iter().map(String::as_str).collect();
        columns.push(("extra", Arc::new(words)));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

/// How a table is written.
#[derive(Debug, Clone)]
pub(super) struct Style {
    codec: Compression,
    has_dictionary: bool,
    pub page_rows: usize,
    group_rows: usize,
    version: WriterVersion,
}

pub(super) fn style() -> impl Strategy<Value = Style> {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::try_new(3).unwrap()),
        Compression::LZ4_RAW,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
    ];
    let versions = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];
    (
        proptest::sample::select(codecs.to_vec()),
        any::<bool>(),
        1..60usize,
        5..200usize,
        proptest::sample::select(versions.to_vec()),
    )
        .prop_map(|(codec, has_dictionary, page_rows, group_rows, version)| Style {
            codec,
            has_dictionary,
            page_rows,
            group_rows,
            version,
        })
}

pub(super) fn write(batch: &RecordBatch, style: &Style) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(style.codec)
        .set_dictionary_enabled(style.has_dictionary)
        .set_data_page_row_count_limit(style.page_rows)
        .set_write_batch_size(style.page_rows)
        .set_max_row_group_row_count(Some(style.group_rows))
        .set_writer_version(style.version)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// The rows of the next version: some stretches of the old ones, in any order, and some that are new or changed.
pub(super) fn next(rows: &[Row], steps: &[(usize, usize, Option<Row>)]) -> Vec<Row> {
    let mut next = Vec::new();
    for (from, many, changed) in steps {
        let from = from % rows.len();
        next.extend_from_slice(&rows[from..rows.len().min(from + many)]);
        next.extend(changed);
    }
    next
}

/// Sorted rows are rows; a column that is the same in all of them says nothing of where they stand.
#[test]
fn a_sorted_table_costs_next_to_nothing() {
    let rows: Vec<i64> = (0..4000).map(|row| row * 7919 % 4001).collect();
    let written = |rows: &[i64]| {
        let words = rows.iter().map(|row| blake3::hash(&row.to_le_bytes()).to_hex()[..24].to_owned());
        let words: ArrayRef = Arc::new(StringArray::from_iter_values(words));
        let same: ArrayRef = Arc::new(Int64Array::from(vec![2013; rows.len()]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(rows.to_vec()));
        let batch =
            RecordBatch::try_from_iter([("same", same), ("word", words), ("number", numbers)]).unwrap();
        let style = Style {
            codec: Compression::SNAPPY,
            has_dictionary: true,
            page_rows: 1000,
            group_rows: 100_000,
            version: WriterVersion::PARQUET_1_0,
        };
        write(&batch, &style)
    };
    let mut sorted = rows.clone();
    sorted.sort_unstable();
    let (old, new) = (written(&rows), written(&sorted));
    let store = fresh(Memory::default());
    let base = keep(&store, &old, &[]);
    let kept = keep(&store, &new, &[base.oid]);
    assert!(kept.stored * 50 < new.len() as u64, "{kept:?}");
    let files = [old, new].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
    assert_gives_back(&store, &files, "sorted");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn versions_of_any_table_come_back(
        rows in proptest::collection::vec(any::<Row>(), 1..300),
        steps in proptest::collection::vec((0..300usize, 0..200usize, proptest::option::of(any::<Row>())), 0..6),
        [first, second] in [style(), style()],
        [is_restyled, has_extra, is_cast, is_sorted]: [bool; 4],
    ) {
        let mut after = next(&rows, &steps);
        if is_sorted {
            after = rows.clone();
            after.sort_by_key(|(seed, _)| *seed);
        }
        let old = write(&table(&rows, true, false), &first);
        let new = write(&table(&after, has_extra, is_cast), if is_restyled { &second } else { &first });
        let store = fresh(Memory::default());
        let base = keep(&store, &old, &[]);
        keep(&store, &new, &[base.oid]);
        let files = [old, new].map(|bytes| Sample { oid: Oid::of(&bytes), bytes, earlier: Vec::new() });
        assert_gives_back(&store, &files, "generated");
    }
}
