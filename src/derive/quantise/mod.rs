//! GGUF's types as its quantiser writes them: rounded floats, and blocks with a scale.
//!
//! Source: the GGUF specification and the reference quantisers of `ggml` (llama.cpp project), restated. Each
//! product and sum is rounded by itself, as strict IEEE 754 wants: a build that fuses them differs in a few
//! bytes of some types.

use super::floats::Float;

mod simple;
mod super_blocks;

/// What a value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q4K = 12,
    Q5K = 13,
    Q6K = 14,
    Bf16 = 30,
}

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::F32,
        Kind::F16,
        Kind::Q4_0,
        Kind::Q4_1,
        Kind::Q5_0,
        Kind::Q5_1,
        Kind::Q8_0,
        Kind::Q4K,
        Kind::Q5K,
        Kind::Q6K,
        Kind::Bf16,
    ];

    /// The type with this number in `ggml`.
    pub fn from_tag(tag: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == tag)
    }

    /// Elements of a block.
    pub fn block(self) -> usize {
        match self {
            Kind::F32 | Kind::F16 | Kind::Bf16 => 1,
            Kind::Q4_0 | Kind::Q4_1 | Kind::Q5_0 | Kind::Q5_1 | Kind::Q8_0 => 32,
            Kind::Q4K | Kind::Q5K | Kind::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn packed(self) -> usize {
        match self {
            Kind::F16 | Kind::Bf16 => 2,
            Kind::F32 => 4,
            Kind::Q4_0 => 18,
            Kind::Q4_1 => 20,
            Kind::Q5_0 => 22,
            Kind::Q5_1 => 24,
            Kind::Q8_0 => 34,
            Kind::Q4K => 144,
            Kind::Q5K => 176,
            Kind::Q6K => 210,
        }
    }

    /// Appends whole blocks of values.
    pub fn quantise(self, values: &[f32], out: &mut Vec<u8>) {
        let block: fn(&[f32], &mut Vec<u8>) = match self {
            Kind::F32 => return out.extend(Float::F32.bytes(values)),
            Kind::F16 => return out.extend(Float::F16.bytes(values)),
            Kind::Bf16 => return out.extend(Float::Bf16.bytes(values)),
            Kind::Q4_0 => simple::q4_0,
            Kind::Q4_1 => simple::q4_1,
            Kind::Q5_0 => simple::q5_0,
            Kind::Q5_1 => simple::q5_1,
            Kind::Q8_0 => simple::q8_0,
            Kind::Q4K => super_blocks::q4_k,
            Kind::Q5K => super_blocks::q5_k,
            Kind::Q6K => super_blocks::q6_k,
        };
        values.chunks_exact(self.block()).for_each(|values| block(values, out));
    }
}

/// A scale as it is stored.
fn half(value: f32) -> [u8; 2] {
    Float::F16.bytes(&[value]).try_into().expect("because fp16 has 2 bytes")
}

/// A scale as whoever reads it sees it.
fn halved(value: f32) -> f32 {
    Float::F16.round(value)
}

/// One divided by a scale, and zero for a scale of zero.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bits of NaN are the processor's to choose: whatever a tensor holds, no scale may be one.
    #[test]
    fn no_scale_is_nan() {
        let wild = [
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
            0.0,
            -0.0,
            1.5,
            -1e-30,
        ];
        let mut state = 1u64;
        for kinds in 1..=wild.len() {
            for start in 0..wild.len() {
                let values: Vec<f32> = (0..256)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        wild[(start + (state >> 33) as usize % kinds) % wild.len()]
                    })
                    .collect();
                for kind in Kind::ALL.into_iter().filter(|kind| kind.block() > 1) {
                    let scales: &[usize] = match kind {
                        Kind::Q6K => &[208],
                        Kind::Q4_0 | Kind::Q5_0 | Kind::Q8_0 => &[0],
                        _ => &[0, 2],
                    };
                    let mut out = Vec::new();
                    kind.quantise(&values, &mut out);
                    for block in out.chunks_exact(kind.packed()) {
                        let is_nan = |at: &usize| Float::F16.values(&block[*at..at + 2])[0].is_nan();
                        assert!(!scales.iter().any(is_nan), "{kind:?} of {kinds} from {start}");
                    }
                }
            }
        }
    }
}
