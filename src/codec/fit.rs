//! Which tables serve the differences of one object best.
//!
//! Differences are sampled by scale (see `context`); neighbouring scales are merged as long as one
//! table for both costs less than two, tables included. Then every difference is counted once.

use super::context::{BUCKETS, Contexts, LEVELS, Rows, SCALES, Scales};
use super::order::{Order, Word};
use super::rans::{GROUP, MAX_TABLES};
use super::table::{self, Frequencies, Levels};
use super::ulp::{CENTRE, ESCAPE};

/// Shorter rows would make their levels cost more than they save.
pub(super) const MIN_ROW_LEN: usize = 16;
/// Differences that are looked at to find the tables.
const SAMPLE: usize = 1 << 16;
/// Groups are left out when at least one in this many did not change.
const WORTH_SKIPPING: usize = 20;
/// Mean magnitude of a high part, from which on low bits are taken off.
const TARGET_MEAN: f64 = 12.0;
/// What a symbol of a table costs, about, in bits.
const SYMBOL_BITS: f64 = 2.4;
/// What a table costs before its first symbol, in bits.
const TABLE_BITS: f64 = 24.0;

/// The differences of one object, in groups.
pub(super) struct Deltas<W> {
    order: Order<W>,
    base: Vec<W>,
    differences: Vec<W>,
    changed: Vec<bool>,
    skips: bool,
}

impl<W: Word> Deltas<W> {
    pub fn new(order: &Order<W>, target: &[u8], base: &[u8]) -> Self {
        let width = W::BITS as usize / 8;
        let base: Vec<W> = base.chunks_exact(width).map(W::load).collect();
        let targets = target.chunks_exact(width).map(W::load);
        let differences: Vec<W> =
            targets.zip(&base).map(|(target, &base)| order.difference(target, base)).collect();
        let is_changed = |group: &[W]| group.iter().any(|&difference| difference != W::default());
        let changed: Vec<bool> = differences.chunks(GROUP).map(is_changed).collect();
        let same = changed.iter().filter(|changed| !**changed).count();
        let skips = same * WORTH_SKIPPING >= changed.len().max(1);
        Self { order: *order, base, differences, changed, skips }
    }

    pub fn order(&self) -> &Order<W> {
        &self.order
    }

    /// Whether groups without a change are left out.
    pub fn skips_groups(&self) -> bool {
        self.skips
    }

    /// Groups that are coded.
    pub fn changed_groups(&self) -> usize {
        if self.skips { self.changed.iter().filter(|changed| **changed).count() } else { self.changed.len() }
    }

    /// A bit a group, low bits first: set where something changed.
    pub fn bitmap(&self) -> Vec<u8> {
        let byte = |flags: &[bool]| {
            flags.iter().enumerate().fold(0, |byte, (bit, &set)| byte | u8::from(set) << bit)
        };
        self.changed.chunks(8).map(byte).collect()
    }

    /// Visits every `step`-th group that is coded: its number, base and differences.
    pub fn each_changed(&self, step: usize, mut visit: impl FnMut(usize, &[W; GROUP], &[W])) {
        let coded = (0..self.changed.len()).filter(|group| !self.skips || self.changed[*group]);
        for group in coded.step_by(step.max(1)) {
            let start = group * GROUP;
            let end = (start + GROUP).min(self.differences.len());
            let mut base = [W::default(); GROUP];
            base[..end - start].copy_from_slice(&self.base[start..end]);
            visit(group, &base, &self.differences[start..end]);
        }
    }

    /// The largest exponent of the bases.
    fn top(&self) -> u32 {
        self.base.iter().map(|&base| self.order.exponent(base)).max().unwrap_or(0)
    }
}

/// The tables of one object and what chooses between them.
pub(super) struct Model {
    pub scales: Scales,
    pub levels: Vec<Levels>,
    pub frequencies: Vec<Frequencies>,
    pub shifts: Vec<u32>,
    pub rows: Option<Rows>,
}

