//! Whatever is found must come back, and no bytes of others may hurt.

use proptest::prelude::*;

use super::*;

/// A packer of each library and wrapper.
fn packers() -> Vec<Packer> {
    let gzip = [0x1f, 0x8b, 8, 8, 1, 2, 3, 4, 0, 3, b'a', b'.', b'c', b's', b'v', 0];
    let gzip = Wrapper::read(&gzip, Kind::Gzip).unwrap();
    let zlib = Wrapper::read(&[0x78, 0x9c], Kind::Zlib).unwrap();
    let deflate = |encoder, wrapper| Packer::Deflate(Deflate::new(encoder, wrapper).unwrap());
    let mut packers: Vec<Packer> = Snappy::ALL.map(Packer::Snappy).to_vec();
    packers.extend([
        Packer::Zstd(Zstd::new(1, true, false).unwrap()),
        Packer::Zstd(Zstd::new(2, true, true).unwrap()),
        Packer::Zstd(Zstd::streamed(3, false, false).unwrap()),
        Packer::Lz4(Lz4::c(0, false).unwrap()),
        Packer::Lz4(Lz4::c(9, true).unwrap()),
        Packer::Lz4(Lz4::c(12, false).unwrap()),
        Packer::Lz4(Lz4::flex(false)),
        deflate(Encoder::Zlib { level: 6, memory: 9 }, Wrapper::raw()),
        deflate(Encoder::ZlibRs { level: 6 }, gzip.clone()),
        deflate(Encoder::ZlibFlushed { level: 9 }, gzip),
        deflate(Encoder::Miniz { level: 6 }, zlib),
    ]);
    packers.extend(lz4_frame::of::each_writer().into_iter().map(Packer::Lz4Frame));
    packers
}

/// What is stored is what `find` gives: it must pack to the same bytes, after its way to the disk and back.
#[test]
fn what_is_found_packs_to_the_same() {
    for packer in packers() {
        for (name, plain) in samples::fixed() {
            let packed = packer.pack(&plain);
            let (found, unpacked) =
                find(&packed, Some(plain.len())).unwrap_or_else(|| panic!("{packer:?} of {name}"));
            assert_eq!(unpacked, plain, "{packer:?} of {name}");
            let bytes = found.encode();
            assert_eq!(Packer::decode(&bytes).unwrap(), (found.clone(), &[][..]));
            assert_eq!(found.pack(&plain), packed, "{found:?} for {packer:?} of {name}");
        }
    }
}

/// A page of a file is tried with what packed the page before, whose header was another.
#[test]
fn hints_are_fitted() {
    let (_, plain) = samples::fixed().swap_remove(3);
    for packer in packers() {
        let packed = packer.pack(&plain);
        let (found, _) = find_like(&packed, Some(plain.len()), Some(&packer)).unwrap();
        assert_eq!(found, packer);
    }
    let checked = Zstd::new(5, true, true).unwrap().pack(&plain);
    let hint = Packer::Zstd(Zstd::new(5, true, false).unwrap());
    let (found, _) = find_like(&checked, None, Some(&hint)).unwrap();
    assert_eq!(found, Packer::Zstd(Zstd::new(5, true, true).unwrap()));
}

/// Bytes that nobody packed, or that a packer of ours doesn't give, are kept as they are.
#[test]
fn what_is_not_reproduced_is_not_found() {
    let (_, plain) = samples::fixed().swap_remove(2);
    for packer in packers() {
        let mut packed = packer.pack(&plain);
        packed.push(0);
        assert_eq!(find(&packed, Some(plain.len())), None, "{packer:?}");
        assert_eq!(find(&packer.pack(&plain), Some(plain.len() + 1)), None, "{packer:?}");
        assert_eq!(find(&packer.pack(&plain), Some(plain.len() - 1)), None, "{packer:?}");
    }
    let (_, noise) = samples::fixed().swap_remove(7);
    assert_eq!(find(&noise, None), None);
    assert_eq!(find(&[], None), None);
}

/// A length that lies is refused before memory is taken for it.
#[test]
fn more_than_the_most_is_refused() {
    let zeros = vec![0; MAX_PLAIN_BYTES + 1];
    for packer in packers() {
        let packed = packer.pack(&zeros);
        assert!(packer.unpack(&packed, None).is_err());
        assert!(packer.unpack(&packed, Some(zeros.len())).is_err());
        assert!(packer.unpack(&packed, Some(usize::MAX)).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Everything that packs unpacks, or the object would be found and then not come back.
    #[test]
    fn all_that_is_packed_unpacks(plain in samples::plain()) {
        for packer in packers() {
            let packed = packer.pack(&plain);
            prop_assert!(packer.gives(&plain, &packed), "{packer:?}");
            prop_assert_eq!(packer.unpack(&packed, Some(plain.len())).unwrap(), &plain[..]);
        }
    }

    /// Packed bytes come from anyone.
    #[test]
    fn damage_is_an_error_and_no_panic(
        plain in samples::plain(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        for packer in packers() {
            let mut packed = packer.pack(&plain);
            let at = at.index(packed.len());
            packed[at] ^= 1u8 << bit;
            for len in [Some(plain.len()), None] {
                if let Ok(unpacked) = packer.unpack(&packed, len) {
                    prop_assert!(unpacked.len() <= MAX_PLAIN_BYTES);
                }
                let _ = packer.unpack(&packed[..at], len);
            }
        }
    }

    /// So do the bytes of a packer, where a store was damaged.
    #[test]
    fn packers_of_any_bytes_pack(bytes in prop::collection::vec(any::<u8>(), 0..24), number in 0..6u8) {
        let bytes = [&[number], &bytes[..]].concat();
        if let Ok((packer, rest)) = Packer::decode(&bytes) {
            let encoded = packer.encode();
            prop_assert_eq!(&encoded[..], &bytes[..bytes.len() - rest.len()]);
            packer.pack(b"some bytes that are packed, some bytes that are packed");
        }
    }
}
