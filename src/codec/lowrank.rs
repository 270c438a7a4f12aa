//! The difference of a matrix to its base by its largest terms: lossy, and only for whoever asked for it.
//!
//! A full fine-tune moves all weights, but much of it along few directions. Factors are kept as bf16.
//! Decoding is exact: for each weight products are added to the base one after the other, in f32.
//!
//! Payload (docs/format.md, "Payloads"): dtypes; rank; columns; left factor, low and high bytes; right factor.

use super::lossy::{self, floats, rounded};
use super::payload::{Reader, put_count};
use super::{DecodeError, bytes};
use crate::format::Dtype;
use crate::subspace::{Matrix, Truncated, truncated};

/// Terms that are kept at most: decoding takes as many products a weight, whatever the payload's length.
pub const MAX_RANK: usize = 256;

/// A payload for these differences, rows of `columns`, and what it decodes to; none where `rank` terms take about
/// as much as the matrix.
pub(super) fn encode(
    differences: &[f32],
    columns: usize,
    rank: usize,
    base: &[f32],
    dtype: Dtype,
    base_dtype: Dtype,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let rows = differences.len().checked_div(columns)?;
    if rows * columns != differences.len() || rank == 0 || rank > MAX_RANK || 2 * rank > rows.min(columns) {
        return None;
    }
    let Truncated { strengths, left, right } = truncated(&Matrix { values: differences, columns }, rank);
    let rank = strengths.len();
    // Both get the root of a term's size.
    let root = |term: usize| strengths[term].sqrt();
    let left: Vec<u16> = (0..rows)
        .flat_map(|row| (0..rank).map(move |term| (row, term)))
        .map(|(row, term)| bf16(left[term][row] * root(term)))
        .collect();
    let right: Vec<u16> = right
        .iter()
        .enumerate()
        .flat_map(|(term, row)| {
            let root = root(term);
            row.iter().map(move |value| bf16(value / root))
        })
        .collect();
    let mut payload = vec![dtype as u8 | (base_dtype as u8) << 4];
    put_count(&mut payload, rank);
    put_count(&mut payload, columns);
    put_factor(&mut payload, &left);
    put_factor(&mut payload, &right);
    let decoded = applied(base, &values(&left), &values(&right), (rank, columns), dtype);
    Some((payload, decoded))
}

/// Decodes to `decoded_len` bytes.
pub(super) fn decode(payload: &[u8], base: &[u8], decoded_len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(payload);
    let (dtype, base_dtype, elements) = lossy::checked(reader.byte("dtypes")?, base, decoded_len)?;
    let (rank, columns) = (reader.count("rank")?, reader.count("columns")?);
    let rows = elements.checked_div(columns).unwrap_or(0);
    if rows * columns != elements || rank > MAX_RANK.min(rows).min(columns) {
        return Err(DecodeError::Invalid { what: "rank or columns" });
    }
    let left = factor(&mut reader, rows * rank)?;
    let right = factor(&mut reader, rank * columns)?;
    reader.end()?;
    Ok(applied(&floats(base, base_dtype), &left, &right, (rank, columns), dtype))
}

fn put_factor(out: &mut Vec<u8>, factor: &[u16]) {
    for byte in 0..2 {
        bytes::encode(&factor.iter().map(|value| value.to_le_bytes()[byte]).collect::<Vec<_>>(), out);
    }
}

fn factor(reader: &mut Reader<'_>, len: usize) -> Result<Vec<f32>, DecodeError> {
    let (low, high) = (bytes::decode(reader, len)?, bytes::decode(reader, len)?);
    Ok(low.iter().zip(&high).map(|(low, high)| value(u16::from_le_bytes([*low, *high]))).collect())
}

/// `base + left · right`, row by row.
fn applied(
    base: &[f32],
    left: &[f32],
    right: &[f32],
    (rank, columns): (usize, usize),
    dtype: Dtype,
) -> Vec<u8> {
    let mut weights = base.to_vec();
    for (row, weights) in weights.chunks_mut(columns.max(1)).enumerate() {
        for term in 0..rank {
            let strength = left[row * rank + term];
            let right = &right[term * columns..(term + 1) * columns];
            weights.iter_mut().zip(right).for_each(|(weight, right)| *weight += strength * right);
        }
    }
    rounded(weights.into_iter(), dtype)
}

fn values(factor: &[u16]) -> Vec<f32> {
    factor.iter().map(|bits| value(*bits)).collect()
}

/// The nearest bf16, ties away from zero.
fn bf16(value: f64) -> u16 {
    ((value as f32).to_bits().saturating_add(0x8000) >> 16) as u16
}

fn value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work grows with the rank, which a payload of a few bytes may tell. What is asked for within the bound is made.
    #[test]
    fn ranks_have_a_bound() {
        let (rows, columns, dtype) = (300, 300, Dtype::F32);
        let base = vec![0f32; rows * columns];
        let differences: Vec<f32> =
            (0..rows * columns).map(|at| (at / columns * (at % columns)) as f32).collect();
        let (payload, decoded) = encode(&differences, columns, 140, &base, dtype, dtype).unwrap();
        let raw = vec![0; 4 * base.len()];
        assert_eq!(super::decode(&payload, &raw, raw.len()).unwrap(), decoded);
        assert!(encode(&differences, columns, 151, &base, dtype, dtype).is_none());
        for (rank, is_taken) in [(MAX_RANK, true), (MAX_RANK + 1, false)] {
            let mut payload = vec![dtype as u8 | (dtype as u8) << 4];
            put_count(&mut payload, rank);
            put_count(&mut payload, columns);
            put_factor(&mut payload, &vec![0; rows * rank]);
            put_factor(&mut payload, &vec![0; rank * columns]);
            assert_eq!(super::decode(&payload, &raw, raw.len()).is_ok(), is_taken, "{rank}");
        }
    }
}
