//! Every object comes back, whatever it is and whatever its base; no payload can do harm.

use proptest::prelude::*;

use super::lanes::tests::PORTABLE;
use super::*;

const DTYPES: [Dtype; 15] = [
    Dtype::Bytes,
    Dtype::U8,
    Dtype::I8,
    Dtype::F8E4M3,
    Dtype::F8E5M2,
    Dtype::U16,
    Dtype::I16,
    Dtype::F16,
    Dtype::Bf16,
    Dtype::U32,
    Dtype::I32,
    Dtype::F32,
    Dtype::U64,
    Dtype::I64,
    Dtype::F64,
];

fn any_dtype() -> impl Strategy<Value = Dtype> {
    prop::sample::select(&DTYPES)
}

#[track_caller]
fn comes_back(bytes: &[u8], dtype: Dtype, row_len: u64, base: Option<Base<'_>>) {
    for effort in [Effort::Push, Effort::Repack] {
        let encoded = encode(bytes, dtype, row_len, base, effort);
        assert!(encoded.payload.len() <= bytes.len());
        let base = base.map(|base| base.bytes);
        assert_eq!(decode(encoded.codec, &encoded.payload, base.as_slice(), bytes.len()).unwrap(), bytes);
    }
    // Whatever `encode` chose, the delta itself must be right too.
    if let Some(base) = base
        && let Some(payload) = ulp::encode(bytes, dtype, row_len, base)
    {
        assert_eq!(decode(Codec::Ulp, &payload, &[base.bytes], bytes.len()).unwrap(), bytes);
    }
}

proptest! {
    /// Any bytes of any type come back without a base: NaN, −0, subnormals and odd lengths included.
    #[test]
    fn alone(bytes in prop::collection::vec(any::<u8>(), 0..2000), dtype in any_dtype(), row_len in 0u64..100) {
        comes_back(&bytes, dtype, row_len, None);
    }

    /// They come back with any base, related or not, of any type and length.
    #[test]
    fn with_any_base(
        bytes in prop::collection::vec(any::<u8>(), 0..1500),
        base in prop::collection::vec(any::<u8>(), 0..1500),
        dtype in any_dtype(),
        base_dtype in any_dtype(),
    ) {
        let base_len = (bytes.len() / dtype.width() * base_dtype.width()).min(base.len());
        comes_back(&bytes, dtype, 32, Some(Base { bytes: &base[..base_len], dtype: base_dtype }));
        comes_back(&bytes, dtype, 0, Some(Base { bytes: &base, dtype: base_dtype }));
    }

    /// Near neighbours, the common case, come back at every length around a group of 64.
    #[test]
    fn with_a_near_base(
        steps in prop::collection::vec((any::<u64>(), prop_oneof![8 => Just(0i64), 4 => -3i64..4, 1 => any::<i64>()]), 0..400),
        dtype in any_dtype(),
        row_len in prop_oneof![Just(0u64), 16u64..80],
    ) {
        let width = dtype.width();
        let base: Vec<u8> = steps.iter().flat_map(|(bits, _)| bits.to_le_bytes()[..width].to_vec()).collect();
        let near = |(bits, step): &(u64, i64)| bits.wrapping_add(*step as u64).to_le_bytes()[..width].to_vec();
        let bytes: Vec<u8> = steps.iter().flat_map(near).collect();
        comes_back(&bytes, dtype, row_len, Some(Base { bytes: &base, dtype }));
    }

    /// All machines write the same bytes, and read what another wrote.
    #[test]
    fn payloads_are_the_same_on_every_machine(seed: u64, count in 1usize..3000, row_len in 0u64..200) {
        let (base, bytes) = pair(seed, count);
        let base = Base { bytes: &base, dtype: Dtype::Bf16 };
        let all = || [Some(base), None].map(|base| encode(&bytes, Dtype::Bf16, row_len, base, Effort::Repack));
        let wide = all();
        PORTABLE.set(true);
        let portable = all();
        for (wide, portable) in wide.iter().zip(&portable) {
            prop_assert_eq!(&wide.payload, &portable.payload);
            prop_assert_eq!(decode(wide.codec, &wide.payload, &[base.bytes], bytes.len()).unwrap(), &bytes[..]);
        }
        PORTABLE.set(false);
        for portable in &portable {
            prop_assert_eq!(decode(portable.codec, &portable.payload, &[base.bytes], bytes.len()).unwrap(), &bytes[..]);
        }
    }

    /// So they do where differences of any type leave low bits to their own stream, few or many.
    #[test]
    fn low_bits_are_the_same_on_every_machine(
        steps in prop::collection::vec((any::<u64>(), any::<i64>()), 1..600),
        widths in prop::collection::vec(0u32..64, 1..5),
        dtype in any_dtype(),
    ) {
        let width = dtype.width();
        let step = |at: usize| steps[at].1 >> widths[at % widths.len()].max(64 - 8 * width as u32);
        let base: Vec<u8> = steps.iter().flat_map(|(bits, _)| bits.to_le_bytes()[..width].to_vec()).collect();
        let near = |at: usize| steps[at].0.wrapping_add(step(at) as u64).to_le_bytes()[..width].to_vec();
        let bytes: Vec<u8> = (0..steps.len()).flat_map(near).collect();
        let encode = || ulp::encode(&bytes, dtype, 0, Base { bytes: &base, dtype }).unwrap();
        let payload = encode();
        PORTABLE.set(true);
        prop_assert_eq!(&payload, &encode());
        prop_assert_eq!(&decode(Codec::Ulp, &payload, &[&base], bytes.len()).unwrap(), &bytes);
        PORTABLE.set(false);
        prop_assert_eq!(&decode(Codec::Ulp, &payload, &[&base], bytes.len()).unwrap(), &bytes);
    }

    /// A base may begin like a dictionary of zstd, and a tensor may claim rows of any length.
    #[test]
    fn no_base_and_no_row_panics(rest in prop::collection::vec(any::<u8>(), 0..600), row_len: u64, dtype in any_dtype()) {
        let base = [&[0x37, 0xa4, 0x30, 0xec], &rest[..]].concat();
        let bytes: Vec<u8> = base.iter().map(|byte| byte ^ u8::from(byte % 7 == 0)).collect();
        comes_back(&bytes, dtype, row_len, Some(Base { bytes: &base, dtype }));
    }

    /// A payload from outside may be anything: an error, or bytes that the store's hash then judges.
    #[test]
    fn no_payload_panics(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        base in prop::collection::vec(any::<u8>(), 0..300),
        tag in 0u8..5,
        len in 0usize..3000,
    ) {
        let codec = Codec::from_tag(tag).unwrap();
        if let Ok(bytes) = decode(codec, &payload, &[&base], len) {
            prop_assert_eq!(bytes.len(), len);
        }
    }

    /// The same for payloads that are nearly right.
    #[test]
    fn no_damage_panics(seed in any::<u64>(), flip in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let (base, bytes) = pair(seed, 700);
        for codec in [Codec::Ulp, Codec::Planes] {
            let payload = match codec {
                Codec::Ulp => ulp::encode(&bytes, Dtype::Bf16, 32, Base { bytes: &base, dtype: Dtype::Bf16 }).unwrap(),
                _ => planes::encode(&bytes, Dtype::Bf16),
            };
            let mut flipped = payload.clone();
            flipped[flip.index(payload.len())] ^= 1 << (seed % 8);
            for bad in [&flipped[..], &payload[..cut.index(payload.len())]] {
                if let Ok(found) = decode(codec, bad, &[&base], bytes.len()) {
                    prop_assert_eq!(found.len(), bytes.len());
                }
            }
        }
    }
}

