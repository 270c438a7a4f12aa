//! pkt-lines: each is its length in four hexadecimal digits, these four counted, and then its bytes.
//!
//! Specification: git `Documentation/gitprotocol-common`, and git-lfs `docs/proposals/ssh_adapter.md`. 0000 ends a
//! message (flush), 0001 parts it (delimiter).

use std::io::{self, Read, Write};

/// Longest packet that is read, with its length: git's limit.
const MAX_PACKET: usize = 65520;
/// Most bytes that are sent in one packet.
pub const DATA_BYTES: usize = 65515;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Data(&'a [u8]),
    Delimiter,
    Flush,
}

/// Why nothing more can be read: where the next packet begins is not known.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    #[error("read: {0}")]
    Read(io::Error),
    #[error("the client's words end in the middle of a packet")]
    Short,
    #[error("{0:?} is no length of a packet")]
    Length(String),
}

/// Reads packets.
pub struct PacketReader<R> {
    from: R,
    buffer: Vec<u8>,
    len: usize,
}

impl<R: Read> PacketReader<R> {
    pub fn new(from: R) -> PacketReader<R> {
        PacketReader { from, buffer: vec![0; MAX_PACKET], len: 0 }
    }

    /// The next packet; none where the input ends between two.
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, PacketError> {
        let mut digits = [0; 4];
        match fill(&mut self.from, &mut digits)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(PacketError::Short),
        }
        match length(&digits) {
            Some(0) => Ok(Some(Packet::Flush)),
            Some(1) => Ok(Some(Packet::Delimiter)),
            Some(length @ 4..=MAX_PACKET) => {
                self.len = length - 4;
                let body = &mut self.buffer[..self.len];
                match fill(&mut self.from, body)? == body.len() {
                    true => Ok(Some(Packet::Data(body))),
                    false => Err(PacketError::Short),
                }
            }
            _ => Err(PacketError::Length(String::from_utf8_lossy(&digits).into_owned())),
        }
    }

    /// The bytes of the last packet that had some.
    pub fn last(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// Reads until `buffer` is full or the input ends; how many bytes that were.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize, PacketError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(PacketError::Read(error)),
        }
    }
    Ok(filled)
}

/// Digits only: a sign, which numbers may have, is none.
fn length(digits: &[u8; 4]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_plain = digits.iter().all(u8::is_ascii_hexdigit);
    is_plain.then(|| usize::from_str_radix(text, 16).ok()).flatten()
}

/// Writes packets.
pub struct PacketWriter<W> {
    to: W,
}

impl<W: Write> PacketWriter<W> {
    pub fn new(to: W) -> PacketWriter<W> {
        PacketWriter { to }
    }

    /// A line; what is longer than a packet is cut.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        let mut end = text.len().min(DATA_BYTES - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        writeln!(self.to, "{:04x}{}", end + 5, &text[..end])
    }

    /// Bytes, in as many packets as they need.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(DATA_BYTES).try_for_each(|piece| {
            write!(self.to, "{:04x}", piece.len() + 4)?;
            self.to.write_all(piece)
        })
    }

    pub fn delimiter(&mut self) -> io::Result<()> {
        self.to.write_all(b"0001")
    }

    /// Ends a message and sends it off.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(b"0000")?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<Option<Vec<u8>>>, PacketError> {
        let (mut reader, mut found) = (PacketReader::new(bytes), Vec::new());
        while let Some(packet) = reader.next()? {
            found.push(if let Packet::Data(data) = packet { Some(data.to_vec()) } else { None });
        }
        Ok(found)
    }

    /// A length is the first thing that a stranger says: each wrong one must end the conversation, without a panic.
    #[test]
    fn wrong_lengths_are_errors() {
        assert_eq!(read_all(b"0000000100040005a").unwrap().len(), 4);
        for bad in [
            "0",
            "00",
            "000",
            "0002",
            "0003",
            "0005",
            "0006a",
            "fff0",
            "fff1",
            "ffff",
            "zzzz",
            "+005a",
            "-001",
            " 005",
            "0x05",
            "00\n5",
            "\u{ff10}0",
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(read_all(bad.as_bytes()).is_err(), "{bad:?} passed");
        }
        assert!(read_all(b"\xff\xff\xff\xff").is_err());
    }

    proptest! {
        /// Whatever comes is packets or an error.
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_all(&bytes);
        }

        /// What is written is read, and no packet is longer than git allows.
        #[test]
        fn packets_come_back(len in 0_usize..200_000, text in ".{0,60}") {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut out = Vec::new();
            let mut writer = PacketWriter::new(&mut out);
            writer.line(&text).unwrap();
            writer.delimiter().unwrap();
            writer.data(&bytes).unwrap();
            writer.flush().unwrap();
            let found = read_all(&out).unwrap();
            prop_assert_eq!(found[0].clone().unwrap(), format!("{text}\n").into_bytes());
            let data: Vec<u8> = found[1..].iter().flatten().flatten().copied().collect();
            prop_assert_eq!(data, bytes);
        }
    }

    /// An error's words may hold what a stranger sent: too long a line must not break the stream.
    #[test]
    fn long_lines_are_cut() {
        let mut out = Vec::new();
        PacketWriter::new(&mut out).line(&"é".repeat(50_000)).unwrap();
        assert_eq!(read_all(&out).unwrap().len(), 1);
    }
}
