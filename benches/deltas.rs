//! Size and speed of deltas between real models: our codec, and beside it BitX and FM-Delta (`peers`); in
//! chains of three, our codec with the base's base and without.
//!
//! `cargo bench --bench deltas -- DIR [TARGET…]` reads DIR/pairs.tsv and chains.tsv (of benches/pairs) and prints
//! a line for each pair and codec, of which benches/deltas.sh makes its tables: target, codec, bytes of
//! the file, bytes stored, MB/s of encode and of decode. What is stored are payloads, without the records
//! of packs and without headers. Speeds are bytes of changed tensors for a second of this process's CPU
//! time, one thread, files in memory.

mod peers;

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::path::{Path, PathBuf};

use git_sparse::codec::{self, Base, Codec, Effort};
use git_sparse::format::{self, Dtype, Segment};
use rustix::time::{ClockId, clock_gettime};

use peers::bitx::{self, Groups};
use peers::fm_delta;

fn main() {
    // As the program does.
    git_sparse::heap::keep_what_is_freed();
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let dir = PathBuf::from(arguments.next().unwrap_or("target/pairs".into()));
    let wanted: Vec<String> = arguments.collect();
    let is_wanted = |target: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == target);
    for [base, target] in names::<2>(&dir, "pairs.tsv").iter().filter(|names| is_wanted(&names[1])) {
        measure(&dir, base, target);
    }
    let bases: BTreeSet<String> = names::<2>(&dir, "pairs.tsv").into_iter().map(|[base, _]| base).collect();
    for base in bases.iter().filter(|base| is_wanted(base)) {
        measure_alone(&dir, base);
    }
    let chains = names::<3>(&dir, "chains.tsv");
    for [previous, base, target] in chains.iter().filter(|names| is_wanted(&names[2])) {
        measure_chain(&dir, previous, base, target);
    }
}

/// The first fields of the rows of a table.
fn names<const N: usize>(dir: &Path, table: &str) -> Vec<[String; N]> {
    let table = String::from_utf8(read(&dir.join(table))).expect("tables are text");
    let row = |line: &str| {
        let mut fields = line.split('\t').map(String::from);
        std::array::from_fn(|_| fields.next().unwrap_or_default())
    };
    table.lines().skip(1).map(row).collect()
}

fn measure_chain(dir: &Path, previous: &str, base: &str, target: &str) {
    let [first, second, third] = [previous, base, target].map(|name| Model::read(dir, name));
    for (name, previous) in
        [(format!("ours of {base}"), None), (format!("ours of {base} of {previous}"), Some(&first))]
    {
        let changed = third.changed_from(&second, previous);
        let encode = |object: &Object<'_>| encode_ours(object, Effort::Push);
        print(target, third.bytes.len(), &name, run(&changed, encode, decode_ours));
    }
}

fn measure(dir: &Path, base: &str, target: &str) {
    let [base, model] = [base, target].map(|name| Model::read(dir, name));
    let changed = model.changed_from(&base, None);
    let size = model.bytes.len();
    print(target, size, "ours", run(&changed, |object| encode_ours(object, Effort::Push), decode_ours));
    print(
        target,
        size,
        "ours-repack",
        run(&changed, |object| encode_ours(object, Effort::Repack), decode_ours),
    );
    for (name, groups) in [("bitx", Groups::Bytes), ("bitx-lanes", Groups::Lanes)] {
        let encode =
            |object: &Object<'_>| ((), bitx::encode(object.bytes, object.base, object.width(), groups));
        let decode = |_, payload: &[u8], object: &Object<'_>| {
            bitx::decode(payload, object.base, object.width(), groups)
        };
        print(target, size, name, run(&changed, encode, decode));
    }
    let encode = |object: &Object<'_>| ((), fm_delta::encode(object.bytes, object.base, object.width()));
    let decode =
        |_, payload: &[u8], object: &Object<'_>| fm_delta::decode(payload, object.base, object.width());
    print(target, size, "fm-delta", run(&changed, encode, decode));
}

/// A model without a base, and with one that it has nothing to do with: each tensor beside its own halves exchanged.
fn measure_alone(dir: &Path, name: &str) {
    let model = Model::read(dir, name);
    let strangers = Model { bytes: model.with_halves_exchanged(), segments: model.segments.clone() };
    let objects = model.changed_from(&strangers, None);
    let alone = |effort: Effort| {
        move |object: &Object<'_>| {
            let encoded = codec::encode(object.bytes, object.dtype, object.row_len, &[], effort);
            (encoded.codec, encoded.payload)
        }
    };
    let size = model.bytes.len();
    print(name, size, "ours alone", run(&objects, alone(Effort::Push), decode_ours));
    print(name, size, "ours-repack alone", run(&objects, alone(Effort::Repack), decode_ours));
    let beside = |object: &Object<'_>| encode_ours(object, Effort::Push);
    print(name, size, "ours beside a stranger", run(&objects, beside, decode_ours));
}

/// A file and its cut.
struct Model {
    bytes: Vec<u8>,
    segments: Vec<Segment>,
}

