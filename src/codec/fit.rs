//! Which tables serve the differences of one object best, and what helps to choose between them.

use super::binary::BinaryEncoder;
use super::cells::{COLUMN_LEVELS, CellMap, Detail, PLACES, ROW_LEVELS, scale};
use super::context::{Columns, Contexts, Rows, row_parts};
use super::deltas::{Deltas, Group};
use super::hint::{CLASSES, Hint, KINDS, KindMap};
use super::lanes::{Each, GROUP, Lanes};
use super::measured::{MEASURED_SCALES, Measured};
use super::order::Word;
use super::samples::{Run, Samples};

/// Shorter rows would make their levels cost more than they save.
pub(super) const MIN_ROW_LEN: usize = 16;
/// Differences whose symbols are counted to find the tables.
const SAMPLE: usize = 1 << 16;
/// Rows that are looked at to find the levels of columns.
const SAMPLE_ROWS: usize = 128;
/// Fewer rows say nothing about columns.
const MIN_ROWS: usize = 16;
/// A weight's step counts no more than this for its row.
const WILD: f32 = (1u64 << 40) as f32;
/// With fewer differences, tables by rule are tried as well: what it costs to write a map counts then.
const LARGE: usize = 1 << 17;
/// To read one more base, and to decode with it, must make the differences this much smaller,
const WORTH_PREVIOUS: f64 = 0.99;
/// and save this share of the numbers: of a delta that is next to nothing, a part is less.
const LEAST_SAVING: f64 = 1.0 / 4096.0;

/// What chooses between the tables of one object, and the shift of each.
pub(super) struct Plan<W> {
    pub contexts: Contexts<W>,
    pub choice: Choice,
    pub map: CellMap,
    /// Where the steps before are told apart, tables are by these as well, and `map` has ranks.
    pub kinds: Option<KindMap>,
    pub shifts: Vec<u32>,
}

/// How the tables of cells are written.
pub(super) enum Choice {
    /// By rule: the lowest scale of each table but the first.
    ByScale(Vec<u8>),
    /// Cell by cell, of so many.
    ByCell(usize),
}

impl<W: Word> Plan<W> {
    /// The cheapest of the plans with more or less detail.
    #[inline(always)]
    pub fn fit<L: Lanes>(deltas: &Deltas<'_, W, L>, row_len: usize) -> Self {
        let mut rows = row_levels(deltas, row_len);
        if let Some(rows) = &mut rows {
            rows.columns = column_levels(deltas, rows);
        }
        let contexts = Contexts::new(deltas.order(), deltas.top(), rows);
        let measured = Measured::new(deltas, &contexts);
        let detail = measured.worth(contexts.rows());
        let sampled = Sampled::new(deltas, &contexts);
        let mut drafts = vec![sampled.by_cell(detail, &measured)];
        if deltas.count() < LARGE {
            drafts.push(sampled.by_scale(Detail::Buckets));
            drafts.extend(contexts.rows().map(|_| sampled.by_scale(Detail::Rows)));
        }
        let cost = |draft: &Draft| draft.cost_bits(contexts.rows());
        let cheapest = drafts.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
        let mut draft = cheapest.expect("because there is one by cell");
        let kinds = match deltas.hint() {
            Some(Hint::Previous(_)) => {
                let saving = LEAST_SAVING * sampled.all_bits;
                let most = (WORTH_PREVIOUS * draft.bits).min(draft.bits - saving);
                sampled.by_kind(&mut draft, most)
            }
            // They are differences from it by now.
            Some(Hint::Product(_) | Hint::Both(..)) => sampled.by_kind(&mut draft, f64::INFINITY),
            None => None,
        };
        let Draft { detail, choice, map, shifts, .. } = draft;
        Self { contexts: contexts.with(detail), choice, map, kinds, shifts }
    }

    /// What is told apart.
    pub fn detail(&self) -> Detail {
        self.contexts.detail()
    }
}

/// Some of an object's differences, with their places.
struct Sampled {
    width_bits: u32,
    /// Of all numbers, coded or not.
    all_bits: f64,
    /// Each stands for as many.
    step: usize,
    differences: Vec<(u16, i64)>,
    /// The same, turned by the steps before them, with the classes of these.
    turned: Vec<(u8, i64)>,
}

