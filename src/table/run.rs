//! A run of pages of one chunk: its cells, and how its pages follow from them.

use crate::format::{self, PageKind, PageParts, Physical, is_coded};
use crate::packing::{self, Packer};

use super::cells::{Cells, Items, MAX_ENTRIES};
use super::dictionary::Dictionary;
use super::page::{self, Kind, Layout, PageItems};
use super::values::Values;

/// Most bytes of all pages of a run when they are unpacked.
const MAX_UNPACKED_BYTES: usize = 30 << 20;

/// After so many pages that no packer gives, none is looked for any more: each look takes up to a second.
const MOST_FAILURES: usize = 8;
/// So many values tell whether they repeat.
const FEW_VALUES: usize = 1 << 10;

/// What a run of pages holds.
#[derive(Debug)]
pub struct Run<'a> {
    pub cells: Cells,
    pub pages: Vec<Page<'a>>,
    /// Whether the cells are those of the column, and not the bodies of the pages.
    pub is_understood: bool,
}

/// One page.
#[derive(Debug)]
pub struct Page<'a> {
    pub parts: PageParts<'a>,
    /// What packs the body behind `parts.plain`; none where it is not packed.
    pub packer: Option<Packer>,
    /// Unpacked, levels first.
    pub body: Vec<u8>,
    /// None for a dictionary.
    pub layout: Option<Layout>,
}

impl<'a> Run<'a> {
    /// Reads the pages; none where they are not understood, or no packer gives them back.
    ///
    /// `dictionary` is the chunk's, which its first run sets.
    pub fn read(
        bytes: &'a [u8],
        kind: Kind,
        dictionary: &mut Option<Values>,
        search: &mut Search,
    ) -> Option<Run<'a>> {
        Run::read_with(bytes, kind, dictionary, Packing::Sought(search))
    }

    /// The same where it does not matter how the pages come back; `packer` says what packed them, if anything did.
    pub fn read_packed_by(
        bytes: &'a [u8],
        kind: Kind,
        dictionary: &mut Option<Values>,
        packer: Option<&Packer>,
    ) -> Option<Cells> {
        Some(Run::read_with(bytes, kind, dictionary, Packing::Known(packer))?.cells)
    }

    /// Cells of the first pages, up to the one that has the last of so many rows. Where the chunk has a dictionary, their
    /// values are the numbers of its entries, which says which are the same, and the dictionary is not even unpacked.
    pub fn beginning(bytes: &'a [u8], kind: Kind, rows: usize, search: &mut Search) -> Option<Cells> {
        let found = Run::begin_with(bytes, kind, rows, Packing::Known(search.packer.as_ref()));
        found.or_else(|| Run::begin_with(bytes, kind, rows, Packing::Sought(search)))
    }

    fn begin_with(bytes: &'a [u8], kind: Kind, rows: usize, packing: Packing<'_>) -> Option<Cells> {
        let pages = format::pages(bytes)?;
        let entries = pages.first().filter(|page| page.kind == PageKind::Dictionary).map(|page| page.values);
        let mut dictionary = match entries {
            Some(entries) if entries <= MAX_ENTRIES => Some(Values::Fixed {
                width: size_of::<u32>(),
                bytes: (0..entries as u32).flat_map(u32::to_le_bytes).collect(),
            }),
            Some(_) => return None,
            None => None,
        };
        let kind = if entries.is_some() { Kind { physical: Physical::Int32, ..kind } } else { kind };
        let (repetitions, definitions, items) = (Vec::new(), Vec::new(), Vec::new());
        let mut reader =
            Reader { kind, dictionary: &mut dictionary, packing, repetitions, definitions, items };
        let mut read = 0;
        for parts in pages.into_iter().skip(entries.is_some().into()) {
            let is_alike = parts.kind == PageKind::Values && is_coded(parts.encoding) == entries.is_some();
            (is_alike && parts.unpacked_bytes <= MAX_UNPACKED_BYTES).then_some(())?;
            read += parts.values;
            (read <= MAX_ENTRIES).then_some(())?;
            reader.page(parts)?;
            if read >= rows || reader.seldom_repeats() {
                break;
            }
        }
        reader.finish(read)
    }

    fn read_with(
        bytes: &'a [u8],
        kind: Kind,
        dictionary: &mut Option<Values>,
        packing: Packing<'_>,
    ) -> Option<Run<'a>> {
        let (repetitions, definitions, items) = (Vec::new(), Vec::new(), Vec::new());
        let mut reader = Reader { kind, dictionary, packing, repetitions, definitions, items };
        let mut pages = Vec::new();
        let mut left = MAX_UNPACKED_BYTES;
        let mut entries = 0;
        for parts in format::pages(bytes)? {
            left = left.checked_sub(parts.plain.len().checked_add(parts.unpacked_bytes)?)?;
            entries += if parts.kind == PageKind::Values { parts.values } else { 0 };
            (entries <= MAX_ENTRIES).then_some(())?;
            pages.push(reader.page(parts)?);
        }
        Some(Run { cells: reader.finish(entries)?, pages, is_understood: true })
    }

    /// The same where pages are written in a way that is not known: their bodies take the place of cells.
    pub fn unpack(bytes: &'a [u8], search: &mut Search) -> Option<Run<'a>> {
        let mut left = MAX_UNPACKED_BYTES;
        let mut values = Values::none(Physical::Bytes);
        let mut pages = Vec::new();
        for parts in format::pages(bytes)? {
            left = left.checked_sub(parts.plain.len().checked_add(parts.unpacked_bytes)?)?;
            let (found, body) = Packing::Sought(search).unpack(&parts)?;
            values.push(&body);
            pages.push(Page { parts, packer: Some(found), body, layout: None });
        }
        let cells = Cells {
            physical: Physical::Bytes,
            max_definition: 0,
            max_repetition: 0,
            entries: values.len(),
            repetitions: Vec::new(),
            definitions: Vec::new(),
            items: Items::Plain(values),
        };
        Some(Run { cells, pages, is_understood: false })
    }
}

