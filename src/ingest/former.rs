//! The columns of the files that a table is compared with: their cells, and the hashes of these.

use super::table::Last;
use crate::codec::{self, Codec, Encoded};
use crate::id::ObjectId;
use crate::recipe::Part;
use crate::store::Store;
use crate::table::{Cells, Kind, Run, Values, add_hashes, can_cast};

/// Cells of a column of the version before.
#[derive(Debug, Clone)]
pub(super) struct FormerRun {
    pub object: ObjectId,
    /// Number of the first of their rows.
    pub start: u32,
    pub rows: u32,
    /// How they follow from pages that are stored as they are, where the cells were never stored.
    pub unpacked: Option<UnpackedObject>,
}

impl FormerRun {
    /// The objects that the store has of it.
    pub fn stored(&self) -> impl Iterator<Item = &ObjectId> {
        let pages = self.unpacked.iter().flat_map(|unpacked| &unpacked.bases);
        pages.chain(self.unpacked.is_none().then_some(&self.object))
    }
}

/// Cells as an object that follows from pages.
#[derive(Debug, Clone)]
pub(super) struct UnpackedObject {
    pub len: u32,
    pub encoded: Encoded,
    /// The pages, and those with their dictionary.
    pub bases: Vec<ObjectId>,
}

/// Reads the runs of a column of the version before, one after the other.
pub(super) struct FormerReader<'a> {
    store: &'a Store,
    kind: Kind,
    /// The dictionary of the last chunk whose pages are stored as they are, and the run that has it.
    dictionary: Option<(ObjectId, Values)>,
    /// What packed the pages.
    last: &'a Last,
}

impl<'a> FormerReader<'a> {
    pub fn of(store: &'a Store, kind: Kind, last: &'a Last) -> FormerReader<'a> {
        FormerReader { store, kind, dictionary: None, last }
    }

    /// The runs of a column in one file, whose cells are added to `column`.
    pub fn runs(&mut self, parts: &[&Part], column: &mut Column<'_>) -> Option<Vec<FormerRun>> {
        let mut runs = Vec::new();
        for part in parts {
            let (object, cells, unpacked) = self.cells(part)?;
            let start = u32::try_from(column.rows()).ok()?;
            column.add(&cells)?;
            let rows = u32::try_from(column.rows()).ok()? - start;
            runs.push(FormerRun { object, start, rows, unpacked });
        }
        (!runs.is_empty()).then_some(runs)
    }

    /// The cells of a run, and how they follow from its pages where they are not stored.
    fn cells(&mut self, part: &Part) -> Option<(ObjectId, Cells, Option<UnpackedObject>)> {
        let record = self.store.find(&part.object).ok()?.record;
        if record.codec == Codec::Pages {
            let object = *record.bases.first()?;
            return Some((object, Cells::decode(&self.store.get(&object).ok()?)?, None));
        }
        let pages = self.store.get(&part.object).ok()?;
        let mut own = None;
        let (run, first) = self.last.look(|search| {
            let alone = Run::read(&pages, self.kind, &mut own, search);
            match (alone, &self.dictionary) {
                (Some(run), _) => Some((run, None)),
                (None, Some((first, values))) if !search.has_failed => {
                    let mut values = Some(values.clone());
                    Some((Run::read(&pages, self.kind, &mut values, search)?, Some(*first)))
                }
                (None, _) => None,
            }
        })?;
        if let Some(values) = own {
            self.dictionary = Some((part.object, values));
        }
        let bytes = run.cells.encode();
        let (len, bases) = (bytes.len() as u32, std::iter::once(part.object).chain(first).collect());
        let packer = run.pages.iter().find_map(|page| page.packer.as_ref());
        let encoded = codec::unpacked::encode(self.kind, packer);
        Some((ObjectId::of(&bytes), run.cells, Some(UnpackedObject { len, encoded, bases })))
    }
}

/// The hashes of a column's cells in one file or several; zeros where they are not to be compared.
pub(super) struct Column<'a> {
    name: &'a str,
    kind: Kind,
    pub is_compared: bool,
    /// One hash for each row of each file.
    pub files: Vec<Vec<u64>>,
}

impl Column<'_> {
    pub fn of(name: &str, kind: Kind, is_compared: bool) -> Column<'_> {
        Column { name, kind, is_compared, files: Vec::new() }
    }

    /// What is added now belongs to the next file.
    pub fn begin(&mut self) {
        self.files.push(Vec::new());
    }

    /// Rows of the last file.
    pub fn rows(&self) -> usize {
        self.files.last().map_or(0, Vec::len)
    }

    /// Adds cells; those of another layout are not compared, but may be cast.
    pub fn add(&mut self, cells: &Cells) -> Option<()> {
        let Kind { physical, max_definition, max_repetition } = self.kind;
        let has_same_levels =
            (cells.max_definition, cells.max_repetition) == (max_definition, max_repetition);
        (has_same_levels && can_cast(cells.physical, physical)).then_some(())?;
        if cells.physical != physical {
            self.compare_nothing();
        }
        let hashes = self.files.last_mut()?;
        let start = hashes.len();
        hashes.resize(start + cells.rows(), 0);
        (!self.is_compared || add_hashes(cells, self.name, &mut hashes[start..])).then_some(())
    }

    fn compare_nothing(&mut self) {
        if self.is_compared {
            self.is_compared = false;
            self.files.iter_mut().for_each(|hashes| hashes.fill(0));
        }
    }

    /// The last file does not have the column, or in a way that says nothing.
    pub fn leave_out(&mut self) {
        self.files.last_mut().into_iter().for_each(Vec::clear);
        self.compare_nothing();
    }
}