/// A plan, and the bits that all differences with their tables, and the map, will take with it, about.
struct Draft {
    detail: Detail,
    choice: Choice,
    map: CellMap,
    shifts: Vec<u32>,
    bits: f64,
    map_bits: f64,
}

impl Draft {
    fn cost_bits(&self, rows: Option<&Rows>) -> f64 {
        self.bits + self.map_bits + rows.map_or(0.0, |rows| rows.cost_bits(self.detail))
    }
}

impl Sampled {
    #[inline(always)]
    fn new<W: Word, L: Lanes>(deltas: &Deltas<'_, W, L>, contexts: &Contexts<W>) -> Self {
        let step = (deltas.coded_groups() * GROUP).div_ceil(SAMPLE).max(1);
        let (mut differences, mut turned) = (Vec::with_capacity(SAMPLE + GROUP), Vec::new());
        deltas.each_coded(step, |group: &Group<W>| {
            let places = contexts.places(group.number, &group.base).into_iter();
            let own = group.differences[..group.len].iter().map(|difference| difference.to_i64());
            differences.extend(places.zip(own));
            if let Some((own, classes)) = deltas.turned(group) {
                let own = own[..group.len].iter().map(|difference| difference.to_i64());
                turned.extend(classes.into_iter().zip(own));
            }
        });
        let all_bits = deltas.count() as f64 * f64::from(W::BITS);
        Self { width_bits: W::BITS, all_bits, step, differences, turned }
    }

    /// Tables for ranges of the scales that cells have by rule.
    fn by_scale(&self, detail: Detail) -> Draft {
        let runs = self.runs(detail, scale);
        let starts = starts(&runs);
        let (map, bits) = (CellMap::by_scale(&starts), sum_bits(&runs));
        let choice = Choice::ByScale(starts);
        Draft { detail, choice, map, shifts: shifts(&runs), bits, map_bits: 0.0 }
    }

    /// Tables for cells by how far their differences lie from zero.
    fn by_cell(&self, detail: Detail, measured: &Measured) -> Draft {
        let scales = measured.scales(detail);
        let runs = self.runs(detail, |cell| scales[cell].unwrap_or_default());
        let table = |scale: u8| runs.iter().position(|run| run.scales.contains(&usize::from(scale)));
        let mut map = CellMap::by_cell(detail, runs.len(), |cell| {
            scales[cell].and_then(table).map(|table| table as u8)
        });
        let mut coder = BinaryEncoder::new();
        map.code(&mut coder, detail, runs.len());
        let map_bits = 8.0 * coder.finish().len() as f64;
        let (choice, bits) = (Choice::ByCell(runs.len()), sum_bits(&runs));
        Draft { detail, choice, map, shifts: shifts(&runs), bits, map_bits }
    }

    /// Tables by what is expected of differences as well, in place of a draft's; `None` where all take more bits than `most`.
    fn by_kind(&self, draft: &mut Draft, most: f64) -> Option<KindMap> {
        let mut samples = Samples::new(self.width_bits, self.step, KINDS);
        for (&(place, _), &(class, difference)) in self.differences.iter().zip(&self.turned) {
            let rank = draft.map.table(draft.detail.cell(usize::from(place)));
            samples.add(usize::from(rank) * CLASSES + usize::from(class), difference);
        }
        let apart = samples.apart();
        // Even if tables cost nothing: mostly they are not worth a closer look.
        if apart.iter().map(|run| run.bits - run.table_bits).sum::<f64>() > most {
            return None;
        }
        let runs = samples.merged(apart);
        if sum_bits(&runs) > most {
            return None;
        }
        draft.shifts = shifts(&runs);
        Some(KindMap::new(starts(&runs)))
    }

    fn runs(&self, detail: Detail, scale: impl Fn(usize) -> u8) -> Vec<Run> {
        let mut samples = Samples::new(self.width_bits, self.step, MEASURED_SCALES);
        let scales: Vec<usize> = (0..PLACES).map(|place| usize::from(scale(detail.cell(place)))).collect();
        for &(place, difference) in &self.differences {
            samples.add(scales[usize::from(place)], difference);
        }
        let apart = samples.apart();
        samples.merged(apart)
    }
}

