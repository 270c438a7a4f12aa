//! Runs of equal numbers and packed numbers, mixed: how Parquet writes levels and numbers of dictionary entries.
//!
//! Each writer decides in its own way when to begin another run. So what is read names its shape, and the same
//! shape gives the same bytes. Source: the specification of Apache Parquet, "Encodings", RLE/Bit-Packing Hybrid.

use crate::varint;

/// How numbers are divided into runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// As Impala began it, and Arrow, Parquet's Java and Rust libraries go on: eight equal numbers at a border of
    /// eight begin a run, and packed ones end after 504.
    Impala,
    /// All packed, in one run.
    Packed,
    /// As listed.
    Listed(Vec<NumberRun>, Padding),
}

/// What stands behind the last number of packed ones, up to the border of eight or where the writer's buffer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    Zeros,
    /// What stood at that place of a buffer of 32 numbers, which the run began with zeros: so Polars packs.
    Chunk,
    /// What stood at that place of a buffer of 256 numbers, which all packed runs filled: so DuckDB packs.
    Buffer,
}

/// A run, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberRun {
    /// So many times the same number.
    Equal(u32),
    /// So many times eight packed numbers.
    Packed(u32),
}

const GROUP: usize = 8;
/// Groups in a packed run, which `Impala` writes the number of in one byte.
const MOST_GROUPS: usize = 63;

/// Groups without numbers that may end a packed run: DuckDB fills up to 256 numbers.
const MOST_PADDING: usize = 32;

/// Numbers that the writers' buffers hold.
const CHUNK: usize = 32;
const BUFFER: usize = 256;

/// Numbers, the runs that they are written in, and what follows them.
pub type Read<'a> = (Vec<u32>, Runs, &'a [u8]);

/// How some numbers are divided into runs, and what fills the last of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    list: Vec<NumberRun>,
    padding: Padding,
}

/// Reads `count` numbers of `width` bits; none where the bytes don't begin with exactly these.
pub fn read(mut bytes: &[u8], width: u32, count: usize) -> Option<Read<'_>> {
    let mut numbers = Vec::with_capacity(count);
    let (mut stretches, mut padding) = (Vec::new(), Padding::Zeros);
    while numbers.len() < count {
        let head = u32::try_from(varint::take(&mut bytes)?).ok()?;
        let left = count - numbers.len();
        let many = head >> 1;
        if head & 1 == 0 {
            let number = take_number(&mut bytes, width)?;
            if many == 0 || many as usize > left {
                return None;
            }
            numbers.resize(numbers.len() + many as usize, number);
            stretches.push(NumberRun::Equal(many));
        } else {
            let len = (many as usize).checked_mul(width as usize)?;
            let (packed, rest) = bytes.split_at_checked(len)?;
            bytes = rest;
            let here = (many as usize).checked_mul(GROUP)?.min(left);
            if here == 0 || many as usize > here.div_ceil(GROUP) + MOST_PADDING {
                return None;
            }
            unpack(packed, width, here, &mut numbers);
            stretches.push(NumberRun::Packed(many));
            let padded = many as usize * GROUP - here;
            if padded > 0 {
                let mut all = Vec::with_capacity(here + padded);
                unpack(packed, width, here + padded, &mut all);
                padding = padding_of(&numbers, &stretches, &all[here..]);
            }
        }
    }
    Some((numbers, Runs { list: stretches, padding }, bytes))
}

/// What gives this padding behind all numbers; zeros where nothing does.
fn padding_of(numbers: &[u32], stretches: &[NumberRun], found: &[u32]) -> Padding {
    if found.iter().all(|number| *number == 0) {
        return Padding::Zeros;
    }
    let gives = |padding: &Padding| padding.fill(numbers, stretches, found.len()) == found;
    [Padding::Chunk, Padding::Buffer].into_iter().find(gives).unwrap_or(Padding::Zeros)
}

