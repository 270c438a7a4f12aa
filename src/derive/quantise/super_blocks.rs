//! Blocks of 256 in groups, whose scales are quantised once more: the k-quants.

use super::{half, halved, inverse};

/// Below this a group is zero.
const NOTHING: f32 = 1e-15;

/// 6 bits from −32, in groups of 16 whose scales have 8 bits.
pub(super) fn q6_k(values: &[f32], out: &mut Vec<u8>) {
    let mut levels = [0u8; 256];
    let mut scales = [0f32; 16];
    let mut most = 0f32;
    for (group, scale) in scales.iter_mut().enumerate() {
        let range = group * 16..group * 16 + 16;
        *scale = fit_symmetric(&values[range.clone()], 32, &mut levels[range]);
        if scale.abs() > most.abs() {
            most = *scale;
        }
    }
    if most.abs() < NOTHING {
        return out.extend([0; 210]);
    }
    let by = -128.0 / most;
    let whole = 1.0 / by;
    let scales = scales.map(|scale| nearest(by * scale).min(127) as i8);
    for (group, scale) in scales.iter().enumerate() {
        let step = halved(whole) * f32::from(*scale);
        if step != 0.0 {
            for at in group * 16..group * 16 + 16 {
                levels[at] = (nearest(values[at] / step).clamp(-32, 31) + 32) as u8;
            }
        }
    }
    let halves = levels.as_chunks::<128>().0;
    for half in halves {
        let quarter = |number: usize| &half[number * 32..number * 32 + 32];
        let low = |a: usize, b: usize| {
            quarter(a).iter().zip(quarter(b)).map(|(a, b)| a & 15 | b << 4).collect::<Vec<u8>>()
        };
        out.extend(low(0, 2));
        out.extend(low(1, 3));
    }
    for half in halves {
        let top = |at: usize| (0..4).fold(0, |bits, part| bits | (half[part * 32 + at] >> 4) << (2 * part));
        out.extend((0..32).map(top));
    }
    out.extend(scales.map(|scale| scale as u8));
    out.extend(half(whole));
}

/// 4 bits above a smallest value, in groups of 32 whose scales and smallest values have 6 bits.
pub(super) fn q4_k(values: &[f32], out: &mut Vec<u8>) {
    let levels = grouped(values, &FOUR_BITS, out);
    for pair in levels.as_chunks::<64>().0 {
        out.extend((0..32).map(|at| pair[at] | pair[at + 32] << 4));
    }
}

/// 5 bits above a smallest value; the fifth bits of all groups stand first.
pub(super) fn q5_k(values: &[f32], out: &mut Vec<u8>) {
    let levels = grouped(values, &FIVE_BITS, out);
    let fifth = |at: usize| (0..8).fold(0, |bits, group| bits | (levels[group * 32 + at] >> 4) << group);
    out.extend((0..32).map(fifth));
    for pair in levels.as_chunks::<64>().0 {
        out.extend((0..32).map(|at| pair[at] & 15 | pair[at + 32] << 4));
    }
}

/// How the scale of a group is looked for.
struct Search {
    /// Highest level.
    highest: u8,
    /// Scales are tried from this far, in this step, this often.
    from: f32,
    step: f32,
    times: u8,
}

const FOUR_BITS: Search = Search { highest: 15, from: -1.0, step: 0.1, times: 20 };
const FIVE_BITS: Search = Search { highest: 31, from: -0.5, step: 0.1, times: 15 };

/// Appends the scales of a block with smallest values, and returns the levels.
fn grouped(values: &[f32], search: &Search, out: &mut Vec<u8>) -> [u8; 256] {
    let mut levels = [0u8; 256];
    let (mut scales, mut lows) = ([0f32; 8], [0f32; 8]);
    let (mut most_scale, mut most_low) = (0f32, 0f32);
    for group in 0..8 {
        let range = group * 32..group * 32 + 32;
        let group_values = &values[range.clone()];
        let squares = group_values.iter().fold(0f32, |sum, value| sum + value * value);
        let mean = (squares / 32.0).sqrt();
        let weights: [f32; 32] = std::array::from_fn(|at| mean + group_values[at].abs());
        (scales[group], lows[group]) = fit_above(group_values, &weights, search, &mut levels[range]);
        // `max` may take either zero, as the processor likes.
        most_scale = if scales[group] > most_scale { scales[group] } else { most_scale };
        most_low = if lows[group] > most_low { lows[group] } else { most_low };
    }
    let by = |most: f32| if most > 0.0 { 63.0 / most } else { 0.0 };
    let six_bits = |value: f32, by: f32| nearest(by * value).min(63) as u8;
    let scales = scales.map(|scale| six_bits(scale, by(most_scale)));
    let lows = lows.map(|low| six_bits(low, by(most_low)));
    let (scale, low) = (most_scale / 63.0, most_low / 63.0);
    for group in 0..8 {
        let step = halved(scale) * f32::from(scales[group]);
        if step == 0.0 {
            continue;
        }
        let least = halved(low) * f32::from(lows[group]);
        for at in group * 32..group * 32 + 32 {
            let level = nearest((values[at] + least) / step);
            levels[at] = level.clamp(0, i32::from(search.highest)) as u8;
        }
    }
    out.extend(half(scale));
    out.extend(half(low));
    out.extend(packed(&scales, &lows));
    levels
}

