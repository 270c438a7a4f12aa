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
        Physical::Float => Number::Real(f32::from_le_bytes(value.try_into().ok()?).into()),
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
        (Physical::Float, Number::Real(number)) => out.push(&(number as f32).to_le_bytes()),
        (_, Number::Whole(number)) => out.push(&(number as f64).to_le_bytes()),
        (_, Number::Real(number)) => out.push(&number.to_le_bytes()),
    }
}