impl Padding {
    /// So many numbers behind these, the last of which are in a packed run.
    fn fill(self, numbers: &[u32], stretches: &[NumberRun], count: usize) -> Vec<u32> {
        let mut packed = Vec::new();
        let (mut rest, mut begin) = (numbers, 0);
        for stretch in stretches {
            let many = match *stretch {
                NumberRun::Equal(many) => many as usize,
                NumberRun::Packed(groups) => (groups as usize).saturating_mul(GROUP),
            };
            let (run, behind) = rest.split_at(many.min(rest.len()));
            if let NumberRun::Packed(_) = stretch {
                begin = packed.len();
                packed.extend_from_slice(run);
            }
            rest = behind;
        }
        let (from, distance) = match self {
            Padding::Zeros => return vec![0; count],
            Padding::Chunk => (begin, CHUNK),
            Padding::Buffer => (0, BUFFER),
        };
        let end = packed.len();
        for _ in 0..count {
            let at = packed.len().checked_sub(distance).filter(|at| *at >= from);
            packed.push(at.map_or(0, |at| packed[at]));
        }
        packed.split_off(end)
    }
}

/// Which shape gives these runs.
pub fn shape_of(numbers: &[u32], runs: Runs) -> Shape {
    let Runs { list, padding } = runs;
    if padding != Padding::Zeros {
        return Shape::Listed(list, padding);
    }
    if list == impala(numbers) {
        return Shape::Impala;
    }
    match list[..] {
        [NumberRun::Packed(groups)] if groups as usize == numbers.len().div_ceil(GROUP) => Shape::Packed,
        _ => Shape::Listed(list, padding),
    }
}

/// Appends numbers of `width` bits; none where the shape is one of other numbers.
pub fn write(numbers: &[u32], width: u32, shape: &Shape, out: &mut Vec<u8>) -> Option<()> {
    let own;
    let mut padding = Padding::Zeros;
    let stretches = match shape {
        Shape::Impala => {
            own = impala(numbers);
            &own
        }
        Shape::Packed => {
            let groups = numbers.len().div_ceil(GROUP) as u32;
            own = Vec::from_iter((groups > 0).then_some(NumberRun::Packed(groups)));
            &own
        }
        Shape::Listed(stretches, fill) => {
            padding = *fill;
            stretches
        }
    };
    let mut rest = numbers;
    for stretch in stretches {
        match *stretch {
            NumberRun::Equal(many) => {
                let (run, behind) = rest.split_at_checked(many as usize)?;
                varint::put(out, u64::from(many) << 1);
                let number = *run.first()?;
                out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
                rest = behind;
            }
            NumberRun::Packed(groups) => {
                let here = (groups as usize).checked_mul(GROUP)?.min(rest.len());
                let (run, behind) = rest.split_at(here);
                let is_last = here == rest.len();
                let most_padding = if is_last { MOST_PADDING } else { 0 };
                if here == 0 || groups as usize > here.div_ceil(GROUP) + most_padding {
                    return None;
                }
                varint::put(out, u64::from(groups) << 1 | 1);
                let padded = groups as usize * GROUP - here;
                if padding != Padding::Zeros && padded > 0 {
                    let filled = [run, &padding.fill(numbers, stretches, padded)].concat();
                    pack(&filled, width, groups as usize, out);
                } else {
                    pack(run, width, groups as usize, out);
                }
                rest = behind;
            }
        }
    }
    rest.is_empty().then_some(())
}

