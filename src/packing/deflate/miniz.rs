//! `miniz_oxide`, which gives what miniz gives.

use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, compress, create_comp_flags_from_zip_params};

/// Streams without a header of zlib.
const RAW_WINDOW_BITS: i32 = -15;
const DEFAULT_STRATEGY: i32 = 0;

pub(super) fn pack(plain: &[u8], level: u8) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(plain, level)
}

pub(super) fn begin(plain: &[u8], level: u8, begin: &mut [u8]) -> usize {
    let flags = create_comp_flags_from_zip_params(level.into(), RAW_WINDOW_BITS, DEFAULT_STRATEGY);
    let mut compressor = CompressorOxide::new(flags);
    let (_, _, len) = compress(&mut compressor, plain, begin, TDEFLFlush::Finish);
    len
}
