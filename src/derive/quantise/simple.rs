//! Blocks of 32 with one scale, and for some a smallest value.

use super::{half, inverse};

/// 4 bits from −8, the scale such that the largest is −8.
pub(super) fn q4_0(values: &[f32], out: &mut Vec<u8>) {
    let scale = farthest(values) / -8.0;
    let by = inverse(scale);
    out.extend(half(scale));
    push_nibbles(&levels(values, 15, |value| value * by + 8.5), out);
}

/// 4 bits from the smallest value to the largest.
pub(super) fn q4_1(values: &[f32], out: &mut Vec<u8>) {
    let (least, most) = span(values);
    let scale = (most - least) / 15.0;
    let by = inverse(scale);
    out.extend(half(scale));
    out.extend(half(least));
    push_nibbles(&levels(values, 15, |value| (value - least) * by + 0.5), out);
}

/// 5 bits from −16, the scale such that the largest is −16; the fifth bits of all stand together.
pub(super) fn q5_0(values: &[f32], out: &mut Vec<u8>) {
    let scale = farthest(values) / -16.0;
    let by = inverse(scale);
    out.extend(half(scale));
    push_five_bits(&levels(values, 31, |value| value * by + 16.5), out);
}

/// 5 bits from the smallest value to the largest.
pub(super) fn q5_1(values: &[f32], out: &mut Vec<u8>) {
    let (least, most) = span(values);
    let scale = (most - least) / 31.0;
    let by = inverse(scale);
    out.extend(half(scale));
    out.extend(half(least));
    push_five_bits(&levels(values, 31, |value| (value - least) * by + 0.5), out);
}

/// 8 bits with sign, the scale such that the largest is ±127.
pub(super) fn q8_0(values: &[f32], out: &mut Vec<u8>) {
    let scale = values.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
    let by = inverse(scale);
    out.extend(half(scale));
    out.extend(values.iter().map(|value| (value * by).round() as i8 as u8));
}

/// The value that is farthest from zero, with its sign; of equal ones the first.
fn farthest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| if value.abs() > most.abs() { *value } else { most })
}

fn span(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::MAX, -f32::MAX), |(least, most), value| {
        (if *value < least { *value } else { least }, if *value > most { *value } else { most })
    })
}

/// Each value on its level, cut off, the highest as it is.
fn levels(values: &[f32], highest: u8, level: impl Fn(f32) -> f32) -> Vec<u8> {
    values.iter().map(|value| (level(*value) as i32).clamp(0, i32::from(highest)) as u8).collect()
}

/// The first half of the block in the low nibbles, the second in the high ones.
fn push_nibbles(levels: &[u8], out: &mut Vec<u8>) {
    let (low, high) = levels.split_at(levels.len() / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| low & 15 | high << 4));
}

fn push_five_bits(levels: &[u8], out: &mut Vec<u8>) {
    let fifth = levels.iter().enumerate().fold(0u32, |bits, (at, level)| bits | u32::from(level >> 4) << at);
    out.extend(fifth.to_le_bytes());
    push_nibbles(levels, out);
}
