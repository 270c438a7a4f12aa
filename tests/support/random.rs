//! Random numbers that can be had again: the seed is printed, and `GIT_SPARSE_TEST_SEED` replays it.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// Another sequence in each run, printed for the case that the test fails.
    pub fn printed(what: &str) -> Random {
        let given = std::env::var("GIT_SPARSE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let clock =
            || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64;
        let seed = given.unwrap_or_else(clock);
        eprintln!("{what}: GIT_SPARSE_TEST_SEED={seed}");
        Random(seed)
    }

    /// The sequence of `seed`.
    pub fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }
}
