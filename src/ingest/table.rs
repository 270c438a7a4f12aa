//! Tables: runs of pages are stored as the cells that they hold, and these by the rows of the version before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;

use super::beside::{Beside, Found, OtherRun};
use super::encoder::{Encoder, New, Outcome, Pending};
use super::former::{FormerRun, UnpackedObject};
use super::plans::MAX_PLANS_BYTES;
use super::rows::Rows;
use crate::chain::{MAX_BYTES, MAX_LINKS};
use crate::codec::column::{self, Former, MapAt};
use crate::codec::{self, Base, Codec, Effort};
use crate::format::{self, Dtype, PageKind, Physical, Segment, Source, is_coded};
use crate::id::ObjectId;
use crate::pack::{Bases, MAX_BASES, MAX_DEPTH, MAX_OBJECT_BYTES, Record};
use crate::packing::Packer;
use crate::table::{Cells, Kind, Run, Search, cast};

/// Cells are stacked this deep: each step is a copy.
const AIM_DEPTH: u8 = 24;
/// A header of a page is looked for in so many bytes.
const HEADER_BYTES: u64 = 4 << 10;
/// Cells above this share of the pages are compared with having no rows to copy.
const DOUBTFUL: usize = 4;
/// Cells by another column that take less than this share of what they seem to take alone are compared with nothing.
const CLEAR: f64 = 0.8;

/// What is known of a table while it is stored.
pub(super) struct Table {
    pub kinds: HashMap<String, Kind>,
    /// The version before; none where there is none, or it has no rows in common.
    pub rows: Option<Rows>,
    /// Columns that are stored by others.
    pub beside: Beside,
    pub last: Last,
}

/// What packed the pages of a file so far: one program packs them all.
#[derive(Default)]
pub(super) struct Last {
    packer: SkipMap<(), Packer>,
    failures: AtomicUsize,
}

impl Last {
    pub fn packer(&self) -> Option<Packer> {
        self.packer.get(&()).map(|entry| entry.value().clone())
    }

    /// Reads pages with what is known so far, and keeps what was found.
    pub fn look<T>(&self, read: impl FnOnce(&mut Search) -> T) -> T {
        let failures = self.failures.load(Ordering::Relaxed);
        let mut search = Search { packer: self.packer(), failures, has_failed: false };
        let found = read(&mut search);
        let count = |now: usize| Some((now + search.failures).saturating_sub(failures));
        let _ = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        if let Some(packer) = search.packer.filter(|packer| self.packer().as_ref() != Some(packer)) {
            self.packer.insert((), packer);
        }
        found
    }
}

/// The columns of a table, by their paths.
pub(super) fn kinds(source: &dyn Source) -> std::io::Result<HashMap<String, Kind>> {
    let columns = format::columns(source)?;
    let kind = |column: format::Column| {
        let format::Column { path, physical, max_definition, max_repetition } = column;
        (path, Kind { physical, max_definition, max_repetition })
    };
    Ok(columns.into_iter().map(kind).collect())
}

/// Whether a run needs the dictionary that the one before it has or needs, too.
pub(super) fn goes_on(source: &dyn Source, before: &Segment, next: &Segment) -> bool {
    let begins_coded = || {
        let len = (next.range.end - next.range.start).min(HEADER_BYTES);
        let mut bytes = vec![0; len as usize];
        source.read_at(&mut bytes, next.range.start).ok()?;
        let parts = format::header(&bytes)?.without_body()?;
        Some(parts.kind == PageKind::Values && is_coded(parts.encoding))
    };
    !next.name.is_empty() && before.name == next.name && begins_coded().unwrap_or(false)
}

/// A run of pages with its bytes.
pub(super) struct Piece<'a> {
    pub segment: &'a Segment,
    pub bytes: &'a [u8],
    pub object: ObjectId,
}