fn sum_bits(runs: &[Run]) -> f64 {
    runs.iter().map(|run| run.bits).sum()
}

/// The lowest scale of each table but the first.
fn starts(runs: &[Run]) -> Vec<u8> {
    runs[1..].iter().map(|run| run.scales.start as u8).collect()
}

fn shifts(runs: &[Run]) -> Vec<u32> {
    runs.iter().map(|run| run.shift).collect()
}

/// Half octaves that each row moved less than the one that moved most; none when rows don't apply.
#[inline(always)]
fn row_levels<W: Word, L: Lanes>(deltas: &Deltas<'_, W, L>, row_len: usize) -> Option<Rows> {
    if row_len < MIN_ROW_LEN || deltas.count() / 2 < row_len {
        return None;
    }
    let contexts = Contexts::new(deltas.order(), deltas.top(), None);
    let mut moved = vec![0f32; deltas.count().div_ceil(row_len)];
    deltas.each_coded(1, |group| {
        let steps = steps(&contexts, group);
        for (row, weights) in row_parts(group.number, row_len) {
            if weights.len() == GROUP {
                moved[row] += steps.sum();
            } else if let Some(moved) = moved.get_mut(row) {
                *moved += steps[weights].iter().sum::<f32>();
            }
        }
    });
    let most = moved.iter().copied().fold(0.0, f32::max);
    Some(Rows { row_len, levels: levels(&moved, most, ROW_LEVELS), columns: None })
}

/// Half octaves that each column moved less than most do, as seen in some of the rows; none when
/// there are too few rows to tell.
#[inline(always)]
fn column_levels<W: Word, L: Lanes>(deltas: &Deltas<'_, W, L>, rows: &Rows) -> Option<Columns> {
    let row_len = rows.row_len;
    let step = (rows.levels.len() / SAMPLE_ROWS).max(1);
    if rows.levels.len() < MIN_ROWS {
        return None;
    }
    let contexts = Contexts::new(deltas.order(), deltas.top(), None);
    let mut moved = vec![0f32; row_len];
    deltas.each_coded_in(
        |number| (number * GROUP / row_len).is_multiple_of(step),
        |group| {
            let steps = steps(&contexts, group);
            for (row, weights) in row_parts(group.number, row_len) {
                let Some(&level) = rows.levels.get(row) else { continue };
                let unit = f32::powi(std::f32::consts::SQRT_2, i32::from(level));
                let start = (group.number * GROUP + weights.start) % row_len;
                for (moved, step) in moved[start..].iter_mut().zip(&steps[weights]) {
                    *moved += step * unit;
                }
            }
        },
    );
    let mut sorted = moved.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let much = sorted[sorted.len() * 15 / 16];
    Some(Columns::new(&levels(&moved, much, COLUMN_LEVELS)))
}

/// Half octaves that each lies below `most`, at most as many as there are levels.
fn levels(moved: &[f32], most: f32, levels: usize) -> Vec<u8> {
    let lowest = levels as f32 - 1.0;
    let level = |&moved: &f32| match moved > 0.0 {
        true => (2.0 * (most / moved).log2()).round().clamp(0.0, lowest) as u8,
        false => lowest as u8,
    };
    moved.iter().map(level).collect()
}

/// How far each weight of a group moved, in units of the last place at the top exponent.
#[inline(always)]
fn steps<W: Word>(contexts: &Contexts<W>, group: &Group<W>) -> Each<f32> {
    let mut steps = Each::of(0f32);
    let buckets = contexts.buckets(&group.base);
    for ((step, difference), bucket) in steps.iter_mut().zip(group.differences).zip(buckets) {
        // Times 2^-bucket.
        let unit = f32::from_bits((127 - u32::from(bucket)) << 23);
        // Saturated, so that a few wild weights don't speak for their row.
        *step = difference.magnitude().min(WILD) * unit;
    }
    steps
}