/// bf16 weights and the same after small steps, from a seed.
fn pair(seed: u64, count: usize) -> (Vec<u8>, Vec<u8>) {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let (mut base, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let weight = (next() + next() + next()) * 0.04;
        let step = (next() + next()) * 4e-4;
        base.extend_from_slice(&((weight.to_bits() >> 16) as u16).to_le_bytes());
        bytes.extend_from_slice(&(((weight + step).to_bits() >> 16) as u16).to_le_bytes());
    }
    (base, bytes)
}

/// What the project is for: the really trained family must come out near its entropy.
///
/// Order-0 entropy of the ordered difference given the base's exponent: 0.215, 0.100, 0.046.
#[test]
fn the_family_of_trained_models_is_small() {
    for (model, base, most) in [
        ("tiny-sft", "tiny-base", 0.225),
        ("tiny-sft-2", "tiny-sft", 0.11),
        ("tiny-lora-merged", "tiny-base", 0.06),
    ] {
        let ratio = ratio(model, Some(base));
        assert!(ratio <= most, "{model} takes {ratio:.4} of its bytes, expected at most {most}");
    }
    let alone = ratio("tiny-base", None);
    assert!(alone <= 0.70, "tiny-base alone takes {alone:.4}");
}

/// The share of a model's tensor bytes that its payloads take.
fn ratio(model: &str, base: Option<&str>) -> f64 {
    let (tensors, base) = (tensors(model), base.map(tensors));
    let (mut stored, mut total) = (0, 0);
    for (name, (bytes, row_len)) in &tensors {
        let counterpart = base.as_ref().map(|base| Base { bytes: &base[name].0, dtype: Dtype::Bf16 });
        total += bytes.len();
        if counterpart.is_none_or(|base| base.bytes != bytes) {
            stored += encode(bytes, Dtype::Bf16, *row_len, counterpart, Effort::Push).payload.len();
        }
    }
    stored as f64 / total as f64
}