impl Encoder<'_> {
    /// Encodes runs that share a dictionary; none for one that is better off as it is.
    /// `others` are the cells of the column that these are stored by, if there is one.
    pub fn encode_chunk(
        &self,
        table: &Table,
        pieces: &[Piece<'_>],
        others: &[OtherRun],
    ) -> Vec<Option<Outcome>> {
        let nothing = || pieces.iter().map(|_| None).collect();
        let Some(kind) = table.kinds.get(&pieces[0].segment.name) else {
            return nothing();
        };
        let runs = table.last.look(|search| runs_of(pieces, *kind, search));
        if runs.iter().all(Option::is_none) {
            return nothing();
        }
        let mut cells = self.cells_of(table, pieces, &runs, others);
        pieces.iter().enumerate().map(|(at, piece)| self.run_of(at, piece, &runs, &mut cells)).collect()
    }

    /// The object of a run, and of the cells that it needs and that are not among those of another run yet.
    fn run_of(
        &self,
        at: usize,
        piece: &Piece<'_>,
        runs: &[Option<Run<'_>>],
        cells: &mut [Option<NewCells>],
    ) -> Option<Outcome> {
        if self.is_known(&piece.object) {
            return Some(Outcome { object: piece.object, new: Vec::new() });
        }
        let (run, own) = (runs[at].as_ref()?, cells[at].as_ref()?);
        let others = needed(runs, at);
        let place = others.iter().filter(|other| **other < at).count();
        let others_cells: Vec<&Cells> =
            others.iter().filter_map(|other| Some(&runs[*other].as_ref()?.cells)).collect();
        let encoded = codec::pages::encode(run, &others_cells, place, self.effort);
        let others_of_chunk = others.iter().map(|other| cells[*other].as_ref());
        let used: Vec<&NewCells> =
            std::iter::once(Some(own)).chain(others_of_chunk).collect::<Option<_>>()?;
        let bases = Bases::of(used.iter().map(|cells| cells.object))?;
        let depth = used.iter().map(|cells| cells.depth).max().filter(|depth| *depth < MAX_DEPTH)?;
        let mut links: Links =
            used.iter().flat_map(|cells| cells.links.iter()).map(|(id, len)| (*id, *len)).collect();
        links.insert(piece.object, piece.bytes.len() as u64);
        fits(&links).then_some(())?;
        // What other columns and runs need as well does not count.
        if own.payload_bytes() + encoded.payload.len() + Record::BYTES >= piece.bytes.len() {
            return None;
        }
        let needed: Vec<usize> = std::iter::once(at).chain(others).collect();
        let take =
            |at: usize| cells[at].as_mut().map(|cells| std::mem::take(&mut cells.new)).unwrap_or_default();
        let mut new: Vec<New> = needed.into_iter().flat_map(take).collect();
        let len = piece.bytes.len() as u32;
        new.push(New { object: piece.object, len, encoded, base: Some((bases, depth)) });
        Some(Outcome { object: piece.object, new })
    }

    /// The cells of the runs of a chunk as objects.
    fn cells_of(
        &self,
        table: &Table,
        pieces: &[Piece<'_>],
        runs: &[Option<Run<'_>>],
        others: &[OtherRun],
    ) -> Vec<Option<NewCells>> {
        let mut room = Room { links: MAX_LINKS / 2, bytes: MAX_BYTES / 2 };
        let cells = |(piece, run): (&Piece<'_>, &Option<Run<'_>>)| {
            let run = run.as_ref()?;
            let bytes = run.cells.encode();
            (bytes.len() <= MAX_OBJECT_BYTES as usize).then_some(())?;
            let object = ObjectId::of(&bytes);
            if let Some(depth) = self.depth_of_known(&object) {
                let mut links = Links::new();
                self.add_links(&object, &mut links);
                return Some(NewCells { object, depth, new: Vec::new(), bytes: 0, links });
            }
            if !run.is_understood {
                return Some(self.bodies_of(piece.segment, object, &bytes));
            }
            let rows = table.rows.as_ref();
            let by_rows =
                rows.and_then(|rows| self.by_rows(rows, piece, &run.cells, object, bytes.len(), &mut room));
            if let Some(by_rows) =
                by_rows.as_ref().filter(|by_rows| by_rows.payload_bytes() * DOUBTFUL < piece.bytes.len())
            {
                return Some(by_rows.clone());
            }
            let beside = table.beside.of(piece.segment, others).and_then(|found| {
                let cells = self.beside(&found, &run.cells, object, bytes.len())?;
                let is_clear = (cells.payload_bytes() as f64) < found.alone * CLEAR;
                Some((cells, is_clear && self.effort == Effort::Push))
            });
            if let Some((beside, true)) = beside {
                return Some(beside);
            }
            let encoded = column::encode(&run.cells, self.effort);
            let smaller = |cells: &NewCells| cells.payload_bytes() < encoded.payload.len();
            if let Some(beside) = beside.map(|(beside, _)| beside).filter(smaller) {
                return Some(beside);
            }
            if let Some(by_rows) = by_rows.filter(|by_rows| by_rows.payload_bytes() < encoded.payload.len()) {
                return Some(by_rows);
            }
            let links = Links::from([(object, bytes.len() as u64)]);
            let new = New { object, len: bytes.len() as u32, encoded, base: None };
            Some(NewCells::of(new, 0, Vec::new(), links))
        };
        pieces.iter().zip(runs).map(cells).collect()
    }

    /// Cells by the rows of the version before.
    fn by_rows(
        &self,
        rows: &Rows,
        piece: &Piece<'_>,
        cells: &Cells,
        object: ObjectId,
        len: usize,
        room: &mut Room,
    ) -> Option<NewCells> {
        let found = rows.of(piece.segment)?;
        let mut depth = 0;
        let mut links = Links::from([(object, len as u64)]);
        let maps = found.object.bases.iter().filter(|_| found.at != MapAt::Here);
        let below = found.formers.iter().flat_map(FormerRun::stored).chain(maps);
        for former in below {
            depth = depth.max(self.add_links(former, &mut links)?);
        }
        let unpacked: Vec<&FormerRun> =
            found.formers.iter().filter(|former| self.depth_of_known(&former.object).is_none()).collect();
        depth += u8::from(!unpacked.is_empty());
        (depth < AIM_DEPTH && found.formers.len() < MAX_BASES).then_some(())?;
        room.take(links.len() + 2, links.values().sum::<u64>() + 2 * len as u64)?;
        let theirs: Option<Vec<_>> =
            found.formers.iter().map(|former| former_cells(self, former, cells.physical)).collect();
        let theirs = theirs?;
        let formers: Vec<Former> = found
            .formers
            .iter()
            .zip(&theirs)
            .map(|(former, (cells, is_cast))| Former { cells, start: former.start, is_cast: *is_cast })
            .collect();
        let encoded = column::encode_rows(cells, &found.map, found.at, &formers, self.effort)?;
        column::gives_by_rows(&encoded, cells, &found.map, &formers).then_some(())?;
        let mut new = Vec::new();
        for (object, below) in
            unpacked.into_iter().filter_map(|run| Some((run.object, run.unpacked.as_ref()?)))
        {
            let UnpackedObject { len, encoded, bases } = below.clone();
            let base = Some((Bases::of(bases)?, depth - 1));
            new.push(New { object, len, encoded, base });
        }
        let mut bases = Vec::new();
        if found.at != MapAt::Here {
            let map = found.object;
            bases.push(map.object);
            if self.depth_of_known(&map.object).is_none() {
                let below = Bases::of(map.bases.iter().copied()).filter(|bases| !bases.is_empty());
                let base = below.map(|bases| (bases, depth));
                new.push(New { object: map.object, len: map.len, encoded: map.encoded.clone(), base });
            }
        }
        bases.extend(found.formers.iter().map(|former| former.object));
        // A map of sorted rows lies as deep as the cells may.
        let depth = depth + u8::from(found.at != MapAt::Here && !found.object.bases.is_empty());
        let base = Some((Bases::of(bases).filter(|bases| !bases.is_empty())?, depth));
        links.extend(new.iter().map(|new| (new.object, u64::from(new.len))));
        let cells = New { object, len: len as u32, encoded, base };
        Some(NewCells::of(cells, depth + 1, new, links))
    }

    /// Cells by those of another column.
    fn beside(&self, found: &Found<'_>, cells: &Cells, object: ObjectId, len: usize) -> Option<NewCells> {
        let mut links = Links::from([(object, len as u64)]);
        let mut depth = 0;
        for other in &found.runs {
            depth = depth.max(self.add_links(&other.object, &mut links)?);
        }
        (depth < AIM_DEPTH && fits(&links)).then_some(())?;
        let runs: Vec<&Cells> = found.runs.iter().map(|other| &other.cells).collect();
        let encoded = column::encode_beside(cells, &runs, found.first, self.effort)?;
        let bases = Bases::of(found.runs.iter().map(|other| other.object))?;
        let new = New { object, len: len as u32, encoded, base: Some((bases, depth)) };
        Some(NewCells::of(new, depth + 1, Vec::new(), links))
    }

    /// Bodies of pages, as a difference to those of the same run before.
    fn bodies_of(&self, segment: &Segment, object: ObjectId, bytes: &[u8]) -> NewCells {
        let base = self.counterpart(segment).and_then(|(found, _)| {
            let bodies = *found.record.bases.first().filter(|_| found.record.codec == Codec::Pages)?;
            self.base_at(self.store.find(&bodies).ok()?, Dtype::Bytes)
        });
        let with: Vec<Base> = base.as_ref().map(|base| base.bases()).unwrap_or_default();
        let encoded = codec::encode(bytes, Dtype::Bytes, 0, &with, self.effort);
        let base = base.and_then(|base| Some((base.ids(encoded.codec)?, base.depth)));
        let depth = base.map_or(0, |(_, depth)| depth + 1);
        let mut links = Links::from([(object, bytes.len() as u64)]);
        for below in base.iter().flat_map(|(bases, _)| bases.iter()) {
            self.add_links(below, &mut links);
        }
        let new = New { object, len: bytes.len() as u32, encoded, base };
        NewCells::of(new, depth, Vec::new(), links)
    }

    /// Adds what an object is decoded with that is in the store, or will be, itself among it; tells how deep it lies.
    fn add_links(&self, object: &ObjectId, links: &mut Links) -> Option<u8> {
        if let Some(pending) = self.pending.get(object) {
            let Pending { depth, len, bases } = pending.value();
            if links.insert(*object, u64::from(*len)).is_none() {
                bases.iter().try_for_each(|base| self.add_links(base, links).map(drop))?;
            }
            return Some(*depth);
        }
        let chain = self.store.chain(object).ok()?;
        links.extend(
            chain.links().iter().map(|link| (link.record.object, u64::from(link.record.logical_len))),
        );
        Some(chain.top().record.depth)
    }
}

/// The runs of a chunk beside number `at` whose cells its pages follow from: the dictionary is of all runs, the numbers of a
/// run's values of those up to it.
pub(super) fn needed(runs: &[Option<Run<'_>>], at: usize) -> Vec<usize> {
    let is_understood = |run: &Option<Run<'_>>| run.as_ref().is_some_and(|run| run.is_understood);
    let needed = if at == 0 { 0..runs.len() } else { 0..at };
    needed
        .filter(|other| *other != at && is_understood(&runs[at]) && is_understood(&runs[*other]))
        .take(MAX_BASES - 1)
        .collect()
}

/// The runs of a chunk. Behind a page that no packer gives none is looked for: that takes as long for each page, and one
/// program packed them all.
pub(super) fn runs_of<'a>(pieces: &[Piece<'a>], kind: Kind, search: &mut Search) -> Vec<Option<Run<'a>>> {
    search.has_failed = search.has_given_up();
    let mut dictionary = None;
    let mut run = |piece: &Piece<'a>| {
        let found = (!search.has_failed).then(|| Run::read(piece.bytes, kind, &mut dictionary, search))?;
        found.or_else(|| (!search.has_failed).then(|| Run::unpack(piece.bytes, search))?)
    };
    pieces.iter().map(&mut run).collect()
}

