//! Writes small files of each format, honest or not.

/// A safetensors file with that header, as it stands.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A line of a safetensors header.
pub fn tensor(name: &str, dtype: &str, shape: &str, start: impl ToString, end: impl ToString) -> String {
    let (start, end) = (start.to_string(), end.to_string());
    let name = serde_json::to_string(name).unwrap();
    format!(r#"{name}:{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

/// A `.npy` file with that dictionary.
pub fn npy(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let len = (dictionary.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &len, dictionary.as_bytes(), data].concat()
}

/// A tar archive with these members.
pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, bytes) in members {
        archive.extend(tar_header(name, &format!("{:011o}", bytes.len()), b'0'));
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.extend([0; 1024]);
    archive
}

/// The block before a member, with a true sum.
pub fn tar_header(name: &str, len: &str, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..124 + len.len()].copy_from_slice(len.as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// A GGUF file, byte for byte.
pub struct Gguf {
    pub version: u32,
    pub bytes: Vec<u8>,
}

impl Gguf {
    pub fn new(version: u32, tensors: u64, values: u64) -> Self {
        let bytes = [b"GGUF".as_slice(), &version.to_le_bytes()].concat();
        Gguf { version, bytes }.length(tensors).length(values)
    }

    pub fn u32(mut self, number: u32) -> Self {
        self.bytes.extend(number.to_le_bytes());
        self
    }

    pub fn u64(mut self, number: u64) -> Self {
        self.bytes.extend(number.to_le_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub fn length(self, number: u64) -> Self {
        if self.version == 1 { self.u32(number as u32) } else { self.u64(number) }
    }

    pub fn string(self, text: &str) -> Self {
        self.length(text.len() as u64).raw(text.as_bytes())
    }

    pub fn alignment(self, alignment: u32) -> Self {
        self.string("general.alignment").u32(4).u32(alignment)
    }

    /// A line of the table; `dimensions` as in the file, innermost first.
    pub fn tensor(self, name: &str, kind: u32, dimensions: &[u64], offset: u64) -> Self {
        let named = self.string(name).u32(dimensions.len() as u32);
        dimensions.iter().fold(named, |file, &len| file.length(len)).u32(kind).u64(offset)
    }

    pub fn pad(mut self, alignment: usize) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
        self
    }
}

/// A zip archive of stored members. The fields that lies are told in are public.
#[derive(Default)]
pub struct Zip {
    pub bytes: Vec<u8>,
    pub directory: Vec<u8>,
    pub entries: u64,
    pub is_zip64: bool,
}

impl Zip {
    /// Adds a member; returns where its data starts.
    pub fn member(&mut self, name: &str, data: &[u8]) -> u64 {
        let local_at = self.bytes.len() as u64;
        // As torch.save does, an extra field that pads the data to 64 bytes.
        let padding = 63 - (self.bytes.len() + 30 + name.len() + 4 + 63) % 64;
        let extra =
            [&0x4246u16.to_le_bytes(), &(padding as u16).to_le_bytes(), vec![b'Z'; padding].as_slice()]
                .concat();
        self.bytes.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        self.bytes.extend((data.len() as u32).to_le_bytes());
        self.bytes.extend((data.len() as u32).to_le_bytes());
        self.bytes.extend((name.len() as u16).to_le_bytes());
        self.bytes.extend((extra.len() as u16).to_le_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(extra);
        let data_at = self.bytes.len() as u64;
        self.bytes.extend(data);
        self.entry(name, data.len() as u64, local_at);
        data_at
    }

    /// Adds a line of the directory.
    pub fn entry(&mut self, name: &str, len: u64, local_at: u64) {
        let small = |number: u64| if self.is_zip64 { u32::MAX } else { number as u32 }.to_le_bytes();
        let extra = match self.is_zip64 {
            true => {
                [[1, 0, 24, 0].as_slice(), &len.to_le_bytes(), &len.to_le_bytes(), &local_at.to_le_bytes()]
                    .concat()
            }
            false => Vec::new(),
        };
        let (packed, full, at) = (small(len), small(len), small(local_at));
        let directory = &mut self.directory;
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend(packed);
        directory.extend(full);
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend((extra.len() as u16).to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(at);
        directory.extend(name.as_bytes());
        directory.extend(extra);
        self.entries += 1;
    }

    /// The archive, its directory where it says.
    pub fn finish(self, comment: &[u8]) -> Vec<u8> {
        let (start, len) = (self.bytes.len() as u64, self.directory.len() as u64);
        self.finish_with(start, len, comment)
    }

    /// The archive, its directory told to lie at `start` with `len` bytes.
    pub fn finish_with(self, start: u64, len: u64, comment: &[u8]) -> Vec<u8> {
        let mut bytes = [self.bytes, self.directory].concat();
        if self.is_zip64 {
            let end64_at = bytes.len() as u64;
            bytes.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x1e\x03\x2d\0\0\0\0\0\0\0\0\0");
            [self.entries, self.entries, len, start].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
            bytes.extend(b"PK\x06\x07\0\0\0\0");
            bytes.extend(end64_at.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
        }
        let entries = (self.entries.min(0xffff) as u16).to_le_bytes();
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([entries, entries].concat());
        bytes.extend((len.min(0xffff_ffff) as u32).to_le_bytes());
        bytes.extend((start.min(0xffff_ffff) as u32).to_le_bytes());
        bytes.extend((comment.len() as u16).to_le_bytes());
        bytes.extend(comment);
        bytes
    }
}

/// A structure of compact Thrift; the numbers of its fields grow.
#[derive(Default)]
pub struct Thrift {
    bytes: Vec<u8>,
    last: i64,
}

impl Thrift {
    /// A field whose value is written by hand.
    pub fn raw(mut self, id: i64, kind: u8, value: &[u8]) -> Self {
        let step = id - self.last;
        self.last = id;
        self.bytes.push((step as u8) << 4 | kind);
        self.bytes.extend(value);
        self
    }

    pub fn int(self, id: i64, number: i64) -> Self {
        self.raw(id, 6, &varint((number << 1 ^ number >> 63) as u64))
    }

    pub fn text(self, id: i64, text: &str) -> Self {
        let value = [varint(text.len() as u64), text.into()].concat();
        self.raw(id, 8, &value)
    }

    pub fn structure(self, id: i64, value: Thrift) -> Self {
        self.raw(id, 12, &value.end())
    }

    /// A list of structures, each as it stands.
    pub fn structures(self, id: i64, elements: &[Vec<u8>]) -> Self {
        let value = [vec![0xfc], varint(elements.len() as u64), elements.concat()].concat();
        self.raw(id, 9, &value)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// Seven bits a byte, the low ones first.
pub fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A Parquet file of one column `x`, each chunk in a group of rows of its own.
pub struct Parquet {
    pub bytes: Vec<u8>,
    pub schema: Vec<Vec<u8>>,
    pub groups: Vec<Vec<u8>>,
}

impl Default for Parquet {
    fn default() -> Self {
        let schema = vec![Parquet::group("schema", 1), Parquet::leaf("x")];
        Parquet { bytes: b"PAR1".to_vec(), schema, groups: Vec::new() }
    }
}

impl Parquet {
    /// Adds a chunk with pages of these bodies.
    pub fn chunk(&mut self, bodies: &[&[u8]]) -> &mut Self {
        let start = self.bytes.len();
        for body in bodies {
            self.bytes.extend(Parquet::page_header(0, body.len() as i64));
            self.bytes.extend(*body);
        }
        self.claim(start as i64, (self.bytes.len() - start) as i64)
    }

    /// Adds a group of rows whose chunk is said to lie there.
    pub fn claim(&mut self, start: i64, len: i64) -> &mut Self {
        self.claims(&[Parquet::column(start, len)])
    }

    /// Adds a group of rows with these columns.
    pub fn claims(&mut self, columns: &[Vec<u8>]) -> &mut Self {
        self.groups.push(Thrift::default().structures(1, columns).int(3, 1).end());
        self
    }

    /// What a footer tells of a chunk.
    pub fn column(start: i64, len: i64) -> Vec<u8> {
        let claim = Thrift::default().int(1, 1).int(7, len).int(9, start);
        Thrift::default().int(2, 0).structure(3, claim).end()
    }

    /// Header of a page with statistics that nobody asks for.
    pub fn page_header(kind: i64, len: i64) -> Vec<u8> {
        let statistics = Thrift::default().text(1, "most").raw(7, 1, &[]).raw(8, 2, &[]);
        let values = Thrift::default().int(1, 5).int(2, 0).structure(5, statistics);
        Thrift::default().int(1, kind).int(2, len).int(3, len).structure(5, values).end()
    }

    pub fn group(name: &str, children: i64) -> Vec<u8> {
        Thrift::default().text(4, name).int(5, children).end()
    }

    pub fn leaf(name: &str) -> Vec<u8> {
        Thrift::default().int(1, 6).int(3, 1).text(4, name).end()
    }

    /// The file with its footer.
    pub fn finish(&self) -> Vec<u8> {
        [self.bytes.clone(), self.footer()].concat()
    }

    /// The footer, its length and the magic.
    pub fn footer(&self) -> Vec<u8> {
        let fields = Thrift::default().int(1, 2).structures(2, &self.schema).int(3, 1);
        Parquet::ending(&fields.structures(4, &self.groups).text(6, "a test").end())
    }

    /// A footer that is written by hand.
    pub fn ending(footer: &[u8]) -> Vec<u8> {
        [footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
    }
}
