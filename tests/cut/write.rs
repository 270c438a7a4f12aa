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
