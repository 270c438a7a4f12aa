//! The differences of one object to its base, in groups of 64, taken anew each time they are visited:
//! that costs less than keeping them.

use super::hint::Hint;
use super::lanes::{Each, FETCH_AHEAD, GROUP, Lanes};
use super::order::{Order, Word};

/// Groups are left out when at least one in this many did not change.
const WORTH_SKIPPING: usize = 20;

/// The numbers of an object and of its base, as many of each.
pub(super) struct Deltas<'a, W, L> {
    lanes: L,
    order: Order<W>,
    target: &'a [u8],
    base: &'a [u8],
    hint: Option<Hint<'a, W>>,
    changed: Vec<bool>,
    skips: bool,
    top: u32,
}

/// One group: its number, its bases and how far its weights lie from them.
pub(super) struct Group<W> {
    pub number: usize,
    pub len: usize,
    /// Zeros behind the first `len`, as in `differences`.
    pub base: Each<W>,
    /// From what a product lets expect, if there is one.
    pub differences: Each<W>,
    /// How strongly these tend to a side, where it is known.
    classes: Option<Each<u8>>,
}

impl<'a, W: Word, L: Lanes> Deltas<'a, W, L> {
    #[inline(always)]
    pub fn new(lanes: L, order: &Order<W>, target: &'a [u8], base: &'a [u8]) -> Self {
        let groups = (target.len() / Self::WIDTH).div_ceil(GROUP);
        let mut deltas = Self {
            lanes,
            order: *order,
            target,
            base,
            hint: None,
            changed: Vec::new(),
            skips: false,
            top: 0,
        };
        let mut top = Each::of(W::default());
        let mut changed = Vec::with_capacity(groups);
        for number in 0..groups {
            let group = deltas.group(number);
            let mut bits = W::default();
            for ((top, &base), &difference) in top.iter_mut().zip(&group.base).zip(&group.differences) {
                *top = order.exponent(base).max(*top);
                bits = bits.or(difference);
            }
            changed.push(bits != W::default());
        }
        deltas.changed = changed;
        deltas.top = top.iter().max().map_or(0, |top| top.to_u64() as u32);
        let same = deltas.changed.iter().filter(|changed| !**changed).count();
        deltas.skips = same * WORTH_SKIPPING >= groups.max(1);
        deltas
    }

    const WIDTH: usize = W::BITS as usize / 8;

    /// The largest exponent of the bases.
    pub fn top(&self) -> u32 {
        self.top
    }

    pub fn order(&self) -> &Order<W> {
        &self.order
    }

    pub fn lanes(&self) -> L {
        self.lanes
    }

    /// Takes note of what more is known.
    pub fn expect(&mut self, hint: Hint<'a, W>) {
        self.hint = Some(hint);
    }

    /// Where more is known of the differences.
    pub fn hint(&self) -> Option<&Hint<'a, W>> {
        self.hint.as_ref()
    }

    /// Numbers in all.
    pub fn count(&self) -> usize {
        self.target.len() / Self::WIDTH
    }

    /// Whether groups without a change are left out.
    pub fn skips_groups(&self) -> bool {
        self.skips
    }

    /// Groups that are coded.
    pub fn coded_groups(&self) -> usize {
        if self.skips { self.changed.iter().filter(|changed| **changed).count() } else { self.changed.len() }
    }

    /// A bit a group, low bits first: set where something changed.
    pub fn bitmap(&self) -> Vec<u8> {
        let byte = |flags: &[bool]| {
            flags.iter().enumerate().fold(0, |byte, (bit, &set)| byte | u8::from(set) << bit)
        };
        self.changed.chunks(8).map(byte).collect()
    }

    /// Visits every `step`-th group that is coded.
    #[inline(always)]
    pub fn each_coded(&self, step: usize, mut visit: impl FnMut(&Group<W>)) {
        let mut skip = 0;
        for number in 0..self.changed.len() {
            if self.skips && !self.changed[number] {
                continue;
            }
            if skip == 0 {
                visit(&self.expecting(self.group(number)));
                skip = step.max(1);
            }
            skip -= 1;
        }
    }

    /// Visits the groups that are coded and whose numbers `wants` wants.
    #[inline(always)]
    pub fn each_coded_in(&self, wants: impl Fn(usize) -> bool, mut visit: impl FnMut(&Group<W>)) {
        for number in 0..self.changed.len() {
            if (self.changed[number] || !self.skips) && wants(number) {
                visit(&self.expecting(self.group(number)));
            }
        }
    }

    #[inline(always)]
    fn group(&self, number: usize) -> Group<W> {
        let start = number * GROUP * Self::WIDTH;
        let end = (start + GROUP * Self::WIDTH).min(self.target.len());
        for numbers in [self.base, self.target] {
            let ahead = start + FETCH_AHEAD * GROUP * Self::WIDTH;
            self.lanes.fetch(numbers.get(ahead..ahead + GROUP * Self::WIDTH).unwrap_or_default());
        }
        let (base, target) = (W::load_group(&self.base[start..end]), W::load_group(&self.target[start..end]));
        let differences = self.order.differences(&target, &base);
        Group { number, len: (end - start) / Self::WIDTH, base, differences, classes: None }
    }

    /// The same group, from what a product lets expect.
    #[inline(always)]
    fn expecting(&self, mut group: Group<W>) -> Group<W> {
        if let Some(hint) = self.hint.as_ref().filter(|hint| hint.has_product()) {
            let expected = hint.of(self.lanes, group.number, &group.base);
            expected.take_off(&mut group.differences);
            group.classes = Some(expected.classes);
        }
        group
    }

    /// A group's differences turned to the side to which they tend, and how strongly, where anything tells.
    #[inline(always)]
    pub fn turned(&self, group: &Group<W>) -> Option<(Each<W>, Each<u8>)> {
        if let Some(classes) = group.classes {
            return Some((group.differences, classes));
        }
        let expected = self.hint.as_ref()?.of(self.lanes, group.number, &group.base);
        let mut differences = group.differences;
        expected.take_off(&mut differences);
        Some((differences, expected.classes))
    }
}
