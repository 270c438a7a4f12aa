//! zlib, the C library: what most programs that write gzip link.

use std::ffi::{c_int, c_uint};
use std::mem::MaybeUninit;

use libz_sys as z;

const RAW_WINDOW_BITS: c_int = -15;

/// How a stream is written.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub level: u8,
    pub memory: u8,
    /// Whether it is flushed (`Z_SYNC_FLUSH`) when all was written, and then ended.
    pub is_flushed: bool,
}

/// What a flush adds.
const FLUSH_BYTES: usize = 16;

pub(super) fn pack(plain: &[u8], way: Way) -> Vec<u8> {
    // zlib's bound for any parameters (`deflateBound`), and a byte more: blocks with fixed codes, or stored ones.
    let len = plain.len();
    let mut packed = vec![0; len + len / 8 + len / 256 + len / 512 + 8 + FLUSH_BYTES];
    let len = begin(plain, way, &mut packed);
    assert!(len < packed.len(), "zlib's bound on the length of a stream does not hold");
    packed.truncate(len);
    packed
}

/// Fills `begin` with the first bytes of the stream, and returns how many there are.
pub(super) fn begin(plain: &[u8], way: Way, begin: &mut [u8]) -> usize {
    let short = |len: usize| c_uint::try_from(len).expect("because what is packed is far below 4 GB");
    let mut stream = MaybeUninit::<z::z_stream>::zeroed();
    let stream = stream.as_mut_ptr();
    // SAFETY: zlib takes a zeroed stream, with its own allocator; the stream stays where it is until it is
    // ended, and reads and writes only what the two slices hold.
    unsafe {
        let size = size_of::<z::z_stream>() as c_int;
        let (level, memory) = (c_int::from(way.level), c_int::from(way.memory));
        let strategy = z::Z_DEFAULT_STRATEGY;
        let version = z::zlibVersion();
        let made =
            z::deflateInit2_(stream, level, z::Z_DEFLATED, RAW_WINDOW_BITS, memory, strategy, version, size);
        assert_eq!(made, z::Z_OK, "zlib has too little memory for a stream");
        (*stream).next_in = plain.as_ptr().cast_mut();
        (*stream).avail_in = short(plain.len());
        (*stream).next_out = begin.as_mut_ptr();
        (*stream).avail_out = short(begin.len());
        if way.is_flushed {
            z::deflate(stream, z::Z_SYNC_FLUSH);
        }
        z::deflate(stream, z::Z_FINISH);
        let left = (*stream).avail_out as usize;
        z::deflateEnd(stream);
        begin.len() - left
    }
}
