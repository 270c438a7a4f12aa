//! Samples of what files hold, by which one that has rows or lines of another is found, whatever it is called.
//!
//! A bottom-k sketch (Broder 1997; Cohen and Kaplan 2007): of the hashes of everything in a file the least are kept.
//! What is chosen so depends on the content alone and not on its place, so a part of a file, or several files in one,
//! still has those of its hashes that belong to it. A recipe keeps some; a new file is asked about with many more of its
//! own, since what is rare in all of it may be all of a small base.

use std::collections::HashSet;

use foldhash::fast::FixedState;

/// Hashes of a new file that others are asked about with.
const MOST_ASKED: usize = 1 << 14;
/// A recipe keeps one in so many hashes,
const SPARE: usize = 1 << 15;
/// but at least and at most these,
const FEWEST: usize = 64;
const MOST: usize = 512;
/// and never more than one in so many.
const LEAST_SPARE: usize = 4;
/// Fewer say nothing.
const TOO_FEW: usize = 4;
/// Hashes that two files have in common by chance.
const BY_CHANCE: usize = 1;
/// A file that gives less of a new one than this is no base of it.
const LEAST_SHARE: f64 = 0.005;
/// What comes earlier in the order is preferred to what gives up to this much more.
const PREFERRED: f64 = 1.1;
/// Bytes of bases for each byte of the file, and for any file: all of them are read.
const MOST_TIMES: u64 = 16;
const ANY_BYTES: u64 = 64 << 20;
/// Most files that one is compared with.
pub const MOST_BASES: usize = 15;

/// Each is looked up for every file that may have it.
type Marks = HashSet<u32, FixedState>;

/// The exponent's highest bit: a number without it is finite.
const HIGHEST: u32 = 1 << 30;

/// The least hashes that were seen so far.
#[derive(Debug, Default)]
pub struct Least {
    hashes: Vec<u64>,
    limit: Option<u64>,
    seen: usize,
}

impl Least {
    /// Takes in what has this hash, which need not be a good one.
    pub fn add(&mut self, hash: u64) {
        let hash = mixed(hash);
        self.seen += 1;
        if self.limit.is_some_and(|limit| hash >= limit) {
            return;
        }
        self.hashes.push(hash);
        if self.hashes.len() >= 2 * MOST_ASKED {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        if self.hashes.len() > MOST_ASKED {
            self.limit = Some(self.hashes[MOST_ASKED]);
            self.hashes.truncate(MOST_ASKED);
        }
    }

    /// The sample of all that was added.
    pub fn finish(mut self) -> Sampled {
        self.cut();
        Sampled { hashes: self.hashes, seen: self.seen }
    }
}

/// The least hashes of a file, in order.
#[derive(Debug, Default)]
pub struct Sampled {
    hashes: Vec<u64>,
    /// How many there were in all.
    seen: usize,
}

impl Sampled {
    /// What a recipe keeps, in the place of sampled weights: 31 bits of each hash, as numbers that are finite. None of a
    /// file that has next to nothing.
    pub fn kept(&self) -> Vec<f32> {
        let most = self.hashes.len() / LEAST_SPARE;
        let count = (self.seen / SPARE).clamp(FEWEST, MOST).min(most);
        let count = if count < TOO_FEW { 0 } else { count };
        // The upper bits say little: these hashes are the least.
        self.hashes[..count].iter().map(|hash| f32::from_bits(mark(*hash))).collect()
    }

