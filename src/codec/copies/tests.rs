//! What copies promise: every byte back, little for what is equal, and no panic for what lies.

use proptest::prelude::*;

use super::*;

/// Lines that are alike and all different.
fn lines(count: usize, seed: u64) -> Vec<String> {
    let line = |number: u64| {
        let hash = blake3::hash(&(number.wrapping_mul(7919) ^ seed).to_le_bytes()).to_hex();
        format!("{{\"id\": {number}, \"name\": \"{}\", \"text\": \"{}\"}}\n", &hash[..9], &hash[9..60])
    };
    (0..count as u64).map(line).collect()
}

fn comes_back(bytes: &[u8], bases: &[&[u8]]) -> Option<usize> {
    let Encoded { codec, payload } = encode(bytes, bases, Effort::Push)?;
    assert_eq!(codec, Codec::Copies);
    assert!(decode(&payload, bases, bytes.len()).unwrap() == bytes);
    Some(payload.len())
}

/// That is what it is for: a line costs what is new in it.
#[test]
fn an_edit_costs_what_it_changes() {
    let old = lines(20_000, 1);
    let base = old.concat();
    let cost = |new: &[String]| comes_back(new.concat().as_bytes(), &[base.as_bytes()]).unwrap();
    assert!(cost(&old) < 24, "{}", cost(&old));
    let mut changed = old.clone();
    changed.iter_mut().step_by(100).for_each(|line| *line = line.replace("\"text\": \"", "\"text\": \"new "));
    assert!(cost(&changed) < 200 * 6, "changed {}", cost(&changed));
    let fewer: Vec<String> =
        old.iter().enumerate().filter(|(at, _)| at % 100 != 7).map(|(_, line)| line.clone()).collect();
    assert!(cost(&fewer) < 200 * 5, "deleted {}", cost(&fewer));
    let mut sorted = old.clone();
    sorted.sort_by_key(|line| blake3::hash(line.as_bytes()).to_hex());
    assert!(cost(&sorted) < 20_000 * 6, "sorted {}", cost(&sorted));
}

/// A stretch may come from any of the bases, and go on in the next.
#[test]
fn copies_come_from_all_bases() {
    let all = lines(3000, 2).concat().into_bytes();
    let (first, second) = all.split_at(all.len() / 3);
    assert!(comes_back(&all, &[first, second]).unwrap() < 40);
    assert!(comes_back(&all, &[second, first]).unwrap() < 40);
    assert!(comes_back(&all, &[first]).unwrap() > 10_000);
    assert!(comes_back(&all, &[b"", first, b"", second]).unwrap() < 40);
}

/// Nothing in common is no delta.
#[test]
fn strangers_have_no_copies() {
    assert!(encode(&[7; 500], &[], Effort::Push).is_none());
    assert!(encode(&[7; 500], &[b""], Effort::Push).is_none());
    assert!(encode(b"", &[&[7; 500]], Effort::Push).is_none());
    assert!(encode(lines(50, 3).concat().as_bytes(), &[&[7; 500]], Effort::Push).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever was moved, doubled or lost: all comes back.
    #[test]
    fn whatever_was_edited_comes_back(
        seed: u64,
        edits in prop::collection::vec((0usize..1 << 16, 0usize..4000, 0usize..1 << 16, prop::collection::vec(any::<u8>(), 0..30)), 0..12),
        cut in 0usize..1 << 16,
        period in 1usize..200,
    ) {
        let mut base = lines(300, seed).concat().into_bytes();
        base.extend((0..3000).map(|at| (at % period) as u8));
        let mut bytes = base.clone();
        for (at, len, to, new) in edits {
            let at = at % (bytes.len() + 1);
            let gone: Vec<u8> = bytes.drain(at..(at + len).min(bytes.len())).collect();
            let to = to % (bytes.len() + 1);
            bytes.splice(to..to, new.iter().copied().chain(if to % 2 == 0 { gone } else { Vec::new() }));
        }
        let (first, second) = base.split_at(cut % base.len());
        comes_back(&bytes, &[first, second]);
    }

    /// A payload from another store may say anything.
    #[test]
    fn lies_are_errors(at in 0usize..1 << 16, to: u8, cut in 0usize..1 << 16, len in 0usize..1 << 17) {
        let base = lines(300, 5);
        let mut new = base.clone();
        new.iter_mut().step_by(9).for_each(|line| line.insert_str(20, "something else"));
        let (base, new) = (base.concat(), new.concat());
        let mut payload = encode(new.as_bytes(), &[base.as_bytes()], Effort::Push).unwrap().payload;
        assert!(decode(&payload, &[], new.len()).is_err());
        assert!(decode(&payload[..cut % payload.len()], &[base.as_bytes()], new.len()).is_err());
        prop_assert!(len == new.len() || decode(&payload, &[base.as_bytes()], len).is_err());
        let at = at % payload.len();
        payload[at] = to;
        let _ = decode(&payload, &[base.as_bytes()], new.len());
    }
}
