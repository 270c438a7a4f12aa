//! Plain bytes for tests: the same ones always, as pages of tables have them, and random ones.

use proptest::prelude::*;

/// A generator of numbers that is part of the golden corpus, so it never changes.
pub struct Numbers(u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Names and bytes: lengths around a block, a small table, and more than one block of each format.
pub fn fixed() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", Vec::new()),
        ("short", words(90)),
        ("few words", words(3_000)),
        ("words", words(300_000)),
        ("few numbers", walk(12_000)),
        ("numbers", walk(140_000)),
        ("zeros", vec![0; 70_000]),
        ("noise", noise(70_000)),
    ]
}

fn words(len: usize) -> Vec<u8> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let vocabulary: Vec<Vec<u8>> = (0..2000)
        .map(|_| (0..3 + numbers.next() % 9).map(|_| b'a' + (numbers.next() % 26) as u8).collect())
        .collect();
    let mut text = Vec::new();
    while text.len() < len {
        let rank = 2000 / (1 + numbers.next() % 2000);
        text.extend_from_slice(&vocabulary[(rank + numbers.next() % 40) as usize % 2000]);
        text.push(if numbers.next().is_multiple_of(12) { b'\n' } else { b' ' });
    }
    text.truncate(len);
    text
}

fn walk(len: usize) -> Vec<u8> {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut at = 1_700_000_000u64;
    let step = |_| {
        at += numbers.next() % 90;
        at.to_le_bytes()
    };
    (0..len / 8).flat_map(step).collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    (0..len / 8).flat_map(|_| numbers.next().to_le_bytes()).collect()
}

/// Bytes of few kinds that repeat near and far, up to three blocks of Snappy.
pub fn plain() -> impl Strategy<Value = Vec<u8>> {
    let piece = (prop::collection::vec(any::<u8>(), 0..40), 1..400usize, 1..=255u8);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| {
        let mut plain: Vec<u8> = Vec::new();
        for (bytes, times, mask) in pieces {
            (0..times).for_each(|_| plain.extend(bytes.iter().map(|byte| byte & mask)));
            let again = plain.len() / 3;
            plain.extend_from_within(again..(again + 1000).min(plain.len()));
        }
        plain
    })
}