/// Where Impala's encoder begins runs.
fn impala(numbers: &[u32]) -> Vec<NumberRun> {
    let mut stretches = Vec::new();
    // Packed groups that are not written, and where the numbers that are in none begin.
    let (mut groups, mut at) = (0usize, 0usize);
    let flush = |groups: &mut usize, stretches: &mut Vec<NumberRun>| {
        if *groups > 0 {
            stretches.push(NumberRun::Packed(*groups as u32));
            *groups = 0;
        }
    };
    while at < numbers.len() {
        let left = &numbers[at..];
        if left.first_chunk().is_some_and(|group| are_all(group, left[0])) {
            flush(&mut groups, &mut stretches);
            let (whole, _) = left.as_chunks::<GROUP>();
            let many = whole.iter().take_while(|group| are_all(group, left[0])).count() * GROUP;
            let many = many + left[many..].iter().take_while(|number| **number == left[0]).count();
            stretches.push(NumberRun::Equal(many as u32));
            at += many;
        } else if left.len() < GROUP && groups == 0 && left.iter().all(|number| *number == left[0]) {
            stretches.push(NumberRun::Equal(left.len() as u32));
            at = numbers.len();
        } else {
            groups += 1;
            at += GROUP.min(left.len());
            if groups == MOST_GROUPS {
                flush(&mut groups, &mut stretches);
            }
        }
    }
    flush(&mut groups, &mut stretches);
    stretches
}

/// Without a branch: whether it is so is hard to foretell.
fn are_all(group: &[u32; GROUP], number: u32) -> bool {
    group.iter().fold(0, |different, other| different | (other ^ number)) == 0
}