/// Objects that one is decoded with, itself among them, and their lengths.
type Links = HashMap<ObjectId, u64>;

/// Whether whoever decodes them all stays within what a chain may have, with a plan that is kept with others.
fn fits(links: &Links) -> bool {
    links.len() < MAX_LINKS && links.values().sum::<u64>() + MAX_PLANS_BYTES as u64 <= MAX_BYTES
}

/// The cells of the version before, cast where they have another layout, and whether they had.
fn former_cells(encoder: &Encoder<'_>, former: &FormerRun, physical: Physical) -> Option<(Cells, bool)> {
    let stored = encoder.store.get_base(&former.object).ok().map(|bytes| Cells::decode(&bytes));
    let cells = match (stored, &former.unpacked) {
        (Some(cells), _) => cells?,
        (None, Some(UnpackedObject { len, encoded, bases })) => {
            let bases = bases.iter().map(|base| encoder.store.get(base).ok()).collect::<Option<Vec<_>>>()?;
            let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
            let bytes = codec::decode(encoded.codec, &encoded.payload, &bases, *len as usize).ok()?;
            (ObjectId::of(&bytes) == former.object).then(|| Cells::decode(&bytes))??
        }
        (None, None) => return None,
    };
    match cells.physical == physical {
        true => Some((cells, false)),
        false => Some((cast(&cells, physical)?, true)),
    }
}

