//! Bytes as copies from several bases, and what stands between the copies: text, logs, tables of lines.
//!
//! A line that was changed, moved or taken out leaves the lines around it as they were, so nearly all of a new version
//! are long copies. zstd with the base as its dictionary says the same, but sees one base, and pays for each of its
//! blocks; here nothing is paid for what is equal.
//!
//! Payload (docs/format.md, "Payloads"): counts of literal bytes and of copies; for each copy how many literals stand
//! before it, its length, and how far its source lies from where the copy before would go on; the literals.

mod search;

use search::Copy;

use super::payload::{Reader, put_count};
use super::{Codec, DecodeError, Effort, Encoded, bytes, zstd};

/// No copy is shorter: it bounds how many there are.
const MIN_COPY_BYTES: usize = 4;
/// Most bytes of a number in LEB128.
const MOST_NUMBER_BYTES: usize = 5;
/// Bases beyond this, all together, are not searched.
pub const MOST_BASE_BYTES: usize = 96 << 20;

/// How literals are kept.
const RAW: u8 = 0;
const ZSTD: u8 = 1;
/// With a stretch of the bases as what came before.
const ZSTD_AFTER: u8 = 2;
/// Fewer literals gain nothing from what came before them.
const MIN_AFTER_BYTES: usize = 64;
/// Longest stretch of the bases that literals are compressed after, and how many times as long as they are.
const MOST_BEFORE_BYTES: usize = 1 << 20;
const MOST_BEFORE_TIMES: usize = 16;

/// Encodes `bytes` as copies from `bases`, which are counted through; none where next to nothing is found there.
pub fn encode(bytes: &[u8], bases: &[&[u8]], effort: Effort) -> Option<Encoded> {
    if bases.iter().map(|base| base.len()).sum::<usize>() > MOST_BASE_BYTES {
        return None;
    }
    let copies = search::copies(bytes, bases);
    if copies.is_empty() {
        return None;
    }
    let literals = literals_of(bytes, &copies);
    let mut payload = Vec::new();
    put_count(&mut payload, literals.len());
    put_count(&mut payload, copies.len());
    let mut jumps = Jumps::default();
    let numbers: Vec<[usize; 3]> =
        copies.iter().map(|copy| [copy.literals, copy.len, jumps.put(copy)]).collect();
    for column in 0..3 {
        let mut stream = Vec::new();
        numbers.iter().for_each(|row| put_count(&mut stream, row[column]));
        put_count(&mut payload, stream.len());
        bytes::encode(&stream, &mut payload);
    }
    put_literals(&literals, longest_before(bytes, &copies), bases, bytes.len(), effort, &mut payload);
    Some(Encoded { codec: Codec::Copies, payload })
}

fn literals_of(bytes: &[u8], copies: &[Copy]) -> Vec<u8> {
    let (mut literals, mut at) = (Vec::new(), 0);
    for copy in copies {
        literals.extend_from_slice(&bytes[at..at + copy.literals]);
        at += copy.literals + copy.len;
    }
    literals.extend_from_slice(&bytes[at..]);
    literals
}

/// Where in the bases the longest run of literals would go on: what it follows resembles it.
fn longest_before(bytes: &[u8], copies: &[Copy]) -> usize {
    let (mut at, mut place, mut longest) = (0, copies.first().map_or(0, |copy| copy.from), (0, 0));
    for copy in copies {
        longest = longest.max((copy.literals, place));
        at += copy.literals + copy.len;
        place = copy.from + copy.len;
    }
    longest.max((bytes.len() - at, place)).1
}

/// The literals by the method that takes least; few are worth more time for each.
fn put_literals(
    literals: &[u8],
    place: usize,
    bases: &[&[u8]],
    all: usize,
    effort: Effort,
    out: &mut Vec<u8>,
) {
    let level = match (effort, all / literals.len().max(1)) {
        (Effort::Repack | Effort::Small, _) => 19,
        (_, 64..) => 15,
        (_, 8..) => 9,
        _ => zstd::level_for(literals, effort),
    };
    let mut best = (RAW, literals.to_vec());
    let mut offer = |method, frame: Vec<u8>| {
        if frame.len() < best.1.len() {
            best = (method, frame);
        }
    };
    offer(ZSTD, zstd::compress(literals, level));
    if literals.len() >= MIN_AFTER_BYTES {
        let before = before(place, literals.len(), bases);
        if let Some(frame) = zstd::compress_after(literals, &before.1, level) {
            let mut packed = Vec::new();
            put_count(&mut packed, before.0);
            put_count(&mut packed, before.1.len());
            packed.extend(frame);
            offer(ZSTD_AFTER, packed);
        }
    }
    out.push(best.0);
    out.extend(best.1);
}

