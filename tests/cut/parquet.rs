//! Tables are cut into runs of the pages of their columns, whoever wrote them; files made by tests/data/parquet/make.py.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use git_sparse::format::{
    Cut, Dtype, Format, PageKind, Physical, Segment, Source, columns, cut, layout_of, pages,
};

use crate::watched::Sparse;
use crate::write::{Parquet, Thrift};
use crate::{cut_and_rejoin, named};

/// The tables with their names.
fn tables() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    let mut tables = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            tables.push((name, fs::read(path).unwrap()));
        }
    }
    tables.sort();
    assert!(tables.len() > 12, "{} tables", tables.len());
    tables
}

fn table(name: &str) -> Vec<u8> {
    tables().into_iter().find(|(found, _)| found == name).expect(name).1
}

/// How many segments each name has.
fn counts(cut: &Cut) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    named(cut).iter().for_each(|segment| *counts.entry(segment.name.as_str()).or_default() += 1);
    counts
}

fn bytes_of<'a>(bytes: &'a [u8], segment: &Segment) -> &'a [u8] {
    &bytes[segment.range.start as usize..segment.range.end as usize]
}

fn bytes_in<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> u64 {
    segments.into_iter().map(|Segment { range: Range { start, end }, .. }| end - start).sum()
}

/// The pages of each column are where another reader finds its chunks, to the byte.
#[test]
fn every_writer_is_cut_at_its_pages() {
    let columns = include_str!("../data/parquet/columns.txt");
    for (name, bytes) in tables() {
        let cut = cut_and_rejoin(&bytes);
        assert_eq!(cut.format(), Format::Parquet, "{name}");
        let lines = columns.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let mut runs = 0;
        for line in lines.filter(|line| line[0] == name) {
            let [_, path, groups, total] = line[..] else { panic!("{line:?}") };
            let found: Vec<_> = named(&cut).into_iter().filter(|segment| segment.name == path).collect();
            // The column of an empty name has none.
            if name != "pyarrow-named-oddly" {
                assert_eq!(bytes_in(found.clone()).to_string(), total, "{name}: {path}");
                assert_eq!(found.len().to_string(), groups, "{name}: {path}");
            }
            runs += found.len();
        }
        let footer = *named(&cut).last().unwrap();
        assert_eq!((footer.name.as_str(), footer.slice), ("/footer", 0), "{name}");
        assert!(bytes_of(&bytes, footer).ends_with(b"PAR1"), "{name}");
        println!("{name}: {} bytes, {runs} runs, {} in all segments", bytes.len(), bytes_in(named(&cut)));
    }
}

/// Whatever the codec and the kind of page, header and levels can be told from what was packed.
#[test]
fn pages_are_taken_apart() {
    for (name, bytes) in tables() {
        let cut = cut_and_rejoin(&bytes);
        for segment in named(&cut).into_iter().filter(|segment| !segment.name.starts_with('/')) {
            let own = bytes_of(&bytes, segment);
            let run = pages(own).unwrap_or_else(|| panic!("{name}: {} is no run of pages", segment.name));
            assert_eq!((segment.dtype, segment.row_len), (Dtype::Bytes, 0), "{name}");
            for parts in run {
                assert!(!parts.header.is_empty() && parts.unpacked_bytes < 10_000, "{name}");
                assert!(parts.values <= 400, "{name}: {parts:?}");
                if name == "pyarrow-plain" {
                    assert_eq!(parts.packed.len(), parts.unpacked_bytes, "nothing is packed");
                }
                if name == "pyarrow-v1" {
                    assert!(parts.plain.is_empty() && parts.levels.is_none(), "levels are packed");
                    let unpacked = snappy_len(parts.packed);
                    assert_eq!(unpacked, parts.unpacked_bytes, "{}", segment.name);
                }
                if name == "pyarrow-v2" && !parts.packed.is_empty() {
                    let is_zstd = parts.packed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
                    assert!(is_zstd, "{}: starts like zstd", segment.name);
                    assert_eq!(parts.levels.is_some(), parts.kind == PageKind::Values);
                }
            }
        }
    }
}

