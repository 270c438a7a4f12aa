//! Files that lie: a clear error that names the file, no panic, no memory for what is not there.

use std::sync::Arc;

use git_sparse::dataset::{CompareError, File, Selection, Table, TableError, summary};
use git_sparse::progress::unwatched;

use super::{bytes, data};
use crate::support::random::Random;

/// Reads all there is; the error in words.
fn tried(bytes: Vec<u8>, name: &str) -> Result<u64, String> {
    let file: File = Arc::new(bytes);
    let table = Table::open(file, name).map_err(|error| error.to_string())?;
    summary(&table, &unwatched).map(|summary| summary.rows).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(bytes: &[u8], name: &str, why: &str) {
    let error = tried(bytes.to_vec(), name).unwrap_err();
    assert!(error.starts_with(name) && error.contains(why), "{error}");
}

/// People see which file and which line is meant.
#[test]
fn errors_name_the_place() {
    refused(b"a,b\n1,2\n1,2,3\n", "x.csv", "line");
    refused(b"{\"a\":1}\n{\"a\":\n", "x.jsonl", "line 2, column 5: EOF while parsing a value");
    refused(b"{\"a\":1}\n{\"a\":tru}\n", "x.jsonl", "line 2, column 9: expected ident");
    refused(b"{\"a\":1}\n{'a':1}\n", "x.jsonl", "line 2, column 2: key must be a string");
    refused(b"{\"a\":1}\n\n[1]\n", "x.jsonl", "line 3");
    refused(b"{\"a\":1}\n{\"a\":\"\xff\"}\n", "x.jsonl", "line 2");
    refused(b"hello", "x.txt", "no table");
    refused(b"PK\x03\x04", "x.zip", "no table");
    refused(b"PK\x03\x04", "x.parquet", "does not begin as one does");
    refused(b"", "x.arrow", "does not begin as one does");
    let whole = bytes("parquet/pyarrow-v1.parquet");
    refused(&whole[..whole.len() - 3], "x.parquet", "truncated");
    refused(&whole[..6], "x.parquet", "truncated");
    let mut lie = whole.clone();
    let len = lie.len();
    lie[len - 8..len - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&lie, "x.parquet", "claims 4294967295 bytes");
}

/// Two columns of one name can be shown, but not be told apart.
#[test]
fn columns_of_one_name_are_not_compared() {
    let file: File = Arc::new(b"a,a\n1,2\n".to_vec());
    let table = Table::open(file, "x.csv").unwrap();
    assert_eq!(table.read(&Selection::default()).unwrap().count(), 1);
    let error = git_sparse::dataset::diff::diff(&table, &table, &[], &unwatched).unwrap_err();
    assert!(matches!(error, CompareError::Table(TableError::Ambiguous { .. })), "{error}");
}

/// One byte of a footer or a page header may say anything.
#[test]
fn a_changed_byte_is_survived() {
    let mut random = Random::seeded(11);
    for entry in std::fs::read_dir(data("parquet")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".parquet") {
            continue;
        }
        let whole = bytes(&format!("parquet/{name}"));
        for _ in 0..150 {
            let mut lie = whole.clone();
            // Half of them in the footer, where lengths and counts are.
            let tail = lie.len().min(2000);
            let at = match random.below(2) {
                0 => random.below(lie.len()),
                _ => lie.len() - 1 - random.below(tail),
            };
            lie[at] ^= 1 << random.below(8);
            let _ = tried(lie, &name);
        }
    }
}

/// A packed buffer says how much it holds before it is unpacked, and there may be many of them.
#[test]
fn packed_buffers_that_claim_too_much_are_refused() {
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let batch = RecordBatch::try_from_iter([("a", numbers)]).unwrap();
    let options =
        IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::ZSTD)).unwrap();
    let mut whole = Vec::new();
    let mut writer = FileWriter::try_new_with_options(&mut whole, &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    assert_eq!(tried(whole.clone(), "x.arrow"), Ok(10_000));
    let len = 80_000u64.to_le_bytes();
    let at = whole.windows(8).position(|bytes| bytes == len).unwrap();
    whole[at..at + 8].copy_from_slice(&(1u64 << 30).to_le_bytes());
    refused(&whole, "x.arrow", "claims 1073741824 bytes unpacked");
}

/// The same of Arrow files, whose offsets may lead anywhere.
#[test]
fn changed_arrow_files_are_survived() {
    let table = super::table(bytes("parquet/pyarrow-v1.parquet"), "x.parquet");
    let batches = table.read(&Selection::default()).unwrap();
    let mut whole = Vec::new();
    let mut writer = arrow_ipc::writer::FileWriter::try_new(&mut whole, &batches.schema()).unwrap();
    batches.for_each(|batch| writer.write(&batch.unwrap()).unwrap());
    writer.finish().unwrap();
    let mut random = Random::seeded(12);
    for _ in 0..400 {
        let mut lie = whole.clone();
        let at = random.below(lie.len());
        lie[at] ^= 1 << random.below(8);
        let _ = tried(lie, "x.arrow");
    }
}
