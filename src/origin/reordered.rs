//! Tensors whose rows the base has in another order: vocabularies that were cut down or sorted anew, layers whose neurons
//! or heads were.
//!
//! Rows are found by their hash. A row that is nowhere stands behind the one before it, as a row that was trained a
//! little does. Only tensors whose rows lie far from those in the same place are looked at.

use std::collections::{BTreeMap, HashMap};

use super::{Attempt, Child, Origin};
use crate::counterpart::Counterparts;
use crate::derive::{Float, Rows, Rule, Run};
use crate::format::Segment;
use crate::id::ObjectId;
use crate::pack::MAX_BASES;
use crate::recipe::Recipe;
use crate::sketch;
use crate::store::Store;

/// Smaller tensors cost little in any order.
const LEAST_ROWS: u64 = 64;
/// Each row takes memory, whatever it holds.
const LEAST_ROW_BYTES: u64 = 64;
const MOST_ROWS: u64 = 4 << 20;
/// Rows that are compared in place, and how many of them must be strangers.
const COMPARED: usize = 8;
const LEAST_STRANGERS: usize = 2;
/// The share of a slice's rows that must be found.
const LEAST_FOUND: f64 = 0.25;

/// Looks for tensors of the file whose rows `base` has elsewhere.
pub(super) fn find(store: &Store, child: &Child<'_>, base: &Recipe) -> Option<Origin> {
    let counterparts = Counterparts::of(base);
    let mut attempts = HashMap::new();
    for slices in child.segments.chunk_by(|a, b| !a.name.is_empty() && a.name == b.name) {
        let first = &slices[0];
        let float = Float::of(first.dtype);
        let rows = first.shape.first().copied().unwrap_or(0);
        let is_matrix = first.shape.len() == 2 && first.row_len == first.shape[1];
        let is_wide = first.row_len.saturating_mul(first.dtype.width() as u64) >= LEAST_ROW_BYTES;
        let is_fair = is_wide && (LEAST_ROWS..=MOST_ROWS).contains(&rows);
        let Some(float) = float.filter(|_| is_matrix && is_fair) else { continue };
        let tensor = Tensor { store, child, counterparts: &counterparts, slices, float };
        if tensor.may_be_reordered() {
            attempts.extend(tensor.attempts().unwrap_or_default());
        }
    }
    (!attempts.is_empty()).then_some(Origin { made_of: None, attempts })
}

struct Tensor<'a> {
    store: &'a Store,
    child: &'a Child<'a>,
    counterparts: &'a Counterparts,
    slices: &'a [Segment],
    float: Float,
}

/// Where a row of the base is: slice, and number in it.
type Place = (usize, u32);

impl Tensor<'_> {
    /// Bytes of a row; at least `LEAST_ROW_BYTES`.
    fn width(&self) -> usize {
        (self.slices[0].row_len as usize).saturating_mul(self.float.width())
    }

    fn read(&self, slice: &Segment) -> Option<Vec<u8>> {
        (self.child.read)(slice, (slice.range.end - slice.range.start) as usize)
    }

    fn base(&self, slice: u32) -> Option<ObjectId> {
        let (object, dtype) = self.counterparts.named(&self.slices[0].name, slice)?;
        (Float::of(dtype) == Some(self.float)).then_some(object)
    }

    /// Whether rows in the same place have nothing in common, in the first slice.
    fn may_be_reordered(&self) -> bool {
        let compare = || {
            let base = self.store.get_base(&self.base(0)?).ok()?;
            let ours = self.read(&self.slices[0])?;
            let width = self.width();
            let rows = base.len().min(ours.len()) / width;
            let is_stranger = |row: &usize| {
                let values = |bytes: &[u8]| self.float.values(&bytes[row * width..(row + 1) * width]);
                sketch::distance(&values(&ours), &values(&base)) > sketch::STRANGERS
            };
            let places = (1..=COMPARED).map(|place| (rows * place / COMPARED).saturating_sub(1));
            Some(rows >= COMPARED && places.filter(is_stranger).count() >= LEAST_STRANGERS)
        };
        compare().unwrap_or(false)
    }

    fn attempts(&self) -> Option<Vec<((String, u32), Attempt)>> {
        let width = self.width();
        let mut places: HashMap<u128, Place> = HashMap::new();
        let mut sources: Vec<(ObjectId, u32)> = Vec::new();
        while let Some(object) = self.base(sources.len() as u32) {
            let bytes = self.store.get_base(&object).ok()?;
            for (row, bytes) in bytes.chunks_exact(width).enumerate() {
                places.entry(hash(bytes)).or_insert((sources.len(), row as u32));
            }
            sources.push((object, (bytes.len() / width) as u32));
        }
        let attempt = |slice: &Segment| {
            let bytes = self.read(slice)?;
            let found: Vec<Option<Place>> =
                bytes.chunks_exact(width).map(|row| places.get(&hash(row)).copied()).collect();
            let attempt = attempt(&found, &sources, width)?;
            Some(((slice.name.clone(), slice.slice), attempt))
        };
        Some(self.slices.iter().filter_map(attempt).collect())
    }
}

fn hash(row: &[u8]) -> u128 {
    u128::from_le_bytes(blake3::hash(row).as_bytes()[..16].try_into().expect("because a hash has 32 bytes"))
}

/// The rule for rows that were found so, by the slices of the base that have most of them.
fn attempt(found: &[Option<Place>], slices: &[(ObjectId, u32)], width: usize) -> Option<Attempt> {
    let mut used: BTreeMap<usize, usize> = BTreeMap::new();
    found.iter().flatten().for_each(|(slice, _)| *used.entry(*slice).or_default() += 1);
    let mut most: Vec<(usize, usize)> = used.into_iter().collect();
    most.sort_by_key(|(slice, rows)| (usize::MAX - rows, *slice));
    most.truncate(MAX_BASES);
    let kept: usize = most.iter().map(|(_, rows)| rows).sum();
    if (kept as f64) < LEAST_FOUND * found.len() as f64 {
        return None;
    }
    let mut start = 0;
    let starts: HashMap<usize, u32> = most
        .iter()
        .map(|(slice, _)| {
            start += slices[*slice].1;
            (*slice, start - slices[*slice].1)
        })
        .collect();
    let in_all = |place: &Place| Some(starts.get(&place.0)? + place.1);
    let mut runs: Vec<Run> = Vec::new();
    let mut next: Option<u32> = None;
    for place in found {
        // Behind the last row of all there is none.
        let from = place.as_ref().and_then(in_all).or(next.filter(|next| *next < start));
        match runs.last_mut() {
            Some(run) if from == run.from.map(|from| from + run.rows) && run.from.is_some() => run.rows += 1,
            Some(run) if from.is_none() && run.from.is_none() => run.rows += 1,
            _ => runs.push(Run { rows: 1, from }),
        }
        next = from.map(|from| from + 1);
    }
    let sources = most.iter().map(|(slice, _)| slices[*slice].0).collect();
    Some(Attempt { rule: Rule::Rows(Rows { row_bytes: width as u32, runs }), sources })
}