/// What Snappy says in its first bytes.
fn snappy_len(packed: &[u8]) -> usize {
    let last = packed.iter().position(|byte| *byte < 0x80).unwrap();
    packed[..=last].iter().rev().fold(0, |len, byte| len << 7 | usize::from(byte & 0x7f))
}

/// What is no run of pages has no parts: a byte less or more, a footer.
#[test]
fn what_is_no_page_has_no_parts() {
    let bytes = table("pyarrow-v2");
    let cut = cut_and_rejoin(&bytes);
    for segment in named(&cut) {
        let own = bytes_of(&bytes, segment);
        assert!(pages(&own[..own.len() - 1]).is_none(), "{}", segment.name);
        assert!(pages(&[own, &[0]].concat()).is_none(), "{}", segment.name);
    }
    assert!(pages(bytes_of(&bytes, named(&cut).last().unwrap())).is_none(), "a footer");
    let levels = |definitions, repetitions| {
        let second = Thrift::default().int(5, definitions).int(6, repetitions);
        let header = Thrift::default().int(1, 3).int(2, 9).int(3, 9).structure(8, second).end();
        [header, vec![7; 9]].concat()
    };
    let lens = pages(&levels(4, 3)).map(|pages| (pages[0].plain.len(), pages[0].unpacked_bytes));
    assert_eq!(lens, Some((7, 2)));
    assert!(pages(&levels(5, 5)).is_none(), "more levels than bytes");
    assert!(pages(&levels(i32::MAX.into(), i32::MAX.into())).is_none());
    assert!(pages(&levels(-1, 1)).is_none());
}

/// Nested columns have paths; runs are numbered through all groups of rows.
#[test]
fn runs_are_named_by_column_and_numbered() {
    let cut = cut_and_rejoin(&table("pyarrow-v1"));
    let counts = counts(&cut);
    let names: Vec<_> = counts.keys().filter(|name| !name.contains('/')).copied().collect();
    assert_eq!(names, ["flag", "id", "place.x", "place.y.z", "score", "tags.list.element", "word"]);
    assert_eq!(counts["word"], 3, "one in each group of rows");
    for name in counts.keys() {
        let numbers = named(&cut).into_iter().filter(|segment| segment.name == *name);
        assert!(numbers.map(|segment| segment.slice as usize).eq(0..counts[name]), "{name}");
    }
}

/// What is missing and what repeats is told by levels, whose number the schema gives.
#[test]
fn columns_have_layouts_and_levels() {
    let found = columns(&table("pyarrow-v1")).unwrap();
    let levels = |path: &str| {
        let column = found.iter().find(|column| column.path == path).unwrap();
        (column.physical, column.max_definition, column.max_repetition)
    };
    assert_eq!(levels("word"), (Physical::Bytes, 1, 0));
    assert_eq!(levels("flag"), (Physical::Boolean, 1, 0));
    assert_eq!((levels("tags.list.element").1, levels("tags.list.element").2), (3, 1));
    assert_eq!(levels("place.y.z").1, 3);
    assert!(columns(&b"PAR1 and nothing else".as_slice()).unwrap().is_empty());
}

/// No two segments may pass for the same, whatever columns are called.
#[test]
fn odd_names_stay_apart() {
    let cut = cut_and_rejoin(&table("pyarrow-named-oddly"));
    let mut seen: Vec<_> = named(&cut).iter().map(|segment| (&segment.name, segment.slice)).collect();
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all);
    assert!(counts(&cut).contains_key("b.c"));
    assert_eq!(named(&cut).last().unwrap().name, "/footer");
}

/// Tables without rows or columns are tables.
#[test]
fn a_table_may_be_empty() {
    for name in ["pyarrow-no-rows", "pyarrow-no-columns"] {
        let bytes = table(name);
        let cut = cut_and_rejoin(&bytes);
        assert_eq!(named(&cut).last().unwrap().range.end, bytes.len() as u64, "{name}");
    }
}

