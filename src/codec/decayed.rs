//! Rows that training only decayed, such as those of tokens that no batch had.
//!
//! AdamW (Loshchilov and Hutter 2019) multiplies every weight by 1 − rate · decay in each step, rounded to f32. Where
//! the gradient is zero nothing else happens, so that all weights of one exponent and mantissa lose as many units in
//! the last place: how many is nearly a function of the mantissa, whatever the schedule was. The function is learned
//! from the rows, kept at `NODES` places with straight lines between, and taken off the base; what is left is a
//! difference as any other (see `ulp`), which is zero for most weights of those rows.
//!
//! Payload (docs/format.md, "Payloads"): row length; which rows; the losses; the differences.

use super::lanes::{self, Lanes, Task};
use super::payload::{Reader, put_count};
use super::{Base, Codec, DecodeError, Encoded, bytes, ulp};
use crate::format::Dtype;

const WIDTH: usize = 4;
const MANTISSA_BITS: u32 = 23;
const MANTISSA: u32 = (1 << MANTISSA_BITS) - 1;
const SIGN: u32 = 1 << 31;
/// What is smaller has no leading one, or loses less than a unit; infinities and NaN lose nothing.
const EXPONENTS: std::ops::Range<u32> = 1..255;
/// Mantissas between two nodes.
const STRETCH_BITS: u32 = 13;
const STRETCH: u32 = 1 << STRETCH_BITS;
/// Places at which the loss is told, the end of the last stretch included.
const NODES: usize = (1 << (MANTISSA_BITS - STRETCH_BITS)) + 1;
/// The losses that a node is the median of, at most.
const SAMPLES: usize = 31;
/// Losses of a row, as shares of the weights, lie within this factor: they are rounded in each step.
const MOST_UNEVEN: f64 = 2.5;
/// Rows decayed together if what they lose is this near to what most lose, as a share of it.
const NEAR: f64 = 0.25;
/// Fewer rows than one in this many are not worth a codec of their own.
const MIN_SHARE: usize = 64;
/// Shorter rows may lose by chance.
const MIN_ROW_LEN: usize = 16;

/// A delta to `base` if some rows of it only decayed.
pub(super) fn encode(target: &[u8], dtype: Dtype, row_len: u64, base: Base<'_>) -> Option<Encoded> {
    if dtype != Dtype::F32 || base.dtype != Dtype::F32 {
        return None;
    }
    let decay = Decay::fit(target, base.bytes, usize::try_from(row_len).ok()?)?;
    let base = decay.of(base.bytes);
    let delta = ulp::encode(target, dtype, row_len, Base { bytes: &base, dtype }, None, None)?;
    let mut payload = Vec::new();
    decay.put(&mut payload);
    payload.extend_from_slice(&delta.payload);
    Some(Encoded { codec: Codec::Decayed, payload })
}

/// Decodes to `decoded_len` bytes.
pub(super) fn decode(payload: &[u8], base: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let decay = Decay::read(&mut reader, base)?;
    let delta = reader.take(reader.remaining(), "differences")?;
    ulp::decode(delta, &decay.of(base), ulp::Beside::Nothing, decoded_len)
}

/// Which rows decayed, and how much.
struct Decay {
    row_len: usize,
    /// A bit a row of the base, the lowest first.
    rows: Vec<u8>,
    /// What a weight loses at each node, in units of the last place.
    losses: Vec<u32>,
}

impl Decay {
    /// What most of the rows that lose at all have in common.
    fn fit(target: &[u8], base: &[u8], row_len: usize) -> Option<Decay> {
        if !is_row_of(base, row_len) {
            return None;
        }
        let pairs = || rows(base, row_len).zip(rows(target, row_len));
        let paces: Vec<Option<f64>> = pairs().map(|(base, target)| pace(base, target)).collect();
        let mut known: Vec<f64> = paces.iter().flatten().copied().collect();
        if known.is_empty() || known.len() * MIN_SHARE < paces.len() {
            return None;
        }
        let middle = known.len() / 2;
        let median = *known.select_nth_unstable_by(middle, f64::total_cmp).1;
        let decayed = |pace: &Option<f64>| pace.is_some_and(|pace| (pace / median - 1.0).abs() < NEAR);
        let mut bits = vec![0; row_count(base, row_len).div_ceil(8)];
        let mut samples = vec![Vec::new(); NODES];
        for (row, ((base, target), pace)) in pairs().zip(&paces).enumerate() {
            if !decayed(pace) {
                continue;
            }
            bits[row / 8] |= 1 << (row % 8);
            for (base, target) in words(base).zip(words(target)).filter(|(base, _)| loses(*base)) {
                let node = &mut samples[(((base & MANTISSA) + STRETCH / 2) >> STRETCH_BITS) as usize];
                if node.len() < SAMPLES {
                    node.push(base - target);
                }
            }
        }
        let mut last = 0;
        let losses = samples.iter_mut().map(|samples| {
            let middle = samples.len() / 2;
            if !samples.is_empty() {
                last = *samples.select_nth_unstable(middle).1;
            }
            last
        });
        Some(Decay { row_len, losses: losses.collect(), rows: bits })
    }