/// What is looked for in the pages of a file, one after the other: one program packs them all.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// What packed the last page; it is tried first.
    pub packer: Option<Packer>,
    /// Pages that no packer gives, less those that one gave.
    pub failures: usize,
    /// Whether none gives the page that was looked at last, or none is looked for any more.
    pub has_failed: bool,
}

impl Search {
    pub fn has_given_up(&self) -> bool {
        self.failures >= MOST_FAILURES
    }

    fn find(&mut self, packed: &[u8], plain_len: usize) -> Option<(Packer, Vec<u8>)> {
        self.has_failed = true;
        if self.has_given_up() {
            return None;
        }
        let Some((packer, plain)) = packing::find_like(packed, Some(plain_len), self.packer.as_ref()) else {
            self.failures += 1;
            return None;
        };
        *self = Search {
            packer: Some(packer.clone()),
            failures: self.failures.saturating_sub(1),
            has_failed: false,
        };
        Some((packer, plain))
    }
}

/// What packed the pages.
enum Packing<'p> {
    /// Whatever gives them back.
    Sought(&'p mut Search),
    /// One of this format, if any.
    Known(Option<&'p Packer>),
}

impl Packing<'_> {
    /// The body of a page, and what packs it; none where nothing does.
    fn unpack(&mut self, parts: &PageParts<'_>) -> Option<(Packer, Vec<u8>)> {
        let (packer, unpacked) = match self {
            Packing::Sought(search) => search.find(parts.packed, parts.unpacked_bytes)?,
            Packing::Known(packer) => {
                let packer = (*packer)?;
                (packer.clone(), packer.unpack(parts.packed, Some(parts.unpacked_bytes)).ok()?)
            }
        };
        let body = if parts.plain.is_empty() { unpacked } else { [parts.plain, &unpacked].concat() };
        Some((packer, body))
    }
}

/// What was read so far.
struct Reader<'r> {
    kind: Kind,
    dictionary: &'r mut Option<Values>,
    packing: Packing<'r>,
    repetitions: Vec<u8>,
    definitions: Vec<u8>,
    items: Vec<PageItems>,
}

