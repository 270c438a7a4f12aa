//! Which segments of a file follow by a rule from a base, and how nearly, by a few rows of each.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

use crate::codec::derived;
use crate::derive::{ByRows, Rule};
use crate::format::{Segment, Source};
use crate::origin::{Pairs, Reads, may_be_converted};

/// A file and where it is cut.
pub(super) type Cut<'a> = (&'a dyn Source, &'a [Segment]);

/// The slices of a file that are conversions of the base's, or of a relative of what they were made of.
pub(super) struct Computed<'a> {
    bases: &'a [Cut<'a>],
    /// With the file of the base that has the source, and where it begins there.
    slices: HashMap<(String, u32), (Rule, (usize, u64))>,
    /// Bytes that were read to find out.
    pub read: u64,
}

/// What a rule gives of some rows.
pub(super) struct Derived {
    /// Bytes that the rule takes, for the whole slice.
    pub rule: u64,
    /// One for each stretch of rows.
    pub stretches: Vec<Vec<u8>>,
    pub read: u64,
}

impl<'a> Computed<'a> {
    /// Looks for conversions of any of these files.
    pub fn of((source, segments): Cut<'_>, bases: &'a [Cut<'a>]) -> Computed<'a> {
        if !may_be_converted(segments) {
            return Computed { bases, slices: HashMap::new(), read: 0 };
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
            read.set(read.get() + len as u64);
            self::read(source, start, len)
        };
        let reads = Reads {
            child: &|segment, len| from(source, segment.range.start, len),
            source: &|(number, start): &(usize, u64), len| from(bases[*number].0, *start, len),
        };
        let may_follow = pairs.share_wrong(segments, &reads, 1).is_some();
        let rules = if may_follow { pairs.rules(segments, &reads) } else { HashMap::new() };
        // The slices of a tensor lie one after the other.
        let placed = |(slice, (rule, sources)): (_, (Rule, Vec<(usize, u64)>))| {
            let (file, start) = *sources.first()?;
            let before = rule.by_rows()?.before;
            Some((slice, (rule, (file, start + before))))
        };
        Computed { bases, slices: rules.into_iter().filter_map(placed).collect(), read: read.get() }
    }

    /// Rows of a segment that only together follow from anything.
    pub fn together(&self, segment: &Segment) -> u64 {
        self.slice(segment).and_then(|(rule, _)| rule.by_rows()).map_or(1, |rows| rows.together)
    }

    /// What the rule of a segment gives where these elements are; none where there is none.
    pub fn derive(&self, segment: &Segment, stretches: &[Range<u64>]) -> Option<Derived> {
        let (rule, (file, start)) = self.slice(segment)?;
        let ByRows { row_bytes, .. } = rule.by_rows()?;
        let mut derived = Derived { rule: derived::bytes_of(rule), stretches: Vec::new(), read: 0 };
        for stretch in stretches {
            let [first, end] = [stretch.start, stretch.end].map(|at| at / segment.row_len.max(1));
            let len = usize::try_from((end - first) * row_bytes).ok()?;
            let rows = self::read(self.bases[*file].0, start + first * row_bytes, len)?;
            let bytes = (stretch.end - stretch.start) as usize * segment.dtype.width();
            let rule = rule.of_rows(first, end - first)?;
            derived.stretches.push(rule.apply(&[&rows], bytes).ok()?);
            derived.read += len as u64;
        }
        Some(derived)
    }

    fn slice(&self, segment: &Segment) -> Option<&(Rule, (usize, u64))> {
        self.slices.get(&(segment.name.clone(), segment.slice))
    }
}

fn read(source: &dyn Source, start: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    source.read_at(&mut bytes, start).ok().map(|()| bytes)
}
