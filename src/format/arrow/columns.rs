//! The schema: which buffers the batches of a table have, in which order, and what they hold.

use std::collections::HashMap;

use super::flat::Table;
use crate::format::Dtype;

const MAX_COLUMNS: usize = 1 << 16;
const MAX_DEPTH: usize = 32;
const MAX_PATH_BYTES: usize = 2048;
/// Bytes of all paths together.
const MAX_PATHS_BYTES: usize = 16 << 20;

/// A buffer of each batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Buffer {
    /// The column's path, the names in it joined by dots, and what the buffer is for, behind a slash, unless it is the values.
    pub name: String,
    pub dtype: Dtype,
}

/// As it is, and as it is when it is packed.
type Both = (Buffer, Buffer);

/// The buffers of a batch, and those of each dictionary.
#[derive(Default)]
pub(super) struct Columns {
    batch: Vec<Both>,
    dictionaries: HashMap<i64, Vec<Both>>,
    columns: usize,
    paths_bytes: usize,
}

/// What follows the views of strings, as many as each batch says.
const VARIADIC: &str = "/strings";

impl Columns {
    /// Of a schema; none for one that is no such table, or of the other byte order.
    pub fn of(schema: Table<'_>) -> Option<Columns> {
        if schema.i16(0).unwrap_or(0) != 0 {
            return None;
        }
        let mut columns = Columns::default();
        let mut batch = Vec::new();
        for field in schema.tables(1)? {
            columns.add(field?, "", 0, &mut batch)?;
        }
        columns.batch = batch;
        Some(columns)
    }

    pub fn of_batch(&self) -> &[Both] {
        &self.batch
    }

    pub fn of_dictionary(&self, id: i64) -> Option<&[Both]> {
        self.dictionaries.get(&id).map(Vec::as_slice)
    }

    /// Adds the buffers of a field and of those in it.
    fn add(&mut self, field: Table<'_>, above: &str, depth: usize, out: &mut Vec<Both>) -> Option<()> {
        let name = field.string(0).unwrap_or_default();
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
        self.columns += 1;
        self.paths_bytes += path.len();
        let fits = self.columns <= MAX_COLUMNS && self.paths_bytes <= MAX_PATHS_BYTES;
        if !fits || depth > MAX_DEPTH || path.len() > MAX_PATH_BYTES {
            return None;
        }
        match field.table(4) {
            Some(dictionary) => {
                let mut values = Vec::new();
                self.add_values(field, &format!("{path}/dictionary"), depth, &mut values)?;
                self.dictionaries.insert(dictionary.i64(0).unwrap_or(0), values);
                let index = dictionary.table(1).map_or(Dtype::I32, integer);
                push(out, &path, "/validity", Dtype::Bytes);
                push(out, &path, "", index);
            }
            None => self.add_values(field, &path, depth, out)?,
        }
        Some(())
    }

    fn add_values(&mut self, field: Table<'_>, path: &str, depth: usize, out: &mut Vec<Both>) -> Option<()> {
        let kind = field.table(3);
        let number = |number: usize, default: i32| kind.and_then(|kind| kind.i32(number)).unwrap_or(default);
        let short = |default: i16| kind.and_then(|kind| kind.i16(0)).unwrap_or(default);
        let tag = field.u8(2)?;
        // Neither a column of nothing, nor one of runs, nor a union has a buffer for what is missing.
        if !matches!(tag, 1 | 14 | 22) {
            push(out, path, "/validity", Dtype::Bytes);
        }
        let mut own = |what, dtype| push(out, path, what, dtype);
        match tag {
            // Null, struct, list of one length, runs.
            1 | 13 | 16 | 22 => {}
            2 => own("", kind.map_or(Dtype::I32, integer)),
            3 => own("", [Dtype::F16, Dtype::F32, Dtype::F64].get(short(0) as usize).copied()?),
            // Bytes and strings, short and long.
            4 | 5 | 19 | 20 => {
                own("/offsets", if tag >= 19 { Dtype::I64 } else { Dtype::I32 });
                own("", Dtype::Bytes);
            }
            // Bits, decimals, bytes of one length.
            6 | 7 | 15 => own("", Dtype::Bytes),
            8 => own("", if short(1) == 0 { Dtype::I32 } else { Dtype::I64 }),
            9 => own("", if number(1, 32) == 32 { Dtype::I32 } else { Dtype::I64 }),
            10 | 18 => own("", Dtype::I64),
            11 => own("", if short(0) == 0 { Dtype::I32 } else { Dtype::Bytes }),
            // Lists and maps.
            12 | 17 => own("/offsets", Dtype::I32),
            21 => own("/offsets", Dtype::I64),
            14 => {
                own("/types", Dtype::I8);
                if short(0) == 1 {
                    own("/offsets", Dtype::I32);
                }
            }
            23 | 24 => {
                own("", Dtype::Bytes);
                own(VARIADIC, Dtype::Bytes);
            }
            25 | 26 => {
                let dtype = if tag == 26 { Dtype::I64 } else { Dtype::I32 };
                own("/offsets", dtype);
                own("/sizes", dtype);
            }
            _ => return None,
        }
        for child in field.tables(5).into_iter().flatten() {
            self.add(child?, path, depth + 1, out)?;
        }
        Some(())
    }
}

fn push(out: &mut Vec<Both>, path: &str, what: &str, dtype: Dtype) {
    let name = format!("{path}{what}");
    out.push((Buffer { name: name.clone(), dtype }, Buffer { name, dtype: Dtype::Bytes }));
}

fn integer(kind: Table<'_>) -> Dtype {
    let is_signed = kind.u8(1).unwrap_or(0) != 0;
    match (kind.i32(0).unwrap_or(0), is_signed) {
        (8, false) => Dtype::U8,
        (8, true) => Dtype::I8,
        (16, false) => Dtype::U16,
        (16, true) => Dtype::I16,
        (32, false) => Dtype::U32,
        (32, true) => Dtype::I32,
        (64, false) => Dtype::U64,
        (64, true) => Dtype::I64,
        _ => Dtype::Bytes,
    }
}

/// The buffers of a batch that has `places` of them, with those that each of its views of strings says; none where
/// there are more or fewer.
pub(super) fn with_variadic<'a>(named: &'a [Both], variadic: &[i64], places: usize) -> Option<Vec<&'a Both>> {
    let (mut all, mut counts) = (Vec::new(), variadic.iter());
    for both in named {
        let times = match both.0.name.ends_with(VARIADIC) {
            true => usize::try_from(*counts.next()?).ok()?,
            false => 1,
        };
        if times > places - all.len() {
            return None;
        }
        all.extend(std::iter::repeat_n(both, times));
    }
    (all.len() == places).then_some(all)
}
