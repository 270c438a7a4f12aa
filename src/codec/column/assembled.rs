//! Values that are put together from copies and from what is written.

use std::ops::Range;

use super::super::DecodeError;
use super::MAX_BYTES;
use super::rows::Former;
use super::sources::{Sources, numbers_of};
use crate::format::Physical;
use crate::table::{Cells, Items, Values};

/// Values as they are put together.
pub(super) enum Out<'a> {
    Plain(Values),
    Coded {
        codes: Vec<u32>,
        values: Values,
        /// Old values and new ones, and the code that each has by now.
        dictionary: &'a Values,
        known: Vec<u32>,
        /// The numbers in the dictionary of the old values, by the cells that they are from.
        theirs: Vec<Vec<u32>>,
    },
}

impl<'a> Out<'a> {
    pub fn coded(physical: Physical, dictionary: &'a Values, sources: &Sources<'a>) -> Out<'a> {
        let theirs = match sources.formers {
            // Those of the only one are its own.
            [Former { cells: Cells { items: Items::Coded { dictionary, .. }, .. }, .. }] => {
                vec![(0..dictionary.len() as u32).collect()]
            }
            formers => {
                let all = sources.dictionary(Values::none(physical));
                formers.iter().map(|former| numbers_of(&former.cells.items, &all)).collect()
            }
        };
        let known = vec![u32::MAX; dictionary.len()];
        Out::Coded { codes: Vec::new(), values: Values::none(physical), dictionary, known, theirs }
    }

    /// Appends values of former cells, or of those that are written.
    pub fn extend(
        &mut self,
        items: &Items,
        range: Range<usize>,
        from: Option<usize>,
    ) -> Result<(), DecodeError> {
        let invalid = DecodeError::Invalid { what: "length of values" };
        let values = match self {
            Out::Plain(values) => {
                match items {
                    Items::Plain(theirs) => values.extend(theirs, range),
                    items => {
                        for at in range {
                            values.push(items.get(at));
                            (values.bytes().len() <= MAX_BYTES).then_some(()).ok_or(invalid)?;
                        }
                    }
                }
                values
            }
            Out::Coded { codes, values, dictionary, known, theirs } => {
                let numbers = from.map(|from| &theirs[from]);
                for at in range {
                    let own = match items {
                        Items::Coded { codes, .. } => codes[at],
                        Items::Plain(_) => at as u32,
                    };
                    let number = numbers.map_or(own, |numbers| numbers[own as usize]) as usize;
                    let code = known.get_mut(number).ok_or(DecodeError::Invalid { what: "codes" })?;
                    if *code == u32::MAX {
                        *code = values.len() as u32;
                        values.push(dictionary.get(number));
                    }
                    codes.push(*code);
                }
                values
            }
        };
        (values.bytes().len() <= MAX_BYTES).then_some(()).ok_or(invalid)
    }

    pub fn finish(self) -> Items {
        match self {
            Out::Plain(values) => Items::Plain(values),
            Out::Coded { codes, values, .. } => Items::Coded { codes, dictionary: values },
        }
    }
}
