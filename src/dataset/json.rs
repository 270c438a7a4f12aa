//! Cells of JSON Lines as they are written, for whoever compares them: 1, 1.0 and "1" are three values, and no number is
//! rounded to one that a column can hold.
//!
//! A cell is a text: numbers, `true`, `false` and `null` as they stand in the file, arrays and objects without spaces and with
//! members in the order of their names, and a string as what it says; in quotes only where it would else be taken for
//! another value. A member that a row lacks is null, and not the value `null`.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Read};
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::members::{Object, items};
use super::text::MOST_LINE_BYTES;

/// Values within values that are followed; more are refused when a table is opened.
const MOST_DEPTH: usize = 128;
/// About so many bytes of lines are in a batch, unless one line has more.
const BATCH_BYTES: usize = 16 << 20;

/// Reads lines of JSON, as cells of the columns of a schema of texts.
pub(super) struct Cells<R> {
    input: R,
    schema: SchemaRef,
    columns: HashMap<String, usize>,
    batch_rows: usize,
    line: u64,
}

impl<R: BufRead> Cells<R> {
    pub fn of(input: R, schema: SchemaRef, batch_rows: usize) -> Cells<R> {
        let columns =
            schema.fields().iter().enumerate().map(|(at, field)| (field.name().clone(), at)).collect();
        Cells { input, schema, columns, batch_rows, line: 0 }
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let mut builders: Vec<_> = self.schema.fields().iter().map(|_| StringBuilder::new()).collect();
        let (mut rows, mut bytes, mut line) = (0, 0, Vec::new());
        while rows < self.batch_rows && bytes < BATCH_BYTES {
            line.clear();
            self.line += 1;
            if (&mut self.input).take(MOST_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let cells = self.row(text);
            let cells = cells.ok_or_else(|| {
                ArrowError::JsonError(format!("line {}: it is no longer an object", self.line))
            })?;
            builders.iter_mut().zip(cells).for_each(|(builder, cell)| builder.append_option(cell));
            rows += 1;
            bytes += line.len();
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map(Some)
    }

    /// The cells of a line; of a name that comes twice, the last.
    fn row(&self, line: &[u8]) -> Option<Vec<Option<String>>> {
        let object = Object::of(line)?;
        let mut found: Vec<Option<&[u8]>> = vec![None; self.columns.len()];
        for (name, value) in object.members() {
            if let Some(at) = self.columns.get(name) {
                found[*at] = Some(value);
            }
        }
        found.into_iter().map(|value| value.map_or(Some(None), |value| cell(value).map(Some))).collect()
    }
}

impl<R: BufRead> Iterator for Cells<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

/// The cell that a value is.
fn cell(value: &[u8]) -> Option<String> {
    if value.first() != Some(&b'"') {
        return canonical(value, 0);
    }
    let text: String = serde_json::from_slice(value).ok()?;
    let is_ambiguous = serde_json::from_str::<IgnoredAny>(&text).is_ok();
    Some(if is_ambiguous { quoted(&text) } else { text })
}

/// A value without what makes no difference: spaces, escapes, the order of members.
fn canonical(value: &[u8], depth: usize) -> Option<String> {
    if depth > MOST_DEPTH {
        return None;
    }
    match value.first()? {
        b'{' => {
            let object = Object::of(value)?;
            let members: BTreeMap<&str, &[u8]> = object.members().collect();
            let member = |(name, value): (&str, &[u8])| {
                Some(format!("{}:{}", quoted(name), canonical(value, depth + 1)?))
            };
            let members: Option<Vec<_>> = members.into_iter().map(member).collect();
            Some(format!("{{{}}}", members?.join(",")))
        }
        b'[' => {
            let items: Option<Vec<_>> =
                items(value)?.into_iter().map(|item| canonical(item, depth + 1)).collect();
            Some(format!("[{}]", items?.join(",")))
        }
        b'"' => Some(quoted(&serde_json::from_slice::<String>(value).ok()?)),
        _ => String::from_utf8(value.to_vec()).ok(),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Values from a row of cells, without those that it lacks. A number that no type of a program holds as it is written is its
/// text.
pub(super) fn values(row: Map<String, Value>) -> Map<String, Value> {
    let value = |cell: Value| {
        let Value::String(text) = cell else { return cell };
        match serde_json::from_str::<Value>(&text) {
            Ok(value @ Value::String(_)) => value,
            Ok(value) => {
                let shown = value.to_string();
                if shown == text { value } else { Value::String(text) }
            }
            Err(_) => Value::String(text),
        }
    };
    let members = row.into_iter().filter(|(_, cell)| !cell.is_null());
    members.map(|(name, cell)| (name, value(cell))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::hash;
    use super::super::table::{Selection, Table};
    use super::*;

    fn cells(values: &[&str]) -> Vec<hash::Hash> {
        let lines: Vec<_> = values.iter().map(|value| format!("{{\"a\":{value}}}\n")).collect();
        let table = Table::open(Arc::new(lines.concat().into_bytes()), "x.jsonl").unwrap();
        let table = table.as_written().unwrap();
        let batches = table.read(&Selection::default()).unwrap();
        batches.flat_map(|batch| hash::cells(batch.unwrap().column(0)).unwrap()).collect()
    }

    /// Values are one where only their spelling differs, and numbers are what is written.
    #[test]
    fn values_are_what_is_written() {
        let numbers = ["9007199254740992", "9007199254740993", "1", "1.0", "1e0", "0.1", "0.10"];
        let texts = [r#""1""#, r#""1.0""#, r#""a""#, r#""\"a\"""#, r#""null""#, r#""""#];
        let others = ["null", "true", r#""true""#];
        let all: Vec<_> = numbers.into_iter().chain(texts).chain(others).collect();
        let found: std::collections::HashSet<_> = cells(&all).into_iter().collect();
        assert_eq!(found.len(), all.len());
        let found = cells(&[r#""\u0041/é""#, r#" "A\/\u00e9" "#]);
        assert_eq!(found[0], found[1]);
        let nested =
            [r#"{"b":[1, "x"],"a":{}}"#, r#"{ "a" : { }, "b" : [1,"\u0078"] }"#, r#"{"a":{},"b":[1.0,"x"]}"#];
        let found = cells(&nested);
        assert_eq!(found[0], found[1]);
        assert_ne!(found[0], found[2]);
    }

    /// Whoever shows a row shows its values, and not what stands for them here.
    #[test]
    fn rows_show_their_values() {
        let lines = r#"{"a":"1","b":{"y":1,"x":"z"},"c":null,"d":18446744073709551615,"e":"\"q\"","f":0.10,"g":"w"}
{"a":[1,2]}
"#;
        let table = Table::open(Arc::new(lines.as_bytes().to_vec()), "x.jsonl");
        let table = table.unwrap().as_written().unwrap();
        let batch = table.read(&Selection::default()).unwrap().next().unwrap().unwrap();
        let rows: Vec<_> = table.objects(&batch).unwrap().into_iter().map(Value::Object).collect();
        let first = serde_json::json!({
            "a": "1", "b": {"x": "z", "y": 1}, "c": null, "d": u64::MAX, "e": "\"q\"", "f": "0.10", "g": "w",
        });
        assert_eq!(rows, [first, serde_json::json!({"a": [1, 2]})]);
    }
}