    /// The base after its decay.
    fn of(&self, base: &[u8]) -> Vec<u8> {
        let mut weights = base.to_vec();
        lanes::run(Losing { decay: self, losses: Losses::new(&self.losses), weights: &mut weights });
        weights
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.row_len);
        bytes::encode(&self.rows, out);
        let before = [0].iter().chain(&self.losses);
        let steps: Vec<u32> =
            self.losses.iter().zip(before).map(|(loss, before)| zigzag(loss.wrapping_sub(*before))).collect();
        for byte in 0..WIDTH {
            bytes::encode(&steps.iter().map(|step| step.to_le_bytes()[byte]).collect::<Vec<_>>(), out);
        }
    }

    fn read(reader: &mut Reader<'_>, base: &[u8]) -> Result<Decay, DecodeError> {
        let row_len = reader.count("row length")?;
        if !is_row_of(base, row_len) {
            return Err(DecodeError::Invalid { what: "row length" });
        }
        let rows = bytes::decode(reader, row_count(base, row_len).div_ceil(8))?;
        let mut planes = Vec::with_capacity(WIDTH);
        for _ in 0..WIDTH {
            planes.push(bytes::decode(reader, NODES)?);
        }
        let mut last = 0u32;
        let losses = (0..NODES).map(|node| {
            let step = u32::from_le_bytes(std::array::from_fn(|byte| planes[byte][node]));
            last = last.wrapping_add(unzigzag(step));
            last
        });
        Ok(Decay { row_len, losses: losses.collect(), rows })
    }
}

/// Weights that are about to lose what their rows lose.
struct Losing<'a> {
    decay: &'a Decay,
    losses: Losses,
    weights: &'a mut [u8],
}

impl Task for Losing<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Decay { row_len, rows, .. } = self.decay;
        for (row, weights) in self.weights.chunks_exact_mut(row_len * WIDTH).enumerate() {
            if rows[row / 8] >> (row % 8) & 1 == 0 {
                continue;
            }
            for weight in weights.as_chunks_mut::<WIDTH>().0 {
                let bits = u32::from_le_bytes(*weight);
                *weight = (bits - self.losses.of(bits)).to_le_bytes();
            }
        }
    }
}

/// What weights lose, by their mantissas: at the start of each stretch, and by how much more at its end.
struct Losses {
    starts: [u32; NODES - 1],
    steps: [i32; NODES - 1],
}

impl Losses {
    fn new(nodes: &[u32]) -> Self {
        let starts = std::array::from_fn(|node| nodes[node]);
        let steps = std::array::from_fn(|node| nodes[node + 1].wrapping_sub(nodes[node]) as i32);
        Losses { starts, steps }
    }

    /// What a weight with these bits loses, never more than it has.
    #[inline(always)]
    fn of(&self, bits: u32) -> u32 {
        let stretch = ((bits & MANTISSA) >> STRETCH_BITS) as usize;
        let on = (bits & (STRETCH - 1)) as i32;
        // Wraps only where a loss differs so much from the next that it predicts nothing.
        let more = self.steps[stretch].wrapping_mul(on).wrapping_add(STRETCH as i32 / 2) >> STRETCH_BITS;
        let loss = self.starts[stretch].wrapping_add(more as u32).min(bits & !SIGN);
        if loses(bits) { loss } else { 0 }
    }
}

/// How fast a row decays, in units of the last place of a weight of mantissa one, if each of its weights lost about
/// that share of itself.
fn pace(base: &[u8], target: &[u8]) -> Option<f64> {
    let (mut least, mut most, mut sum, mut count) = (f64::INFINITY, 0f64, 0.0, 0);
    for (base, target) in words(base).zip(words(target)) {
        if !loses(base) {
            if base != target {
                return None;
            }
            continue;
        }
        if (base ^ target) & SIGN != 0 || target >= base {
            return None;
        }
        let whole = f64::from((1 << MANTISSA_BITS) | (base & MANTISSA)) / f64::from(1 << MANTISSA_BITS);
        let pace = f64::from(base - target) / whole;
        (least, most, sum, count) = (least.min(pace), most.max(pace), sum + pace, count + 1);
        if most > MOST_UNEVEN * least {
            return None;
        }
    }
    (count >= MIN_ROW_LEN).then(|| sum / f64::from(count as u32))
}

/// Whether a number with these bits takes part at all.
fn loses(bits: u32) -> bool {
    EXPONENTS.contains(&((bits & !SIGN) >> MANTISSA_BITS))
}

/// Whether so many weights can be a row of a base.
fn is_row_of(base: &[u8], row_len: usize) -> bool {
    (MIN_ROW_LEN..=base.len() / WIDTH).contains(&row_len)
}

fn rows(bytes: &[u8], row_len: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks_exact(row_len * WIDTH)
}