/// Sixteen numbers of 6 bits in 12 bytes: those of the last four groups lend their top bits to the first.
fn packed(scales: &[u8; 8], lows: &[u8; 8]) -> [u8; 12] {
    let mut out = [0; 12];
    for group in 0..4 {
        out[group] = scales[group] | scales[group + 4] >> 4 << 6;
        out[group + 4] = lows[group] | lows[group + 4] >> 4 << 6;
        out[group + 8] = scales[group + 4] & 15 | (lows[group + 4] & 15) << 4;
    }
    out
}

/// The scale of levels around zero with the least squared error, weighted by the squares of the values.
fn fit_symmetric(values: &[f32], highest: i32, levels: &mut [u8]) -> f32 {
    let most = values.iter().fold(0f32, |most, value| if value.abs() > most.abs() { *value } else { most });
    if most.abs() < NOTHING {
        levels.fill(0);
        return 0.0;
    }
    let level = |value: f32, by: f32| nearest(by * value).clamp(-highest, highest - 1);
    let sums = |by: f32| {
        values.iter().fold((0f32, 0f32), |(with_value, with_self), value| {
            let (level, weight) = (level(*value, by) as f32, value * value);
            (with_value + weight * value * level, with_self + weight * level * level)
        })
    };
    let mut write = |by: f32| {
        levels.iter_mut().zip(values).for_each(|(out, value)| *out = (level(*value, by) + highest) as u8)
    };
    let by = -(highest as f32) / most;
    let (with_value, with_self) = sums(by);
    let mut scale = if with_self != 0.0 { with_value / with_self } else { 0.0 };
    let mut best = scale * with_value;
    write(by);
    for step in (-9..=9).filter(|step| *step != 0) {
        let by = -(highest as f32 + 0.1 * step as f32) / most;
        let (with_value, with_self) = sums(by);
        if with_self > 0.0 && with_value * with_value > best * with_self {
            write(by);
            scale = with_value / with_self;
            best = scale * with_value;
        }
    }
    scale
}

/// Scale and depth below zero of levels from a smallest value, with the least weighted squared error.
fn fit_above(values: &[f32], weights: &[f32], search: &Search, levels: &mut [u8]) -> (f32, f32) {
    let highest = i32::from(search.highest);
    let (mut least, mut most) = (values[0], values[0]);
    let (mut sum_weights, mut sum_values) = (weights[0], weights[0] * values[0]);
    for (value, weight) in values.iter().zip(weights).skip(1) {
        least = if *value < least { *value } else { least };
        most = if *value > most { *value } else { most };
        sum_weights += weight;
        sum_values += weight * value;
    }
    least = if least > 0.0 { 0.0 } else { least };
    if most == least {
        levels.fill(0);
        return (0.0, -least);
    }
    let level = |value: f32, by: f32, least: f32| nearest(by * (value - least)).clamp(0, highest);
    let by = highest as f32 / (most - least);
    let mut scale = inverse(by);
    let mut error = 0f32;
    for ((value, weight), out) in values.iter().zip(weights).zip(levels.iter_mut()) {
        *out = level(*value, by, least) as u8;
        let off = scale * f32::from(*out) + least - value;
        error += weight * (off * off);
    }
    for step in 0..=search.times {
        let by = (search.from + search.step * f32::from(step) + highest as f32) / (most - least);
        let (mut linear, mut square, mut cross) = (0f32, 0f32, 0f32);
        for (value, weight) in values.iter().zip(weights) {
            let level = level(*value, by, least) as f32;
            linear += weight * level;
            square += weight * level * level;
            cross += weight * level * value;
        }
        let determinant = sum_weights * square - linear * linear;
        if determinant > 0.0 {
            let mut this_scale = (sum_weights * cross - sum_values * linear) / determinant;
            let mut this_least = (square * sum_values - linear * cross) / determinant;
            if this_least > 0.0 {
                this_least = 0.0;
                this_scale = cross / square;
            }
            let mut this_error = 0f32;
            for (value, weight) in values.iter().zip(weights) {
                let off = this_scale * level(*value, by, least) as f32 + this_least - value;
                this_error += weight * (off * off);
            }
            if this_error < error {
                levels.iter_mut().zip(values).for_each(|(out, value)| *out = level(*value, by, least) as u8);
                error = this_error;
                scale = this_scale;
                least = this_least;
            }
        }
    }
    (scale, -least)
}

/// The nearest integer, halves to even, of what is not large.
fn nearest(value: f32) -> i32 {
    value.round_ties_even() as i32
}
