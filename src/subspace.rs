//! The directions in which a matrix is largest: a truncated singular value decomposition.
//!
//! By the randomised range finder with power iterations (Halko, Martinsson and Tropp 2011, algorithms 4.4
//! and 5.1). The start is pseudorandom with a fixed seed: the same matrix always gives the same factors.
//! Small enough to be ours; the crates for linear algebra bring far more than the one step that is needed.

use rayon::prelude::*;

/// Directions that are followed beside the wanted ones.
const MORE_DIRECTIONS: usize = 10;
/// After n of them a direction weighs as its singular value to the 2·n + 1: small ones fade away.
const POWER_ITERATIONS: usize = 3;
/// Columns of a matrix that one processor sums at a time.
const COLUMN_PIECE: usize = 256;
/// Directions whose length shrinks by this while others are taken out of them are rounding errors.
const NOTHING_LEFT: f64 = 1e-7;
/// Rounds of Jacobi's method; a handful is enough, since each squares the error.
const MAX_SWEEPS: usize = 30;

/// A matrix by rows.
pub struct Matrix<'a> {
    pub values: &'a [f32],
    pub columns: usize,
}

/// Column vectors of one length, side by side: row after row of `width` numbers.
struct Thin {
    values: Vec<f64>,
    width: usize,
}

/// `left · right`, close to the matrix: as many terms as were asked for, or fewer if the matrix has no more.
#[derive(Default)]
pub struct Truncated {
    /// Singular values, the largest first.
    pub strengths: Vec<f64>,
    /// For each term a vector of unit length, as long as the matrix has rows.
    pub left: Vec<Vec<f64>>,
    /// For each term a vector of the length of its singular value, as long as the matrix has columns.
    pub right: Vec<Vec<f64>>,
}

/// The `rank` largest terms of a matrix whose values are all finite.
pub fn truncated(matrix: &Matrix<'_>, rank: usize) -> Truncated {
    let rows = matrix.values.len() / matrix.columns;
    let width = (rank + MORE_DIRECTIONS).min(rows).min(matrix.columns);
    let mut range = orthonormal(matrix.times(&start(matrix.columns, width)));
    for _ in 0..POWER_ITERATIONS {
        let other_side = orthonormal(matrix.transposed_times(&range));
        range = orthonormal(matrix.times(&other_side));
    }
    if range.width == 0 {
        return Truncated::default();
    }
    let right = matrix.transposed_times(&range);
    let (squares, turns) = eigen(gram(&right), right.width);
    let mut order: Vec<usize> = (0..squares.len()).filter(|&at| squares[at] > 0.0).collect();
    order.sort_by(|&a, &b| squares[b].total_cmp(&squares[a]));
    order.truncate(rank);
    Truncated {
        strengths: order.iter().map(|&at| squares[at].sqrt()).collect(),
        left: order.iter().map(|&at| range.combined(&turns[at])).collect(),
        right: order.iter().map(|&at| right.combined(&turns[at])).collect(),
    }
}

impl Matrix<'_> {
    /// This matrix times `thin`.
    fn times(&self, thin: &Thin) -> Thin {
        let width = thin.width;
        let mut values = vec![0.0; self.values.len() / self.columns * width];
        let rows = self.values.par_chunks(self.columns).zip(values.par_chunks_mut(width.max(1)));
        rows.for_each(|(row, sums)| {
            for (value, vector) in row.iter().zip(thin.values.chunks(width.max(1))) {
                add_scaled(sums, f64::from(*value), vector);
            }
        });
        Thin { values, width }
    }

    /// The transpose of this matrix times `thin`.
    fn transposed_times(&self, thin: &Thin) -> Thin {
        let width = thin.width;
        let mut values = vec![0.0; self.columns * width];
        let pieces = values.par_chunks_mut((COLUMN_PIECE * width).max(1)).enumerate();
        pieces.for_each(|(index, sums)| {
            let first = index * COLUMN_PIECE;
            for (row, vector) in self.values.chunks(self.columns).zip(thin.values.chunks(width.max(1))) {
                for (value, sums) in row[first..].iter().zip(sums.chunks_mut(width.max(1))) {
                    add_scaled(sums, f64::from(*value), vector);
                }
            }
        });
        Thin { values, width }
    }
}

impl Thin {
    fn column(&self, at: usize) -> Vec<f64> {
        self.values.iter().skip(at).step_by(self.width).copied().collect()
    }

    /// The sum of its columns, each by its weight.
    fn combined(&self, weights: &[f64]) -> Vec<f64> {
        self.values.chunks(self.width).map(|row| dot(row, weights)).collect()
    }
}

fn start(rows: usize, width: usize) -> Thin {
    let mut state = 0u64;
    let values = (0..rows * width).map(|_| splitmix(&mut state)).collect();
    Thin { values, width }
}

/// A number from −1 to 1 (Steele, Lea and Flood 2014, "SplitMix").
fn splitmix(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ bits >> 31) >> 11) as f64 * 2f64.powi(-52) - 1.0
}