impl Model {
    /// The cheaper of a model that knows rows and one that does not.
    pub fn fit<W: Word>(deltas: &Deltas<W>, row_len: usize) -> Self {
        let top = deltas.top();
        let (plain, plain_bits) = Plan::new(deltas, top, None);
        let rows = row_levels(deltas, top, row_len);
        let with_rows = rows.map(|rows| {
            let (plan, bits) = Plan::new(deltas, top, Some(&rows));
            (plan, bits + row_bits(&rows), rows)
        });
        match with_rows {
            Some((plan, bits, rows)) if bits < plain_bits => plan.count(deltas, Some(rows)),
            _ => plain.count(deltas, None),
        }
    }
}

/// Which scales share a table, and each table's shift.
struct Plan {
    scales: Scales,
    shifts: Vec<u32>,
}

/// Neighbouring scales that share a table.
#[derive(Clone)]
struct Run {
    end: usize,
    samples: Vec<i64>,
    shift: u32,
    bits: f64,
}

impl Plan {
    /// A plan and the bits that all differences and tables will take, about.
    fn new<W: Word>(deltas: &Deltas<W>, top: u32, rows: Option<&Rows>) -> (Self, f64) {
        let groups = deltas.changed_groups();
        let step = (groups * GROUP).div_ceil(SAMPLE).max(1);
        let mut by_scale: Vec<Vec<i64>> = vec![Vec::new(); SCALES];
        let contexts = Contexts::new(&Scales::apart(top), rows);
        let mut found = [0; GROUP];
        deltas.each_changed(step, |group, base, differences| {
            contexts.fill(group, deltas.order(), base, &mut found);
            for (difference, &scale) in differences.iter().zip(&found) {
                by_scale[usize::from(scale)].push(difference.to_i64());
            }
        });
        let runs = merged(by_scale, step as f64, f64::from(W::BITS));
        let mut scales = Scales::apart(top);
        let mut start = 0;
        for (table, run) in runs.iter().enumerate() {
            scales.tables[start..run.end].fill(table as u8);
            start = run.end;
        }
        let bits = runs.iter().map(|run| run.bits).sum();
        (Plan { scales, shifts: runs.iter().map(|run| run.shift).collect() }, bits)
    }

    /// Counts all differences and makes the tables.
    fn count<W: Word>(self, deltas: &Deltas<W>, rows: Option<Rows>) -> Model {
        let mut counts = vec![[0u32; 256]; self.shifts.len()];
        let contexts = Contexts::new(&self.scales, rows.as_ref());
        let mut tables = [0; GROUP];
        deltas.each_changed(1, |group, base, differences| {
            contexts.fill(group, deltas.order(), base, &mut tables);
            for (difference, &table) in differences.iter().zip(&tables) {
                let table = usize::from(table);
                counts[table][usize::from(symbol(difference.sar(self.shifts[table]).to_i64()))] += 1;
            }
        });
        let (levels, frequencies) = counts.iter().map(table::best).unzip();
        Model { scales: self.scales, levels, frequencies, shifts: self.shifts, rows }
    }
}

/// Merges neighbours while that saves bits, or while there are too many.
fn merged(by_scale: Vec<Vec<i64>>, weight: f64, width_bits: f64) -> Vec<Run> {
    let priced = |end: usize, samples: Vec<i64>| {
        let (shift, bits) = price(&samples, weight, width_bits);
        Run { end, samples, shift, bits }
    };
    let mut runs: Vec<Run> = Vec::new();
    for (scale, samples) in by_scale.into_iter().enumerate() {
        // Scales without samples belong to the run before them.
        match runs.last_mut() {
            Some(last) if samples.is_empty() => last.end = scale + 1,
            _ => runs.push(priced(scale + 1, samples)),
        }
    }
    let join = |a: &Run, b: &Run| priced(b.end, [a.samples.as_slice(), &b.samples].concat());
    let mut joins: Vec<Run> = runs.windows(2).map(|pair| join(&pair[0], &pair[1])).collect();
    while runs.len() > 1 {
        let saving = |at: usize| runs[at].bits + runs[at + 1].bits - joins[at].bits;
        let best = (0..joins.len()).max_by(|a, b| saving(*a).total_cmp(&saving(*b)));
        let Some(best) = best.filter(|best| runs.len() > MAX_TABLES || saving(*best) > 0.0) else { break };
        runs[best] = joins.remove(best);
        runs.remove(best + 1);
        if best < joins.len() {
            joins[best] = join(&runs[best], &runs[best + 1]);
        }
        if best > 0 {
            joins[best - 1] = join(&runs[best - 1], &runs[best]);
        }
    }
    runs
}

