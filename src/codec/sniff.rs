//! What numbers unknown bytes are: members of a PyTorch archive don't say.

use super::{planes, zstd};
use crate::format::Dtype;

const CANDIDATES: [Dtype; 5] = [Dtype::Bf16, Dtype::F16, Dtype::F32, Dtype::U8, Dtype::F64];

/// The type under which a sample gets smallest, if that beats zstd.
pub(super) fn sniff(bytes: &[u8]) -> Option<Dtype> {
    let sample = planes::sample(bytes);
    let sizes = CANDIDATES.map(|dtype| (planes::encode(sample, dtype).len(), dtype));
    let (size, dtype) = sizes.into_iter().min_by_key(|(size, _)| *size)?;
    let plain = zstd::compress(sample, 3).len();
    // Numbers that look no better than text are text.
    (size * 20 < plain * 19).then_some(dtype)
}