    fn marks(&self) -> Marks {
        self.hashes.iter().map(|hash| mark(*hash)).collect()
    }
}

fn mark(hash: u64) -> u32 {
    hash as u32 & !HIGHEST
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A file that may have something of a new one.
#[derive(Debug, Clone)]
pub struct Candidate<T> {
    pub file: T,
    /// Its bytes.
    pub size: u64,
    /// What its recipe kept.
    pub kept: Vec<f32>,
}

/// Asks which files have what is in a new one.
pub struct Asked {
    marks: Marks,
    size: u64,
}

impl Asked {
    /// About a file of so many bytes.
    pub fn about(sampled: &Sampled, size: u64) -> Asked {
        Asked { marks: sampled.marks(), size }
    }

    /// How much of what a file kept is in the new one; none where that may be chance.
    pub fn in_common(&self, kept: &[f32]) -> Option<usize> {
        let count = kept.iter().filter(|kept| self.marks.contains(&kept.to_bits())).count();
        (count > BY_CHANCE).then_some(count)
    }

    /// The files that together give most of the new one, and how many of its bytes each gives, about: first the one that
    /// gives most, then what the others lack. `candidates` come in the order in which they are preferred.
    pub fn choose<T>(&self, candidates: Vec<Candidate<T>>) -> Vec<(T, u64)> {
        let mut left = self.marks.clone();
        let mut room = ANY_BYTES.saturating_add(self.size.saturating_mul(MOST_TIMES));
        let mut candidates: Vec<Option<Candidate<T>>> = candidates.into_iter().map(Some).collect();
        let mut chosen = Vec::new();
        while chosen.len() < MOST_BASES {
            let mut best: Option<(usize, f64)> = None;
            for (at, candidate) in candidates.iter().enumerate() {
                let Some(candidate) = candidate.as_ref().filter(|candidate| candidate.size <= room) else {
                    continue;
                };
                let bytes = given(&left, candidate);
                if best.is_none_or(|(_, most)| bytes > most * PREFERRED) {
                    best = Some((at, bytes));
                }
            }
            let Some((at, bytes)) = best.filter(|(_, bytes)| *bytes >= LEAST_SHARE * self.size as f64) else {
                break;
            };
            let candidate = candidates[at].take().expect("because it was just looked at");
            room -= candidate.size;
            candidate.kept.iter().for_each(|kept| {
                left.remove(&kept.to_bits());
            });
            chosen.push((candidate.file, (bytes as u64).min(self.size)));
        }
        chosen
    }
}

/// The bytes that a file gives of what is left, about; 0 where that may be chance.
fn given<T>(left: &Marks, candidate: &Candidate<T>) -> f64 {
    let count = candidate.kept.iter().filter(|kept| left.contains(&kept.to_bits())).count();
    match count > BY_CHANCE {
        true => count as f64 / candidate.kept.len() as f64 * candidate.size as f64,
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(hashes: impl Iterator<Item = u64>) -> Sampled {
        let mut least = Least::default();
        hashes.for_each(|hash| least.add(hash));
        least.finish()
    }

    fn candidate(file: &'static str, hashes: std::ops::Range<u64>) -> Candidate<&'static str> {
        Candidate { file, size: (hashes.end - hashes.start) * 10, kept: sampled(hashes).kept() }
    }

    #[track_caller]
    fn finds(new: impl Iterator<Item = u64>, bytes: u64, among: Vec<Candidate<&str>>, expected: &[&str]) {
        let chosen = Asked::about(&sampled(new), bytes).choose(among);
        let names: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, expected);
    }

    /// Parts, several files in one and what was edited are found by what they share, and strangers are not.
    #[test]
    fn files_are_found_by_what_they_hold() {
        let all = || {
            vec![
                candidate("a", 0..100_000),
                candidate("b", 100_000..200_000),
                candidate("small", 300_000..303_000),
                candidate("stranger", 5_000_000..5_100_000),
            ]
        };
        finds(20_000..60_000, 400_000, all(), &["a"]);
        finds(0..200_000, 2_000_000, all(), &["a", "b"]);
        finds((0..50_000).chain(100_000..120_000), 700_000, all(), &["a", "b"]);
        finds((0..100_000).filter(|row| row % 50 > 0), 980_000, all(), &["a"]);
        finds((0..20_000).chain(300_000..303_000), 230_000, all(), &["a", "small"]);
        finds(7_000_000..7_050_000, 500_000, all(), &[]);
        finds(0..2, 20, all(), &[]);
    }

    /// Of versions of one file the one that is named first is as good as any.
    #[test]
    fn the_order_decides_between_equals() {
        let versions = vec![candidate("new", 100..50_000), candidate("old", 0..50_000)];
        finds(0..50_000, 500_000, versions, &["new"]);
    }

    /// What recipes keep has to be told apart later, and to come through as numbers.
    #[test]
    fn what_is_kept_is_bounded_and_finite() {
        for (count, expected) in
            [(0, 0), (15, 0), (16, 4), (1000, 64), (1 << 20, 64), (1 << 22, 128), (1 << 24, 512)]
        {
            let kept = sampled(0..count).kept();
            assert_eq!(kept.len(), expected, "of {count}");
            assert!(kept.iter().all(|kept| kept.is_finite()));
        }
    }
}
