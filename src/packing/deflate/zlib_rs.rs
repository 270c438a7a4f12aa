//! `zlib-rs`: one of the encoders, and the decoder of all streams.

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

use super::WHAT;
use crate::packing::NotPacked;

const WINDOW_BITS: u8 = 15;
/// The room that is made at first, and doubled when it is full.
const FIRST_ROOM_BYTES: usize = 1 << 16;

/// Where a block ends depends on the room for the output: this much is what `flate2` gives its writers.
const WRITER_BYTES: usize = 1 << 15;

pub(super) fn pack(plain: &[u8], level: u8) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut writer = Writer::new(level);
    while !writer.write(plain, &mut packed) {}
    packed
}

/// Fills `begin` with the first bytes of the stream, and returns how many there are.
pub(super) fn begin(plain: &[u8], level: u8, begin: &mut [u8]) -> usize {
    let mut packed = Vec::new();
    Writer::new(level).write(plain, &mut packed);
    let len = packed.len().min(begin.len());
    begin[..len].copy_from_slice(&packed[..len]);
    len
}

struct Writer {
    deflate: Deflate,
    room: Vec<u8>,
}

impl Writer {
    fn new(level: u8) -> Self {
        let deflate = Deflate::new_with_config(DeflateConfig {
            window_bits: -i32::from(WINDOW_BITS),
            ..DeflateConfig::new(level.into())
        });
        Self { deflate, room: vec![0; WRITER_BYTES] }
    }

    /// Appends the next bytes of the stream, and tells whether they are the last.
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let (read, written) = (self.deflate.total_in(), self.deflate.total_out());
        let rest = &plain[read as usize..];
        // All is given with the first call, but the end is not announced before all was taken.
        let flush = if rest.is_empty() { DeflateFlush::Finish } else { DeflateFlush::NoFlush };
        let status = self.deflate.compress(rest, &mut self.room, flush);
        let status = status.expect("because there is room for more of the stream");
        out.extend_from_slice(&self.room[..(self.deflate.total_out() - written) as usize]);
        status == Status::StreamEnd
    }
}

/// What a stream holds, which is at most `most` bytes, and nothing behind it.
pub(super) fn unpack(stream: &[u8], most: usize) -> Result<Vec<u8>, NotPacked> {
    let mut inflate = Inflate::new(false, WINDOW_BITS);
    let mut plain = Vec::new();
    loop {
        let (read, written) = (inflate.total_in() as usize, inflate.total_out() as usize);
        // One more than the most, since the end of a stream is seen only where there is room.
        plain.resize((2 * written).max(FIRST_ROOM_BYTES).min(most + 1), 0);
        let status = inflate.decompress(&stream[read..], &mut plain[written..], InflateFlush::NoFlush);
        let ended = status.map_err(|_| WHAT)? == Status::StreamEnd;
        let (now_read, now_written) = (inflate.total_in() as usize, inflate.total_out() as usize);
        if ended && now_read == stream.len() && now_written <= most {
            plain.truncate(now_written);
            return Ok(plain);
        }
        if ended || now_written > most || (now_read, now_written) == (read, written) {
            return Err(WHAT);
        }
    }
}
