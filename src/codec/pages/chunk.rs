//! The runs of pages that share a dictionary, and the bodies of pages that follow from their cells.

use super::MAX_PLAIN_BYTES;
use crate::format::PageParts;
use crate::table::{Cells, Dictionary, Items, Layout, Stretch, Values, write};

/// The runs that share a dictionary.
pub(super) struct Chunk<'a> {
    own: &'a Cells,
    /// The different values of them all, in the order in which they come first; none where the run is alone.
    union: Option<Dictionary>,
}

impl<'a> Chunk<'a> {
    pub fn of(own: &'a Cells, others: &[&'a Cells], place: usize) -> Chunk<'a> {
        let union = (!others.is_empty()).then(|| {
            let mut runs = others.to_vec();
            runs.insert(place, own);
            let mut union = Dictionary::of(Values::none(own.physical));
            for cells in runs {
                if let Items::Coded { dictionary, .. } = &cells.items {
                    dictionary.iter().for_each(|value| {
                        union.number(value);
                    });
                }
            }
            union
        });
        Chunk { own, union }
    }

    fn own_dictionary(&self) -> Option<&Values> {
        match &self.own.items {
            Items::Coded { dictionary, .. } => Some(dictionary),
            Items::Plain(_) => None,
        }
    }

    /// All values in the order in which they come first.
    fn values(&self) -> Option<&Values> {
        self.union.as_ref().map(Dictionary::values).or(self.own_dictionary())
    }

    /// The numbers of the run's values among all; none where they are the same.
    pub fn numbers(&self) -> Option<Vec<u32>> {
        let union = self.union.as_ref()?;
        Some(self.own_dictionary()?.iter().map(|value| union.find(value).unwrap_or(u32::MAX)).collect())
    }

    /// The same in a dictionary that is given as a page.
    pub fn numbers_of(&self, page: &PageParts<'_>, body: &[u8]) -> Option<Vec<u32>> {
        let made = self.dictionary(page.values);
        if made == body {
            return self.numbers();
        }
        let mut values = Values::none(self.own.physical);
        let count = page.values.min(body.len());
        values.read_plain(false, body, count)?;
        let dictionary = Dictionary::of(values);
        let own = self.own_dictionary()?;
        Some(own.iter().map(|value| dictionary.find(value).unwrap_or(u32::MAX)).collect())
    }

    /// The body of a dictionary of the first `count` values.
    fn dictionary(&self, count: usize) -> Vec<u8> {
        let mut body = Vec::new();
        if let Some(values) = self.values() {
            values.write_plain(false, 0..count.min(values.len()), &mut body);
        }
        body
    }

    /// A dictionary of values of the runs in another order: their numbers; none where it is no such one.
    pub fn order_of(&self, page: &PageParts<'_>, body: &[u8]) -> Option<Vec<u32>> {
        let mut values = Values::none(self.own.physical);
        values.read_plain(false, body, page.values)?.is_empty().then_some(())?;
        let all = Dictionary::of(self.values()?.clone());
        let order: Vec<u32> = values.iter().map(|value| all.find(value)).collect::<Option<_>>()?;
        (self.in_order(&order).as_deref() == Some(body)).then_some(order)
    }

    /// The body of a dictionary of the values with these numbers.
    pub fn in_order(&self, order: &[u32]) -> Option<Vec<u8>> {
        let values = self.values()?;
        let mut body = Vec::new();
        for number in order {
            let number = *number as usize;
            (number < values.len() && body.len() <= MAX_PLAIN_BYTES).then_some(())?;
            values.write_plain(false, number..number + 1, &mut body);
        }
        Some(body)
    }

    /// The body of a page, where bodies stand for cells.
    pub fn whole(&self, number: usize) -> Option<Vec<u8>> {
        (number < self.own.items.len()).then(|| self.own.items.get(number).to_vec())
    }

    /// The body of a page that begins where the last one ended.
    pub fn body(
        &self,
        page: &PageParts<'_>,
        layout: Option<&Layout>,
        at: &mut Stretch,
        numbers: &Option<Vec<u32>>,
    ) -> Option<Vec<u8>> {
        let Some(layout) = layout else { return Some(self.dictionary(page.values)) };
        let start = at.entries.end;
        let end = start.checked_add(page.values).filter(|end| *end <= self.own.entries)?;
        at.entries = start..end;
        at.values = at.values.end..at.values.end + self.own.values_in(start..end);
        write(self.own, at, page, layout, numbers.as_deref())
    }
}
