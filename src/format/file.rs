//! A file on disk as a source of bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use super::Source;

/// An open regular file; its length is the one it had when it was opened.
pub struct OpenFile {
    file: File,
    len: u64,
    /// When it was last written to, as far as was known when it was opened.
    written: Option<SystemTime>,
}

impl OpenFile {
    /// Opens a regular file for reading.
    pub fn open(path: &Path) -> io::Result<OpenFile> {
        // A pipe would wait for its other end.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let found = file.metadata()?;
        match found.is_file() {
            true => Ok(OpenFile { file, len: found.len(), written: found.modified().ok() }),
            false => Err(io::Error::other("not a regular file")),
        }
    }

    /// Whether somebody wrote to it since it was opened.
    pub fn has_changed(&self) -> io::Result<bool> {
        let found = self.file.metadata()?;
        Ok(found.len() != self.len || found.modified().ok() != self.written)
    }
}

impl Source for OpenFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|error| {
            let was_there = offset.saturating_add(buf.len() as u64) <= self.len;
            match error.kind() {
                kind @ io::ErrorKind::UnexpectedEof if was_there => {
                    io::Error::new(kind, "it became shorter while it was read")
                }
                _ => error,
            }
        })
    }
}
