//! Bytes of CSV, refused where a record has too many: a quote that is never closed makes one of all that follows.

use std::io::{self, BufRead, Read};

/// What some programs begin files of UTF-8 with.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads what `input` has, as long as no record has more than `most` bytes, about.
pub(super) struct Records<R> {
    input: R,
    most: u64,
    place: Place,
}

/// Where in its record a byte is.
struct Place {
    delimiter: u8,
    /// Bytes of the record so far, and of the longest before it.
    bytes: u64,
    longest: u64,
    is_open: bool,
    /// What was read last; a quote that closed is told apart from one that is a letter.
    last: u8,
    has_closed: bool,
    is_first: bool,
}

impl<R: BufRead> Records<R> {
    pub fn new(input: R, delimiter: u8, most: u64) -> Records<R> {
        let (bytes, is_open, has_closed) = (0, false, false);
        let place = Place { delimiter, bytes, longest: 0, is_open, last: b'\n', has_closed, is_first: true };
        Records { input, most, place }
    }

    fn check(&self) -> io::Result<()> {
        match self.place.bytes.max(self.place.longest) > self.most {
            true => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a record has more than {} bytes; perhaps a quote is not closed", self.most),
            )),
            false => Ok(()),
        }
    }
}

impl Place {
    /// Finds ends of records in bytes that are read now, as the reader of tables does.
    fn pass(&mut self, bytes: &[u8]) {
        let mut at = 0;
        if std::mem::take(&mut self.is_first) && bytes.starts_with(MARK) {
            at = MARK.len();
        }
        while at < bytes.len() {
            let is_wanted = |byte: &u8| *byte == b'"' || (!self.is_open && matches!(byte, b'\n' | b'\r'));
            let Some(step) = bytes[at..].iter().position(is_wanted) else {
                self.bytes += (bytes.len() - at) as u64;
                (self.last, self.has_closed) = (bytes[bytes.len() - 1], false);
                return;
            };
            let before = if step == 0 { self.last } else { bytes[at + step - 1] };
            let has_closed = step == 0 && self.has_closed;
            at += step;
            self.last = bytes[at];
            self.has_closed = self.is_open;
            self.bytes += step as u64 + 1;
            at += 1;
            if self.is_open {
                self.is_open = false;
            } else if self.last == b'"' {
                // At the start of a field, or doubled.
                self.is_open = has_closed || before == self.delimiter || matches!(before, b'\n' | b'\r');
            } else {
                self.longest = self.longest.max(std::mem::take(&mut self.bytes));
            }
        }
    }
}

impl<R: BufRead> Read for Records<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let found = self.fill_buf()?;
        let count = found.len().min(buf.len());
        buf[..count].copy_from_slice(&found[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Records<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What was filled is there still.
        if let Ok(found) = self.input.fill_buf() {
            self.place.pass(&found[..count.min(found.len())]);
        }
        self.input.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quotes hold lines together, and only those that open at the start of a field.
    #[test]
    fn a_record_that_does_not_end_is_refused() {
        let read = |text: &str, buffer: usize| {
            let input = io::BufReader::with_capacity(buffer, text.as_bytes());
            let mut found = String::new();
            Records::new(input, b',', 12).read_to_string(&mut found).map(|_| found == text)
        };
        let fine = [
            "a,b\n1,2\n\"x\ny\",2\r\n1,\"x\"\"y\nz\"\n1,2",
            "a\"b,c\n1,5\"\"x,1\n\"a\"b,\"c\"\n1,2\n",
            "\u{feff}\"a,b\",c\n\"d\ne\",f\nggggg,hh\n",
        ];
        let wrong =
            ["a,b\n1,\"2\n3,4\n5,6\n7,8\n9,0\n", "abcdefghijklmnopq", "a\n\"x\"\"y\nz\nabc\ndefgh\nj\n"];
        for buffer in [1, 2, 3, 7, 100] {
            for text in fine {
                assert!(read(text, buffer).unwrap(), "{text:?}");
            }
            for text in wrong {
                let error = read(&format!("{text}{}", "k\n".repeat(100)), buffer).unwrap_err();
                assert!(error.to_string().contains("quote"), "{error}");
            }
        }
    }
}