/// Unit vectors at right angles that span what the columns span; fewer where these depend on each other.
fn orthonormal(thin: Thin) -> Thin {
    let mut found: Vec<Vec<f64>> = Vec::new();
    for at in 0..thin.width {
        let mut vector = thin.column(at);
        let before = dot(&vector, &vector).sqrt();
        // Once leaves rounding errors; "twice is enough" (Kahan, in Parlett 1980).
        for _ in 0..2 {
            for other in &found {
                let share = dot(other, &vector);
                add_scaled(&mut vector, -share, other);
            }
        }
        let length = dot(&vector, &vector).sqrt();
        if length > before * NOTHING_LEFT {
            vector.iter_mut().for_each(|value| *value /= length);
            found.push(vector);
        }
    }
    let rows = thin.values.len() / thin.width.max(1);
    let values = (0..rows).flat_map(|row| found.iter().map(move |vector| vector[row])).collect();
    Thin { values, width: found.len() }
}

/// The products of all pairs of columns, by rows.
fn gram(thin: &Thin) -> Vec<f64> {
    let columns: Vec<_> = (0..thin.width).map(|at| thin.column(at)).collect();
    columns.iter().flat_map(|a| columns.iter().map(|b| dot(a, b))).collect()
}

/// Eigenvalues and their vectors of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut vectors: Vec<Vec<f64>> =
        (0..size).map(|at| (0..size).map(|other| f64::from(u8::from(at == other))).collect()).collect();
    for _ in 0..MAX_SWEEPS {
        let mut turned = false;
        for a in 0..size {
            for b in a + 1..size {
                turned |= rotate(&mut matrix, size, &mut vectors, a, b);
            }
        }
        if !turned {
            break;
        }
    }
    ((0..size).map(|at| matrix[at * size + at]).collect(), vectors)
}

/// Makes one pair of elements beside the diagonal zero; false if they are as good as that.
fn rotate(matrix: &mut [f64], size: usize, vectors: &mut [Vec<f64>], a: usize, b: usize) -> bool {
    let (first, second, beside) = (matrix[a * size + a], matrix[b * size + b], matrix[a * size + b]);
    if beside.abs() <= f64::EPSILON * (first * second).abs().sqrt() {
        return false;
    }
    let slope = (second - first) / (2.0 * beside);
    let tangent = slope.signum() / (slope.abs() + slope.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    for at in 0..size {
        let (x, y) = (matrix[at * size + a], matrix[at * size + b]);
        matrix[at * size + a] = cosine * x - sine * y;
        matrix[at * size + b] = sine * x + cosine * y;
    }
    for at in 0..size {
        let (x, y) = (matrix[a * size + at], matrix[b * size + at]);
        matrix[a * size + at] = cosine * x - sine * y;
        matrix[b * size + at] = sine * x + cosine * y;
    }
    let (head, tail) = vectors.split_at_mut(b);
    for (x, y) in head[a].iter_mut().zip(&mut tail[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
    true
}

fn add_scaled(sums: &mut [f64], factor: f64, vector: &[f64]) {
    sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += factor * value);
}

/// Several sums side by side, which a processor adds at once; always in the same order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        (0..len).map(|_| splitmix(&mut state)).collect()
    }

    /// An adapter is as good as its terms: known ones come back, and no more than there are.
    #[test]
    fn known_terms_are_found() {
        let (rows, columns) = (90, 70);
        let left = orthonormal(Thin { values: noise(rows * 5, 1), width: 5 });
        let right = orthonormal(Thin { values: noise(columns * 5, 2), width: 5 });
        let strengths = [10.0, 5.0, 4.9, 1.0, 0.01];
        let element = |at: usize| {
            let (row, column) = (at / columns, at % columns);
            let term = |k: usize| left.values[row * 5 + k] * strengths[k] * right.values[column * 5 + k];
            (0..5).map(term).sum::<f64>() as f32
        };
        let values: Vec<f32> = (0..rows * columns).map(element).collect();
        let matrix = Matrix { values: &values, columns };

        let all = truncated(&matrix, 8);
        for (found, expected) in all.strengths.iter().zip(strengths) {
            assert!((found - expected).abs() < 1e-5, "{:?}", all.strengths);
        }
        assert!(all.strengths[5..].iter().all(|noise| *noise < 1e-4), "{:?}", all.strengths);
        let two = truncated(&matrix, 2);
        assert_eq!(two.strengths.len(), 2);
        let same = dot(&two.left[0], &left.column(0)).abs();
        assert!((same - 1.0).abs() < 1e-6, "{same}");

        assert!(truncated(&Matrix { values: &[0.0; 12], columns: 4 }, 2).strengths.is_empty());
        assert_eq!(truncated(&Matrix { values: &[3.0], columns: 1 }, 2).strengths, [3.0]);
    }
}
