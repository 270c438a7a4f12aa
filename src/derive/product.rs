//! The product of two small factors, added to a tensor: the one hot loop of a merge.
//!
//! Floating point sums depend on their order. This is the order of torch's matrix product on a CPU with
//! FMA: one fused multiply-add after the other along the rank, in blocks where the rank is large
//! (measured on torch 2.15; `tests/data/adapters/make.py` makes the merges that it is compared with).

use super::floats::Float;

/// Elements of one tensor that are added at a time; more are split among the processors.
const CHUNK_ELEMENTS: usize = 64 << 10;
/// Longest rank that is summed in one go.
const BLOCK_RANK: usize = 192;
/// Elements of a row that are summed together: their sums stay in the first cache.
const ROW_PIECE: usize = 1024;

/// `scale · left right`, where `left` has as many rows as the tensor and `right` as many columns.
pub struct Product {
    left: Vec<f32>,
    right: Vec<f32>,
    rank: usize,
    columns: usize,
    scale: f32,
}

impl Product {
    /// Of `b` (outputs × rank) and `a` (rank × inputs); transposed for tensors with a row an input.
    pub fn new(b: Vec<f32>, a: Vec<f32>, rank: usize, scale: f32, transposed: bool) -> Product {
        let (left, right) = if transposed { (turn(&a, rank), turn_back(&b, rank)) } else { (b, a) };
        let columns = right.len() / rank;
        Product { left, right, rank, columns, scale }
    }

    /// Number of its elements.
    pub fn len(&self) -> usize {
        (self.left.len() / self.rank).saturating_mul(self.columns)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds its elements from number `first` on to `values`.
    pub fn add_to(&self, values: &mut [f32], first: usize) {
        let (mut values, mut at) = (values, first);
        while !values.is_empty() {
            let (row, column) = (at / self.columns, at % self.columns);
            let len = values.len().min(self.columns - column).min(ROW_PIECE);
            let (piece, rest) = values.split_at_mut(len);
            self.add_to_row(piece, row, column);
            (values, at) = (rest, at + len);
        }
    }

    /// The same, each element rounded to a type before it is added.
    pub fn add_rounded_to(&self, values: &mut [f32], first: usize, float: Float) {
        // Plus −0 changes nothing, not even a −0.
        let mut sums = vec![-0.0; values.len()];
        self.add_to(&mut sums, first);
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value += float.round(sum));
    }

    fn add_to_row(&self, values: &mut [f32], row: usize, column: usize) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the machine has just said that it knows these instructions.
            return unsafe { self.add_to_row_fma(values, row, column) };
        }
        self.add_to_row_anywhere(values, row, column);
    }

    /// The same code, compiled for machines that fuse in hardware: elsewhere it is a call for each element.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn add_to_row_fma(&self, values: &mut [f32], row: usize, column: usize) {
        self.add_to_row_anywhere(values, row, column);
    }

    #[inline(always)]
    fn add_to_row_anywhere(&self, values: &mut [f32], row: usize, column: usize) {
        let mut sums = [0f32; ROW_PIECE];
        let mut block = [0f32; ROW_PIECE];
        let (sums, block) = (&mut sums[..values.len()], &mut block[..values.len()]);
        let left = &self.left[row * self.rank..][..self.rank];
        let step = block_rank(self.rank);
        for (index, factors) in left.chunks(step).enumerate() {
            let out = if index == 0 { &mut *sums } else { &mut *block };
            out.fill(0.0);
            for (k, factor) in factors.iter().enumerate() {
                let right = &self.right[(index * step + k) * self.columns + column..][..out.len()];
                for (sum, value) in out.iter_mut().zip(right) {
                    *sum = factor.mul_add(*value, *sum);
                }
            }
            if index > 0 {
                sums.iter_mut().zip(&*block).for_each(|(sum, more)| *sum += more);
            }
        }
        for (value, sum) in values.iter_mut().zip(&*sums) {
            *value += sum * self.scale;
        }
    }
}

