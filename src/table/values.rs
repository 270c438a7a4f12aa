//! Values of one column, one after the other.

use crate::format::Physical;

/// Values that are all of one length, or each of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    Fixed { width: usize, bytes: Vec<u8> },
    Variable { ends: Vec<u32>, bytes: Vec<u8> },
}

/// Largest number of bytes of all values together.
const MAX_BYTES: usize = u32::MAX as usize;

impl Values {
    /// None yet, of that layout. Booleans take a byte each.
    pub fn none(physical: Physical) -> Values {
        let width = match physical {
            Physical::Boolean => 1,
            Physical::Int32 | Physical::Float => 4,
            Physical::Int64 | Physical::Double => 8,
            Physical::Int96 => 12,
            Physical::Fixed(width) => width as usize,
            Physical::Bytes => return Values::Variable { ends: Vec::new(), bytes: Vec::new() },
        };
        Values::Fixed { width, bytes: Vec::new() }
    }

    /// None yet, of the same layout as these.
    pub fn none_like(&self) -> Values {
        match self {
            Values::Fixed { width, .. } => Values::Fixed { width: *width, bytes: Vec::new() },
            Values::Variable { .. } => Values::Variable { ends: Vec::new(), bytes: Vec::new() },
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Values::Fixed { width: 0, .. } => 0,
            Values::Fixed { width, bytes } => bytes.len() / width,
            Values::Variable { ends, .. } => ends.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of their bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Values::Fixed { bytes, .. } | Values::Variable { bytes, .. } => bytes,
        }
    }

    /// The value at that place, which must be there.
    pub fn get(&self, at: usize) -> &[u8] {
        match self {
            Values::Fixed { width, bytes } => &bytes[at * width..(at + 1) * width],
            Values::Variable { ends, bytes } => {
                let start = if at == 0 { 0 } else { ends[at - 1] as usize };
                &bytes[start..ends[at] as usize]
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Appends a value of the right length.
    pub fn push(&mut self, value: &[u8]) {
        match self {
            Values::Fixed { bytes, .. } => bytes.extend_from_slice(value),
            Values::Variable { ends, bytes } => {
                bytes.extend_from_slice(value);
                ends.push(bytes.len() as u32);
            }
        }
    }

    /// Appends a stretch of others of the same layout, which must be there.
    pub fn extend(&mut self, others: &Values, range: std::ops::Range<usize>) {
        match (self, others) {
            (Values::Fixed { bytes, .. }, Values::Fixed { width, bytes: theirs }) => {
                bytes.extend_from_slice(&theirs[range.start * width..range.end * width]);
            }
            (this, others) => range.for_each(|at| this.push(others.get(at))),
        }
    }

    /// Reads `count` values as Parquet's `PLAIN` writes them, and returns what follows.
    pub fn read_plain<'a>(&mut self, is_bits: bool, mut bytes: &'a [u8], count: usize) -> Option<&'a [u8]> {
        match self {
            Values::Fixed { bytes: own, .. } if is_bits => {
                let (bits, rest) = bytes.split_at_checked(count.div_ceil(8))?;
                own.extend((0..count).map(|at| bits[at / 8] >> (at % 8) & 1));
                Some(rest)
            }
            Values::Fixed { width, bytes: own } => {
                let (values, rest) = bytes.split_at_checked(count.checked_mul(*width)?)?;
                own.extend_from_slice(values);
                Some(rest)
            }
            Values::Variable { ends, bytes: own } => {
                // Each has its length before it.
                if count > bytes.len() / 4 || own.len() + bytes.len() > MAX_BYTES {
                    return None;
                }
                ends.reserve(count);
                own.reserve(bytes.len() - count * 4);
                for _ in 0..count {
                    let (len, rest) = bytes.split_first_chunk::<4>()?;
                    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
                    own.extend_from_slice(value);
                    ends.push(own.len() as u32);
                    bytes = rest;
                }
                Some(bytes)
            }
        }
    }

    /// Appends values as Parquet's `PLAIN` writes them.
    pub fn write_plain(&self, is_bits: bool, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
        match self {
            Values::Fixed { bytes, .. } if is_bits => {
                out.extend(
                    bytes[range].chunks(8).map(|bits| {
                        bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | (bit & 1) << at)
                    }),
                );
            }
            Values::Fixed { width, bytes } => {
                out.extend_from_slice(&bytes[range.start * width..range.end * width]);
            }
            Values::Variable { ends, .. } => {
                let place = |at: usize| at.checked_sub(1).map_or(0, |before| ends[before] as usize);
                out.reserve(place(range.end) - place(range.start) + 4 * range.len());
                range.for_each(|at| {
                    let value = self.get(at);
                    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    out.extend_from_slice(value);
                });
            }
        }
    }
}