fn unpack(packed: &[u8], width: u32, count: usize, out: &mut Vec<u32>) {
    if width == 0 {
        out.resize(out.len() + count, 0);
        return;
    }
    let mask = (1u64 << width) - 1;
    out.extend((0..count).map(|at| {
        let bit = at * width as usize;
        let start = bit / 8;
        let word = match packed.get(start..start + 8) {
            Some(word) => u64::from_le_bytes(word.try_into().expect("because 8 bytes were taken")),
            None => {
                let mut word = [0; 8];
                let rest = &packed[start..];
                word[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(word)
            }
        };
        (word >> (bit % 8) & mask) as u32
    }));
}

/// Numbers in groups of eight, zeros behind the last.
fn pack(numbers: &[u32], width: u32, groups: usize, out: &mut Vec<u8>) {
    let end = out.len() + groups * width as usize;
    let (mut word, mut bits) = (0u64, 0);
    for number in numbers {
        word |= u64::from(*number) << bits;
        bits += width;
        if bits >= 32 {
            out.extend_from_slice(&(word as u32).to_le_bytes());
            word >>= 32;
            bits -= 32;
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..bits.div_ceil(8) as usize]);
    out.resize(end, 0);
}

fn take_number(bytes: &mut &[u8], width: u32) -> Option<u32> {
    let (number, rest) = bytes.split_at_checked(width.div_ceil(8) as usize)?;
    *bytes = rest;
    let mut whole = [0; 4];
    whole[..number.len()].copy_from_slice(number);
    let number = u32::from_le_bytes(whole);
    (u64::from(number) < 1 << width).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A simulation of the encoder as it is described, number by number: what `impala` is measured against.
    fn simulated(numbers: &[u32]) -> Vec<NumberRun> {
        let (mut stretches, mut buffered, mut repeats, mut literals) = (Vec::new(), 0, 0usize, 0usize);
        let mut current = None;
        for number in numbers {
            if current == Some(*number) {
                repeats += 1;
                if repeats > GROUP {
                    continue;
                }
            } else {
                if repeats >= GROUP {
                    stretches.push(NumberRun::Equal(repeats as u32));
                    buffered = 0;
                }
                (repeats, current) = (1, Some(*number));
            }
            buffered += 1;
            if buffered == GROUP {
                buffered = 0;
                if repeats >= GROUP {
                    if literals > 0 {
                        stretches.push(NumberRun::Packed((literals / GROUP) as u32));
                        literals = 0;
                    }
                } else {
                    literals += GROUP;
                    if literals / GROUP >= MOST_GROUPS {
                        stretches.push(NumberRun::Packed((literals / GROUP) as u32));
                        literals = 0;
                    }
                    repeats = 0;
                }
            }
        }
        if literals > 0 || repeats > 0 || buffered > 0 {
            if repeats > 0 && literals == 0 && (repeats == buffered || buffered == 0) {
                stretches.push(NumberRun::Equal(repeats as u32));
            } else {
                literals += buffered;
                if literals > 0 {
                    stretches.push(NumberRun::Packed(literals.div_ceil(GROUP) as u32));
                }
            }
        }
        stretches
    }

    fn numbers() -> impl Strategy<Value = Vec<u32>> {
        let runs = proptest::collection::vec((0..5u32, 1..30usize), 0..60);
        let many = proptest::collection::vec(0..5u32, 0..1200);
        let runs = runs.prop_map(|runs| runs.into_iter().flat_map(|(n, many)| vec![n; many]).collect());
        prop_oneof![runs, many]
    }

    /// A list of runs may come from anywhere: one without numbers must not be written again and again.
    #[test]
    fn runs_without_numbers_are_refused() {
        let listed = Shape::Listed(vec![NumberRun::Packed(32); 1000], Padding::Buffer);
        assert_eq!(write(&[], 32, &listed, &mut Vec::new()), None);
        assert_eq!(write(&[1; 256], 32, &listed, &mut Vec::new()), None);
        let padded = Shape::Listed(vec![NumberRun::Packed(32)], Padding::Chunk);
        assert_eq!(write(&[1; 9], 1, &padded, &mut Vec::new()), Some(()));
    }

    /// What stands behind the last number is what stood in a buffer before.
    #[test]
    fn padding_follows_from_what_was_packed() {
        let numbers: Vec<u32> = (1..=256).chain([7; 20]).chain(301..=340).collect();
        let list = vec![NumberRun::Packed(32), NumberRun::Equal(20), NumberRun::Packed(32)];
        for (padding, first, last) in
            [(Padding::Zeros, 0, 0), (Padding::Chunk, 309, 332), (Padding::Buffer, 41, 256)]
        {
            let shape = Shape::Listed(list.clone(), padding);
            let mut bytes = Vec::new();
            write(&numbers, 10, &shape, &mut bytes).unwrap();
            let mut packed = Vec::new();
            unpack(&bytes[bytes.len() - 320..], 10, 256, &mut packed);
            assert_eq!(packed[..40], numbers[276..]);
            assert_eq!((packed[40], packed[255]), (first, last), "{padding:?}");
            let (read, runs, rest) = super::read(&bytes, 10, numbers.len()).unwrap();
            assert!(rest.is_empty() && read == numbers);
            assert_eq!(shape_of(&read, runs), shape);
        }
        // A run that is shorter than the chunk has zeros behind it.
        let short = Shape::Listed(vec![NumberRun::Packed(3)], Padding::Chunk);
        let mut bytes = Vec::new();
        write(&numbers[..17], 8, &short, &mut bytes).unwrap();
        assert_eq!(bytes[18..], [0; 7]);
    }

    proptest! {
        #[test]
        fn impala_is_as_described(numbers in numbers()) {
            prop_assert_eq!(impala(&numbers), simulated(&numbers));
        }

        #[test]
        fn numbers_come_back(numbers in numbers(), width in 3..=20u32) {
            for shape in [Shape::Impala, Shape::Packed] {
                let mut bytes = Vec::new();
                write(&numbers, width, &shape, &mut bytes).unwrap();
                let (read, stretches, rest) = super::read(&bytes, width, numbers.len()).unwrap();
                prop_assert!(rest.is_empty());
                prop_assert_eq!(&read, &numbers);
                let mut again = Vec::new();
                write(&read, width, &shape_of(&read, stretches), &mut again).unwrap();
                prop_assert_eq!(&again, &bytes);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), width in 0..=32u32, count in 0..100usize) {
            if let Some((numbers, stretches, _)) = super::read(&bytes, width, count) {
                let _ = write(&numbers, width, &shape_of(&numbers, stretches), &mut Vec::new());
            }
        }
    }
}
