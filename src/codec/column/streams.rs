//! The parts of a column as streams: numbers and bytes, each as the smallest of what is tried.
//!
//! A push decides on a piece of a long stream what is tried with all of it.

use std::borrow::Cow;

use super::super::payload::{Reader, put_stream};
use super::super::{Codec, DecodeError, Effort, Encoded, planes, ppmd, zstd};
use super::digits;
use crate::format::Dtype;
use crate::table::Values;

/// On the number of the codec: what is encoded are differences to the number before,
const DIFFERENCES: u8 = 0x80;
/// codes by how far they lie behind the next value (see `codes`),
pub(super) const BEHIND: u8 = 0x40;
/// or lengths of values that PPMd packed,
const PPMD: u8 = 0x40;
/// or that are packed digits (see `digits`).
const DIGITS: u8 = 0x20;
const CODECS: u8 = 0x1f;

/// A slow zstd takes this share of what a fast one takes, at best.
const SLOW: f64 = 0.9;
/// A repack tries what a piece says takes no more than so many times the best: a slow zstd takes long, and where it is far
/// off it never wins.
const NEAR: f64 = 1.25;

/// Numbers in one of the forms in which they may get small.
pub(super) struct Form<'a> {
    pub flags: u8,
    pub bytes: Cow<'a, [u8]>,
}

/// Appends numbers of `dtype`, without their count.
pub fn put_numbers(out: &mut Vec<u8>, bytes: &[u8], dtype: Dtype, effort: Effort) {
    put_forms(out, vec![Form { flags: 0, bytes: bytes.into() }], dtype, effort);
}

/// The same for numbers that may have other forms, the first of which is as they are.
pub(super) fn put_forms(out: &mut Vec<u8>, mut forms: Vec<Form<'_>>, dtype: Dtype, effort: Effort) {
    let Form { flags, bytes } = &forms[0];
    if matches!(dtype, Dtype::U32 | Dtype::I32 | Dtype::I64 | Dtype::U64) && bytes.len() > dtype.width() {
        let differences = differences(bytes, dtype.width());
        forms.push(Form { flags: flags | DIFFERENCES, bytes: differences.into() });
    }
    let tried = match forms[0].bytes.len() {
        ..=zstd::PIECE_BYTES => forms.into_iter().map(|form| (Ways::ALL, form)).collect(),
        _ => likely_forms(forms, dtype, effort),
    };
    let encoded = tried.iter().map(|(ways, form)| (form.flags, smallest(&form.bytes, dtype, *ways, effort)));
    let best = encoded.min_by_key(|(_, encoded)| encoded.payload.len());
    let (flags, best) = best.expect("because there is one form at least");
    out.push(best.codec as u8 | flags);
    put_stream(out, &best.payload);
}

/// What is tried with all of long numbers: a push takes one form, and a repack all that come near it.
fn likely_forms(forms: Vec<Form<'_>>, dtype: Dtype, effort: Effort) -> Vec<(Ways, Form<'_>)> {
    let mut likely: Vec<_> = forms.into_iter().map(|form| (Likely::of(&form.bytes, dtype), form)).collect();
    likely.sort_by_key(|(likely, _)| likely.least());
    let least = likely.first().map_or(0, |(likely, _)| likely.least());
    match effort {
        Effort::Push => likely.into_iter().take(1).map(|(likely, form)| (likely.ways(), form)).collect(),
        Effort::Repack | Effort::Small => likely
            .into_iter()
            .map(|(likely, form)| (likely.ways_within((least as f64 * NEAR) as usize), form))
            .filter(|(ways, _)| ways.planes || ways.zstd)
            .collect(),
    }
}

/// What a piece of some numbers takes.
struct Likely {
    planes: usize,
    zstd: usize,
}

impl Likely {
    fn of(numbers: &[u8], dtype: Dtype) -> Likely {
        let piece = zstd::middle(numbers);
        let fast = zstd::compress(piece, FAST).len() as f64;
        Likely { planes: planes::encode(piece, dtype).len(), zstd: (fast * SLOW) as usize }
    }

    fn least(&self) -> usize {
        self.planes.min(self.zstd)
    }

    /// What takes no more than that.
    fn ways_within(&self, most: usize) -> Ways {
        Ways { planes: self.planes <= most, zstd: self.zstd <= most }
    }

    fn ways(&self) -> Ways {
        // Pieces lie: what looks better by far is tried alone.
        Ways { planes: self.planes < self.zstd * 2, zstd: self.zstd < self.planes }
    }
}

/// What is tried.
#[derive(Clone, Copy)]
struct Ways {
    planes: bool,
    zstd: bool,
}

impl Ways {
    /// Codes and levels repeat each other, which planes don't see.
    const ALL: Ways = Ways { planes: true, zstd: true };
}

fn smallest(bytes: &[u8], dtype: Dtype, ways: Ways, effort: Effort) -> Encoded {
    let planes = ways.planes.then(|| (Codec::Planes, planes::encode(bytes, dtype)));
    let level = level(bytes.len(), effort).max(LONG);
    let zstd = ways.zstd.then(|| (Codec::Zstd, zstd::compress(bytes, level)));
    let best = planes.into_iter().chain(zstd).min_by_key(|(_, payload)| payload.len());
    match best.filter(|(_, payload)| payload.len() < bytes.len()) {
        Some((codec, payload)) => Encoded { codec, payload },
        None => Encoded { codec: Codec::Raw, payload: bytes.to_vec() },
    }
}

/// Levels of zstd: of what is long, and of what is only to be judged by it,
const FAST: i32 = 3;
/// and of numbers that are long.
const LONG: i32 = 6;

