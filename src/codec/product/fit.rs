//! Finding the factors: the directions in which the differences of some rows are largest.
//!
//! By orthogonal iteration (Golub and Van Loan, "Matrix Computations", 8.2.4) on some of the rows, each divided by how far it
//! moved. Other rows tell how much of their differences each direction explains: what fits only the rows that it
//! was found in explains nothing there. An integer of a factor costs bits for each row and saves them for each weight
//! of it, which decides how many terms there are and how fine the integers: in units of the noise around them, about.

use super::super::Effort;
use super::super::lanes::{Each, GROUP};
use super::super::order::Word;
use super::factors::{LARGEST, MAX_RANK, ROW_EXPONENTS, power};
use super::symmetric::Symmetric;
use super::{Factors, Float};
use crate::format::Dtype;

/// Shorter rows, or fewer of them, cost more factors than they save.
const LEAST_ROW: usize = 128;
const LEAST_ROWS: usize = 128;
/// Every so many of the rows that are looked at only test what the others show.
const TEST_EVERY: usize = 4;
/// Fewer rows show nothing.
const FEWEST_ROWS: usize = 96;
/// Numbers that are looked at, at most: four bytes each.
const MOST_NUMBERS: usize = 1 << 22;
/// Weights that moved further than so many times the mean don't speak for their rows.
const WILD: f32 = 8.0;
/// An integer's unit, in deviations of the noise around it: what rounding then costs and finer integers would cost meet.
const UNIT: f64 = 3.46;
/// Of which matrix numbers are, and how long a product may be looked for.
#[derive(Clone, Copy)]
pub(in super::super) struct Search {
    pub effort: Effort,
    /// Each row stands for so many, which share the right factor with it.
    pub times: usize,
}

/// How much trouble is taken.
#[derive(Clone, Copy)]
struct Trouble {
    /// Terms that are looked for.
    rank: usize,
    /// One row in so many is looked at, and no more of them than this.
    sample_share: usize,
    most_rows: usize,
    iterations: usize,
    /// How often both factors are fitted to each other.
    rounds: usize,
    /// What must be saved of the bits that a weight takes, about: a product makes decoding slower.
    worth: f64,
}

impl Trouble {
    const PUSH: Self =
        Self { rank: 8, sample_share: 8, most_rows: 320, iterations: 3, rounds: 1, worth: 0.04 };
    const REPACK: Self =
        Self { rank: MAX_RANK, sample_share: 1, most_rows: 4096, iterations: 6, rounds: 3, worth: 0.015 };
}

/// The factors that say enough of the differences between `target` and `base`, of this type in rows of `row_len`.
#[inline(always)]
pub(in super::super) fn fit<W: Word>(
    target: &[u8],
    base: &[u8],
    dtype: Dtype,
    row_len: usize,
    search: Search,
) -> Option<Factors> {
    let float = Float::of(dtype)?;
    let numbers = target.len() / dtype.width();
    let rows = numbers.checked_div(row_len)?;
    let Search { effort, times } = search;
    let are_few = rows.saturating_mul(times) < LEAST_ROWS || rows < TEST_EVERY;
    if row_len < LEAST_ROW || are_few || !row_len.is_multiple_of(GROUP) || rows * row_len != numbers {
        return None;
    }
    let trouble = if effort == Effort::Push { Trouble::PUSH } else { Trouble::REPACK };
    Fitting { float, target, base, row_len, times, trouble, word: std::marker::PhantomData::<W> }.run()
}

struct Fitting<'a, W> {
    float: Float,
    target: &'a [u8],
    base: &'a [u8],
    row_len: usize,
    times: usize,
    trouble: Trouble,
    word: std::marker::PhantomData<W>,
}

/// Row after row, as long as `row_len`.
type Rows = Vec<f32>;

