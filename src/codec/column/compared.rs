//! Whether a cell is the one that was there before.

use super::sources::{Sources, numbers_of};
use crate::table::{Cells, Dictionary, Items, Rows};

/// How values are told to be the same.
pub(super) struct Compared<'a> {
    cells: &'a Cells,
    /// All old values, where the new ones are coded.
    pub dictionary: Option<Dictionary>,
    /// The numbers in it of the new ones.
    numbers: Vec<u32>,
    /// The numbers in it of the old ones, by the cells that they are from.
    theirs: Vec<Vec<u32>>,
}

impl<'a> Compared<'a> {
    pub fn of(cells: &'a Cells, sources: &Sources<'_>) -> Compared<'a> {
        let Items::Coded { dictionary: own, .. } = &cells.items else {
            return Compared { cells, dictionary: None, numbers: Vec::new(), theirs: Vec::new() };
        };
        let dictionary = sources.dictionary(own.none_like());
        let numbers = own.iter().map(|value| dictionary.find(value).unwrap_or(u32::MAX)).collect();
        let theirs =
            sources.formers.iter().map(|former| numbers_of(&former.cells.items, &dictionary)).collect();
        Compared { cells, dictionary: Some(dictionary), numbers, theirs }
    }

    /// Whether two rows have the same cell; none where the old one is in none of the cells.
    pub fn is_same(&self, own: &Rows, row: usize, sources: &Sources<'_>, from: u32) -> Option<bool> {
        let (at, old) = sources.find(from)?;
        let former = sources.formers[at].cells;
        let (their_entries, their_values) = sources.places(at, old);
        let entries = own.entries(row..row + 1);
        let values = own.values(entries.clone());
        let same_levels =
            |own: &[u8], theirs: &[u8]| own.get(entries.clone()) == theirs.get(their_entries.clone());
        let is_same = their_entries.len() == entries.len()
            && their_values.len() == values.len()
            && same_levels(&self.cells.repetitions, &former.repetitions)
            && same_levels(&self.cells.definitions, &former.definitions)
            && values.zip(their_values).all(|(own, theirs)| match (&self.cells.items, &former.items) {
                (Items::Coded { codes, .. }, Items::Coded { codes: their_codes, .. }) => {
                    self.numbers[codes[own] as usize] == self.theirs[at][their_codes[theirs] as usize]
                }
                (own_items, their_items) => own_items.get(own) == their_items.get(theirs),
            });
        Some(is_same)
    }
}
