//! Numbers of one layout as numbers of another.

use crate::format::Physical;

use super::cells::{Cells, Items};
use super::values::Values;

/// A number, as it is read.
enum Number {
    Whole(i64),
    Real(f64),
}

/// The cells with all values as numbers of that layout, rounded or wrapped where they don't fit; none where they are
/// no numbers.
pub fn cast(cells: &Cells, to: Physical) -> Option<Cells> {
    can_cast(cells.physical, to).then_some(())?;
    let items = match &cells.items {
        Items::Plain(values) => Items::Plain(cast_values(values, cells.physical, to)),
        Items::Coded { codes, dictionary } => {
            Items::Coded { codes: codes.clone(), dictionary: cast_values(dictionary, cells.physical, to) }
        }
    };
    Some(Cells { physical: to, items, ..cells.clone() })
}

/// Whether there are such numbers.
pub fn can_cast(from: Physical, to: Physical) -> bool {
    let is_number = |of| matches!(of, Physical::Int32 | Physical::Int64 | Physical::Float | Physical::Double);
    from == to || is_number(from) && is_number(to)
}

fn cast_values(values: &Values, from: Physical, to: Physical) -> Values {
    let mut out = Values::none(to);
    values.iter().for_each(|value| match read(value, from) {
        Some(number) if from != to => write(number, to, &mut out),
        _ => out.push(value),
    });
    out
}

fn read(value: &[u8], from: Physical) -> Option<Number> {
    Some(match from {
        Physical::Int32 => Number::Whole(i32::from_le_bytes(value.try_into().ok()?).into()),
        Physical::Int64 => Number::Whole(i64::from_le_bytes(value.try_into().ok()?)),
        Physical::Float => Number::Real(wide(f32::from_le_bytes(value.try_into().ok()?))),
        Physical::Double => Number::Real(f64::from_le_bytes(value.try_into().ok()?)),
        _ => return None,
    })
}

fn write(number: Number, to: Physical, out: &mut Values) {
    match (to, number) {
        (Physical::Int32, Number::Whole(number)) => out.push(&(number as i32).to_le_bytes()),
        (Physical::Int32, Number::Real(number)) => out.push(&(number as i32).to_le_bytes()),
        (Physical::Int64, Number::Whole(number)) => out.push(&number.to_le_bytes()),
        (Physical::Int64, Number::Real(number)) => out.push(&(number as i64).to_le_bytes()),
        (Physical::Float, Number::Whole(number)) => out.push(&(number as f32).to_le_bytes()),
        (Physical::Float, Number::Real(number)) => out.push(&narrow(number).to_le_bytes()),
        (_, Number::Whole(number)) => out.push(&(number as f64).to_le_bytes()),
        (_, Number::Real(number)) => out.push(&number.to_le_bytes()),
    }
}

// What NaN becomes is the processor's to choose, and some forget its payload. Here it keeps its sign and the upper bits of
// its payload, and is quiet, as on x86 and ARM.

fn wide(number: f32) -> f64 {
    const QUIET: u64 = 1 << 51;
    let bits = u64::from(number.to_bits());
    match number.is_nan() {
        true => f64::from_bits((bits >> 31) << 63 | 0x7ff << 52 | QUIET | (bits & 0x7f_ffff) << 29),
        false => f64::from(number),
    }
}

fn narrow(number: f64) -> f32 {
    const QUIET: u32 = 1 << 22;
    let bits = number.to_bits();
    match number.is_nan() {
        true => {
            f32::from_bits((bits >> 63 << 31) as u32 | 0xff << 23 | QUIET | (bits >> 29 & 0x7f_ffff) as u32)
        }
        false => number as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells are decoded with casts of others, on any machine: the bits of NaN are those that x86 gives, with which
    /// stores were written.
    #[test]
    fn a_nan_has_the_same_bits_everywhere() {
        let singles = [
            (0x7f80_0001u32, 0x7ff8_0000_2000_0000u64),
            (0xff80_0001, 0xfff8_0000_2000_0000),
            (0x7fc0_0000, 0x7ff8_0000_0000_0000),
            (0xffd2_3456, 0xfffa_468a_c000_0000),
        ];
        for (single, double) in singles {
            assert_eq!(wide(f32::from_bits(single)).to_bits(), double, "{single:x}");
            assert_eq!(narrow(f64::from_bits(double)).to_bits(), single | 1 << 22, "{single:x}");
        }
        // The lower bits are lost, and what is left is still no infinity.
        assert_eq!(narrow(f64::from_bits(0x7ff0_0000_0000_0001)).to_bits(), 0x7fc0_0000);
        let mut from = Values::none(Physical::Float);
        [1.5f32, f32::INFINITY, f32::from_bits(0x7f80_0001)]
            .iter()
            .for_each(|value| from.push(&value.to_le_bytes()));
        let there = cast_values(&from, Physical::Float, Physical::Double);
        let back = cast_values(&there, Physical::Double, Physical::Float);
        assert_eq!(back.get(0), 1.5f32.to_le_bytes());
        assert_eq!(back.get(1), f32::INFINITY.to_le_bytes());
        assert_eq!(back.get(2), 0x7fc0_0001u32.to_le_bytes());
        #[cfg(target_arch = "x86_64")]
        for (single, double) in singles {
            use std::hint::black_box;
            assert_eq!(f64::from(black_box(f32::from_bits(single))).to_bits(), double);
            assert_eq!((black_box(f64::from_bits(double)) as f32).to_bits(), single | 1 << 22);
        }
    }
}
