//! Blocks of each type, dequantised by hand, and weights that never were quantised.

use super::*;
use crate::derive::Kind;

/// Bell-shaped numbers, the same every time.
fn weights(count: usize) -> Vec<f32> {
    let mut state = 7u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| (0..6).map(|_| uniform() - 0.5).sum::<f32>() * 0.03).collect()
}

fn half(bytes: &[u8]) -> f32 {
    Float::F16.values(bytes)[0]
}

/// Blocks of the simple types as numbers again, as anyone who dequantises computes them.
fn dequantised(kind: Kind, values: &[f32]) -> Vec<f32> {
    let mut packed = Vec::new();
    kind.quantise(values, &mut packed);
    let blocks = packed.chunks_exact(kind.packed());
    let nibble =
        |bytes: &[u8], at: usize| i32::from(if at < 16 { bytes[at] & 15 } else { bytes[at - 16] >> 4 });
    let fifth = |bytes: &[u8], at: usize| i32::from(bytes[at / 8] >> (at % 8) & 1) << 4;
    let of = |block: &[u8], at: usize| {
        let scale = half(&block[..2]);
        match kind {
            Kind::Q4_0 => scale * (nibble(&block[2..], at) - 8) as f32,
            Kind::Q4_1 => scale * nibble(&block[4..], at) as f32 + half(&block[2..4]),
            Kind::Q5_0 => scale * (nibble(&block[6..], at) + fifth(&block[2..6], at) - 16) as f32,
            Kind::Q5_1 => {
                scale * (nibble(&block[8..], at) + fifth(&block[4..8], at)) as f32 + half(&block[2..4])
            }
            Kind::Q8_0 => scale * f32::from(block[2 + at] as i8),
            _ => unreachable!("only the simple types"),
        }
    };
    blocks.flat_map(|block| (0..32).map(move |at| of(block, at)).collect::<Vec<_>>()).collect()
}

/// Blocks of the K types as numbers again.
fn dequantised_k(kind: Kind, values: &[f32]) -> Vec<f32> {
    let mut packed = Vec::new();
    kind.quantise(values, &mut packed);
    packed
        .chunks_exact(kind.packed())
        .flat_map(|block| (0..256).map(move |at| of_k(kind, block, at)))
        .collect()
}

fn of_k(kind: Kind, block: &[u8], at: usize) -> f32 {
    let (part, within) = (at / 32, at % 32);
    if kind == Kind::Q6K {
        let (side, part) = (at / 128, at % 128 / 32);
        let low = block[side * 64 + part % 2 * 32 + within] >> (part / 2 * 4) & 15;
        let high = block[128 + side * 32 + within] >> (2 * part) & 3;
        let scale = f32::from(block[192 + at / 16] as i8);
        return half(&block[208..210]) * scale * (f32::from(low | high << 4) - 32.0);
    }
    let packed = &block[4..16];
    let (scale, offset) = match part {
        0..4 => (packed[part] & 63, packed[part + 4] & 63),
        _ => (
            packed[part + 4] & 15 | packed[part - 4] >> 6 << 4,
            packed[part + 4] >> 4 | packed[part] >> 6 << 4,
        ),
    };
    let (low, high) = match kind {
        Kind::Q4K => (block[16 + part / 2 * 32 + within], 0),
        _ => (block[48 + part / 2 * 32 + within], block[16 + within] >> part & 1),
    };
    let place = f32::from((low >> (part % 2 * 4) & 15) | high << 4);
    half(&block[..2]) * f32::from(scale) * place - half(&block[2..4]) * f32::from(offset)
}

/// Blocks of 16 on a few steps each, as the coarse K types have them.
fn stepped(values: &[f32], steps: f32, offset: f32) -> Vec<f32> {
    let on_steps = |(at, block): (usize, &[f32])| {
        let extreme = block.iter().fold(0f32, |most, value| most.max(value.abs()));
        let step = extreme / steps * (0.9 + 0.01 * (at % 13) as f32);
        let shift = offset * step * (1.0 + 0.1 * (at % 7) as f32);
        let place = |value: &f32| (value / step).round().clamp(-steps, steps - 1.0);
        block.iter().map(|value| place(value) * step - shift).collect::<Vec<_>>()
    };
    values.chunks_exact(16).enumerate().flat_map(on_steps).collect()
}

/// A model that was dequantised must be called by the type that it came from, in whatever type it was saved.
#[test]
fn dequantised_weights_are_recognised() {
    let values = weights(64 * 256);
    let kinds = [
        (Kind::Q4_0, Grid::Q4_0),
        (Kind::Q4_1, Grid::Q4_1),
        (Kind::Q5_0, Grid::Q5_0),
        (Kind::Q5_1, Grid::Q5_1),
        (Kind::Q8_0, Grid::Q8_0),
    ];
    for (kind, grid) in kinds {
        for stored in [Float::F32, Float::F16, Float::Bf16] {
            let values: Vec<f32> =
                dequantised(kind, &values).into_iter().map(|value| stored.round(value)).collect();
            assert_eq!(grid_of(&values, 256, stored), Some(grid), "{kind:?} as {stored:?}");
        }
    }
    let fine = [(Kind::Q4K, Grid::Q4K), (Kind::Q5K, Grid::Q5K), (Kind::Q6K, Grid::Q6K)];
    let fine = fine.map(|(kind, grid)| (dequantised_k(kind, &values), grid));
    let coarse = [(stepped(&values, 2.0, 0.4), Grid::Q2K), (stepped(&values, 4.0, 0.0), Grid::Q3K)];
    for (values, grid) in fine.into_iter().chain(coarse) {
        for stored in [Float::F32, Float::F16, Float::Bf16] {
            let values: Vec<f32> = values.iter().map(|value| stored.round(*value)).collect();
            assert_eq!(grid_of(&values, 256, stored), Some(grid), "{grid:?} as {stored:?}");
        }
    }
}

/// A false alarm would talk people out of a comparison that is fine.
#[test]
fn weights_as_they_were_trained_lie_on_no_grid() {
    let values = weights(64 * 256);
    for stored in [Float::F32, Float::F16, Float::Bf16] {
        let rounded: Vec<f32> = values.iter().map(|value| stored.round(*value)).collect();
        assert_eq!(grid_of(&rounded, 256, stored), None, "{stored:?}");
        assert_eq!(grid_of(&vec![0.5; 4096], 256, stored), None, "all the same");
        assert_eq!(grid_of(&[f32::NAN; 4096], 256, stored), None);
        assert_eq!(grid_of(&rounded[..64], 0, stored), None);
        assert_eq!(grid_of(&[], 256, stored), None);
    }
}

/// Sixteen values at uneven distances are four bits as well.
#[test]
fn uneven_values_are_recognised() {
    let table =
        [-1.0, -0.7, -0.53, -0.39, -0.28, -0.18, -0.09, 0.0, 0.08, 0.16, 0.25, 0.34, 0.44, 0.56, 0.72, 1.0];
    let nearest = |value: f32| {
        table.into_iter().min_by(|a: &f32, b| (a - value).abs().total_cmp(&(b - value).abs())).unwrap()
    };
    let values: Vec<f32> = weights(64 * 256).iter().map(|value| 0.037 * nearest(value / 0.05)).collect();
    assert_eq!(grid_of(&values, 256, Float::F32), Some(Grid::Uneven));
}
