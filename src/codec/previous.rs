//! What the step before says about the next one: in a chain of revisions, the base has a base of its own.
//!
//! Training moves weights in finer steps than their type has, and each revision is rounded. A weight that was
//! just rounded to another number lies near the border between both, and tends to come back. So differences
//! are *turned*: they count towards where the weight came from. How far it came is its *class*, which
//! chooses the table together with its *rank*, the number that its cell has in the map (see `cells`).

use super::DecodeError;
use super::binary::BitCoder;
use super::cells::code_starts;
use super::lanes::{Each, FETCH_AHEAD, GROUP, Lanes, MAX_TABLES};
use super::order::{Order, Word};

/// Classes: 0, 1, 2–3, 4–7 and so on units of the last place.
pub(super) const CLASSES: usize = 8;
/// All steps from this on are of the last class.
const FAR: u64 = 1 << (CLASSES - 2);
/// Kind numbers: rank, class.
pub(super) const KINDS: usize = MAX_TABLES * CLASSES;

/// The numbers that the bases were made of, as many.
#[derive(Clone, Copy)]
pub(super) struct Previous<'a, W> {
    order: Order<W>,
    bytes: &'a [u8],
}

/// How the weights of a group came to their bases.
pub(super) struct Steps<W> {
    /// All ones where the difference is turned.
    turned: Each<W>,
    pub classes: Each<u8>,
}

impl<'a, W: Word> Previous<'a, W> {
    pub fn new(order: &Order<W>, bytes: &'a [u8]) -> Self {
        Self { order: *order, bytes }
    }

    /// Those of the group with this number.
    #[inline(always)]
    pub fn steps<L: Lanes>(&self, lanes: L, number: usize, base: &Each<W>) -> Steps<W> {
        let group_bytes = GROUP * W::BITS as usize / 8;
        let start = number * group_bytes;
        let ahead = start + FETCH_AHEAD * group_bytes;
        lanes.fetch(self.bytes.get(ahead..ahead + group_bytes).unwrap_or_default());
        let previous = W::load_group(&self.bytes[start..self.bytes.len().min(start + group_bytes)]);
        let back = self.order.differences(&previous, base);
        let (mut turned, mut classes) = (Each::of(W::default()), Each::of(0));
        for ((turned, class), back) in turned.iter_mut().zip(classes.iter_mut()).zip(back) {
            *turned = back.sign();
            let far = back.xor(*turned).minus(*turned);
            // Bytes from here on: more of them are compared at once.
            *class = far.min(W::from_u64(FAR)).low_byte();
        }
        for class in classes.iter_mut() {
            let far = std::mem::take(class);
            for octave in 0..CLASSES - 1 {
                *class += u8::from(far >= 1 << octave);
            }
        }
        Steps { turned, classes }
    }
}

impl<W: Word> Steps<W> {
    /// Turns differences, or turns them back.
    #[inline(always)]
    pub fn turn(&self, differences: &mut Each<W>) {
        for (difference, &turned) in differences.iter_mut().zip(&self.turned) {
            *difference = difference.xor(turned).minus(turned);
        }
    }
}

/// A table for each kind: a rank and a class.
#[derive(Clone)]
pub(super) struct KindMap {
    starts: Vec<u8>,
    tables: [u8; KINDS],
}

impl KindMap {
    /// By the lowest kind of each table but the first.
    pub fn new(starts: Vec<u8>) -> Self {
        let table = |kind: usize| starts.iter().filter(|start| usize::from(**start) <= kind).count() as u8;
        let tables = std::array::from_fn(table);
        Self { starts, tables }
    }

    /// How many there are.
    pub fn tables(&self) -> usize {
        self.starts.len() + 1
    }

    /// Codes the map; decoding ignores what is in `self`.
    pub fn code<C: BitCoder>(&self, coder: &mut C) -> Result<Self, DecodeError> {
        let mut starts = self.starts.clone();
        code_starts(coder, KINDS, &mut starts)?;
        Ok(Self::new(starts))
    }

    /// The tables of weights with these steps and ranks.
    #[inline(always)]
    pub fn map<L: Lanes, W>(&self, lanes: L, steps: &Steps<W>, ranks: &Each<u8>) -> Each<u8> {
        let mut kinds = Each::of(0);
        for ((kind, class), rank) in kinds.iter_mut().zip(steps.classes).zip(ranks) {
            *kind = rank * CLASSES as u8 + class;
        }
        lanes.look_up_wide(&self.tables, &kinds)
    }
}
