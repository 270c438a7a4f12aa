//! The parts of a plan that tell how a page is written: runs of numbers, and what is left over.

use super::super::payload::{Reader, put_count, put_stream};
use super::super::{DecodeError, Effort, zstd};
use super::MAX_PLAIN_BYTES;
use crate::table::{Layout, NumberRun, Padding, Shape};
use crate::varint;

const NO_CODES: u8 = u8::MAX;
const IS_PATCHED: u8 = 1;
const DIFFERS_AT_SPOTS: u8 = 2;
const HAS_AN_ORDER: u8 = 3;

/// Appends what makes a body of what follows from its cells: the order of a dictionary if there is one, a few spots, or a patch.
pub(super) fn put_left_over(
    plan: &mut Vec<u8>,
    body: &[u8],
    made: &[u8],
    order: Option<&[u32]>,
    effort: Effort,
) {
    if let Some(order) = order {
        plan.push(HAS_AN_ORDER);
        return put_stream(plan, &steps(order));
    }
    let patch = zstd::patch(body, made, effort);
    if let Some(spots) = spots(body, made).filter(|spots| spots.len() < patch.len()) {
        plan.push(DIFFERS_AT_SPOTS);
        put_stream(plan, &spots);
        return;
    }
    plan.push(IS_PATCHED);
    put_count(plan, body.len());
    put_stream(plan, &patch);
}

/// How far each number lies from where it is expected, behind the one before: twice that, or twice its size less 1.
fn steps(order: &[u32]) -> Vec<u8> {
    let (mut steps, mut expected) = (Vec::new(), 0);
    for number in order.iter().map(|number| i64::from(*number)) {
        let step = number - expected;
        varint::put(&mut steps, (step << 1 ^ step >> 63) as u64);
        expected = number + 1;
    }
    steps
}

/// The order of a dictionary, where that is what is left over.
pub(super) fn take_order(reader: &mut Reader<'_>, mode: u8) -> Result<Option<Vec<u32>>, DecodeError> {
    if mode != HAS_AN_ORDER {
        return Ok(None);
    }
    let mut steps = reader.stream("order of a dictionary")?;
    let (mut order, mut expected) = (Vec::new(), 0i64);
    while !steps.is_empty() {
        let step = varint::take(&mut steps).map(|step| (step >> 1) as i64 ^ -((step & 1) as i64));
        let number = step.and_then(|step| u32::try_from(expected.checked_add(step)?).ok());
        let number = number.ok_or(DecodeError::Invalid { what: "order of a dictionary" })?;
        order.push(number);
        expected = i64::from(number) + 1;
    }
    Ok(Some(order))
}

/// Where two bodies of one length differ, and the bytes there: where encoders leave what was in their buffers.
fn spots(body: &[u8], made: &[u8]) -> Option<Vec<u8>> {
    (body.len() == made.len()).then_some(())?;
    let mut spots = Vec::new();
    let mut next = 0;
    while let Some(start) = (next..body.len()).find(|at| body[*at] != made[*at]) {
        let end = (start..body.len()).find(|at| body[*at] == made[*at]).unwrap_or(body.len());
        put_count(&mut spots, start - next);
        put_stream(&mut spots, &body[start..end]);
        next = end;
    }
    Some(spots)
}

pub(super) fn take_left_over(
    reader: &mut Reader<'_>,
    mode: u8,
    mut made: Vec<u8>,
) -> Result<Vec<u8>, DecodeError> {
    let invalid = |what| DecodeError::Invalid { what };
    match mode {
        DIFFERS_AT_SPOTS => {
            let mut spots = Reader::new(reader.stream("what is left over")?);
            let mut at = 0usize;
            while spots.remaining() > 0 {
                at = at.saturating_add(spots.count("distance to a spot")?);
                let bytes = spots.stream("bytes of a spot")?;
                let end = at.saturating_add(bytes.len());
                made.get_mut(at..end).ok_or(invalid("place of a spot"))?.copy_from_slice(bytes);
                at = end;
            }
            Ok(made)
        }
        IS_PATCHED => {
            let len = reader.count("length of a page")?;
            if len > MAX_PLAIN_BYTES {
                return Err(invalid("length of a page"));
            }
            zstd::decompress_patch(reader.stream("what is left over")?, &made, len)
        }
        _ => Err(invalid("what is left over")),
    }
}

const IMPALA: u8 = 0;
const ALL_PACKED: u8 = 1;
const LISTED: u8 = 2;
const LISTED_IN_CHUNKS: u8 = 3;
const LISTED_IN_A_BUFFER: u8 = 4;

pub(super) fn put_layout(plan: &mut Vec<u8>, layout: &Layout) {
    put_stream(plan, &layout.tail);
    plan.push(layout.code_bits.unwrap_or(NO_CODES));
    for shape in [&layout.repetitions, &layout.definitions, &layout.numbers] {
        match shape {
            Shape::Impala => plan.push(IMPALA),
            Shape::Packed => plan.push(ALL_PACKED),
            Shape::Listed(stretches, padding) => {
                plan.push(match padding {
                    Padding::Zeros => LISTED,
                    Padding::Chunk => LISTED_IN_CHUNKS,
                    Padding::Buffer => LISTED_IN_A_BUFFER,
                });
                put_count(plan, stretches.len());
                for stretch in stretches {
                    let (many, is_packed) = match *stretch {
                        NumberRun::Equal(many) => (many, 0),
                        NumberRun::Packed(groups) => (groups, 1),
                    };
                    put_count(plan, (many as usize) << 1 | is_packed);
                }
            }
        }
    }
}

pub(super) fn take_layout(reader: &mut Reader<'_>) -> Result<Layout, DecodeError> {
    let tail = reader.stream("tail of a page")?.to_vec();
    let bits = reader.byte("width of numbers")?;
    if bits > 32 && bits != NO_CODES {
        return Err(DecodeError::Invalid { what: "width of numbers" });
    }
    let code_bits = (bits != NO_CODES).then_some(bits);
    let [repetitions, definitions, numbers] = [take_shape(reader)?, take_shape(reader)?, take_shape(reader)?];
    Ok(Layout { repetitions, definitions, code_bits, numbers, tail })
}

fn take_shape(reader: &mut Reader<'_>) -> Result<Shape, DecodeError> {
    let shape = reader.byte("shape of runs")?;
    Ok(match shape {
        IMPALA => Shape::Impala,
        ALL_PACKED => Shape::Packed,
        LISTED | LISTED_IN_CHUNKS | LISTED_IN_A_BUFFER => {
            let padding = match shape {
                LISTED => Padding::Zeros,
                LISTED_IN_CHUNKS => Padding::Chunk,
                _ => Padding::Buffer,
            };
            let count = reader.count("runs")?;
            if count > reader.remaining() {
                return Err(DecodeError::Invalid { what: "runs" });
            }
            let stretch = |_| {
                let number = reader.count("length of a run")? as u32;
                let many = number >> 1;
                Ok(if number & 1 == 0 { NumberRun::Equal(many) } else { NumberRun::Packed(many) })
            };
            Shape::Listed((0..count).map(stretch).collect::<Result<_, _>>()?, padding)
        }
        _ => return Err(DecodeError::Invalid { what: "shape of runs" }),
    })
}
