//! Some rows by chance, the same for the same seed.

use std::collections::BTreeSet;

/// `wanted` of `count` rows, each as likely as any other; ascending.
///
/// Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", 1987): as many steps as rows are wanted.
pub fn rows(count: u64, wanted: u64, seed: u64) -> BTreeSet<u64> {
    let mut state = seed;
    let mut chosen = BTreeSet::new();
    for last in count.saturating_sub(wanted)..count {
        let row = below(&mut state, last + 1);
        if !chosen.insert(row) {
            chosen.insert(last);
        }
    }
    chosen
}

/// A number below `end`, by SplitMix64 (Steele et al. 2014) and Lemire's multiplication.
fn below(state: &mut u64, end: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    ((u128::from(x) * u128::from(end)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample has as many rows as were asked for, or all; and other seeds give others.
    #[test]
    fn a_sample_is_as_large_as_asked() {
        assert_eq!(rows(100, 7, 1).len(), 7);
        assert_eq!(rows(5, 9, 1), (0..5).collect());
        assert!(rows(0, 3, 1).is_empty());
        assert_eq!(rows(1000, 10, 4), rows(1000, 10, 4));
        assert_ne!(rows(1000, 10, 4), rows(1000, 10, 5));
        assert!(rows(100, 50, 2).iter().all(|row| *row < 100));
    }
}
