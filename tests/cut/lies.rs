//! Small lies: files that promise what they don't hold. Each must tile, fast and in little memory.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use git_sparse::format::Format::{
    self, Chunked, Gguf as GgufFile, Parquet as ParquetFile, Safetensors, Text, Zip as ZipFile,
};
use git_sparse::format::cut;

use crate::watched::{Sparse, peak_bytes};
use crate::write::{Gguf, Parquet, Thrift, Zip, safetensors, tensor, varint};

/// A second where code is optimised as in a release; tests may be slower and share the machine.
const PATIENCE: Duration = Duration::from_secs(5);
const MEMORY_BYTES: u64 = 24 << 20;
const LONGEST_READ_BYTES: u64 = 8 << 20;

/// A lie, the file that tells it, what it is taken for and how many named segments are believed.
type Lie = (&'static str, Sparse, Format, usize);

fn check(lies: Vec<Lie>) {
    for (lie, file, format, believed) in lies {
        let started = Instant::now();
        let (cut, peak) = peak_bytes(|| cut(&file).unwrap());
        let took = started.elapsed();
        println!("{lie}: {took:?}, {peak} bytes of memory");
        assert!(took < PATIENCE, "{lie}: took {took:?}");
        // The table of what is in the file may grow with the file, a claim in it may not.
        let limit = MEMORY_BYTES + 8 * file.head.len() as u64;
        assert!(peak as u64 <= limit, "{lie}: {peak} bytes of memory");
        assert!(file.longest_read.load(Relaxed) <= LONGEST_READ_BYTES, "{lie}");
        let named = cut.segments().iter().filter(|segment| !segment.name.is_empty()).count();
        assert_eq!((cut.format(), named), (format, believed), "{lie}");
    }
}

/// A safetensors file with these tensors and 64 bytes of data.
fn tensors(lines: &[String]) -> Sparse {
    Sparse::full(safetensors(&format!("{{{}}}", lines.join(",")), &[9; 64]))
}

/// One tensor, of that dtype, shape and range.
fn one(dtype: &str, shape: &str, start: impl ToString, end: impl ToString) -> Sparse {
    tensors(&[tensor("x", dtype, shape, start, end)])
}

fn header(text: &str) -> Sparse {
    Sparse::full(safetensors(text, &[9; 64]))
}

/// 8 bytes of header length, then `rest`.
fn length(len: u64, rest: &[u8]) -> Sparse {
    Sparse::full([&len.to_le_bytes(), rest].concat())
}

#[test]
fn lies_of_safetensors_headers() {
    let name = "n".repeat(1 << 20);
    check(vec![
        ("nothing", Sparse::full(vec![]), Chunked, 0),
        ("one byte", Sparse::full(vec![1]), Chunked, 0),
        ("no header", length(0, b""), Chunked, 0),
        ("no header, data", length(0, &[0; 99]), Chunked, 0),
        ("header of 2^63", length(1 << 63, b"{}"), Chunked, 0),
        ("header of 2^64 - 1", length(u64::MAX, b"{}"), Chunked, 0),
        ("header of 2^64 - 8", length(u64::MAX - 7, b"{}"), Chunked, 0),
        ("header longer than the file", length(3, b"{}"), Chunked, 0),
        ("header longer than allowed", sparse(length(100_000_001, b"{}"), 100_000_100), Chunked, 0),
        ("header longer than allowed, of spaces", spaces(100_000_001), Chunked, 0),
        ("longest header, of spaces", spaces(100_000_000), Safetensors, 0),
        ("longest header, all zeros", sparse(length(100_000_000, b"{}"), 100_000_100), Chunked, 0),
        ("truncated JSON", header(r#"{"x":{"dtype":"F32","shape":[1"#), Chunked, 0),
        ("JSON twice", header("{}{}"), Chunked, 0),
        ("no map", header("[]"), Chunked, 0),
        ("no UTF-8", length(6, b"{\"\xff\":1}"), Chunked, 0),
        ("a byte-order mark", header("\u{feff}{}"), Chunked, 0),
        ("deep metadata", header(&format!(r#"{{"__metadata__":{}"#, "[".repeat(100_000))), Chunked, 0),
        ("deep tensor", header(&format!(r#"{{"x":{}"#, r#"{"a":"#.repeat(100_000))), Chunked, 0),
        ("empty map", header("{}"), Safetensors, 0),
        ("spaces around", header("  {}  "), Safetensors, 0),
        ("a long name", tensors(&[tensor(&name, "U8", "[64]", 0, 64)]), Safetensors, 0),
        ("a long type", one(&name, "[64]", 0, 64), Safetensors, 1),
        ("no name", tensors(&[tensor("", "U8", "[64]", 0, 64)]), Safetensors, 0),
        ("a path as name", tensors(&[tensor("../../etc/passwd\0", "U8", "[64]", 0, 64)]), Safetensors, 1),
    ]);
}

fn sparse(file: Sparse, len: u64) -> Sparse {
    Sparse { len, ..file }
}

/// A header of that length that holds nothing.
fn spaces(len: u64) -> Sparse {
    Sparse { len: len + 8, fill: b' ', ..length(len, b"{}") }
}

#[test]
fn lies_of_safetensors_tensors() {
    let t = |name: &str, start: u64, end: u64| {
        tensor(name, "U8", &format!("[{}]", end.saturating_sub(start)), start, end)
    };
    check(vec![
        ("negative offset", one("U8", "[65]", -1, 64), Chunked, 0),
        ("offset is a float", one("U8", "[64]", 0, "6.4e1"), Chunked, 0),
        ("offset of 2^64", one("U8", "[64]", 0, "18446744073709551616"), Chunked, 0),
        ("offset of 2^64 - 1", one("U8", "[64]", 0, u64::MAX), Safetensors, 0),
        ("both offsets of 2^64 - 1", one("Q", "[0]", u64::MAX, u64::MAX), Safetensors, 0),
        ("range backwards", one("U8", "[64]", 64, 0), Safetensors, 0),
        ("unknown type backwards", one("Q", "[64]", 64, 0), Safetensors, 0),
        ("a byte beyond the end", one("U8", "[65]", 0, 65), Safetensors, 0),
        ("empty beyond the end", one("U8", "[0]", 999, 999), Safetensors, 0),
        ("wrong size", one("F32", "[15]", 0, 64), Safetensors, 0),
        ("product 2^64", one("U8", "[4294967296,4294967296]", 0, 0), Safetensors, 0),
        ("product 2^64 + 64", one("U8", "[4294967296,4294967296,64]", 0, 64), Safetensors, 0),
        ("bytes 2^64 + 64", one("F32", "[4611686018427387920]", 0, 64), Safetensors, 0),
        ("zero rows of 2^64", one("U8", "[0,4294967296,4294967296]", 0, 0), Safetensors, 0),
        ("33 dimensions", one("U8", &format!("[64{}]", ",1".repeat(32)), 0, 64), Chunked, 0),
        ("32 dimensions", one("U8", &format!("[64{}]", ",1".repeat(31)), 0, 64), Safetensors, 1),
        ("a million dimensions", one("U8", &format!("[64{}]", ",1".repeat(1_000_000)), 0, 64), Chunked, 0),
        ("shape is a text", one("U8", "\"64\"", 0, 64), Chunked, 0),
        ("same name twice", tensors(&[t("x", 0, 32), t("x", 32, 64)]), Safetensors, 1),
        ("same range twice", tensors(&[t("x", 0, 32), t("y", 0, 32)]), Safetensors, 1),
        ("overlap by a byte", tensors(&[t("y", 31, 64), t("x", 0, 32)]), Safetensors, 1),
        ("one inside another", tensors(&[t("x", 0, 64), t("y", 9, 10), t("z", 63, 64)]), Safetensors, 1),
        ("holes everywhere", tensors(&[t("y", 40, 50), t("x", 10, 20)]), Safetensors, 2),
    ]);
}

/// The most tensors that a header can hold are many, but no more than it has bytes for.
#[test]
fn a_million_tensors() {
    let lines: Vec<_> = (0..1_000_000).map(|at| tensor(&at.to_string(), "U8", "[1]", at, at + 1)).collect();
    let file = Sparse::full(safetensors(&format!("{{{}}}", lines.join(",")), &vec![9; 1_000_000]));
    let overlapping: Vec<_> = (0..100_000).map(|at| tensor(&at.to_string(), "U8", "[64]", 0, 64)).collect();
    check(vec![
        ("a million tensors", file, Safetensors, 1_000_000),
        ("100,000 at one place", tensors(&overlapping), Safetensors, 1),
    ]);
}

#[test]
fn lies_of_gguf() {
    let max = 1 << 63;
    let full = |file: Gguf| Sparse::full(file.raw(&[1; 200]).bytes);
    let value = |kind| Gguf::new(3, 0, 1).string("key").u32(kind);
    let with_alignment = |alignment| full(Gguf::new(3, 1, 1).alignment(alignment).tensor("x", 0, &[8], 0));
    let with_tensor = |kind, dimensions: &[u64], offset| {
        Sparse::full(Gguf::new(3, 1, 0).tensor("x", kind, dimensions, offset).pad(32).raw(&[1; 200]).bytes)
    };
    let deep = (0..100_000).fold(value(9), |file, _| file.u32(9).u64(1));
    let too_many = (0..=1 << 20).fold(Gguf::new(3, (1 << 20) + 1, 0), |file, _| file.tensor("x", 0, &[], 0));
    let empty_arrays = (0..1_000_000).fold(value(9).u32(9).u64(1_000_000), |file, _| file.u32(0).u64(0));
    check(vec![
        ("magic alone", Sparse::full(b"GGUF".to_vec()), Text, 0),
        ("version 0", full(Gguf::new(0, 0, 0)), Chunked, 0),
        ("version 4", full(Gguf::new(4, 0, 0)), Chunked, 0),
        ("no counts", Sparse::full(b"GGUF\x03\0\0\0\0\0".to_vec()), Chunked, 0),
        ("2^63 tensors", full(Gguf::new(3, max, 0)), Chunked, 0),
        ("2^63 values", full(Gguf::new(3, 0, max)), Chunked, 0),
        ("2^64 - 1 of both", full(Gguf::new(3, u64::MAX, u64::MAX)), Chunked, 0),
        ("2^32 - 1 of both, version 1", full(Gguf::new(1, 0xffff_ffff, 0xffff_ffff)), Chunked, 0),
        ("2^63 tensors of zeros", sparse(Sparse::full(Gguf::new(3, max, 0).bytes), 64 << 20), Chunked, 0),
        ("2^20 tensors of zeros", sparse(Sparse::full(Gguf::new(3, 1 << 20, 0).bytes), 64 << 20), Chunked, 0),
        ("2^20 + 1 tensors", full(too_many), Chunked, 0),
        ("key of 2^63", full(Gguf::new(3, 0, 1).u64(max)), Chunked, 0),
        ("key longer than the file", full(Gguf::new(3, 0, 1).u64(999)), Chunked, 0),
        ("string of 2^64 - 1", full(value(8).u64(u64::MAX)), Chunked, 0),
        ("string longer than the file", full(value(8).u64(201)), Chunked, 0),
        ("string up to the end", full(value(8).u64(200)), Chunked, 0),
        ("unknown type of value", full(value(13).u64(0)), Chunked, 0),
        ("array of 2^63 strings", full(value(9).u32(8).u64(max)), Chunked, 0),
        ("array of 2^63 bytes", full(value(9).u32(0).u64(max)), Chunked, 0),
        ("array of 2^61 numbers of 8 bytes", full(value(9).u32(10).u64(1 << 61)), Chunked, 0),
        ("array of 2^63 arrays", full(value(9).u32(9).u64(max)), Chunked, 0),
        ("array in array in array …", full(deep), Chunked, 0),
        ("a million empty arrays", full(empty_arrays.pad(32)), GgufFile, 0),
        (
            "strings of zeros to the end",
            sparse(Sparse::full(value(9).u32(8).u64(max).bytes), 64 << 20),
            Chunked,
            0,
        ),
        ("alignment 0", with_alignment(0), Chunked, 0),
        ("alignment 3", with_alignment(3), Chunked, 0),
        ("alignment 2^31", with_alignment(1 << 31), Chunked, 0),
        ("alignment 2^32 - 1", with_alignment(u32::MAX), Chunked, 0),
        ("alignment 1", with_alignment(1), GgufFile, 1),
        (
            "alignment is a string",
            full(Gguf::new(3, 0, 1).string("general.alignment").u32(8).u64(9)),
            GgufFile,
            0,
        ),
        ("tensor", with_tensor(0, &[8], 0), GgufFile, 1),
        ("tensor beyond the end", with_tensor(0, &[8], 192), GgufFile, 0),
        ("offset of 2^64 - 1", with_tensor(0, &[8], u64::MAX), GgufFile, 0),
        ("9 dimensions", with_tensor(0, &[1; 9], 0), Chunked, 0),
        ("2^32 - 1 dimensions", full(Gguf::new(3, 1, 0).string("x").u32(u32::MAX)), Chunked, 0),
        ("product 2^64", with_tensor(0, &[1 << 32, 1 << 32], 0), GgufFile, 0),
        ("a block and a half", with_tensor(2, &[48], 0), GgufFile, 0),
        ("unknown type of tensor", with_tensor(4_000_000_000, &[8], 0), GgufFile, 0),
    ]);
}

/// An archive of two members, before its directory is finished.
fn two_members() -> Zip {
    let mut zip = Zip::default();
    zip.member("a", &[1; 100]);
    zip.member("b", &[2; 100]);
    zip
}

#[test]
fn lies_of_zip() {
    let full = Sparse::full;
    let honest = || two_members().finish(b"");
    let zip64 = || {
        let mut zip = Zip { is_zip64: true, ..Zip::default() };
        zip.member("a", &[1; 100]);
        zip
    };
    // Changes `bytes` at `from_end`, counted from the end of the file.
    let edit = |mut bytes: Vec<u8>, from_end: usize, new: &[u8]| {
        let at = bytes.len() - from_end;
        bytes[at..at + new.len()].copy_from_slice(new);
        full(bytes)
    };
    let with_entry = |name: &str, len: u64, at: u64| {
        let mut zip = two_members();
        zip.entry(name, len, at);
        full(zip.finish(b""))
    };
    let with_entry64 = |name: &str, len: u64, at: u64| {
        let mut zip = zip64();
        zip.entry(name, len, at);
        full(zip.finish(b""))
    };
    let cut_short = |by: usize| full(honest()[..honest().len() - by].to_vec());
    let many = || {
        let mut zip = Zip::default();
        (0..50_000).for_each(|at| _ = zip.member(&at.to_string(), b"x"));
        zip
    };
    let start = two_members().bytes.len() as u64;
    check(vec![
        ("honest", full(honest()), ZipFile, 2),
        ("honest zip64", full(zip64().finish(b"")), ZipFile, 1),
        ("magic alone", full(b"PK\x03\x04".to_vec()), Chunked, 0),
        ("no end", cut_short(22), Chunked, 0),
        ("end without its last byte", cut_short(1), Chunked, 0),
        ("zeros instead of an end", sparse(full(honest()), 64 << 20), Chunked, 0),
        (
            "an end in the comment",
            full(two_members().finish(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")),
            Chunked,
            0,
        ),
        ("comment longer than it is", edit(honest(), 2, &[1, 0]), Chunked, 0),
        ("more entries", edit(honest(), 14, &[3, 0, 3, 0]), Chunked, 0),
        ("fewer entries", edit(honest(), 14, &[1, 0, 1, 0]), Chunked, 0),
        ("65535 entries", edit(honest(), 14, &[0xff; 4]), Chunked, 0),
        ("counts differ", edit(honest(), 14, &[2, 0, 9, 0]), Chunked, 0),
        ("another disk", edit(honest(), 18, &[1, 0]), Chunked, 0),
        ("directory of 2^32 - 1", edit(honest(), 10, &[0xff; 4]), Chunked, 0),
        ("directory at 2^32 - 1", edit(honest(), 6, &[0xff; 4]), Chunked, 0),
        ("directory starts later", full(two_members().finish_with(start + 1, 93, b"")), Chunked, 0),
        ("directory starts earlier", full(two_members().finish_with(start - 1, 95, b"")), Chunked, 0),
        ("something before the archive", full([b"PK\x03\x04".to_vec(), honest()].concat()), Chunked, 0),
        ("entry without a member", with_entry("c", 1, 5), Chunked, 0),
        ("member at the directory", with_entry("c", 1, start), Chunked, 0),
        ("member beyond the file", with_entry("c", 1, 0xffff_fff0), Chunked, 0),
        ("another name than its local header's", with_entry("c", 100, 0), Chunked, 0),
        ("member longer than the file", with_entry("a", 0xffff_fff0, 0), Chunked, 0),
        ("sizes missing from the extra field", with_entry("a", 0xffff_ffff, 0), Chunked, 0),
        ("member twice", with_entry("a", 100, 0), ZipFile, 2),
        ("member over the next one", with_entry("a", 200, 0), ZipFile, 2),
        ("zip64: member of 2^64 - 1", with_entry64("a", u64::MAX, 0), Chunked, 0),
        ("zip64: member at 2^64 - 1", with_entry64("a", 1, u64::MAX), Chunked, 0),
        ("zip64: locator points at itself", edit(zip64().finish(b""), 34, &[0; 8]), Chunked, 0),
        ("zip64: locator beyond the file", edit(zip64().finish(b""), 34, &[0xff; 8]), Chunked, 0),
        ("zip64: other count than before", edit(zip64().finish(b""), 14, &[9, 0, 9, 0]), Chunked, 0),
        ("zip64: other place than before", edit(zip64().finish(b""), 6, &[1, 0, 0, 0]), Chunked, 0),
        ("zip64: record of 2^64 - 1", edit(zip64().finish(b""), 94, &[0xff; 8]), Chunked, 0),
        ("zip64: 2^64 - 1 entries", edit(zip64().finish(b""), 74, &[0xff; 16]), Chunked, 0),
        ("zip64: directory of 2^64 - 1", edit(zip64().finish(b""), 58, &[0xff; 8]), Chunked, 0),
        ("zip64: directory at 2^64 - 1", edit(zip64().finish(b""), 50, &[0xff; 8]), Chunked, 0),
        ("50,000 members", full(many().finish(b"")), ZipFile, 50_000),
    ]);
}

#[test]
fn lies_of_parquet_footers() {
    let with = |fields: Thrift| Sparse::full([b"PAR1".to_vec(), Parquet::ending(&fields.end())].concat());
    let raw = |footer: &[u8]| Sparse::full([b"PAR1".to_vec(), Parquet::ending(footer)].concat());
    let schema = |schema: Vec<Vec<u8>>| {
        let mut file = Parquet { schema, ..Parquet::default() };
        Sparse::full(file.chunk(&[&[1; 50]]).finish())
    };
    let end = |len: u32| Sparse::full([b"PAR1".as_slice(), &[0; 9], &len.to_le_bytes(), b"PAR1"].concat());
    let long = varint(1 << 63);
    let list = |kind: u8, count: &[u8]| with(Thrift::default().raw(9, 9, &[&[0xf0 | kind], count].concat()));
    let (root, x, deep) = (Parquet::group("schema", 1), Parquet::leaf("x"), Parquet::group("g", 1));
    let name = "n".repeat(4000);
    let wide: Vec<_> = [Parquet::group("schema", 1), Parquet::group(&name, 10_000)]
        .into_iter()
        .chain((0..10_000).map(|_| x.clone()))
        .collect();
    check(vec![
        ("magic alone", Sparse::full(b"PAR1".to_vec()), Text, 0),
        ("magic twice", Sparse::full(b"PAR1PAR1".to_vec()), Text, 0),
        ("no footer", raw(b""), Chunked, 0),
        ("a footer of nothing", raw(&[0]), ParquetFile, 1),
        ("encrypted", Sparse::full(b"PARE\0\x01\0\0\0PARE".to_vec()), Chunked, 0),
        ("another end", Sparse::full(b"PAR1\0\x01\0\0\0PARE".to_vec()), Chunked, 0),
        ("footer of zeros up to the magic", end(9), ParquetFile, 1),
        ("footer over the magic", end(10), Chunked, 0),
        ("footer of 2^32 - 1", end(u32::MAX), Chunked, 0),
        ("footer longer than allowed", raw(&vec![0; (64 << 20) + 1]), Chunked, 0),
        ("zeros instead of an end", sparse(Sparse::full(Parquet::default().finish()), 64 << 20), Chunked, 0),
        ("no stop", raw(&[0x16, 2]), Chunked, 0),
        ("unknown type of field", raw(&[0x1e, 0]), Chunked, 0),
        ("number of 11 bytes", raw(&[&[0x16], [0xff; 10].as_slice(), &[1, 0]].concat()), Chunked, 0),
        ("number of 2^70", raw(&[&[0x16], [0x80; 9].as_slice(), &[2, 0]].concat()), Chunked, 0),
        ("field 2^63", raw(&[&[0x06], long.as_slice(), &[2, 0]].concat()), ParquetFile, 1),
        ("text of 2^63", with(Thrift::default().raw(6, 8, &long)), Chunked, 0),
        ("text longer than the file", with(Thrift::default().raw(6, 8, &[99])), Chunked, 0),
        ("list of 2^63 numbers", list(6, &long), Chunked, 0),
        ("list of 2^63 truths", list(1, &long), Chunked, 0),
        ("list of 2^63 structures", list(12, &long), Chunked, 0),
        ("list in list in list …", raw(&[[0x99].as_slice(), &[0x19; 100_000]].concat()), Chunked, 0),
        ("structure in structure …", raw(&[0x1c; 100_000]), Chunked, 0),
        ("map of 2^63", with(Thrift::default().raw(9, 11, &[&long[..], &[0x66]].concat())), Chunked, 0),
        ("a map", with(Thrift::default().raw(9, 11, &[2, 0x18, 1, 1, b'k', 2, 1, b'l'])), ParquetFile, 1),
        ("schema is a text", with(Thrift::default().text(2, "x")), ParquetFile, 1),
        ("schema of numbers", with(Thrift::default().raw(2, 9, &[0x16, 2])), Chunked, 0),
        ("schema of nothing", schema(vec![]), ParquetFile, 1),
        ("honest", schema(vec![root.clone(), x.clone()]), ParquetFile, 2),
        ("more columns than told", schema(vec![root.clone(), x.clone(), x.clone()]), Chunked, 0),
        (
            "fewer columns than told",
            schema(vec![Parquet::group("schema", 1 << 40), x.clone()]),
            ParquetFile,
            2,
        ),
        ("-1 columns", schema(vec![Parquet::group("schema", -1), x.clone()]), Chunked, 0),
        ("a column of columns", schema(vec![root.clone(), Parquet::group("x", 0)]), ParquetFile, 1),
        ("no name", schema(vec![root.clone(), Parquet::leaf("")]), ParquetFile, 1),
        ("a long name", schema(vec![root.clone(), Parquet::leaf(&"n".repeat(4097))]), Chunked, 0),
        (
            "names that are long together",
            schema(vec![root.clone(), Parquet::group(&name, 1), Parquet::leaf(&"n".repeat(96))]),
            Chunked,
            0,
        ),
        ("10,000 columns in a group with a long name", schema(wide), Chunked, 0),
        ("group in group in group …", schema([vec![root.clone()], vec![deep; 1000]].concat()), Chunked, 0),
        (
            "a million columns",
            schema([vec![Parquet::group("schema", 1 << 20)], vec![x; 1 << 20]].concat()),
            Chunked,
            0,
        ),
    ]);
}

#[test]
fn lies_of_parquet_chunks() {
    let body: &[u8] = &[7; 50];
    let page_bytes = Parquet::page_header(0, 50).len() as i64 + 50;
    // Behind an honest chunk of two pages, which comes first in the footer, too.
    let claimed =
        |start: i64, len: i64| Sparse::full(Parquet::default().chunk(&[body; 2]).claim(start, len).finish());
    let columns = |columns: &[Vec<u8>]| {
        let mut file = Parquet::default();
        file.bytes.extend([Parquet::page_header(0, 50), body.to_vec()].concat());
        Sparse::full(file.claims(columns).finish())
    };
    let pages = |pages: &[u8]| {
        let mut file = Parquet::default();
        file.bytes.extend(pages);
        Sparse::full(file.claim(4, pages.len() as i64).finish())
    };
    let tiny = Thrift::default().int(1, 0).int(2, 0).int(3, 0).end();
    let lengths = |unpacked, packed| Thrift::default().int(1, 0).int(2, unpacked).int(3, packed).end();
    let behind = 4 + 2 * page_bytes;
    let elsewhere =
        Thrift::default().text(1, "part-0.parquet").structure(3, Thrift::default().int(7, 9).int(9, 4));
    // Each of so many values that it is a run of its own.
    let alone = Thrift::default().int(1, 0).int(2, 0).int(3, 0);
    let alone = alone.structure(5, Thrift::default().int(1, 1 << 20)).end();
    let named = |name: &str, page: &[u8], count: usize| {
        let mut file =
            Parquet { schema: vec![Parquet::group("", 1), Parquet::leaf(name)], ..Parquet::default() };
        file.bytes.extend(page.repeat(count));
        Sparse::full(file.claim(4, (count * page.len()) as i64).finish())
    };
    let overlapping = (0..100_000).fold(Parquet::default(), |mut file, _| {
        _ = file.claim(4, page_bytes);
        file
    });
    check(vec![
        ("chunk of nothing", claimed(behind, 0), ParquetFile, 2),
        ("chunk over the footer", claimed(behind, 1), ParquetFile, 2),
        ("chunk of 2^63 - 1", claimed(4, i64::MAX), ParquetFile, 2),
        ("chunk at 2^63 - 1", claimed(i64::MAX, i64::MAX), ParquetFile, 2),
        ("chunk of -1", claimed(4, -1), ParquetFile, 2),
        ("chunk at -1", claimed(-1, 9), ParquetFile, 2),
        ("chunk over the magic", claimed(0, page_bytes + 4), ParquetFile, 2),
        ("chunk twice", claimed(4, 2 * page_bytes), ParquetFile, 2),
        ("overlap by a page", claimed(4 + page_bytes, page_bytes), ParquetFile, 2),
        ("one chunk", columns(&[Parquet::column(4, page_bytes)]), ParquetFile, 2),
        ("chunk too short", columns(&[Parquet::column(4, page_bytes - 1)]), ParquetFile, 1),
        ("chunk too long", columns(&[Parquet::column(4, page_bytes + 1)]), ParquetFile, 1),
        ("chunk starts late", columns(&[Parquet::column(5, page_bytes - 1)]), ParquetFile, 1),
        ("chunk of no known column", columns(&[vec![0], Parquet::column(4, page_bytes)]), ParquetFile, 1),
        ("chunk in another file", columns(&[elsewhere.end()]), ParquetFile, 1),
        ("chunk is a number", columns(&[Thrift::default().int(3, 4).end()]), ParquetFile, 1),
        ("100,000 chunks at one place", Sparse::full(overlapping.finish()), ParquetFile, 1),
        ("page longer than its chunk", pages(&lengths(9, 9)), ParquetFile, 1),
        ("page of -1", pages(&lengths(9, -1)), ParquetFile, 1),
        ("page of -1, unpacked", pages(&[lengths(-1, 9), vec![1; 9]].concat()), ParquetFile, 1),
        ("page of 2^31", pages(&lengths(9, 1 << 31)), ParquetFile, 1),
        (
            "page of 2^31 - 1, unpacked",
            pages(&[lengths((1 << 31) - 1, 9), vec![1; 9]].concat()),
            ParquetFile,
            2,
        ),
        ("page without a length", pages(&Thrift::default().int(1, 0).int(2, 0).end()), ParquetFile, 1),
        ("an index page", pages(&Parquet::page_header(1, 0)), ParquetFile, 1),
        ("pages of zeros", pages(&[0; 100_000]), ParquetFile, 1),
        ("50,000 pages of nothing", named("x", &tiny, 50_000), ParquetFile, 2),
        ("2^19 + 1 pages of nothing", named("x", &tiny, (1 << 19) + 1), ParquetFile, 1),
        ("50,000 runs of nothing", named("x", &alone, 50_000), ParquetFile, 50_001),
        ("50,000 runs with a long name", named(&"n".repeat(4096), &alone, 50_000), ParquetFile, 1),
    ]);
}