impl Reader<'_> {
    fn page<'a>(&mut self, parts: PageParts<'a>) -> Option<Page<'a>> {
        // Bytes as many as unpacked ones are most likely not packed at all.
        if parts.packed.len() == parts.unpacked_bytes {
            let body = [parts.plain, parts.packed].concat();
            if let Some(layout) = self.body(&parts, &body) {
                return Some(Page { parts, packer: None, body, layout });
            }
        }
        let (packer, body) = self.packing.unpack(&parts)?;
        let layout = self.body(&parts, &body)?;
        Some(Page { parts, packer: Some(packer), body, layout })
    }

    /// Takes in what a body holds, and tells how it follows from that; nothing for a dictionary.
    fn body(&mut self, parts: &PageParts<'_>, body: &[u8]) -> Option<Option<Layout>> {
        if parts.kind == PageKind::Dictionary {
            (self.dictionary.is_none() && self.items.is_empty()).then_some(())?;
            let mut values = Values::none(self.kind.physical);
            values.read_plain(false, body, parts.values)?.is_empty().then_some(())?;
            *self.dictionary = Some(values);
            return Some(None);
        }
        let entries = self.dictionary.as_ref().map_or(0, Values::len);
        let content = page::read(self.kind, parts, body, entries)?;
        self.repetitions.extend(content.repetitions);
        self.definitions.extend(content.definitions);
        self.items.push(content.items);
        Some(Some(content.layout))
    }

    /// Whether many values are read, none of them a number of a dictionary, and nearly all are different.
    fn seldom_repeats(&self) -> bool {
        let [PageItems::Plain(values)] = &self.items[..] else { return false };
        let few = values.len().min(FEW_VALUES);
        let mut different = Dictionary::of(values.none_like());
        values.iter().take(few).for_each(|value| {
            different.number(value);
        });
        few == FEW_VALUES && different.values().len() > few / 4 * 3
    }

    fn finish(self, entries: usize) -> Option<Cells> {
        let Kind { physical, max_definition, max_repetition } = self.kind;
        let items = items(Values::none(physical), self.items, self.dictionary.as_ref())?;
        let (repetitions, definitions) = (self.repetitions, self.definitions);
        Some(Cells { physical, max_definition, max_repetition, entries, repetitions, definitions, items })
    }
}

/// The items of several pages together: coded where one page is.
fn items(none: Values, pages: Vec<PageItems>, dictionary: Option<&Values>) -> Option<Items> {
    let is_coded = pages.iter().any(|items| matches!(items, PageItems::Codes(codes) if !codes.is_empty()));
    let is_plain = pages.iter().any(|items| matches!(items, PageItems::Plain(_)));
    if !is_coded {
        let mut values = none;
        for items in pages {
            match items {
                PageItems::Plain(more) if values.is_empty() => values = more,
                PageItems::Plain(more) => values.extend(&more, 0..more.len()),
                PageItems::Codes(_) => {}
            }
        }
        return Some(Items::Plain(values));
    }
    let dictionary = dictionary?;
    let mut own = vec![u32::MAX; dictionary.len()];
    let mut codes = Vec::new();
    if !is_plain {
        let mut values = none;
        for items in &pages {
            let PageItems::Codes(numbers) = items else { continue };
            codes.extend(numbers.iter().map(|number| {
                let code = &mut own[*number as usize];
                if *code == u32::MAX {
                    *code = values.len() as u32;
                    values.push(dictionary.get(*number as usize));
                }
                *code
            }));
        }
        return Some(Items::Coded { codes, dictionary: values });
    }
    let mut values = Dictionary::of(none);
    for items in &pages {
        match items {
            PageItems::Codes(numbers) => codes.extend(numbers.iter().map(|number| {
                let code = &mut own[*number as usize];
                if *code == u32::MAX {
                    *code = values.number(dictionary.get(*number as usize));
                }
                *code
            })),
            PageItems::Plain(more) => codes.extend(more.iter().map(|value| values.number(value))),
        }
    }
    Some(Items::Coded { codes, dictionary: values.into_values() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of each value among the different ones.
    fn numbers(cells: &Cells) -> Vec<u32> {
        let mut different = Dictionary::of(match &cells.items {
            Items::Plain(values) | Items::Coded { dictionary: values, .. } => values.none_like(),
        });
        (0..cells.items.len()).map(|at| different.number(cells.items.get(at))).collect()
    }

    /// Which columns are stored by which is decided by these cells.
    #[test]
    fn the_beginning_of_a_run_tells_the_same_cells_apart() {
        let file = std::fs::read("tests/data/tables/contrib-1.parquet").unwrap();
        let source: &[u8] = &file;
        let cut = format::cut(&source).unwrap();
        let (mut search, mut coded) = (Search::default(), 0);
        for column in format::columns(&source).unwrap() {
            let format::Column { path, physical, max_definition, max_repetition } = column;
            let kind = Kind { physical, max_definition, max_repetition };
            let first = cut.segments().iter().find(|segment| segment.name == path).unwrap();
            let pages = &file[first.range.start as usize..first.range.end as usize];
            let whole = Run::read(pages, kind, &mut None, &mut search).unwrap().cells;
            let Some(beginning) = Run::beginning(pages, kind, 10, &mut search) else { continue };
            coded += usize::from(matches!(beginning.items, Items::Coded { .. }));
            assert!(beginning.entries >= 10, "{path}");
            assert_eq!(beginning.definitions, whole.definitions[..beginning.definitions.len()], "{path}");
            assert_eq!(numbers(&beginning), numbers(&whole)[..beginning.items.len()], "{path}");
        }
        assert!(coded > 5, "{coded} columns have a dictionary");
    }
}