/// A version with more rows at the end finds what it had before, under the same names.
#[test]
fn versions_of_a_table_pair_up() {
    let column = |pages: &[&[u8]]| {
        let mut file = Parquet::default();
        pages.iter().for_each(|body| _ = file.chunk(&[body]));
        file.finish()
    };
    let (old, new) = (column(&[&[1; 50], &[2; 60]]), column(&[&[1; 50], &[2; 60], &[3; 70]]));
    let (old_cut, new_cut) = (cut_and_rejoin(&old), cut_and_rejoin(&new));
    for segment in named(&old_cut).into_iter().filter(|segment| segment.name == "x") {
        let other =
            named(&new_cut).into_iter().find(|new| (&new.name, new.slice) == (&segment.name, segment.slice));
        assert_eq!(bytes_of(&new, other.unwrap()), bytes_of(&old, segment));
    }
    assert!(layout_of(new_cut.segments()).is_some());
    assert_eq!(layout_of(old_cut.segments()), layout_of(new_cut.segments()), "the same columns");
}

/// Every end that a download may stop at, and every bit that a disk may turn.
#[test]
fn every_damage_of_a_small_table_tiles() {
    let mut file = Parquet::default();
    file.chunk(&[&[1; 40], &[2; 50]]);
    file.chunk(&[&[3; 40]]);
    for bytes in [file.finish(), table("pyarrow-no-rows")] {
        (0..bytes.len()).for_each(|len| drop(cut_and_rejoin(&bytes[..len])));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            cut_and_rejoin(&bytes);
        }
    }
}

/// The cut of a large table costs little: of each page that is long only a window is read.
#[test]
fn of_long_pages_little_is_read() {
    let table = Repeating::new(1000, 9 << 20);
    let cut = cut(&table).unwrap();
    assert_eq!(named(&cut).len(), 1001, "one page is enough for a run");
    let read = table.read.read_bytes.load(Relaxed);
    assert!(read < 1001 * 5000, "{read} bytes of {} were read", table.len());
}

/// No segment may be longer than 32 MiB; what comes behind such a page keeps its number.
#[test]
fn a_page_that_is_too_long_is_cut_by_content() {
    let long = vec![0; 32 << 20];
    let mut file = Parquet::default();
    let cut = cut_and_rejoin(&file.chunk(&[&[1; 9], &long, &[2; 9]]).finish());
    let pages: Vec<_> = named(&cut).into_iter().filter(|segment| segment.name == "x").collect();
    let numbers: Vec<_> = pages.iter().map(|page| page.slice).collect();
    assert_eq!((cut.format(), numbers), (Format::Parquet, vec![0, 1]));
    assert_eq!(pages[1].range.end - pages[1].range.start, Parquet::page_header(0, 9).len() as u64 + 9);
}

/// A table of one column with many equal pages.
struct Repeating {
    header: Vec<u8>,
    footer: Vec<u8>,
    pages: u64,
    page_bytes: u64,
    /// Counts what is read.
    read: Sparse,
}

impl Repeating {
    fn new(pages: u64, page_bytes: u64) -> Repeating {
        let header = Parquet::page_header(0, page_bytes as i64);
        let chunk = pages * (header.len() as u64 + page_bytes);
        let footer = Parquet::default().claim(4, chunk as i64).footer();
        Repeating { header, footer, pages, page_bytes, read: Sparse::default() }
    }
}

impl Source for Repeating {
    fn len(&self) -> u64 {
        4 + self.pages * (self.header.len() as u64 + self.page_bytes) + self.footer.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.read_bytes.fetch_add(buf.len() as u64, Relaxed);
        let footer_at = self.len() - self.footer.len() as u64;
        let page_bytes = self.header.len() as u64 + self.page_bytes;
        for (byte, at) in buf.iter_mut().zip(offset..) {
            *byte = match at {
                0..4 => b"PAR1"[at as usize],
                at if at >= footer_at => self.footer[(at - footer_at) as usize],
                at => self.header.get(((at - 4) % page_bytes) as usize).copied().unwrap_or(0),
            };
        }
        Ok(())
    }
}