/// The stretch that ends at `place`, or the first of all bases, and where it starts.
fn before(place: usize, literals: usize, bases: &[&[u8]]) -> (usize, Vec<u8>) {
    let most = MOST_BEFORE_BYTES.min(literals.saturating_mul(MOST_BEFORE_TIMES));
    let all: usize = bases.iter().map(|base| base.len()).sum();
    let start = place.saturating_sub(most);
    let len = most.min(all - start);
    (start, stretch(bases, start, len).expect("because it ends where the bases end, or before"))
}

/// `len` bytes of all bases one after another.
fn stretch(bases: &[&[u8]], start: usize, len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    append(bases, start, len, &mut bytes)?;
    Some(bytes)
}

/// Appends `len` bytes of all bases one after another; none where they end before.
fn append(bases: &[&[u8]], mut start: usize, mut len: usize, out: &mut Vec<u8>) -> Option<()> {
    for base in bases {
        if start >= base.len() {
            start -= base.len();
            continue;
        }
        let taken = len.min(base.len() - start);
        out.extend_from_slice(&base[start..start + taken]);
        (start, len) = (0, len - taken);
        if len == 0 {
            break;
        }
    }
    (len == 0).then_some(())
}

/// Where copies come from, as steps from where the last one would go on behind as many literals.
#[derive(Default)]
struct Jumps {
    expected: usize,
}

impl Jumps {
    /// Even for a step ahead, odd for one back.
    fn put(&mut self, copy: &Copy) -> usize {
        let expected = self.expected + copy.literals;
        self.expected = copy.from + copy.len;
        match copy.from.checked_sub(expected) {
            Some(ahead) => ahead << 1,
            None => ((expected - copy.from) << 1) - 1,
        }
    }

    fn take(&mut self, jump: usize, literals: usize, len: usize) -> Option<usize> {
        let expected = self.expected.checked_add(literals)?;
        let step = (jump >> 1) + (jump & 1);
        let from = if jump & 1 == 0 { expected.checked_add(step) } else { expected.checked_sub(step) }?;
        self.expected = from.checked_add(len)?;
        Some(from)
    }
}

/// Decodes to `decoded_len` bytes; takes as many more for literals, and some for each copy.
pub(super) fn decode(payload: &[u8], bases: &[&[u8]], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    let mut reader = Reader::new(payload);
    let literal_bytes = reader.count("literals")?;
    let count = reader.count("copies")?;
    if literal_bytes > decoded_len || count > decoded_len / MIN_COPY_BYTES {
        return Err(invalid("counts of copies and literals"));
    }
    let mut streams = Vec::new();
    for _ in 0..3 {
        let len = reader.count("numbers of copies")?;
        if len > count * MOST_NUMBER_BYTES {
            return Err(invalid("numbers of copies"));
        }
        streams.push(bytes::decode(&mut reader, len)?);
    }
    let literals = take_literals(&mut reader, literal_bytes, bases)?;
    let mut rest = literals.as_slice();
    let mut numbers: [Reader; 3] = std::array::from_fn(|column| Reader::new(&streams[column]));
    let (mut jumps, mut out) = (Jumps::default(), Vec::with_capacity(decoded_len));
    for _ in 0..count {
        let [before, len, jump] = &mut numbers;
        let (before, len, jump) = (before.count("literals")?, len.count("copy")?, jump.count("source")?);
        let (own, behind) = rest.split_at_checked(before).ok_or(invalid("literals before a copy"))?;
        rest = behind;
        if len < MIN_COPY_BYTES || own.len() + len > decoded_len - out.len() {
            return Err(invalid("length of a copy"));
        }
        out.extend_from_slice(own);
        let from = jumps.take(jump, before, len).ok_or(invalid("source of a copy"))?;
        append(bases, from, len, &mut out).ok_or(invalid("source of a copy"))?;
    }
    numbers.into_iter().try_for_each(Reader::end)?;
    out.extend_from_slice(rest);
    match out.len() == decoded_len {
        true => Ok(out),
        false => Err(DecodeError::Length { what: "copies", expected: decoded_len, found: out.len() }),
    }
}

fn take_literals(reader: &mut Reader, len: usize, bases: &[&[u8]]) -> Result<Vec<u8>, DecodeError> {
    let method = reader.byte("method of literals")?;
    let before = match method {
        ZSTD_AFTER => {
            let (start, len) = (reader.count("before literals")?, reader.count("before literals")?);
            let is_fair = len <= MOST_BEFORE_BYTES;
            let before = is_fair.then(|| stretch(bases, start, len)).flatten();
            before.ok_or(DecodeError::Invalid { what: "stretch before literals" })?
        }
        _ => Vec::new(),
    };
    let frame = reader.take(reader.remaining(), "literals")?;
    match method {
        RAW if frame.len() == len => Ok(frame.to_vec()),
        ZSTD => zstd::decompress(frame, len),
        ZSTD_AFTER => zstd::decompress_patch(frame, &before, len),
        _ => Err(DecodeError::Invalid { what: "literals" }),
    }
}

#[cfg(test)]
mod tests;
