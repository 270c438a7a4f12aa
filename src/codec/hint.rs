//! What is known of a difference before it is read: how large it should be, and to which side it tends.
//!
//! Differences are taken from what is expected, in whole units, and *turned*: they count towards the side to which
//! they tend. How strongly they do is their *class*, which chooses the table together with their *rank*, the
//! number that their cell has in the map (see `cells`).

use super::DecodeError;
use super::binary::BitCoder;
use super::cells::code_starts;
use super::lanes::{Each, Lanes, MAX_TABLES};
use super::order::Word;
use super::previous::Previous;
use super::product::Product;

/// Strengths of a tendency that are told apart.
pub(super) const CLASSES: usize = 8;
/// Kind numbers: rank, class.
pub(super) const KINDS: usize = MAX_TABLES * CLASSES;

/// Where the knowledge comes from.
#[derive(Clone, Copy)]
pub(super) enum Hint<'a, W> {
    /// The step before, in a chain of revisions.
    Previous(Previous<'a, W>),
    /// What rows and columns have in common.
    Product(&'a Product<W>),
    /// Of what they have in common whole units only, and the step before for the rest.
    Both(&'a Product<W>, Previous<'a, W>),
}

/// What is expected of the differences of a group.
#[derive(Clone, Copy)]
pub(super) struct Expected<W> {
    pub whole: Each<W>,
    /// All ones where the difference is turned.
    pub turned: Each<W>,
    pub classes: Each<u8>,
}

impl<W: Word> Hint<'_, W> {
    /// What is expected of the group with this number.
    #[inline(always)]
    pub fn of<L: Lanes>(&self, lanes: L, number: usize, base: &Each<W>) -> Expected<W> {
        match self {
            Hint::Previous(previous) => previous.expected(lanes, number, base),
            Hint::Product(product) => product.expected(lanes, number, base),
            Hint::Both(product, previous) => {
                let Expected { whole, .. } = product.expected(lanes, number, base);
                Expected { whole, ..previous.expected(lanes, number, base) }
            }
        }
    }

    /// Whether it tells of whole units.
    pub fn has_product(&self) -> bool {
        !matches!(self, Hint::Previous(_))
    }
}

impl<W: Word> Expected<W> {
    /// Nothing.
    pub fn none() -> Self {
        Self { whole: Each::of(W::default()), turned: Each::of(W::default()), classes: Each::of(0) }
    }

    /// Takes what is expected off the differences.
    #[inline(always)]
    pub fn take_off(&self, differences: &mut Each<W>) {
        for ((difference, &whole), &turned) in differences.iter_mut().zip(&self.whole).zip(&self.turned) {
            *difference = difference.minus(whole).xor(turned).minus(turned);
        }
    }

    /// The reverse.
    #[inline(always)]
    pub fn add_to(&self, differences: &mut Each<W>) {
        for ((difference, &whole), &turned) in differences.iter_mut().zip(&self.whole).zip(&self.turned) {
            *difference = difference.xor(turned).minus(turned).plus(whole);
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

    /// The tables of weights of these classes and ranks.
    #[inline(always)]
    pub fn map<L: Lanes>(&self, lanes: L, classes: &Each<u8>, ranks: &Each<u8>) -> Each<u8> {
        let mut kinds = Each::of(0);
        for ((kind, class), rank) in kinds.iter_mut().zip(classes).zip(ranks) {
            *kind = rank * CLASSES as u8 + class;
        }
        lanes.look_up_wide(&self.tables, &kinds)
    }
}