fn row_count(bytes: &[u8], row_len: usize) -> usize {
    bytes.len() / WIDTH / row_len
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<WIDTH>().0.iter().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Small steps either way as small numbers.
fn zigzag(step: u32) -> u32 {
    (step << 1) ^ ((step as i32) >> 31) as u32
}

fn unzigzag(number: u32) -> u32 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::on_each_kind;

    const ROW: usize = 96;

    /// Rows of weights of many sizes and the same after as many steps of AdamW as `rates` has; each `learned`th row
    /// learned something as well.
    fn trained(row_count: usize, rates: impl Iterator<Item = f32> + Clone, learned: usize) -> [Vec<u8>; 2] {
        let mut state = 88172645463325252u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let (mut base, mut target) = (Vec::new(), Vec::new());
        for row in 0..row_count {
            for column in 0..ROW {
                let mut weight = if column == 7 { 0.0 } else { next() * next() };
                base.extend_from_slice(&weight.to_le_bytes());
                for rate in rates.clone() {
                    weight *= 1.0 - rate * 0.01;
                    if row % learned == 0 {
                        weight -= rate * next();
                    }
                }
                target.extend_from_slice(&weight.to_le_bytes());
            }
        }
        [base, target]
    }

    fn sizes([base, target]: &[Vec<u8>; 2]) -> (usize, usize) {
        let base = Base { bytes: base, dtype: Dtype::F32 };
        let plain = ulp::encode(target, Dtype::F32, ROW as u64, base, None, None).unwrap();
        let encode = || encode(target, Dtype::F32, ROW as u64, base).unwrap();
        let encoded = encode();
        let again = || (encode().payload, decode(&encoded.payload, base.bytes, target.len()).unwrap());
        for (kind, (again, decoded)) in on_each_kind(again) {
            assert_eq!(again, encoded.payload, "{kind:?}");
            assert_eq!(&decoded, target, "{kind:?}");
        }
        (encoded.payload.len(), plain.payload.len())
    }

    /// What decay alone did costs next to nothing, at one rate and at one that falls from step to step.
    #[test]
    fn rows_that_only_decayed_cost_little() {
        let (ours, plain) = sizes(&trained(400, std::iter::repeat_n(2e-5, 100), 20));
        assert!(ours * 4 < plain, "{ours} of {plain}");
        let falling = (0..200).map(|step| 2e-4 * (200 - step) as f32 / 200.0);
        let (ours, plain) = sizes(&trained(400, falling, 20));
        assert!(ours * 2 < plain, "{ours} of {plain}");
    }

    /// Where all rows learned, or nothing has rows or a base of that type, there is no such delta.
    #[test]
    fn other_deltas_are_left_alone() {
        let [base, target] = trained(200, std::iter::repeat_n(2e-5, 10), 1);
        let of = |dtype| Base { bytes: &base, dtype };
        assert!(encode(&target, Dtype::F32, ROW as u64, of(Dtype::F32)).is_none());
        let [base, target] = trained(200, std::iter::repeat_n(2e-5, 10), 50);
        let of = |dtype| Base { bytes: &base, dtype };
        assert!(encode(&target, Dtype::F32, ROW as u64, of(Dtype::F32)).is_some());
        assert!(encode(&target, Dtype::F32, 0, of(Dtype::F32)).is_none());
        assert!(encode(&target, Dtype::F32, ROW as u64, of(Dtype::U32)).is_none());
        assert!(encode(&target, Dtype::U32, ROW as u64, of(Dtype::F32)).is_none());
        assert!(encode(&base, Dtype::F32, ROW as u64, of(Dtype::F32)).is_none());
    }

    /// A base that got rows, or lost some, still tells which of its own decayed.
    #[test]
    fn resized_embeddings_come_back() {
        let [base, target] = trained(300, std::iter::repeat_n(2e-5, 30), 20);
        for rows in [(300, 260), (260, 300)] {
            let (base, target) = (&base[..rows.0 * ROW * WIDTH], &target[..rows.1 * ROW * WIDTH]);
            let encoded =
                encode(target, Dtype::F32, ROW as u64, Base { bytes: base, dtype: Dtype::F32 }).unwrap();
            assert_eq!(decode(&encoded.payload, base, target.len()).unwrap(), target);
        }
    }

    /// Payloads that are nearly right are refused, or decode to something of the length.
    #[test]
    fn no_damage_panics() {
        let [base, target] = trained(100, std::iter::repeat_n(2e-5, 10), 20);
        let payload = encode(&target, Dtype::F32, ROW as u64, Base { bytes: &base, dtype: Dtype::F32 })
            .unwrap()
            .payload;
        for place in 0..payload.len().min(600) {
            for bit in [1, 16, 128] {
                let mut bad = payload.clone();
                bad[place] ^= bit;
                for bad in [&bad[..], &payload[..place]] {
                    if let Ok(decoded) = decode(bad, &base, target.len()) {
                        assert_eq!(decoded.len(), target.len());
                    }
                }
            }
        }
    }
}
