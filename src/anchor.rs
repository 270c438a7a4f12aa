//! Places in bytes that depend on the bytes before them alone: found again wherever these were moved to.
//!
//! A stretch of one file resembles a stretch of another where both have anchors in common. The hash is the "gear" of
//! FastCDC (Xia et al. 2020): it shifts out what lies more than 64 bytes back.

/// Bytes that an anchor depends on.
const REACH_BYTES: usize = 64;

/// One random number for each byte: SplitMix64 (Steele, Lea, Flood 2014).
const GEAR: [u64; 256] = {
    let (mut table, mut state, mut byte) = ([0; 256], 0u64, 0);
    while byte < table.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[byte] = mixed ^ (mixed >> 31);
        byte += 1;
    }
    table
};

/// The anchors in `bytes`, about one in 2^`bits` bytes, each as a hash of the bytes before it.
pub fn anchors(bytes: &[u8], bits: u32) -> Vec<u64> {
    let least = u64::MAX >> bits;
    let mut found = Vec::new();
    let (head, rest) = bytes.split_at(bytes.len().min(REACH_BYTES - 1));
    let mut hash = head.iter().fold(0, |hash: u64, byte| roll(hash, *byte));
    for byte in rest {
        hash = roll(hash, *byte);
        if hash <= least {
            found.push(hash);
        }
    }
    found
}

fn roll(hash: u64, byte: u8) -> u64 {
    (hash << 1).wrapping_add(GEAR[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    /// That is what makes them anchors.
    #[test]
    fn anchors_move_with_their_bytes() {
        let bytes = noise(1 << 20);
        let all = anchors(&bytes, 10);
        assert!((900..1150).contains(&all.len()), "{}", all.len());
        let moved = [b"something before", &bytes[..]].concat();
        assert!(all.iter().all(|anchor| anchors(&moved, 10).contains(anchor)));
        assert!(anchors(&bytes[..REACH_BYTES - 1], 0).is_empty());
        assert_eq!(anchors(&bytes[..REACH_BYTES], 0).len(), 1);
    }
}
