//! The parts of a plan that tell how a page is written: runs of numbers, and what is left over.

use super::super::payload::{Reader, put_count, put_stream};
use super::super::{DecodeError, Effort, zstd};
use super::MAX_PLAIN_BYTES;
use crate::table::{Layout, NumberRun, Shape};

const NO_CODES: u8 = u8::MAX;
const IS_PATCHED: u8 = 1;
const DIFFERS_AT_SPOTS: u8 = 2;

/// Appends what makes a body of what follows from its cells: a few spots, or a patch.
pub(super) fn put_left_over(plan: &mut Vec<u8>, body: &[u8], made: &[u8], effort: Effort) {
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

pub(super) fn put_layout(plan: &mut Vec<u8>, layout: &Layout) {
    put_stream(plan, &layout.tail);
    plan.push(layout.code_bits.unwrap_or(NO_CODES));
    for shape in [&layout.repetitions, &layout.definitions, &layout.numbers] {
        match shape {
            Shape::Impala => plan.push(IMPALA),
            Shape::Packed => plan.push(ALL_PACKED),
            Shape::Listed(stretches) => {
                plan.push(LISTED);
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
    Ok(match reader.byte("shape of runs")? {
        IMPALA => Shape::Impala,
        ALL_PACKED => Shape::Packed,
        LISTED => {
            let count = reader.count("runs")?;
            if count > reader.remaining() {
                return Err(DecodeError::Invalid { what: "runs" });
            }
            let stretch = |_| {
                let number = reader.count("length of a run")? as u32;
                let many = number >> 1;
                Ok(if number & 1 == 0 { NumberRun::Equal(many) } else { NumberRun::Packed(many) })
            };
            Shape::Listed((0..count).map(stretch).collect::<Result<_, _>>()?)
        }
        _ => return Err(DecodeError::Invalid { what: "shape of runs" }),
    })
}