/// Cells that have to be stored, or are known.
#[derive(Clone)]
struct NewCells {
    object: ObjectId,
    /// How deep they lie.
    depth: u8,
    /// What has to be stored: what they need, then themselves; nothing once a run has it.
    new: Vec<New>,
    /// Bytes of their own payload.
    bytes: usize,
    links: Links,
}

impl NewCells {
    /// Cells that lie at that depth, and the objects that have to be stored before them.
    fn of(cells: New, depth: u8, mut below: Vec<New>, links: Links) -> NewCells {
        let (object, bytes) = (cells.object, cells.encoded.payload.len());
        below.push(cells);
        NewCells { object, depth, new: below, bytes, links }
    }

    /// Bytes that the cells themselves take, and nothing below them.
    fn payload_bytes(&self) -> usize {
        self.bytes
    }
}

/// What a chain may still have.
struct Room {
    links: usize,
    bytes: u64,
}

impl Room {
    fn take(&mut self, links: usize, bytes: u64) -> Option<()> {
        self.links = self.links.checked_sub(links)?;
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of one page of four-byte numbers in a frame of zstd that no encoder writes: what repeats stands there as it is.
    fn odd_run() -> Vec<u8> {
        let body = [7, 0, 0, 0].repeat(50);
        let block = ((body.len() as u32) << 3 | 1).to_le_bytes();
        let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, body.len() as u8];
        packed.extend_from_slice(&block[..3]);
        packed.extend_from_slice(&body);
        // Thrift: numbers are doubled.
        let number = |value: usize| vec![((2 * value) & 0x7f) as u8 | 0x80, ((2 * value) >> 7) as u8];
        let sizes = [number(body.len()), vec![0x15], number(packed.len())].concat();
        let header = [0x2c, 0x15, 100, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];
        [&[0x15, 0, 0x15][..], &sizes, &header, &packed].concat()
    }

    /// A look for a packer takes up to a second: where the first page has none, it is the only one.
    #[test]
    fn a_page_without_a_packer_is_looked_at_once() {
        let bytes = odd_run();
        let segment = Segment {
            range: 0..bytes.len() as u64,
            name: "column".into(),
            slice: 0,
            dtype: Dtype::Bytes,
            row_len: 0,
            shape: Vec::new(),
        };
        let piece = || Piece { segment: &segment, bytes: &bytes, object: ObjectId::of(&bytes) };
        let kind = Kind { physical: Physical::Int32, max_definition: 0, max_repetition: 0 };
        assert_eq!(format::pages(&bytes).unwrap().len(), 1);
        let last = Last::default();
        for chunks in 1..12 {
            let runs = last.look(|search| runs_of(&[piece(), piece(), piece()], kind, search));
            assert!(runs.iter().all(Option::is_none));
            assert_eq!(last.failures.load(Ordering::Relaxed), chunks.min(8));
        }
    }
}
