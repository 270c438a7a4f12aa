//! Which segments of a file follow by a rule from a base, by a few rows of each kind.

use std::cell::Cell;
use std::collections::HashMap;

use crate::codec::derived;
use crate::format::{Segment, Source};
use crate::origin::{MOST_WRONG_BYTES, Pairs, Reads, may_be_converted};

/// A file and where it is cut.
pub(super) type Cut<'a> = (&'a dyn Source, &'a [Segment]);

/// The slices of a file that are conversions of the base's.
#[derive(Default)]
pub(super) struct Computed {
    /// The bytes that their rules take.
    slices: HashMap<(String, u32), u64>,
    /// Bytes that were read to find out.
    pub read: u64,
}

impl Computed {
    /// What a segment takes by its rule.
    pub fn bytes_of(&self, segment: &Segment) -> Option<u64> {
        self.slices.get(&(segment.name.clone(), segment.slice)).copied()
    }

    /// Looks for conversions of any of these files.
    pub fn of((source, segments): Cut<'_>, bases: &[Cut<'_>]) -> Computed {
        if !may_be_converted(segments) {
            return Computed::default();
        }
        let slices = bases.iter().enumerate().flat_map(|(number, (_, segments))| {
            let named = segments.iter().filter(|segment| !segment.name.is_empty());
            named.map(move |segment| {
                (
                    segment.name.as_str(),
                    segment.dtype,
                    segment.shape.as_slice(),
                    (number, segment.range.start),
                )
            })
        });
        let pairs = Pairs::of(segments, slices);
        let read = Cell::new(0);
        let from = |source: &dyn Source, start: u64, len: usize| {
            let mut bytes = vec![0; len];
            read.set(read.get() + len as u64);
            source.read_at(&mut bytes, start).ok().map(|()| bytes)
        };
        let reads = Reads {
            child: &|segment, len| from(source, segment.range.start, len),
            source: &|(number, start): &(usize, u64), len| from(bases[*number].0, *start, len),
        };
        let is_made_of_it = matches!(pairs.share_wrong(segments, &reads), Some(..=MOST_WRONG_BYTES));
        let rules = if is_made_of_it { pairs.rules(segments, &reads) } else { HashMap::new() };
        let slices = rules.into_iter().map(|(slice, (rule, _))| (slice, derived::bytes_of(&rule))).collect();
        Computed { slices, read: read.get() }
    }
}
