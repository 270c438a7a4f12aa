//! What storing a file would take, by some pieces of it.
//!
//! Rows and stretches are looked for in all of both files, as when the file is stored. Of each column only some runs of
//! pages are encoded, at even distances, and those of the same rows where columns are cut alike: a column may be stored by
//! another one. Each stands for others of its column.

use std::collections::{BTreeMap, HashSet};

use super::encoder::{Outcome, Stretch};
use super::packs::Packs;
use super::table::goes_on;
use super::{AHEAD_BYTES, Against, IngestError, Ready, Shape, len_of, stretches};
use crate::codec::Effort;
use crate::format::{Segment, Source};
use crate::id::ObjectId;
use crate::pipeline::in_order;
use crate::progress::Progress;
use crate::store::Store;

/// So many pieces of each column are encoded, if it has them.
const LEAST_PIECES: usize = 16;

/// What a file would take.
#[derive(Debug, Clone, Copy)]
pub struct Appraisal {
    /// Bytes of new payloads.
    pub stored: u64,
    pub new_objects: u64,
    /// Bytes that a base has as they are.
    pub same: u64,
}

/// Encodes about `share` of a file against a base that the caller knows, and tells what all of it would take. Objects are
/// written to the store, which is good for nothing else then.
///
/// # Errors
/// As when the file is stored.
pub fn appraise(
    store: &Store,
    source: &dyn Source,
    against: Against,
    effort: Effort,
    share: f64,
    progress: &Progress<'_>,
) -> Result<Appraisal, IngestError> {
    let Shape { cut, stream, .. } = Shape::beside_bases(source)?;
    let Ready { encoder, bases, .. } = Ready::of(store, source, (&cut, None, stream), against, effort)?;
    let parts = bases.iter().flat_map(|base| &base.parts);
    let in_bases: HashSet<ObjectId> = parts.map(|part| part.object).collect();
    let belong = |before: &Segment, next: &Segment| encoder.table.is_some() && goes_on(source, before, next);
    let beside = encoder.table.as_ref().map(|table| &table.beside);
    let picked = picked(stretches(cut.segments(), 0, belong, |_| 0), share);
    let (mut packs, mut sums) = (Packs::new(&encoder), Sums::default());
    for own in 0..=beside.map_or(0, |beside| beside.levels()) {
        let is_due = |(segments, _): &&(&[Segment], f64)| {
            own == segments.first().zip(beside).map_or(0, |(first, beside)| beside.level(first))
        };
        let due: Vec<(&[Segment], f64)> = picked.iter().filter(is_due).copied().collect();
        let take = |(segments, times): &(&[Segment], f64), stretch: Stretch| {
            for (segment, outcome) in segments.iter().zip(stretch.outcomes) {
                sums.add(segment, &outcome, *times, &in_bases);
                packs.put(outcome.new)?;
            }
            Ok(progress(stretch.bytes.len() as u64)?)
        };
        let work = |(segments, _): &(&[Segment], f64)| encoder.encode(source, segments);
        in_order(&due, |(segments, _)| len_of(segments), AHEAD_BYTES, work, take)?;
    }
    packs.finish_pack()?;
    // Plans of pages that stand together take less than each alone.
    let together = packs.stored as f64 / sums.encoded.max(1) as f64;
    let stored = (sums.scaled * together) as u64;
    Ok(Appraisal { stored, new_objects: sums.objects.round() as u64, same: sums.same as u64 })
}

/// What was encoded, and what it stands for.
#[derive(Default)]
struct Sums {
    encoded: u64,
    scaled: f64,
    objects: f64,
    same: f64,
}

impl Sums {
    fn add(&mut self, segment: &Segment, outcome: &Outcome, times: f64, in_bases: &HashSet<ObjectId>) {
        let bytes = outcome.new.iter().map(|new| new.encoded.payload.len() as u64).sum::<u64>();
        self.encoded += bytes;
        self.scaled += times * bytes as f64;
        self.objects += times * outcome.new.len() as f64;
        if outcome.new.is_empty() && in_bases.contains(&outcome.object) {
            self.same += times * (segment.range.end - segment.range.start) as f64;
        }
    }
}

/// About `share` of these pieces of a file, each with how many times as much it stands for.
fn picked(pieces: Vec<&[Segment]>, share: f64) -> Vec<(&[Segment], f64)> {
    let mut columns: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, piece) in pieces.iter().enumerate() {
        columns.entry(piece.first().map_or("", |first| &first.name)).or_default().push(at);
    }
    let mut times = vec![0.0; pieces.len()];
    for all in columns.values() {
        let wanted = (share * all.len() as f64).ceil() as usize;
        let count = wanted.max(LEAST_PIECES).min(all.len());
        let chosen: Vec<usize> =
            (0..count).map(|number| all[(2 * number + 1) * all.len() / (2 * count)]).collect();
        let bytes = |which: &[usize]| which.iter().map(|at| len_of(pieces[*at])).sum::<u64>() as f64;
        let each = bytes(all) / bytes(&chosen).max(1.0);
        chosen.into_iter().for_each(|at| times[at] = each);
    }
    pieces.into_iter().zip(times).filter(|(_, times)| *times > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Dtype;

    /// What was not picked is told by what was: no column is left out, and the sums are those of all.
    #[test]
    fn pieces_stand_for_their_column() {
        let names = ["", "a", "b"];
        let segment = |at: u64| Segment {
            range: at * 100..(at + 1) * 100,
            name: names[(at % 7).min(2) as usize].into(),
            slice: 0,
            dtype: Dtype::Bytes,
            row_len: 0,
            shape: Vec::new(),
        };
        let segments: Vec<Segment> = (0..700).map(segment).collect();
        let pieces: Vec<&[Segment]> = segments.chunks(1).collect();
        for (share, expected) in [(0.0, 48), (0.2, 140), (1.0, 700), (9.0, 700)] {
            let picked = picked(pieces.clone(), share);
            assert_eq!(picked.len(), expected, "of {share}");
            for name in names {
                let own = |(piece, _): &&(&[Segment], f64)| piece[0].name == name;
                let all = segments.iter().filter(|segment| segment.name == name).count() as f64;
                let stands_for: f64 = picked.iter().filter(own).map(|(_, times)| times).sum();
                assert!((stands_for - all).abs() < 1e-6, "{stands_for} of {all} pieces of {name:?}");
            }
        }
    }
}