/// How long zstd may take for so many bytes.
fn level(len: usize, effort: Effort) -> i32 {
    match (effort, len) {
        (Effort::Repack | Effort::Small, _) | (_, ..=0x1000) => 19,
        (_, ..=0x4000) => 12,
        (_, ..=0x2_0000) => LONG,
        _ => FAST,
    }
}

/// Takes what `put_numbers` wrote of `len` bytes.
pub fn take_numbers(reader: &mut Reader<'_>, len: usize, dtype: Dtype) -> Result<Vec<u8>, DecodeError> {
    Ok(take_forms(reader, len, dtype, 0)?.0)
}

/// The same for numbers that may have one of these forms, and which it is.
pub(super) fn take_forms(
    reader: &mut Reader<'_>,
    len: usize,
    dtype: Dtype,
    known: u8,
) -> Result<(Vec<u8>, u8), DecodeError> {
    let tag = reader.byte("codec of numbers")?;
    let flags = tag & !CODECS & !DIFFERENCES;
    let codec = Codec::from_tag(tag & CODECS).filter(|codec| !codec.needs_base() && flags & !known == 0);
    let codec = codec.filter(|codec| *codec != Codec::Column);
    let codec = codec.ok_or(DecodeError::Invalid { what: "codec of numbers" })?;
    let mut bytes = super::super::decode(codec, reader.stream("numbers")?, &[], len)?;
    if tag & DIFFERENCES != 0 {
        sum_up(&mut bytes, dtype.width());
    }
    Ok((bytes, flags))
}

fn differences(bytes: &[u8], width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut last = 0u64;
    for number in bytes.chunks_exact(width).map(wide) {
        out.extend_from_slice(&number.wrapping_sub(last).to_le_bytes()[..width]);
        last = number;
    }
    out
}

fn sum_up(bytes: &mut [u8], width: usize) {
    let mut last = 0u64;
    for number in bytes.chunks_exact_mut(width) {
        last = last.wrapping_add(wide(number));
        number.copy_from_slice(&last.to_le_bytes()[..width]);
    }
}

fn wide(number: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..number.len()].copy_from_slice(number);
    u64::from_le_bytes(bytes)
}

/// Bytes that resemble `context`, without their length.
fn frame(bytes: &[u8], context: &[u8], effort: Effort) -> Vec<u8> {
    let level = match level(bytes.len(), effort) {
        FAST if context.is_empty() => zstd::level_for(bytes, effort),
        level => level,
    };
    zstd::patch_at(bytes, context, level)
}

/// Text by its last characters, where that takes less than `frame`.
fn by_characters(text: &[u8], frame: &[u8], effort: Effort) -> Option<Vec<u8>> {
    let packed = (effort == Effort::Small).then(|| ppmd::encode(text)).flatten()?;
    (packed.len() < frame.len()).then_some(packed)
}

fn take_bytes(reader: &mut Reader<'_>, len: usize, context: &[u8]) -> Result<Vec<u8>, DecodeError> {
    zstd::decompress_patch(reader.stream("bytes")?, context, len)
}

/// Appends values, without their count; those of any length may resemble `context`.
pub fn put_values(out: &mut Vec<u8>, values: &Values, dtype: Dtype, context: &[u8], effort: Effort) {
    match values {
        Values::Fixed { bytes, .. } => put_numbers(out, bytes, dtype, effort),
        Values::Variable { ends, bytes } => {
            let mut last = 0;
            let lens: Vec<u8> = ends
                .iter()
                .flat_map(|end| (end - std::mem::replace(&mut last, *end)).to_le_bytes())
                .collect();
            let (flags, stream) = match digits::pack_values(values) {
                Some(digits) => (DIGITS, frame(&digits, &context_of_digits(context), effort)),
                None => {
                    let frame = frame(bytes, context, effort);
                    match by_characters(bytes, &frame, effort) {
                        Some(packed) => (PPMD, packed),
                        None => (0, frame),
                    }
                }
            };
            put_forms(out, vec![Form { flags, bytes: lens.into() }], Dtype::U32, effort);
            put_stream(out, &stream);
        }
    }
}

/// What digits resemble: old values, if these are digits, too.
fn context_of_digits(context: &[u8]) -> Vec<u8> {
    digits::pack(context).unwrap_or_default()
}

/// Takes `count` values of the layout of `none`.
pub fn take_values(
    reader: &mut Reader<'_>,
    none: Values,
    count: usize,
    dtype: Dtype,
    context: &[u8],
) -> Result<Values, DecodeError> {
    let limit = |len: Option<usize>| {
        len.filter(|len| *len <= super::MAX_BYTES).ok_or(DecodeError::Invalid { what: "count of values" })
    };
    Ok(match none {
        Values::Fixed { width, .. } => {
            let len = limit(count.checked_mul(width))?;
            Values::Fixed { width, bytes: take_numbers(reader, len, dtype)? }
        }
        Values::Variable { .. } => {
            let (lens, flags) = take_forms(reader, limit(count.checked_mul(4))?, Dtype::U32, DIGITS | PPMD)?;
            let mut end = 0u64;
            let ends: Option<Vec<u32>> = lens
                .chunks_exact(4)
                .map(|len| {
                    end += wide(len);
                    u32::try_from(end).ok()
                })
                .collect();
            let ends = ends.ok_or(DecodeError::Invalid { what: "lengths of values" })?;
            let len = limit(Some(end as usize))?;
            let bytes = match flags {
                0 => take_bytes(reader, len, context)?,
                PPMD => ppmd::decode(reader.stream("text")?, len)?,
                DIGITS if len % 2 == 0 => {
                    digits::unpack(&take_bytes(reader, len / 2, &context_of_digits(context))?)
                }
                _ => return Err(DecodeError::Invalid { what: "lengths of values" }),
            };
            Values::Variable { ends, bytes }
        }
    })
}
