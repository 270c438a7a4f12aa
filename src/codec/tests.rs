//! Every object comes back, whatever it is and whatever its base; no payload can do harm.

use proptest::prelude::*;

use super::lanes::on_each_kind;
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
fn comes_back(bytes: &[u8], dtype: Dtype, row_len: u64, bases: &[Base<'_>]) {
    for effort in [Effort::Push, Effort::Repack] {
        let encoded = encode(bytes, dtype, row_len, bases, effort);
        assert!(encoded.payload.len() <= bytes.len());
        let bases: Vec<&[u8]> = bases.iter().take(encoded.codec.bases()).map(|base| base.bytes).collect();
        assert_eq!(decode(encoded.codec, &encoded.payload, &bases, bytes.len()).unwrap(), bytes);
    }
    // Whatever `encode` chose, the delta itself must be right too.
    if let Some(&base) = bases.first()
        && let Some(encoded) = ulp::encode(bytes, dtype, row_len, base, bases.get(1).copied(), None)
    {
        let bases: Vec<&[u8]> = bases.iter().map(|base| base.bytes).collect();
        assert_eq!(decode(encoded.codec, &encoded.payload, &bases, bytes.len()).unwrap(), bytes);
    }
}

/// A delta to one base of the same type.
fn delta(bytes: &[u8], dtype: Dtype, row_len: u64, base: &[u8]) -> Vec<u8> {
    ulp::encode(bytes, dtype, row_len, Base { bytes: base, dtype }, None, None).unwrap().payload
}

proptest! {
    /// Any bytes of any type come back without a base: NaN, −0, subnormals and odd lengths included.
    #[test]
    fn alone(bytes in prop::collection::vec(any::<u8>(), 0..2000), dtype in any_dtype(), row_len in 0u64..100) {
        comes_back(&bytes, dtype, row_len, &[]);
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
        let cut = Base { bytes: &base[..base_len], dtype: base_dtype };
        let whole = Base { bytes: &base, dtype: base_dtype };
        comes_back(&bytes, dtype, 32, &[cut]);
        comes_back(&bytes, dtype, 0, &[whole]);
        comes_back(&bytes, dtype, 32, &[cut, whole]);
        comes_back(&bytes, dtype, 0, &[Base { bytes: &bytes, dtype }, cut]);
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
        comes_back(&bytes, dtype, row_len, &[Base { bytes: &base, dtype }]);
    }

    /// So do chains of three, of which the third takes back what the second did, more or less; on all machines.
    #[test]
    fn with_a_base_of_the_base(
        steps in prop::collection::vec((any::<u64>(), prop_oneof![8 => -2i64..3, 1 => -300i64..300, 1 => any::<i64>()], 0i64..3), 0..600),
        dtype in any_dtype(),
        previous_dtype in any_dtype(),
        row_len in prop_oneof![Just(0u64), 16u64..80],
    ) {
        let width = dtype.width();
        let revision = |step: &dyn Fn(i64, i64) -> i64| -> Vec<u8> {
            let number = |&(bits, there, back): &(u64, i64, i64)| bits.wrapping_add(step(there, back) as u64);
            steps.iter().flat_map(|weight| number(weight).to_le_bytes()[..width].to_vec()).collect()
        };
        let (first, second) = (revision(&|_, _| 0), revision(&|there, _| there));
        let third = revision(&|there, back| if back == 0 { 0 } else { there.wrapping_add(back - 1) });
        let base = Base { bytes: &second, dtype };
        comes_back(&third, dtype, row_len, &[base, Base { bytes: &first, dtype }]);
        comes_back(&third, dtype, row_len, &[base, Base { bytes: &first, dtype: previous_dtype }]);
        let encode = || {
            ulp::encode(&third, dtype, row_len, base, Some(Base { bytes: &first, dtype }), None).unwrap()
        };
        let wide = encode();
        let again = || (encode().payload, decode(wide.codec, &wide.payload, &[&second, &first], third.len()));
        for (kind, (payload, found)) in on_each_kind(again) {
            prop_assert_eq!(&payload, &wide.payload, "{:?}", kind);
            prop_assert_eq!(&found.unwrap(), &third, "{:?}", kind);
        }
    }

    /// All machines write the same bytes, and read what another wrote.
    #[test]
    fn payloads_are_the_same_on_every_machine(seed: u64, count in 1usize..3000, row_len in 0u64..200) {
        let (base, bytes) = pair(seed, count);
        let base = Base { bytes: &base, dtype: Dtype::Bf16 };
        let all = || [&[base][..], &[]].map(|bases| encode(&bytes, Dtype::Bf16, row_len, bases, Effort::Repack));
        let wide = all();
        let again = || {
            let decoded = wide.iter().map(|it| decode(it.codec, &it.payload, &[base.bytes], bytes.len()).unwrap());
            (all().map(|it| it.payload), decoded.collect::<Vec<_>>())
        };
        for (kind, (payloads, decoded)) in on_each_kind(again) {
            for ((payload, decoded), wide) in payloads.iter().zip(&decoded).zip(&wide) {
                prop_assert_eq!(payload, &wide.payload, "{:?}", kind);
                prop_assert_eq!(decoded, &bytes, "{:?}", kind);
            }
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
        let encode = || delta(&bytes, dtype, 0, &base);
        let payload = encode();
        let again = || (encode(), decode(Codec::Ulp, &payload, &[&base], bytes.len()).unwrap());
        for (kind, (again, decoded)) in on_each_kind(again) {
            prop_assert_eq!(&again, &payload, "{:?}", kind);
            prop_assert_eq!(&decoded, &bytes, "{:?}", kind);
        }
    }

    /// A base may begin like a dictionary of zstd, and a tensor may claim rows of any length.
    #[test]
    fn no_base_and_no_row_panics(rest in prop::collection::vec(any::<u8>(), 0..600), row_len: u64, dtype in any_dtype()) {
        let base = [&[0x37, 0xa4, 0x30, 0xec], &rest[..]].concat();
        let bytes: Vec<u8> = base.iter().map(|byte| byte ^ u8::from(byte % 7 == 0)).collect();
        comes_back(&bytes, dtype, row_len, &[Base { bytes: &base, dtype }]);
    }

    /// A payload from outside may be anything: an error, or bytes that the store's hash then judges.
    #[test]
    fn no_payload_panics(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        base in prop::collection::vec(any::<u8>(), 0..300),
        codec in prop::sample::select((0..=u8::MAX).filter_map(Codec::from_tag).collect::<Vec<_>>()),
        len in 0usize..3000,
    ) {
        for bases in [&[&base[..], &payload[..]][..], &[&base], &[]] {
            if let Ok(bytes) = decode(codec, &payload, bases, len) {
                prop_assert_eq!(bytes.len(), len);
            }
        }
    }

    /// The same for payloads that are nearly right.
    #[test]
    fn no_damage_panics(seed in any::<u64>(), flip in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let [first, base, bytes] = chain(seed, 4000);
        let bases = [&base, &first].map(|bytes| Base { bytes, dtype: Dtype::Bf16 });
        let chained = ulp::encode(&bytes, Dtype::Bf16, 32, bases[0], Some(bases[1]), None).unwrap();
        prop_assert_eq!(chained.codec, Codec::UlpChain);
        for codec in [Codec::Ulp, Codec::UlpChain, Codec::Planes] {
            let payload = match codec {
                Codec::Ulp => delta(&bytes, Dtype::Bf16, 32, &base),
                Codec::UlpChain => chained.payload.clone(),
                _ => planes::encode(&bytes, Dtype::Bf16),
            };
            let mut flipped = payload.clone();
            flipped[flip.index(payload.len())] ^= 1 << (seed % 8);
            for bad in [&flipped[..], &payload[..cut.index(payload.len())]] {
                if let Ok(found) = decode(codec, bad, &[&base, &first], bytes.len()) {
                    prop_assert_eq!(found.len(), bytes.len());
                }
            }
        }
    }
}

/// Numbers around zero, from a seed.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    }
}

/// Three revisions in bf16 of weights that move in finer steps, from a seed.
fn chain(seed: u64, count: usize) -> [Vec<u8>; 3] {
    let mut next = noise(seed);
    let mut revisions = [const { Vec::new() }; 3];
    for _ in 0..count {
        let mut weight = 0.02 + next() * 0.01;
        for revision in &mut revisions {
            revision.extend_from_slice(&((weight.to_bits() >> 16) as u16).to_le_bytes());
            weight += next() * 6e-5;
        }
    }
    revisions
}

/// bf16 weights and the same after small steps, from a seed.
fn pair(seed: u64, count: usize) -> (Vec<u8>, Vec<u8>) {
    let mut next = noise(seed);
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
            let bases = counterpart.as_slice();
            stored += encode(bytes, Dtype::Bf16, *row_len, bases, Effort::Push).payload.len();
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
    let encode = || delta(&tuned, Dtype::Bf16, 300, &base);
    let payload = encode();
    assert_eq!(payload[1] & ROWS_COLUMNS_BY_CELL, ROWS_COLUMNS_BY_CELL);
    let blind = delta(&tuned, Dtype::Bf16, 0, &base);
    assert!(payload.len() * 20 < blind.len() * 19, "{} of {}", payload.len(), blind.len());
    let again = || (encode(), decode(Codec::Ulp, &payload, &[&base], tuned.len()).unwrap());
    for (kind, (again, decoded)) in on_each_kind(again) {
        assert_eq!(again, payload, "{kind:?}");
        assert_eq!(decoded, tuned, "{kind:?}");
    }
}

/// Weights that were just rounded the other way tend to come back: a payload uses that where it saves enough.
#[test]
fn a_weight_that_just_crossed_a_border_comes_back() {
    let [first, second, third] = chain(11, 100_000);
    let [base, previous] = [&second, &first].map(|bytes| Base { bytes, dtype: Dtype::Bf16 });
    let with = encode(&third, Dtype::Bf16, 0, &[base, previous], Effort::Push);
    let without = encode(&third, Dtype::Bf16, 0, &[base], Effort::Push);
    assert_eq!((with.codec, without.codec), (Codec::UlpChain, Codec::Ulp));
    let (with, without) = (with.payload.len(), without.payload.len());
    assert!(with * 100 < without * 95, "{with} of {without}");
    // Of a model that has nothing to do with it, nothing is used, nor of one of another size.
    let (stranger, _) = pair(3, 100_000);
    for bytes in [&stranger[..], &first[..100]] {
        let strange = Base { bytes, dtype: Dtype::Bf16 };
        let encoded = encode(&third, Dtype::Bf16, 0, &[base, strange], Effort::Push);
        assert_eq!((encoded.codec, encoded.payload.len()), (Codec::Ulp, without));
    }
}

/// Numbers of every type, also of one that holds more than they use, tell what the step before was.
#[test]
fn chains_of_every_type_come_back() {
    for (dtype, zeros) in
        DTYPES.into_iter().map(|dtype| (dtype, 0)).chain([(Dtype::F32, 16), (Dtype::F64, 29)])
    {
        let mut random = noise(5);
        let mut revisions = [const { Vec::new() }; 3];
        for _ in 0..20_000 {
            let bits = u64::from((random() * 16384.0).to_bits()) << 32 | 0x5555_5555;
            let (step, back) = ((random() * 5.0).round() as i64, random() < 0.3);
            let numbers = [0, step, if back { 0 } else { step }];
            for (revision, step) in revisions.iter_mut().zip(numbers) {
                let number = (bits >> (64 - 8 * dtype.width())).wrapping_add(step as u64) << zeros;
                revision.extend_from_slice(&number.to_le_bytes()[..dtype.width()]);
            }
        }
        let [first, second, third] = revisions;
        let [base, previous] = [&second, &first].map(|bytes| Base { bytes, dtype });
        let encoded = ulp::encode(&third, dtype, 100, base, Some(previous), None).unwrap();
        assert_eq!(encoded.codec, Codec::UlpChain, "{dtype:?}");
        let found = decode(encoded.codec, &encoded.payload, &[&second, &first], third.len());
        assert!(found.unwrap() == third, "{dtype:?}");
    }
}

/// A payload that needs two bases says so where it gets one.
#[test]
fn a_missing_base_is_an_error() {
    let [first, second, third] = chain(12, 10_000);
    let [base, previous] = [&second, &first].map(|bytes| Base { bytes, dtype: Dtype::Bf16 });
    let encoded = encode(&third, Dtype::Bf16, 0, &[base, previous], Effort::Push);
    assert_eq!(encoded.codec.bases(), 2);
    for bases in [&[][..], &[&second[..]]] {
        let found = decode(encoded.codec, &encoded.payload, bases, third.len());
        assert_eq!(found, Err(DecodeError::NoBase));
    }
}

/// Differences that are nearly all zero and otherwise far and wide: most symbols are escapes then.
#[test]
fn rare_symbols_come_back() {
    let [base, tuned] = crossed(1000, 1000, 400);
    let payload = delta(&tuned, Dtype::Bf16, 0, &base);
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
        let with = &[Base { bytes: base, dtype: Dtype::Bf16 }];
        comes_back(target, Dtype::Bf16, COLUMNS as u64, with);
        let encoded = encode(target, Dtype::Bf16, COLUMNS as u64, with, Effort::Push);
        let alone = encode(target, Dtype::Bf16, COLUMNS as u64, &[], Effort::Push).payload.len();
        assert_eq!(encoded.codec, Codec::Ulp);
        assert!(encoded.payload.len() < alone * 6 / 10, "{} of {alone}", encoded.payload.len());
    }
}
