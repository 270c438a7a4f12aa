//! Cells as text for people and as JSON for programs.

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::{LineDelimited, WriterBuilder};
use arrow_schema::ArrowError;
use serde_json::{Map, Value};

/// Each cell of a column as text; nothing stands for null.
pub fn texts(column: &dyn Array) -> Result<Vec<Option<String>>, ArrowError> {
    let options = FormatOptions::default().with_null("null");
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let nulls = column.logical_nulls();
    let is_null = |at| nulls.as_ref().is_some_and(|nulls| nulls.is_null(at));
    let text = |at| match is_null(at) {
        true => Ok(None),
        false => formatter.value(at).try_to_string().map(Some),
    };
    (0..column.len()).map(text).collect()
}

/// Each row as an object. What JSON can't hold, as NaN, is null; times are in ISO 8601.
pub fn objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, ArrowError> {
    if batch.num_columns() == 0 {
        return Ok(vec![Map::new(); batch.num_rows()]);
    }
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let text = writer.into_inner();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let object =
        |line| serde_json::from_slice(line).map_err(|error| ArrowError::JsonError(error.to_string()));
    lines.map(object).collect()
}
