//! Reading a part of a table takes a part of its file.

use std::fs;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_select::concat::concat_batches;
use git_sparse::backend::Memory;
use git_sparse::base::Hints;
use git_sparse::codec::Effort;
use git_sparse::dataset::{Kind, Selection, Stored, Table, values};
use git_sparse::id::Oid;
use git_sparse::ingest::ingest;
use git_sparse::progress::unwatched;

use super::{bytes, data, parquet, table};
use crate::support::samples::fresh;

fn all(table: &Table, selection: &Selection) -> RecordBatch {
    let batches = table.read(selection).unwrap();
    let schema = batches.schema();
    concat_batches(&schema, &batches.map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

/// Ten groups of 10 000 rows: a number, and a text that is hard to pack.
fn large() -> Vec<u8> {
    let ids = Int64Array::from_iter_values(0..100_000);
    let words = StringArray::from_iter_values((0..100_000u64).map(|id| {
        let noise = blake3::hash(&id.to_le_bytes());
        noise.to_hex().to_string()
    }));
    parquet(vec![("id", Arc::new(ids)), ("word", Arc::new(words))], 10_000)
}

/// What is not asked for is not decoded: neither other columns, nor other groups of rows.
#[test]
fn only_what_is_asked_for_is_decoded() {
    let file = large();
    let store = fresh(Memory::default());
    let oid = Oid::of(&file);
    ingest(&store, &file.as_slice(), oid, &Hints::default(), Effort::Push, &unwatched).unwrap();
    let recipe = store.recipe(&oid).unwrap().unwrap();
    let store = Arc::new(store);
    let decoded = |selection: &Selection| {
        let stored = Arc::new(Stored::new(store.clone(), &recipe));
        let table = Table::open(stored.clone(), "large.parquet").unwrap();
        let found = all(&table, selection);
        (found, stored.decoded())
    };
    let (whole, everything) = decoded(&Selection::default());
    assert_eq!(whole.num_rows(), 100_000);
    // Indexes of pages lie before the footer, and are not asked for.
    assert!(everything.bytes <= file.len() as u64, "each object once: {everything:?}");

    let (ids, one_column) = decoded(&Selection::columns(vec![0]));
    assert_eq!(ids.num_columns(), 1);
    assert!(one_column.bytes * 4 < everything.bytes, "{one_column:?} of {everything:?}");

    let (rows, some_rows) = decoded(&Selection::rows(50_010..50_020));
    assert_eq!(rows, whole.slice(50_010, 10));
    assert!(some_rows.bytes * 5 < everything.bytes, "{some_rows:?} of {everything:?}");

    let both = Selection { columns: Some(vec![0]), rows: Some(vec![3..5, 99_999..100_000]) };
    let (few, least) = decoded(&both);
    let ids: Vec<_> = few.column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(ids, [3, 4, 99_999]);
    assert!(least.bytes * 12 < everything.bytes, "{least:?} of {everything:?}");
}

/// The same rows come out of every kind of file, and of each part of it.
#[test]
fn every_kind_of_table_is_read() {
    let ids = Int64Array::from(vec![Some(1), None, Some(3), Some(4)]);
    let words = StringArray::from(vec!["a", "b\"", "c,d", "e"]);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as _, true),
        ("word", Arc::new(words) as _, true),
    ])
    .unwrap();
    let (mut file, mut stream) = (Vec::new(), Vec::new());
    let mut writer = FileWriter::try_new(&mut file, &batch.schema()).unwrap();
    writer.write(&batch.slice(0, 3)).unwrap();
    writer.write(&batch.slice(3, 1)).unwrap();
    writer.finish().unwrap();
    let mut writer = StreamWriter::try_new(&mut stream, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let csv = b"id,word\n1,a\n,\"b\"\"\"\n3,\"c,d\"\n4,e\n".to_vec();
    let tsv = b"id\tword\n1\ta\n\t\"b\"\"\"\n3\tc,d\n4\te\n".to_vec();
    let json = b"{\"id\":1,\"word\":\"a\"}\n{\"word\":\"b\\\"\"}\n\n{\"id\":3,\"word\":\"c,d\"}\n{\"id\":4,\"word\":\"e\"}"
        .to_vec();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, &csv).unwrap();
    let columns = vec![("id", batch.column(0).clone()), ("word", batch.column(1).clone())];
    let files = [
        (parquet(columns, 3), "x", Kind::Parquet),
        (file, "x.arrow", Kind::ArrowFile),
        (stream, "x", Kind::ArrowStream),
        (csv, "x.csv", Kind::Csv),
        (packed.finish().unwrap(), "x.csv.gz", Kind::Csv),
        (tsv, "x.tsv", Kind::Tsv),
        (zstd::bulk::compress(&json, 3).unwrap(), "x.jsonl.zst", Kind::JsonLines),
        (json, "x.jsonl", Kind::JsonLines),
    ];
    let expected = values::objects(&batch).unwrap();
    for (bytes, name, kind) in files {
        let table = table(bytes, name);
        assert_eq!((table.kind(), table.rows().unwrap()), (kind, 4), "{name}");
        assert_eq!(values::objects(&all(&table, &Selection::default())).unwrap(), expected, "{name}");
        let word = table.columns(&["word".into()]).unwrap();
        let part = Selection { columns: Some(word), rows: Some(vec![0..1, 2..4]) };
        let found = values::objects(&all(&table, &part)).unwrap();
        let words: Vec<_> = found.iter().map(|row| row["word"].as_str().unwrap()).collect();
        assert_eq!(words, ["a", "c,d", "e"], "{name}");
        let turned = Selection { columns: Some(vec![1, 0]), ..Selection::rows(3..9) };
        let turned = all(&table, &turned);
        assert_eq!(turned.schema().field(0).name(), "word");
        assert_eq!(turned.num_rows(), 1, "{name}");
    }
}

/// Files of the writers that people have: all of them are read, and all rows are there.
#[test]
fn files_of_all_writers_are_read() {
    for entry in fs::read_dir(data("parquet")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".parquet") {
            continue;
        }
        let table = table(bytes(&format!("parquet/{name}")), &name);
        let rows: usize =
            table.read(&Selection::default()).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows as u64, table.rows().unwrap(), "{name}");
    }
    let real = table(bytes("tables/contrib-1.parquet"), "contrib-1.parquet");
    assert!(real.rows().unwrap() > 100);
}