impl<W: Word> Fitting<'_, W> {
    #[inline(always)]
    fn run(self) -> Option<Factors> {
        let rows = self.target.len() / self.row_bytes();
        let Trouble { sample_share, most_rows, iterations, rank: most, .. } = self.trouble;
        let most_rows = most_rows.min(MOST_NUMBERS / self.row_len).max(FEWEST_ROWS);
        let wanted = (rows / sample_share).clamp(FEWEST_ROWS, most_rows).min(rows);
        let (mut found, mut tests) = (Rows::new(), Rows::new());
        let mut lengths = [0u32; 1 + u32::BITS as usize];
        for at in 0..wanted {
            let row = at * rows / wanted;
            let mut differences = self.differences(row);
            self.count_lengths(row, &mut lengths);
            let mean = absolute_sum(&differences) / self.row_len as f32;
            scale(&mut differences, if mean > 0.0 { 1.0 / mean } else { 0.0 });
            if at % TEST_EVERY == 0 { &mut tests } else { &mut found }.extend(differences);
        }
        let columns = self.columns(&found);
        self.level(&mut found, &columns);
        self.level(&mut tests, &columns);
        let directions = self.directions(&found, most.min(rows), iterations);
        let (rank, noise) = self.rank(&tests, &directions, rows * self.times, bits_each(&lengths))?;
        Some(self.factors(&directions[..rank * self.row_len], &columns, noise))
    }

    fn row_bytes(&self) -> usize {
        self.row_len * W::BITS as usize / 8
    }

    /// How far each weight of a row moved.
    #[inline(always)]
    fn differences(&self, row: usize) -> Rows {
        let span = row * self.row_bytes()..(row + 1) * self.row_bytes();
        let group_bytes = GROUP * W::BITS as usize / 8;
        let groups = self.target[span.clone()]
            .chunks_exact(group_bytes)
            .zip(self.base[span].chunks_exact(group_bytes));
        let mut out = vec![0f32; self.row_len];
        for (out, (target, base)) in out.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups) {
            let (target, base) = (W::load_group(target), W::load_group(base));
            for ((out, target), base) in out.iter_mut().zip(target).zip(base) {
                let (target, base) = (target.to_u64() as u32, base.to_u64() as u32);
                let moved = self.float.value(target) - self.float.value(base);
                *out = if self.float.is_finite(target) && self.float.is_finite(base) { moved } else { 0.0 };
            }
        }
        out
    }

    /// Counts the lengths in bits of a row's differences, in units of the last place.
    #[inline(always)]
    fn count_lengths(&self, row: usize, lengths: &mut [u32; 1 + u32::BITS as usize]) {
        let span = row * self.row_bytes()..(row + 1) * self.row_bytes();
        let group_bytes = GROUP * W::BITS as usize / 8;
        let pairs = self.target[span.clone()]
            .chunks_exact(group_bytes)
            .zip(self.base[span].chunks_exact(group_bytes));
        for (target, base) in pairs {
            let (target, base) = (W::load_group(target), W::load_group(base));
            let mut units = Each::of(0u32);
            for ((units, target), base) in units.iter_mut().zip(target).zip(base) {
                let place = |bits: W| self.float.place(self.float.value(bits.to_u64() as u32));
                let far = place(target).wrapping_sub(place(base)) >> (32 - W::BITS.min(32));
                *units = u32::BITS - far.unsigned_abs().leading_zeros();
            }
            units.iter().for_each(|length| lengths[*length as usize] += 1);
        }
    }

    /// How far the weights of each column moved, beside their rows.
    #[inline(always)]
    fn columns(&self, rows: &Rows) -> Vec<f32> {
        let mut sums = vec![0f32; self.row_len];
        for row in rows.chunks_exact(self.row_len) {
            sums.iter_mut().zip(row).for_each(|(sum, moved)| *sum += moved.abs());
        }
        let count = (rows.len() / self.row_len) as f32;
        sums.iter().map(|sum| (sum / count).clamp(1.0 / 16.0, 16.0)).collect()
    }

    /// Divides rows by that.
    #[inline(always)]
    fn level(&self, rows: &mut Rows, columns: &[f32]) {
        for row in rows.chunks_exact_mut(self.row_len) {
            row.iter_mut()
                .zip(columns)
                .for_each(|(moved, column)| *moved = (*moved / column).clamp(-WILD, WILD));
        }
    }

    /// Directions of length one at right angles, those first along which the rows are largest.
    #[inline(always)]
    fn directions(&self, rows: &Rows, count: usize, iterations: usize) -> Rows {
        let mut state = 0u64;
        let mut directions: Rows = (0..count * self.row_len).map(|_| noise(&mut state)).collect();
        for _ in 0..iterations {
            let mut next = vec![0f32; directions.len()];
            for row in rows.chunks_exact(self.row_len) {
                for (direction, next) in
                    directions.chunks_exact(self.row_len).zip(next.chunks_exact_mut(self.row_len))
                {
                    add(next, dot(row, direction), row);
                }
            }
            directions = next;
            self.at_right_angles(&mut directions);
        }
        directions
    }

    /// Gram and Schmidt's method, in turn.
    #[inline(always)]
    fn at_right_angles(&self, directions: &mut Rows) {
        for at in 0..directions.len() / self.row_len {
            let (before, own) = directions.split_at_mut(at * self.row_len);
            let own = &mut own[..self.row_len];
            for before in before.chunks_exact(self.row_len) {
                let along = dot(own, before);
                add(own, -along, before);
            }
            let length = dot(own, own).sqrt();
            scale(own, if length > 0.0 { 1.0 / length } else { 0.0 });
        }
    }

    /// How many of the directions are worth their numbers, and the deviation of what they leave.
    #[inline(always)]
    fn rank(&self, tests: &Rows, directions: &Rows, rows: usize, bits_each: f64) -> Option<(usize, f64)> {
        let columns = self.row_len as f64;
        let all: f64 = tests.chunks_exact(self.row_len).map(|row| f64::from(dot(row, row))).sum();
        if all <= 0.0 {
            return None;
        }
        let (mut best, mut left, mut cost) = ((0, 0.0, 0.0), all, 0.0);
        for (at, direction) in directions.chunks_exact(self.row_len).enumerate() {
            let along: f64 =
                tests.chunks_exact(self.row_len).map(|row| f64::from(dot(row, direction)).powi(2)).sum();
            // Of noise alone, each direction would explain as much as any other.
            let explained = (along - left / columns).max(0.0);
            left -= explained;
            let size = (columns * explained / left).sqrt() / UNIT;
            let other_size = size * (rows as f64 / columns).sqrt();
            cost += entropy(size) / columns + entropy(other_size) / rows as f64;
            // What rounding both leaves undone.
            let rounding = (at + 1) as f64 * (1.0 / columns + 1.0 / rows as f64);
            let saved = 0.5 * (all / (left * (1.0 + rounding))).log2() - cost;
            if saved > best.1 {
                best = (at + 1, saved, left);
            }
        }
        let (rank, saved, left) = best;
        (saved > self.trouble.worth * bits_each).then(|| (rank, (left / tests.len() as f64).sqrt()))
    }

    /// The factors of all rows that begin with these directions, by least squares in turn: each the best for the other.
    #[inline(always)]
    fn factors(&self, directions: &[f32], columns: &[f32], noise: f64) -> Factors {
        let rank = directions.len() / self.row_len;
        let mut terms = directions.to_vec();
        for term in terms.chunks_exact_mut(self.row_len) {
            term.iter_mut().zip(columns).for_each(|(it, column)| *it *= column);
        }
        let rounds = self.trouble.rounds;
        let mut left = self.left(&terms, columns, noise);
        for round in 0..rounds {
            terms = self.right(&left, rank);
            if round + 1 < rounds {
                left = self.left(&terms, columns, noise);
            }
        }
        let Left { exponent, row_exponents, numbers, .. } = left;
        let rows = row_exponents.len();
        let (mut right, mut term_exponents) = (Vec::with_capacity(terms.len()), Vec::with_capacity(rank));
        for (term, numbers) in terms.chunks_exact(self.row_len).zip(numbers.chunks_exact(rows)) {
            let squares: f64 = numbers.iter().map(|number| f64::from(*number).powi(2)).sum();
            let unit = -(0.5 * squares.max(1.0).log2()).round() as i32;
            term_exponents.push(unit);
            right.extend(term.iter().map(|it| integer(it / power(unit))));
        }
        Factors { rank, row_len: self.row_len, exponent, row_exponents, term_exponents, left: numbers, right }
    }

    /// The left factor that is best beside these terms, where errors count by how far rows and columns move.
    #[inline(always)]
    fn left(&self, terms: &[f32], columns: &[f32], noise: f64) -> Left {
        let (rank, rows) = (terms.len() / self.row_len, self.target.len() / self.row_bytes());
        let mut weighted = terms.to_vec();
        for term in weighted.chunks_exact_mut(self.row_len) {
            term.iter_mut().zip(columns).for_each(|(it, column)| *it /= column * column);
        }
        let system = Symmetric::new(rank, |one, other| {
            let at = |term: usize| term * self.row_len..(term + 1) * self.row_len;
            f64::from(dot(&terms[at(one)], &weighted[at(other)]))
        });
        let (mut values, mut means, mut units) =
            (vec![0f32; rows * rank], vec![0f32; rows], vec![0i32; rows]);
        let mut own = vec![0f64; rank];
        for (row, values) in values.chunks_exact_mut(rank).enumerate() {
            let differences = self.differences(row);
            means[row] = absolute_sum(&differences) / self.row_len as f32;
            units[row] = (UNIT * noise * f64::from(means[row])).log2().round().clamp(-99.0, 60.0) as i32;
            for (own, term) in own.iter_mut().zip(weighted.chunks_exact(self.row_len)) {
                *own = f64::from(dot(&differences, term));
            }
            system.solve(&mut own);
            values.iter_mut().zip(&own).for_each(|(value, own)| *value = *own as f32);
        }
        let top = units.iter().copied().max().unwrap_or(0);
        let exponent = (top - (ROW_EXPONENTS as i32 - 1)).max(-100);
        let row_exponents: Vec<u8> = units.iter().map(|unit| (unit - exponent).max(0) as u8).collect();
        let mut numbers = vec![0i8; rows * rank];
        for (row, values) in values.chunks_exact(rank).enumerate() {
            let unit = power(exponent + i32::from(row_exponents[row]));
            values
                .iter()
                .enumerate()
                .for_each(|(term, value)| numbers[term * rows + row] = integer(value / unit));
        }
        Left { exponent, row_exponents, means, numbers }
    }

    /// The terms that are best beside this left factor.
    #[inline(always)]
    fn right(&self, left: &Left, rank: usize) -> Rows {
        let rows = left.means.len();
        let mut terms = vec![0f32; rank * self.row_len];
        let mut products = vec![0f64; rank * rank];
        let mut own = vec![0f32; rank];
        for (row, (&mean, &exponent)) in left.means.iter().zip(&left.row_exponents).enumerate() {
            if mean <= 0.0 {
                continue;
            }
            let unit = power(left.exponent + i32::from(exponent)) / mean;
            own.iter_mut()
                .enumerate()
                .for_each(|(term, own)| *own = unit * f32::from(left.numbers[term * rows + row]));
            let differences = self.differences(row);
            for (one, (own_one, term)) in own.iter().zip(terms.chunks_exact_mut(self.row_len)).enumerate() {
                add(term, own_one / mean, &differences);
                for (other, own_other) in own.iter().enumerate() {
                    products[one * rank + other] += f64::from(own_one * own_other);
                }
            }
        }
        let system = Symmetric::new(rank, |one, other| products[one * rank + other]);
        let mut column = vec![0f64; rank];
        for at in 0..self.row_len {
            column
                .iter_mut()
                .enumerate()
                .for_each(|(term, it)| *it = f64::from(terms[term * self.row_len + at]));
            system.solve(&mut column);
            column.iter().enumerate().for_each(|(term, it)| terms[term * self.row_len + at] = *it as f32);
        }
        terms
    }
}

