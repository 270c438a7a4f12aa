//! An object that follows from others by a rule, and what the rule leaves over.
//!
//! Payload (docs/format.md, "Payloads"): which rule, and whether something is left over; the rule; the codec
//! of what is left over, and its payload, whose base is what the rule gives.

use super::payload::{Reader, put_count};
use super::{Base, Codec, DecodeError, Effort, Encoded, bytes as strings};
use crate::derive::{
    Adapted, Arithmetic, Converted, Float, FourBit, Grid, Kind, Linear, Rows, Rule, Run, Scaled, Scaling,
    Term,
};
use crate::format::{Dtype, MAX_SLICE_ELEMENTS};

const LINEAR: u8 = 1;
const ADAPTED: u8 = 2;
const CONVERTED: u8 = 3;
const ROWS: u8 = 4;
const SCALED: u8 = 5;
const FOUR_BIT: u8 = 6;
const LEAVES_SOMETHING: u8 = 0x80;

const TRANSPOSED: u8 = 1;
const ROUNDED: u8 = 2;

/// Encodes numbers of `dtype` by a rule that gives `derived`; none where what is left over makes the rule useless.
pub fn encode(
    bytes: &[u8],
    dtype: Dtype,
    row_len: u64,
    rule: &Rule,
    derived: &[u8],
    effort: Effort,
) -> Option<Encoded> {
    let mut payload = vec![0];
    let tag = put_rule(rule, &mut payload);
    payload[0] = tag;
    if derived != bytes {
        let left = super::encode(bytes, dtype, row_len, &[Base { bytes: derived, dtype }], effort);
        if !left.codec.needs_base() {
            return None;
        }
        payload[0] |= LEAVES_SOMETHING;
        payload.push(left.codec as u8);
        payload.extend_from_slice(&left.payload);
    }
    Some(Encoded { codec: Codec::Derived, payload })
}

/// Decodes to `decoded_len` bytes, and takes as many more where something is left over.
pub(super) fn decode(payload: &[u8], sources: &[&[u8]], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let tag = reader.byte("rule")?;
    let rule = take_rule(tag & !LEAVES_SOMETHING, &mut reader)?;
    let derived =
        rule.apply(sources, decoded_len).map_err(|_| DecodeError::Invalid { what: "sources of a rule" })?;
    if tag & LEAVES_SOMETHING == 0 {
        reader.end()?;
        return Ok(derived);
    }
    let codec = Codec::from_tag(reader.byte("codec")?).filter(|codec| *codec != Codec::Derived);
    let codec = codec.ok_or(DecodeError::Invalid { what: "codec of what is left over" })?;
    let left = reader.take(reader.remaining(), "what is left over")?;
    super::decode(codec, left, &[&derived], decoded_len)
}

/// The rule of a payload, without applying it.
pub fn rule(payload: &[u8]) -> Result<Rule, DecodeError> {
    let mut reader = Reader::new(payload);
    let tag = reader.byte("rule")?;
    take_rule(tag & !LEAVES_SOMETHING, &mut reader)
}

/// The bytes that a rule takes which leaves nothing over.
pub fn bytes_of(rule: &Rule) -> u64 {
    let mut payload = vec![0];
    put_rule(rule, &mut payload);
    payload.len() as u64
}

/// Appends the fields of a rule, and returns its number.
fn put_rule(rule: &Rule, out: &mut Vec<u8>) -> u8 {
    match rule {
        Rule::Linear(rule) => {
            out.extend([rule.arithmetic as u8, rule.to.dtype() as u8]);
            put_count(out, rule.terms.len());
            for term in &rule.terms {
                out.push(term.from.dtype() as u8);
                out.extend_from_slice(&term.weight.to_le_bytes());
            }
            LINEAR
        }
        Rule::Adapted(rule) => {
            out.extend([rule.to, rule.a, rule.b].map(|float| float.dtype() as u8));
            out.push((u8::from(rule.transposed) * TRANSPOSED) | (u8::from(rule.rounded) * ROUNDED));
            put_count(out, rule.rank as usize);
            out.extend_from_slice(&rule.scale.to_le_bytes());
            out.extend_from_slice(&rule.first.to_le_bytes());
            ADAPTED
        }
        Rule::Converted(rule) => {
            out.extend([rule.from.dtype() as u8, rule.to as u8]);
            out.extend_from_slice(&rule.row_len.to_le_bytes());
            put_count(out, rule.head as usize);
            CONVERTED
        }
        Rule::Rows(rule) => {
            put_count(out, rule.row_bytes as usize);
            put_count(out, rule.runs.len());
            let mut next = 0i64;
            for run in &rule.runs {
                put_count(out, run.rows as usize);
                // Most runs begin near where the last one ended.
                let off = run.from.map(|from| i64::from(from) - next);
                put_count(out, off.map_or(0, |off| ((off << 1 ^ off >> 63) + 1) as usize));
                next = run.from.map_or(next, |from| i64::from(from) + i64::from(run.rows));
            }
            ROWS
        }
        Rule::Scaled(rule) => {
            let types = [rule.from.dtype(), rule.through.dtype(), rule.to.dtype()];
            out.extend(types.map(|dtype| dtype as u8));
            out.push(rule.scaling as u8);
            for field in [rule.row_len, rule.block[0], rule.block[1], rule.skip] {
                out.extend_from_slice(&field.to_le_bytes());
            }
            put_count(out, rule.scales.len());
            for byte in 0..size_of::<f32>() {
                let plane: Vec<u8> = rule.scales.iter().map(|scale| scale.to_le_bytes()[byte]).collect();
                strings::encode(&plane, out);
            }
            SCALED
        }
        Rule::FourBit(rule) => {
            out.push(rule.from.dtype() as u8);
            out.extend_from_slice(&rule.block.to_le_bytes());
            out.extend(rule.map.iter().flat_map(|value| value.to_le_bytes()));
            put_count(out, rule.skip as usize);
            FOUR_BIT
        }
    }
}

