//! A curve that only rises, fitted to points: what turns a score into a probability.
//!
//! Pool adjacent violators (Ayer and others 1955): where two neighbours fall, they become one block with
//! their mean. Nothing is assumed of the score but its order.

/// A rising curve over scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Isotonic {
    blocks: Vec<Block>,
}

/// Points that share a value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    /// The least and the greatest score in it.
    first: f64,
    last: f64,
    sum: f64,
    count: f64,
}

impl Block {
    fn value(&self) -> f64 {
        self.sum / self.count
    }
}

impl Isotonic {
    /// Fits points of a score and a value; none where no score is a number.
    pub fn fit(mut points: Vec<(f64, f64)>) -> Option<Isotonic> {
        points.retain(|(score, value)| score.is_finite() && value.is_finite());
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut blocks: Vec<Block> = Vec::new();
        for (score, value) in points {
            match blocks.last_mut() {
                // Equal scores have one value, whatever their order was.
                Some(last) if last.last == score => {
                    last.sum += value;
                    last.count += 1.0;
                }
                _ => {
                    pool(&mut blocks);
                    blocks.push(Block { first: score, last: score, sum: value, count: 1.0 });
                }
            }
        }
        pool(&mut blocks);
        (!blocks.is_empty()).then_some(Isotonic { blocks })
    }

    /// The value at a score: that of its block, on a line between two blocks, level beyond the ends.
    pub fn at(&self, score: f64) -> f64 {
        let after = self.blocks.partition_point(|block| block.last < score);
        let Some(next) = self.blocks.get(after) else {
            return self.blocks[self.blocks.len() - 1].value();
        };
        match after.checked_sub(1).map(|at| &self.blocks[at]) {
            Some(before) if score < next.first => {
                let way = (score - before.last) / (next.first - before.last);
                before.value() + way * (next.value() - before.value())
            }
            _ => next.value(),
        }
    }
}

/// Makes the last block rise above the one before it, by joining them as long as it doesn't.
fn pool(blocks: &mut Vec<Block>) {
    while let [.., before, last] = &mut blocks[..] {
        if before.value() < last.value() {
            break;
        }
        *before = Block {
            first: before.first,
            last: last.last,
            sum: before.sum + last.sum,
            count: before.count + last.count,
        };
        blocks.pop();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook case, and its ends: a curve that falls anywhere would turn good scores into bad odds.
    #[test]
    fn neighbours_that_fall_are_pooled() {
        let curve = Isotonic::fit(vec![(3.0, 2.0), (1.0, 1.0), (2.0, 3.0), (4.0, 5.0)]).expect("points");
        assert_eq!(
            [0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 9.0].map(|score| curve.at(score)),
            [1.0, 1.0, 2.5, 2.5, 2.5, 3.75, 5.0, 5.0]
        );
        assert_eq!(Isotonic::fit(vec![(f64::NAN, 1.0)]), None);
        let tied = Isotonic::fit(vec![(1.0, 0.0), (1.0, 1.0), (1.0, 0.5)]).expect("points");
        assert_eq!(tied.at(1.0), 0.5);
    }

    proptest! {
        /// Whatever the points are, the curve rises, stays between them, and has their mean.
        #[test]
        fn the_curve_rises_and_keeps_the_mean(points in prop::collection::vec((0u8..20, 0u8..5), 1..60)) {
            let points: Vec<(f64, f64)> =
                points.into_iter().map(|(score, value)| (f64::from(score), f64::from(value))).collect();
            let curve = Isotonic::fit(points.clone()).expect("points");
            let values: Vec<f64> = (-1..90).map(|at| curve.at(f64::from(at) / 4.0)).collect();
            prop_assert!(values.is_sorted_by(|a, b| *a <= b + 1e-12));
            prop_assert!(values.iter().all(|value| (-1e-12..=4.0 + 1e-12).contains(value)));
            let sums: (f64, f64) =
                points.iter().fold((0.0, 0.0), |sums, point| (sums.0 + point.1, sums.1 + curve.at(point.0)));
            prop_assert!((sums.0 - sums.1).abs() < 1e-9);
        }
    }
}