/// The bytes of a tensor with the product added, from the tensor's element `first` on.
///
/// `rounded`: the product is given the tensor's type before it is added, as PEFT does for embeddings. By one thread: others
/// may wait for these bytes with a lock held, and a thread that splits its work takes up any other work meanwhile.
pub fn add(product: &Product, base: &[u8], float: Float, first: usize, rounded: bool) -> Vec<u8> {
    let chunk_bytes = CHUNK_ELEMENTS * float.width();
    let mut sum = vec![0; base.len()];
    let chunks = sum.chunks_mut(chunk_bytes).zip(base.chunks(chunk_bytes)).enumerate();
    chunks.for_each(|(index, (sum, base))| {
        let at = first + index * CHUNK_ELEMENTS;
        let mut values = float.values(base);
        if rounded {
            product.add_rounded_to(&mut values, at, float);
        } else {
            product.add_to(&mut values, at);
        }
        float.write(&values, sum);
    });
    sum
}

/// How much of the rank is summed in one go.
fn block_rank(rank: usize) -> usize {
    match rank {
        ..=BLOCK_RANK => rank,
        _ if rank < 2 * BLOCK_RANK => rank / 2,
        _ => BLOCK_RANK,
    }
}

/// `rank` rows to `rank` columns.
fn turn(rows: &[f32], rank: usize) -> Vec<f32> {
    let columns = rows.len() / rank;
    (0..rows.len()).map(|at| rows[at % rank * columns + at / rank]).collect()
}

/// `rank` columns to `rank` rows.
fn turn_back(columns: &[f32], rank: usize) -> Vec<f32> {
    let rows = columns.len() / rank;
    (0..columns.len()).map(|at| columns[at % rows * rank + at / rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor is merged in pieces on several processors: no border may change a bit.
    #[test]
    fn pieces_give_the_bits_of_the_whole() {
        let (outputs, inputs, rank) = (5, 1500, 200);
        let number = |at: usize| (at * 2_654_435_761 % 1009) as f32 / 509.0 - 1.0;
        let b: Vec<f32> = (0..outputs * rank).map(number).collect();
        let a: Vec<f32> = (0..inputs * rank).map(|at| number(at + 77)).collect();
        for transposed in [false, true] {
            let product = Product::new(b.clone(), a.clone(), rank, 0.3, transposed);
            let mut whole = vec![0.5; outputs * inputs];
            product.add_to(&mut whole, 0);
            let mut pieces = vec![0.5; outputs * inputs];
            for (index, piece) in pieces.chunks_mut(97).enumerate() {
                product.add_to(piece, index * 97);
            }
            assert_eq!(whole, pieces);
            let (row, column) = if transposed { (7, 3) } else { (3, 7) };
            let exact: f64 =
                (0..rank).map(|k| f64::from(b[3 * rank + k]) * f64::from(a[k * inputs + 7])).sum();
            let found = f64::from(whole[row * if transposed { outputs } else { inputs } + column]);
            assert!((found - 0.5 - 0.3 * exact).abs() < 1e-4, "{found} {exact}");
        }
    }

    /// A merge must not depend on the machine: with and without its own instructions, the bits are the same.
    #[test]
    fn every_machine_gives_the_same_bits() {
        let (rank, columns) = (64, ROW_PIECE);
        let number = |at: usize| (at * 2_654_435_761 % 1009) as f32 / 509.0 - 1.0;
        let right: Vec<f32> = (0..rank * columns).map(number).collect();
        let product = Product::new((0..rank).map(number).collect(), right, rank, 0.7, false);
        let (mut here, mut anywhere) = (vec![0.1; columns], vec![0.1; columns]);
        product.add_to_row(&mut here, 0, 0);
        product.add_to_row_anywhere(&mut anywhere, 0, 0);
        assert_eq!(here, anywhere);
    }
}
