//! FlatBuffers, as far as Arrow's metadata need them: tables with fields by number, strings, vectors.
//!
//! Every offset is a lie until it lies in the bytes. Nothing is followed in circles: who walks a tree bounds its depth.

/// A table somewhere in the bytes of a buffer.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the offsets of its fields are.
    fields: &'a [u8],
}

impl<'a> Table<'a> {
    /// The table that a buffer begins with.
    pub fn root(bytes: &'a [u8]) -> Option<Table<'a>> {
        Table::at(bytes, u32_at(bytes, 0)? as usize)
    }

    fn at(bytes: &'a [u8], at: usize) -> Option<Table<'a>> {
        let back = i64::from(u32_at(bytes, at)? as i32);
        let start = usize::try_from(i64::try_from(at).ok()? - back).ok()?;
        let len = usize::from(u16_at(bytes, start)?);
        let fields = bytes.get(start.checked_add(4)?..start.checked_add(len)?)?;
        Some(Table { bytes, at, fields })
    }

    /// Where a field lies; none where it has its default.
    fn field(&self, number: usize) -> Option<usize> {
        let offset = usize::from(u16_at(self.fields, 2 * number)?);
        (offset > 0).then(|| self.at.checked_add(offset)).flatten()
    }

    pub fn u8(&self, number: usize) -> Option<u8> {
        self.bytes.get(self.field(number)?).copied()
    }

    pub fn i16(&self, number: usize) -> Option<i16> {
        u16_at(self.bytes, self.field(number)?).map(|value| value as i16)
    }

    pub fn i32(&self, number: usize) -> Option<i32> {
        u32_at(self.bytes, self.field(number)?).map(|value| value as i32)
    }

    pub fn i64(&self, number: usize) -> Option<i64> {
        i64_at(self.bytes, self.field(number)?)
    }

    /// Where what a field refers to lies.
    fn target(&self, number: usize) -> Option<usize> {
        let at = self.field(number)?;
        at.checked_add(u32_at(self.bytes, at)? as usize)
    }

    pub fn table(&self, number: usize) -> Option<Table<'a>> {
        Table::at(self.bytes, self.target(number)?)
    }

    pub fn string(&self, number: usize) -> Option<&'a str> {
        let (bytes, _) = self.vector(number, 1)?;
        std::str::from_utf8(bytes).ok()
    }

    /// The elements of a vector, each of `width` bytes, and where they lie.
    fn vector(&self, number: usize, width: usize) -> Option<(&'a [u8], usize)> {
        let at = self.target(number)?;
        let len = (u32_at(self.bytes, at)? as usize).checked_mul(width)?;
        let start = at.checked_add(4)?;
        Some((self.bytes.get(start..start.checked_add(len)?)?, start))
    }

    /// A vector of tables, one after the other: there may be more than whoever asks has room for. None for one that is
    /// no table.
    pub fn tables(&self, number: usize) -> Option<impl Iterator<Item = Option<Table<'a>>> + use<'a>> {
        let (offsets, start) = self.vector(number, 4)?;
        let bytes = self.bytes;
        let table = move |(at, offset): (usize, &[u8])| {
            let at = start + 4 * at;
            Table::at(bytes, at.checked_add(u32_at(offset, 0)? as usize)?)
        };
        Some(offsets.chunks_exact(4).enumerate().map(table))
    }

    /// A vector of structs of so many numbers.
    pub fn structs<const N: usize>(&self, number: usize) -> Option<Vec<[i64; N]>> {
        let (bytes, _) = self.vector(number, 8 * N)?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let (structs, _) = numbers.as_chunks::<N>();
        Some(structs.iter().map(|numbers| numbers.map(i64::from_le_bytes)).collect())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk().map(|bytes| i64::from_le_bytes(*bytes))
}