fn tensors(model: &str) -> std::collections::BTreeMap<String, (Vec<u8>, u64)> {
    let path = format!("{}/tests/data/models/{model}/model.safetensors", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(path).unwrap();
    let cut = crate::format::cut(&file).unwrap();
    let named = cut.segments().iter().filter(|segment| !segment.name.is_empty());
    let bytes = |range: &std::ops::Range<u64>| file[range.start as usize..range.end as usize].to_vec();
    named.map(|segment| (segment.name.clone(), (bytes(&segment.range), segment.row_len))).collect()
}

/// Numbers of `rows` times `columns`, and the same after steps whose size depends on both; one weight in
/// `sparse` moves, and one of these in twelve far.
fn crossed(rows: usize, columns: usize, sparse: u64) -> [Vec<u8>; 2] {
    let mut seed = 7u64;
    let mut random = || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        seed >> 33
    };
    let (mut base, mut tuned) = (Vec::new(), Vec::new());
    for at in 0..rows * columns {
        let bits = 0x3c00 | (random() & 0x81ff) as u16;
        let widest = 1 + (at / columns % 5) as u64 * (at % columns % 7) as u64;
        let far = if random() % 12 == 0 { 400 } else { 1 };
        let step = if random() % sparse == 0 {
            far * (random() % (2 * widest + 1)) as i64 - widest as i64
        } else {
            0
        };
        base.extend_from_slice(&bits.to_le_bytes());
        tuned.extend_from_slice(&bits.wrapping_add(step as u16).to_le_bytes());
    }
    [base, tuned]
}

/// Where rows and columns tell something, a payload uses it, and comes back from all machines the same.
#[test]
fn rows_and_columns_are_told_apart() {
    const ROWS_COLUMNS_BY_CELL: u8 = 0x10 | 0x40 | 0x80;
    let [base, tuned] = crossed(500, 300, 1);
    let encode = || ulp::encode(&tuned, Dtype::Bf16, 300, Base { bytes: &base, dtype: Dtype::Bf16 }).unwrap();
    let payload = encode();
    assert_eq!(payload[1] & ROWS_COLUMNS_BY_CELL, ROWS_COLUMNS_BY_CELL);
    let blind = ulp::encode(&tuned, Dtype::Bf16, 0, Base { bytes: &base, dtype: Dtype::Bf16 }).unwrap();
    assert!(payload.len() * 20 < blind.len() * 19, "{} of {}", payload.len(), blind.len());
    PORTABLE.set(true);
    assert_eq!(payload, encode());
    assert_eq!(decode(Codec::Ulp, &payload, &[&base], tuned.len()).unwrap(), tuned);
    PORTABLE.set(false);
    assert_eq!(decode(Codec::Ulp, &payload, &[&base], tuned.len()).unwrap(), tuned);
}

/// Differences that are nearly all zero and otherwise far and wide: most symbols are escapes then.
#[test]
fn rare_symbols_come_back() {
    let [base, tuned] = crossed(1000, 1000, 400);
    let payload = ulp::encode(&tuned, Dtype::Bf16, 0, Base { bytes: &base, dtype: Dtype::Bf16 }).unwrap();
    assert!(payload.len() < tuned.len() / 100, "{}", payload.len());
    assert_eq!(decode(Codec::Ulp, &payload, &[&base], tuned.len()).unwrap(), tuned);
}

/// A fine-tune often adds tokens: rows at the end of an embedding. The rows before them have not become strangers.
#[test]
fn a_resized_embedding_is_compared_with_what_it_was() {
    const COLUMNS: usize = 64;
    let (base, tuned) = pair(5, 1016 * COLUMNS);
    let (width, fewer) = (Dtype::Bf16.width() * COLUMNS, 1000);
    for (target, base) in [(&tuned[..], &base[..fewer * width]), (&tuned[..fewer * width], &base[..])] {
        let with = Some(Base { bytes: base, dtype: Dtype::Bf16 });
        comes_back(target, Dtype::Bf16, COLUMNS as u64, with);
        let encoded = encode(target, Dtype::Bf16, COLUMNS as u64, with, Effort::Push);
        let alone = encode(target, Dtype::Bf16, COLUMNS as u64, None, Effort::Push).payload.len();
        assert_eq!(encoded.codec, Codec::Ulp);
        assert!(encoded.payload.len() < alone * 6 / 10, "{} of {alone}", encoded.payload.len());
    }
}
