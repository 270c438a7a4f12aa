//! How one object is encoded: alone, or as a difference to a base.
use crate::format::Dtype;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    Raw = 0,
    Zstd = 1,
    Planes = 2,
    Ulp = 3,
    ZstdPatch = 4,
}
impl Codec {
    pub fn from_tag(tag: u8) -> Option<Codec> {
        Some(match tag {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            _ => return None,
        })
    }
    pub fn needs_base(self) -> bool {
        false
    }
}
#[derive(Debug)]
pub struct Encoded {
    pub codec: Codec,
    pub payload: Vec<u8>,
}
#[derive(Clone, Copy)]
pub struct Base<'a> {
    pub bytes: &'a [u8],
    pub dtype: Dtype,
}
#[derive(Clone, Copy)]
pub enum Effort {
    Push,
    Repack,
}
#[derive(Debug, thiserror::Error)]
#[error("bad")]
pub struct DecodeError;
pub fn encode(bytes: &[u8], _d: Dtype, _r: u64, _b: Option<Base<'_>>, _e: Effort) -> Encoded {
    Encoded { codec: Codec::Zstd, payload: zstd::compress(bytes, 3) }
}
pub fn decode(_c: Codec, payload: &[u8], _b: Option<&[u8]>, len: usize) -> Result<Vec<u8>, DecodeError> {
    zstd::decompress(payload, len)
}
pub mod zstd {
    pub fn compress(b: &[u8], l: i32) -> Vec<u8> {
        zstd::bulk::compress(b, l).unwrap()
    }
    pub fn decompress(b: &[u8], len: usize) -> Result<Vec<u8>, super::DecodeError> {
        zstd::bulk::decompress(b, len).map_err(|_| super::DecodeError)
    }
}
