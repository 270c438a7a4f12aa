//! What happened to the columns of a table.

use arrow_schema::{DataType, Schema};
use serde::Serialize;

/// What happened to a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ColumnChange {
    Added {
        name: String,
        dtype: String,
    },
    Dropped {
        name: String,
        dtype: String,
    },
    /// Another name, the same type and, row by row, the same values.
    Renamed {
        name: String,
        old_name: String,
    },
    Retyped {
        name: String,
        dtype: String,
        old_dtype: String,
    },
    /// It stands elsewhere among those that both have.
    Moved {
        name: String,
    },
}

/// Columns of two tables that are one, by their numbers in the old and the new one.
pub type Pairs = Vec<(usize, usize)>;

/// Columns that have the same name, in the new order.
pub fn by_name(old: &Schema, new: &Schema) -> Pairs {
    let pair = |(at, field): (usize, &arrow_schema::FieldRef)| {
        old.fields().iter().position(|other| other.name() == field.name()).map(|before| (before, at))
    };
    new.fields().iter().enumerate().filter_map(pair).collect()
}

/// Adds pairs of what is left on both sides and `is_same` says is one column.
pub fn add_renamed<E>(
    pairs: &mut Pairs,
    old: &Schema,
    new: &Schema,
    is_same: impl Fn(usize, usize) -> Result<bool, E>,
) -> Result<(), E> {
    for at in 0..new.fields().len() {
        if pairs.iter().any(|(_, new)| *new == at) {
            continue;
        }
        for before in 0..old.fields().len() {
            let is_left = pairs.iter().all(|(old, _)| *old != before);
            let is_alike = is_left && old.field(before).data_type() == new.field(at).data_type();
            if is_alike && is_same(before, at)? {
                pairs.push((before, at));
                break;
            }
        }
    }
    pairs.sort_by_key(|(_, new)| *new);
    Ok(())
}

/// All changes, those of the new table's columns in its order, then what was dropped.
pub fn changes(old: &Schema, new: &Schema, pairs: &Pairs) -> Vec<ColumnChange> {
    let stay = in_place(pairs);
    let mut changes = Vec::new();
    for (at, field) in new.fields().iter().enumerate() {
        let (name, dtype) = (field.name().clone(), shown(field.data_type()));
        let Some((before, _)) = pairs.iter().find(|(_, new)| *new == at) else {
            changes.push(ColumnChange::Added { name, dtype });
            continue;
        };
        let before_field = old.field(*before);
        if before_field.name() != &name {
            changes.push(ColumnChange::Renamed { name: name.clone(), old_name: before_field.name().clone() });
        }
        if before_field.data_type() != field.data_type() {
            let old_dtype = shown(before_field.data_type());
            changes.push(ColumnChange::Retyped { name: name.clone(), dtype, old_dtype });
        }
        if !stay.contains(&at) {
            changes.push(ColumnChange::Moved { name });
        }
    }
    let dropped = old.fields().iter().enumerate().filter(|(at, _)| pairs.iter().all(|(old, _)| old != at));
    changes.extend(dropped.map(|(_, field)| ColumnChange::Dropped {
        name: field.name().clone(),
        dtype: shown(field.data_type()),
    }));
    changes
}

/// New numbers of the columns that are in one order in both tables: the most that can be.
fn in_place(pairs: &Pairs) -> Vec<usize> {
    let from: Vec<u32> = pairs.iter().map(|(old, _)| *old as u32).collect();
    super::pairing::in_order(&from).into_iter().map(|at| pairs[at as usize].1).collect()
}

/// A type as people write it.
pub fn shown(dtype: &DataType) -> String {
    match dtype {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".into(),
        DataType::Boolean => "bool".into(),
        DataType::Float16 => "half".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::List(item) | DataType::LargeList(item) => format!("list<{}>", shown(item.data_type())),
        DataType::FixedSizeList(item, len) => format!("list<{}>[{len}]", shown(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}: {}", field.name(), shown(field.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Dictionary(_, value) => format!("dictionary<{}>", shown(value)),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                arrow_schema::TimeUnit::Second => "s",
                arrow_schema::TimeUnit::Millisecond => "ms",
                arrow_schema::TimeUnit::Microsecond => "us",
                arrow_schema::TimeUnit::Nanosecond => "ns",
            };
            zone.as_ref().map_or(format!("timestamp[{unit}]"), |zone| format!("timestamp[{unit}, {zone}]"))
        }
        other => other.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::Field;

    use super::*;

    fn schema(columns: &[(&str, DataType)]) -> Schema {
        let field = |(name, dtype): &(&str, DataType)| Field::new(*name, dtype.clone(), true);
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    }

    /// Each thing that can happen to a column is told once, and nothing of those that stay.
    #[test]
    fn columns_are_told_apart() {
        use DataType::{Float64, Int32, Int64, Utf8};
        let old = schema(&[("id", Int64), ("a", Utf8), ("b", Int32), ("c", Utf8), ("gone", Utf8)]);
        let new =
            schema(&[("id", Int64), ("c", Utf8), ("a", Utf8), ("b", Float64), ("d", Utf8), ("e", Utf8)]);
        let mut pairs = by_name(&old, &new);
        let is_same = |before, at| Ok::<_, ()>((before, at) == (4, 5));
        add_renamed(&mut pairs, &old, &new, is_same).unwrap();
        let told = changes(&old, &new, &pairs);
        let name = |name: &str| name.to_owned();
        assert_eq!(
            told,
            [
                ColumnChange::Moved { name: name("c") },
                ColumnChange::Retyped { name: name("b"), dtype: name("double"), old_dtype: name("int32") },
                ColumnChange::Added { name: name("d"), dtype: name("string") },
                ColumnChange::Renamed { name: name("e"), old_name: name("gone") },
            ]
        );
    }
}