/// A tensor, or a slice of one, that is not as it was.
struct Object<'a> {
    bytes: &'a [u8],
    base: &'a [u8],
    /// What the base was made of, where that is used.
    previous: Option<&'a [u8]>,
    dtype: Dtype,
    row_len: u64,
}

impl Model {
    fn read(dir: &Path, name: &str) -> Model {
        let bytes = read(&dir.join(name).with_extension("safetensors"));
        let segments = format::cut(&bytes).expect("because it is in memory").segments().to_vec();
        Model { bytes, segments }
    }

    fn bytes_of(&self, segment: &Segment) -> &[u8] {
        &self.bytes[segment.range.start as usize..segment.range.end as usize]
    }

    /// The upper half of the rows of each tensor below the lower one.
    fn with_halves_exchanged(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for segment in self.segments.iter().filter(|segment| segment.row_len > 0) {
            let (row_len, width) = (segment.row_len as usize, segment.dtype.width());
            let slice = &mut bytes[segment.range.start as usize..segment.range.end as usize];
            let half = match slice.len() / width / row_len {
                ..=1 => row_len / 2 * width,
                rows => rows / 2 * row_len * width,
            };
            slice.rotate_left(half);
        }
        bytes
    }

    /// By name and slice.
    fn tensors(&self) -> HashMap<(String, u32), &[u8]> {
        self.segments.iter().map(|segment| (key(segment), self.bytes_of(segment))).collect()
    }

    /// All files are to have the same tensors; headers, some kB, are left out.
    fn changed_from<'a>(&'a self, base: &'a Model, previous: Option<&'a Model>) -> Vec<Object<'a>> {
        let (before, earlier) = (base.tensors(), previous.map(Model::tensors));
        let named = self.segments.iter().filter(|segment| !segment.name.is_empty());
        let objects = named.map(|segment| Object {
            bytes: self.bytes_of(segment),
            base: before[&key(segment)],
            previous: earlier.as_ref().map(|earlier| earlier[&key(segment)]),
            dtype: segment.dtype,
            row_len: segment.row_len,
        });
        objects.filter(|object| object.bytes != object.base).collect()
    }
}

fn key(segment: &Segment) -> (String, u32) {
    (segment.name.clone(), segment.slice)
}

impl Object<'_> {
    fn width(&self) -> usize {
        self.dtype.width()
    }

    fn bases(&self) -> impl Iterator<Item = &[u8]> {
        [Some(self.base), self.previous].into_iter().flatten()
    }
}

fn encode_ours(object: &Object<'_>, effort: Effort) -> (Codec, Vec<u8>) {
    let base = |bytes| Base { bytes, dtype: object.dtype };
    let bases: Vec<_> = object.bases().map(base).collect();
    let encoded = codec::encode(object.bytes, object.dtype, object.row_len, &bases, effort);
    (encoded.codec, encoded.payload)
}

fn decode_ours(codec: Codec, payload: &[u8], object: &Object<'_>) -> Vec<u8> {
    let bases: Vec<_> = object.bases().take(codec.bases()).collect();
    codec::decode(codec, payload, &bases, object.bytes.len()).expect("because we encoded it")
}

/// What a codec made of the objects of a file.
#[derive(Default)]
struct Measured {
    stored: usize,
    /// Of the objects that changed, in bytes.
    changed: usize,
    encode_seconds: f64,
    decode_seconds: f64,
}

/// `encode` gives a payload, and what is kept beside it.
fn run<K: Copy>(
    objects: &[Object<'_>],
    encode: impl Fn(&Object<'_>) -> (K, Vec<u8>),
    decode: impl Fn(K, &[u8], &Object<'_>) -> Vec<u8>,
) -> Measured {
    let mut all = Measured::default();
    for object in objects {
        let ((kept, payload), encode_seconds) = timed(|| encode(object));
        let (decoded, decode_seconds) = timed(|| decode(kept, &payload, object));
        assert!(decoded == object.bytes, "a codec lost bytes");
        all.stored += payload.len();
        all.changed += object.bytes.len();
        all.encode_seconds += encode_seconds;
        all.decode_seconds += decode_seconds;
    }
    all
}

fn print(target: &str, size: usize, codec: &str, measured: Measured) {
    let Measured { stored, changed, encode_seconds, decode_seconds } = measured;
    let speed = |seconds: f64| changed as f64 / seconds / 1e6;
    println!(
        "{target}\t{codec}\t{size}\t{stored}\t{:.0}\t{:.0}",
        speed(encode_seconds),
        speed(decode_seconds)
    );
}

/// The result, and the best of three times in seconds.
fn timed<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    let mut best = f64::INFINITY;
    let mut result = None;
    for _ in 0..3 {
        let start = cpu_seconds();
        result = Some(black_box(work()));
        best = best.min(cpu_seconds() - start);
    }
    (result.expect("because it ran three times"), best)
}

/// CPU time of all threads of this process: other programs take the clock's time, but little of this.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