/// A left factor in integers, and how far the rows moved.
struct Left {
    exponent: i32,
    row_exponents: Vec<u8>,
    means: Vec<f32>,
    /// Term after term, a number for each row.
    numbers: Vec<i8>,
}

/// About what a weight takes as a difference, in bits: the length of this, its sign, and what follows its highest bit.
fn bits_each(lengths: &[u32; 1 + u32::BITS as usize]) -> f64 {
    let total = f64::from(lengths.iter().sum::<u32>().max(1));
    let bits = |(length, &count): (usize, &u32)| {
        let share = f64::from(count) / total;
        if count == 0 { 0.0 } else { share * (length as f64 - share.log2()) }
    };
    lengths.iter().enumerate().map(bits).sum()
}

fn integer(value: f32) -> i8 {
    value.round().clamp(-LARGEST as f32, LARGEST as f32) as i8
}

/// The entropy of integers whose mean square is this one's, in bits, if their distribution is a two-sided geometric one.
fn entropy(deviation: f64) -> f64 {
    let mean = deviation / std::f64::consts::SQRT_2;
    if mean < 1e-6 { 0.0 } else { (mean.asinh() + mean * mean.recip().asinh()) * std::f64::consts::LOG2_E }
}

/// A number from −1 to 1 (Steele, Lea and Flood 2014, "SplitMix").
fn noise(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ bits >> 31) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// Sums in as many strands as there are lanes, so that vectors of any width add in one order.
#[inline(always)]
fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = Each::of(0f32);
    for (one, other) in one.as_chunks::<GROUP>().0.iter().zip(other.as_chunks::<GROUP>().0) {
        for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
            *sum += one * other;
        }
    }
    sums.sum()
}

#[inline(always)]
fn absolute_sum(numbers: &[f32]) -> f32 {
    let mut sums = Each::of(0f32);
    for numbers in numbers.as_chunks::<GROUP>().0 {
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number.abs());
    }
    sums.sum()
}

#[inline(always)]
fn add(to: &mut [f32], factor: f32, what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

#[inline(always)]
fn scale(numbers: &mut [f32], factor: f32) {
    numbers.iter_mut().for_each(|number| *number *= factor);
}
