//! What each behaviour gives is what other programs wrote; `tests/data/packing` has more of it.

use proptest::prelude::*;

use super::*;

proptest! {
    /// The oldest behaviour is that of a port that everyone uses: an oracle for the search as a whole.
    #[test]
    fn old_behaviour_is_that_of_snap(plain in super::super::samples::plain()) {
        let expected = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        prop_assert_eq!(Snappy::V1_1_8.pack(&plain), expected);
    }

    /// What can't be read back must not be stored; a reader of other people's bytes must not trust them.
    #[test]
    fn blocks_come_back(plain in super::super::samples::plain(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        for behaviour in Snappy::ALL {
            let mut packed = behaviour.pack(&plain);
            prop_assert!(behaviour.gives(&plain, &packed));
            prop_assert_eq!(&unpack(&packed, plain.len()).unwrap(), &plain);
            prop_assert!(plain.is_empty() || unpack(&packed, plain.len() - 1).is_err());
            let at = at.index(packed.len());
            packed[at] ^= 1u8 << bit;
            let _ = unpack(&packed, plain.len());
            let _ = unpack(&packed[..at], plain.len());
        }
    }
}

/// A length alone must not make us allocate.
#[test]
fn a_long_length_is_refused() {
    assert!(unpack(&[0xff, 0xff, 0xff, 0x0f, 0, 0], usize::MAX).is_err());
    assert!(unpack(&[0xff; 9], usize::MAX).is_err());
    assert!(unpack(&[], usize::MAX).is_err());
}
