//! Damaged tables: cut off at each of their structures, with changed bytes in headers and footers, put together wrongly. They
//! are stored as well as they can be understood, beside the table that they were, and come back as they are.

use std::ops::Range;

use git_sparse::backend::Memory;
use git_sparse::format::{cut, header};
use git_sparse::id::Oid;

use super::{keep, tables};
use crate::support::random::Random;
use crate::support::samples::{assert_clean, fresh, give_back};

/// So many of each kind of damage, of each table.
const CUTS: usize = 20;
const CHANGES: usize = 40;
const MIXES: usize = 8;
/// The end of a footer, and where its length stands.
const TAIL_BYTES: usize = 8;

/// Where a table may be damaged.
struct Places {
    /// Ends of runs of pages, of pages' headers, and of indexes.
    borders: Vec<usize>,
    /// Headers of pages and the footer.
    headers: Vec<Range<usize>>,
}

fn places(bytes: &[u8]) -> Places {
    let (mut borders, mut headers) = (vec![0, 4, bytes.len() - TAIL_BYTES, bytes.len() - 4], Vec::new());
    for segment in cut(&bytes).unwrap().segments() {
        let (start, end) = (segment.range.start as usize, segment.range.end as usize);
        borders.push(end);
        let mut at = start;
        while let Some(page) = header(&bytes[at..end]).filter(|_| !segment.name.is_empty()) {
            headers.push(at..at + page.header.len());
            borders.push(at + page.header.len());
            let Some(next) = page.body_bytes.checked_add(at + page.header.len()).filter(|next| *next < end)
            else {
                break;
            };
            at = next;
        }
        if segment.name == "/footer" {
            headers.push(start..end);
        }
    }
    Places { borders, headers }
}

/// One damaged copy after the other; what was done, and the bytes.
fn damaged(random: &mut Random, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Places { borders, headers } = places(bytes);
    let mut found = Vec::new();
    for _ in 0..CUTS {
        let at = (borders[random.below(borders.len())] + random.below(3)).saturating_sub(1).min(bytes.len());
        found.push((format!("cut at {at}"), bytes[..at].to_vec()));
        found.push((format!("without {at} bytes"), bytes[at..].to_vec()));
    }
    for _ in 0..CHANGES {
        let place = headers[random.below(headers.len())].clone();
        let (at, value) = (place.start + random.below(place.len()), random.below(255) as u8 + 1);
        let mut changed = bytes.to_vec();
        changed[at] ^= value;
        found.push((format!("byte {at} changed by {value}"), changed));
    }
    for _ in 0..MIXES {
        let mut at = [0, 1, 2].map(|_| borders[random.below(borders.len())]);
        at.sort_unstable();
        let [a, b, c] = at;
        let mixed = [&bytes[..a], &bytes[b..c], &bytes[a..b], &bytes[c..]].concat();
        found.push((format!("{a}..{b} behind {b}..{c}"), mixed));
        let twice = [&bytes[..b], &bytes[a..]].concat();
        found.push((format!("{a}..{b} twice"), twice));
    }
    found
}

#[test]
fn damaged_tables_come_back_as_they_are() {
    let mut random = Random::printed("damaged tables");
    for (name, bytes) in tables() {
        let store = fresh(Memory::default());
        let whole = keep(&store, &bytes, &[]);
        for (what, damaged) in damaged(&mut random, &bytes) {
            let kept = keep(&store, &damaged, &[whole.oid]);
            let back = give_back(&store, kept.oid).unwrap_or_else(|error| panic!("{name}, {what}: {error}"));
            assert!(back == damaged && kept.oid == Oid::of(&damaged), "{name}, {what}: other bytes");
        }
        assert_clean(&store, &name);
    }
}
