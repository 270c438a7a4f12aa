//! Rows of a revision for whoever reads Arrow: what is not asked for is not read, and a chain of deltas makes no difference.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchReader, StringArray};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use git_sparse::backend::{Area, Backend, Memory, Name, Staged};
use git_sparse::base::Hints;
use git_sparse::census;
use git_sparse::codec::Effort;
use git_sparse::dataset::{Fetched, Selection, Stored, Table};
use git_sparse::id::Oid;
use git_sparse::ingest::ingest;
use git_sparse::progress::unwatched;
use git_sparse::recipe::Recipe;
use git_sparse::store::Store;

use super::parquet;
use crate::support::samples::fresh;

const ROWS: u64 = 60_000;
const GROUP_ROWS: usize = 5_000;

/// Counts the bytes that are read of packs.
#[derive(Clone, Default)]
struct Counted {
    inner: Memory,
    read: Arc<AtomicU64>,
}

impl Counted {
    fn taken(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }
}

impl Backend for Counted {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        self.inner.create()
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        if matches!(name, Name::Pack(_)) {
            self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        }
        self.inner.read(name, range)
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        self.inner.len(name)
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        self.inner.modified(name)
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        self.inner.list(area)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        self.inner.delete(name)
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

/// A number, a text that is hard to pack, and another one; of each row in a hundred, the text is that of its version.
fn version(number: u64) -> Vec<(&'static str, ArrayRef)> {
    let ids = number * 10..ROWS;
    let text = |salt: u64| {
        let texts = ids.clone().map(move |id| {
            let edits = if id % 100 < number { number } else { 0 };
            blake3::hash(&[id, salt, edits].map(u64::to_le_bytes).concat()).to_hex().to_string()
        });
        Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
    };
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| id as i64)));
    vec![("id", id), ("word", text(1)), ("other", text(2))]
}

/// A store with three versions of a table, and the last: each is stored by the rows of the one before.
fn pushed() -> (Arc<Store>, Counted, Recipe, RecordBatch) {
    let counted = Counted::default();
    let store = fresh(counted.clone());
    let mut earlier = Vec::new();
    for number in 0..3 {
        let bytes = parquet(version(number), GROUP_ROWS);
        let oid = Oid::of(&bytes);
        let hints = Hints { earlier: earlier.clone(), ..Hints::default() };
        ingest(&store, &bytes.as_slice(), oid, &hints, Effort::Push, &unwatched).unwrap();
        earlier.insert(0, oid);
    }
    let recipe = store.recipe(&earlier[0]).unwrap().unwrap();
    let cost = census::file(&store, &recipe).unwrap();
    assert!(cost.base == Some(earlier[1]) && cost.depth >= 2, "{cost:?}");
    let columns = version(2).into_iter().map(|(name, values)| (name, values, true));
    counted.taken();
    (Arc::new(store), counted, recipe, RecordBatch::try_from_iter_with_nullable(columns).unwrap())
}

fn all(reader: Box<dyn RecordBatchReader + Send>) -> RecordBatch {
    let schema = reader.schema();
    let batches: Vec<_> = reader.map(|batch| batch.unwrap()).collect();
    assert!(batches.iter().all(|batch| batch.schema() == schema));
    concat_batches(&schema, &batches).unwrap()
}

/// Columns and rows of a revision, over the borders of groups, cost what they hold.
#[test]
fn a_reader_over_a_revision_takes_what_is_asked_for() {
    let (store, counted, recipe, expected) = pushed();
    let read = |names: &[&str], rows: &[Range<u64>]| {
        let file = Arc::new(Stored::new(store.clone(), &recipe));
        let table = Table::open(file.clone(), "train.parquet").unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let columns = Some(table.columns(&names).unwrap());
        let rows = (!rows.is_empty()).then(|| rows.to_vec());
        let reader = table.read(&Selection { columns, rows }).unwrap().into_reader();
        let batch = all(Box::new(reader));
        (batch, file.decoded(), counted.taken())
    };
    let (whole, decoded, taken) = read(&["id", "word", "other"], &[]);
    assert_eq!(whole, expected);
    assert!(decoded.bytes <= recipe.size, "each object once: {decoded:?}");
    let is_part = |(few, least): (Fetched, u64), times: u64| {
        assert!(few.bytes * times < decoded.bytes, "decoded {few:?} of {decoded:?}");
        assert!(least * times < taken, "read {least} of {taken} bytes of packs");
    };

    // A text takes half of all that.
    let (words, few, least) = read(&["word"], &[]);
    assert_eq!(words, expected.project(&[1]).unwrap());
    assert!(
        few.bytes * 9 < decoded.bytes * 5 && least * 9 < taken * 5,
        "{few:?} {least} of {decoded:?} {taken}"
    );
    let (ids, few, least) = read(&["id"], &[]);
    assert_eq!(ids, expected.project(&[0]).unwrap());
    is_part((few, least), 8);

    // Over the border of two groups of twelve, and near the end; columns in the order in which they were asked for.
    let rows = [9_990..10_010, 55_000..55_001];
    let (some, few, least) = read(&["other", "id"], &rows);
    let parts = rows.map(|rows| expected.slice(rows.start as usize, (rows.end - rows.start) as usize));
    let parts = concat_batches(&expected.schema(), &parts).unwrap();
    assert_eq!(some, parts.project(&[2, 0]).unwrap());
    is_part((few, least), 3);
    let behind = ROWS..ROWS + 5;
    let (none, few, least) = read(&["word"], std::slice::from_ref(&behind));
    assert_eq!((none.num_rows(), none.num_columns()), (0, 1));
    is_part((few, least), 20);
}

/// Batches are decoded when they are asked for, and not before.
#[test]
fn a_reader_over_a_revision_is_in_no_hurry() {
    let (store, counted, recipe, expected) = pushed();
    let file = Arc::new(Stored::new(store, &recipe));
    let table = Table::open(file.clone(), "train.parquet").unwrap();
    let mut reader = table.read(&Selection::default()).unwrap().into_reader();
    let footer = file.decoded();
    assert!(footer.bytes * 20 < recipe.size, "{footer:?} of {}", recipe.size);
    let first = reader.next().unwrap().unwrap();
    assert_eq!(first, expected.slice(0, first.num_rows()));
    let begun = file.decoded();
    assert!(
        first.num_rows() as u64 * 4 < ROWS && begun.bytes * 3 < recipe.size,
        "{begun:?} of {}",
        recipe.size
    );
    // What is left is not there any more.
    for pack in counted.list(Area::Packs).unwrap() {
        counted.delete(pack).unwrap();
    }
    let error = reader.find_map(Result::err).expect("an error");
    assert!(matches!(error, ArrowError::ExternalError(_)), "{error:?}");
    assert!(error.to_string().contains("train.parquet"), "{error}");
}