fn take_rule(tag: u8, reader: &mut Reader<'_>) -> Result<Rule, DecodeError> {
    Ok(match tag {
        LINEAR => {
            let arithmetic = reader.byte("arithmetic")?;
            let arithmetic = Arithmetic::ALL.into_iter().find(|known| *known as u8 == arithmetic);
            let arithmetic = arithmetic.ok_or(DecodeError::Invalid { what: "arithmetic" })?;
            let to = take_float(reader)?;
            let terms = reader.count("terms")?;
            let term = |_| Ok(Term { from: take_float(reader)?, weight: f64::from_le_bytes(take(reader)?) });
            Rule::Linear(Linear { to, terms: (0..terms).map(term).collect::<Result<_, _>>()?, arithmetic })
        }
        ADAPTED => {
            let (to, a, b) = (take_float(reader)?, take_float(reader)?, take_float(reader)?);
            let flags = reader.byte("flags")?;
            Rule::Adapted(Adapted {
                to,
                a,
                b,
                transposed: flags & TRANSPOSED != 0,
                rounded: flags & ROUNDED != 0,
                rank: reader.count("rank")? as u32,
                scale: f32::from_le_bytes(take(reader)?),
                first: u64::from_le_bytes(take(reader)?),
            })
        }
        CONVERTED => {
            let from = take_float(reader)?;
            let to = Kind::from_tag(reader.byte("kind")?).ok_or(DecodeError::Invalid { what: "kind" })?;
            let row_len = u64::from_le_bytes(take(reader)?);
            Rule::Converted(Converted { from, to, row_len, head: reader.count("rows of a head")? as u32 })
        }
        ROWS => {
            let row_bytes = reader.count("bytes of a row")? as u32;
            let runs = reader.count("runs")?;
            let mut next = 0i64;
            let run = |_| {
                let (rows, from) = (reader.count("rows")? as u32, reader.count("first row")? as i64);
                let off = (from - 1) >> 1 ^ -((from - 1) & 1);
                let from = match from {
                    0 => None,
                    _ => Some(
                        u32::try_from(next + off).map_err(|_| DecodeError::Invalid { what: "first row" })?,
                    ),
                };
                next = from.map_or(next, |from| i64::from(from) + i64::from(rows));
                Ok(Run { rows, from })
            };
            Rule::Rows(Rows { row_bytes, runs: (0..runs).map(run).collect::<Result<_, _>>()? })
        }
        SCALED => {
            let (from, through) = (take_float(reader)?, take_float(reader)?);
            let to = Dtype::from_tag(reader.byte("grid")?).and_then(Grid::of);
            let scaling = reader.byte("scaling")?;
            let scaling = Scaling::ALL.into_iter().find(|known| *known as u8 == scaling);
            let mut field = || Ok::<_, DecodeError>(u64::from_le_bytes(take(reader)?));
            let (row_len, block, skip) = (field()?, [field()?, field()?], field()?);
            Rule::Scaled(Scaled {
                from,
                through,
                to: to.ok_or(DecodeError::Invalid { what: "grid" })?,
                scaling: scaling.ok_or(DecodeError::Invalid { what: "scaling" })?,
                row_len,
                block,
                skip,
                scales: take_scales(reader)?,
            })
        }
        FOUR_BIT => {
            let from = take_float(reader)?;
            let block = u32::from_le_bytes(take(reader)?);
            let mut map = [0.0; 16];
            for value in &mut map {
                *value = f32::from_le_bytes(take(reader)?);
            }
            let skip = reader.count("weights before")? as u64;
            Rule::FourBit(FourBit { from, block, map, skip })
        }
        _ => return Err(DecodeError::Invalid { what: "rule" }),
    })
}

