//! Systems of linear equations that are symmetric and positive.

/// A system, decomposed by Cholesky's method (Golub and Van Loan, "Matrix Computations", 4.2).
pub(super) struct Symmetric {
    size: usize,
    /// Row after row of the lower triangle, with the diagonal's reciprocals.
    lower: Vec<f64>,
}

impl Symmetric {
    /// Of the entries on and below the diagonal, by row and column.
    pub fn new(size: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        let mut lower = vec![0f64; size * size];
        for row in 0..size {
            for column in 0..=row {
                let before: f64 =
                    (0..column).map(|at| lower[row * size + at] * lower[column * size + at]).sum();
                let left = entry(row, column) - before;
                lower[row * size + column] = match row == column {
                    // What depends on the others adds nothing.
                    true => {
                        if left > 1e-9 * entry(row, row) {
                            left.sqrt().recip()
                        } else {
                            0.0
                        }
                    }
                    false => left * lower[column * size + column],
                };
            }
        }
        Self { size, lower }
    }

    /// Replaces the right side by the solution; unknowns that depend on those before them are 0.
    pub fn solve(&self, values: &mut [f64]) {
        let size = self.size;
        for row in 0..size {
            let before: f64 = (0..row).map(|at| self.lower[row * size + at] * values[at]).sum();
            values[row] = (values[row] - before) * self.lower[row * size + row];
        }
        for row in (0..size).rev() {
            let behind: f64 = (row + 1..size).map(|at| self.lower[at * size + row] * values[at]).sum();
            values[row] = (values[row] - behind) * self.lower[row * size + row];
        }
    }
}
