//! Which segments of a file follow by a rule from a base, by a few rows of each kind.

use std::cell::Cell;
use std::collections::HashSet;

use crate::format::{Segment, Source};
use crate::origin::{Pairs, Reads, may_be_converted};

/// A file and where it is cut.
pub(super) type Cut<'a> = (&'a dyn Source, &'a [Segment]);

/// The slices of a file that are conversions of the base's.
#[derive(Default)]
pub(super) struct Computed {
    slices: HashSet<(String, u32)>,
    /// Bytes that were read to find out.
    pub read: u64,
}

impl Computed {
    pub fn has(&self, segment: &Segment) -> bool {
        self.slices.contains(&(segment.name.clone(), segment.slice))
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
        let slices = match pairs.proves(segments, &reads) {
            true => pairs.rules(segments, &reads).into_keys().collect(),
            false => HashSet::new(),
        };
        Computed { slices, read: read.get() }
    }
}