/// The best shift for these samples, and the bits they then take with their table.
fn price(samples: &[i64], weight: f64, width_bits: f64) -> (u32, f64) {
    if samples.is_empty() {
        return (0, 0.0);
    }
    let sum: f64 = samples.iter().map(|sample| sample.unsigned_abs() as f64).sum();
    let octaves = (sum / samples.len() as f64 / TARGET_MEAN).log2().ceil().clamp(0.0, 48.0) as u32;
    // A few outliers can pull the mean far off: smaller shifts are tried as well.
    let candidates = [octaves, octaves.saturating_sub(1), octaves.saturating_sub(2)];
    let priced = candidates.map(|shift| (shift, price_at(samples, shift, weight, width_bits)));
    priced.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("because there are three")
}

fn price_at(samples: &[i64], shift: u32, weight: f64, width_bits: f64) -> f64 {
    let mut counts = [0u32; 256];
    samples.iter().for_each(|sample| counts[usize::from(symbol(sample >> shift))] += 1);
    let total = samples.len() as f64;
    let present = counts.iter().filter(|count| **count > 0);
    let entropy: f64 =
        present.clone().map(|&count| f64::from(count) * (total / f64::from(count)).log2()).sum();
    let escapes = f64::from(counts[usize::from(ESCAPE)]) * width_bits;
    weight * (entropy + escapes + total * f64::from(shift))
        + TABLE_BITS
        + SYMBOL_BITS * present.count() as f64
}

/// The symbol of a high part.
fn symbol(high: i64) -> u8 {
    let symbol = high.wrapping_add(CENTRE);
    if (1..256).contains(&symbol) { symbol as u8 } else { ESCAPE }
}

/// Half octaves that each row moved less than the one that moved most; none when rows don't apply.
fn row_levels<W: Word>(deltas: &Deltas<W>, top: u32, row_len: usize) -> Option<Rows> {
    let elements = deltas.differences.len();
    if row_len < MIN_ROW_LEN || elements < 2 * row_len {
        return None;
    }
    let rows = elements.div_ceil(row_len);
    let mut moved = vec![0.0f64; rows];
    for (index, (difference, &base)) in deltas.differences.iter().zip(&deltas.base).enumerate() {
        let bucket = top.saturating_sub(deltas.order.exponent(base)).min(BUCKETS as u32 - 1);
        // Steps of the unit of the last place at the top exponent; saturated, so that a few wild
        // weights don't speak for their row.
        let steps = difference.to_i64().unsigned_abs().min(1 << 40) as f64 / f64::from(1u32 << bucket);
        moved[index / row_len] += steps;
    }
    let most = moved.iter().copied().fold(0.0, f64::max);
    let level = |moved: f64| match moved > 0.0 {
        true => (2.0 * (most / moved).log2()).round().clamp(0.0, LEVELS as f64 - 1.0) as u8,
        false => LEVELS as u8 - 1,
    };
    Some(Rows { row_len, levels: moved.into_iter().map(level).collect() })
}

/// What the levels of rows cost, about, in bits.
fn row_bits(rows: &Rows) -> f64 {
    let mut counts = [0u32; LEVELS];
    rows.levels.iter().for_each(|&level| counts[usize::from(level)] += 1);
    let total = rows.levels.len() as f64;
    let present = counts.iter().filter(|count| **count > 0);
    present.map(|&count| f64::from(count) * (total / f64::from(count)).log2()).sum::<f64>() + 48.0
}