fn take_scales(reader: &mut Reader<'_>) -> Result<Vec<f32>, DecodeError> {
    let len = reader.count("scales")?;
    // No slice has more weights than that.
    if len as u64 > MAX_SLICE_ELEMENTS {
        return Err(DecodeError::Invalid { what: "number of scales" });
    }
    let mut scales = vec![[0; size_of::<f32>()]; len];
    for byte in 0..size_of::<f32>() {
        let plane = strings::decode(reader, len)?;
        scales.iter_mut().zip(plane).for_each(|(scale, plane)| scale[byte] = plane);
    }
    Ok(scales.into_iter().map(f32::from_le_bytes).collect())
}

fn take<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], DecodeError> {
    Ok(reader.take(N, "a field of a rule")?.try_into().expect("because so many were taken"))
}

fn take_float(reader: &mut Reader<'_>) -> Result<Float, DecodeError> {
    let float = Dtype::from_tag(reader.byte("type")?).and_then(Float::of);
    float.ok_or(DecodeError::Invalid { what: "type of a source" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn rules() -> Vec<Rule> {
        let term = |weight| Term { from: Float::Bf16, weight };
        vec![
            Rule::Linear(Linear {
                to: Float::Bf16,
                terms: vec![term(0.3), term(0.7)],
                arithmetic: Arithmetic::Native,
            }),
            Rule::Adapted(Adapted {
                to: Float::Bf16,
                a: Float::F32,
                b: Float::F16,
                rank: 4,
                scale: 0.5,
                transposed: true,
                rounded: true,
                first: 64,
            }),
            Rule::Converted(Converted { from: Float::Bf16, to: Kind::Q8_0, row_len: 64, head: 2 }),
            Rule::Rows(Rows {
                row_bytes: 32,
                runs: [(3, Some(1)), (1, None), (200, Some(0)), (1, Some(70_000))]
                    .map(|(rows, from)| Run { rows, from })
                    .to_vec(),
            }),
            Rule::Scaled(Scaled {
                from: Float::Bf16,
                through: Float::F16,
                to: Grid::E4m3,
                scaling: Scaling::Share,
                row_len: 32,
                block: [3, 16],
                skip: 1,
                scales: vec![0.25, 3.0, 1e-9, f32::INFINITY],
            }),
            Rule::FourBit(FourBit {
                from: Float::Bf16,
                block: 64,
                map: std::array::from_fn(|code| code as f32 / 7.5 - 1.0),
                skip: 300,
            }),
        ]
    }

    /// A rule is the only way back to an object that has nothing else.
    #[test]
    fn rules_come_back_and_no_damage_panics() {
        for rule in rules() {
            let encoded = encode(&[1; 8], Dtype::U8, 0, &rule, &[1; 8], Effort::Push).unwrap();
            assert_eq!(super::rule(&encoded.payload).unwrap(), rule);
            for at in 0..encoded.payload.len() {
                assert!(super::rule(&encoded.payload[..at]).is_err());
                for bit in 0..8 {
                    let mut bad = encoded.payload.clone();
                    bad[at] ^= 1 << bit;
                    let _ = codec::decode(Codec::Derived, &bad, &[&[7; 256], &[9; 64], &[3; 64]], 128);
                }
            }
        }
    }

    /// What a rule nearly gives costs little more than the rule, and comes back.
    #[test]
    fn what_is_left_over_comes_back() {
        let rule = &rules()[0];
        let sources: Vec<Vec<u8>> = [3u32, 5]
            .iter()
            .map(|seed| {
                (0..40_000u32).flat_map(|at| (0x3f00 + (at * seed % 97) as u16).to_le_bytes()).collect()
            })
            .collect();
        let sources: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
        let derived = rule.apply(&sources, sources[0].len()).unwrap();
        let mut bytes = derived.clone();
        (0..bytes.len()).step_by(5000).for_each(|at| bytes[at] ^= 1);
        let encoded = encode(&bytes, Dtype::Bf16, 0, rule, &derived, Effort::Push).unwrap();
        assert!(encoded.payload.len() < 1000, "{}", encoded.payload.len());
        assert_eq!(codec::decode(Codec::Derived, &encoded.payload, &sources, bytes.len()).unwrap(), bytes);
        assert!(codec::decode(Codec::Derived, &encoded.payload, &sources[..1], bytes.len()).is_err());
    }
}
