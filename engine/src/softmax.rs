//! Logits as probabilities, and two of them compared. Sums are f64: a vocabulary has a quarter of a million terms.

use crate::failure::Failure;

/// What makes logits to probabilities: ln p = logit - `shift`.
#[derive(Clone, Copy, Debug)]
pub struct Shift(f64);

impl Shift {
    /// Of one row of logits, of which none may be infinite or no number.
    pub fn of(logits: &[f32]) -> Result<Shift, Failure> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from((logit - max).exp())).sum();
        // A NaN anywhere makes the sum one; so does infinity less infinity.
        if !(max.is_finite() && sum.is_finite()) {
            return Err(Failure::not_finite("the model gave a logit that is no finite number"));
        }
        Ok(Shift(f64::from(max) + sum.ln()))
    }

    pub fn ln_p(self, logit: f32) -> f64 {
        f64::from(logit) - self.0
    }
}

/// The most likely token, and the first of several.
pub fn top(logits: &[f32]) -> usize {
    let best =
        logits.iter().copied().enumerate().fold((0, f32::NEG_INFINITY), |best, (at, logit)| {
            if logit > best.1 { (at, logit) } else { best }
        });
    best.0
}

/// Probability of the most likely token less that of the second.
pub fn margin(logits: &[f32], shift: Shift) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for logit in logits {
        if *logit > first {
            (first, second) = (*logit, first);
        } else if *logit > second {
            second = *logit;
        }
    }
    (shift.ln_p(first).exp() - shift.ln_p(second).exp()) as f32
}

/// The sum over the vocabulary of p ln(p / q), in nats: `base` is p.
pub fn divergence(base: &[f32], base_shift: Shift, other: &[f32], other_shift: Shift) -> f64 {
    let terms = base.iter().zip(other).map(|(base, other)| {
        let ln_p = base_shift.ln_p(*base);
        // Where p is 0 in f64, so is the term.
        f64::from((ln_p as f32).exp()) * (ln_p - other_shift.ln_p(*other))
    });
    terms.sum::<f64>().max(0.0)
}

/// The largest and the summed difference of two rows.
pub fn differences(a: &[f32], b: &[f32]) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(max, sum), (a, b)| {
        let difference = f64::from((a - b).abs());
        (f64::max(max, difference), sum + difference)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal logits are a fair die: its perplexity is the number of its sides.
    #[test]
    fn a_uniform_row_gives_each_token_one_over_n() {
        let row = [3.5f32; 1000];
        let shift = Shift::of(&row).expect("finite");
        assert!((shift.ln_p(row[7]) + 1000f64.ln()).abs() < 1e-12);
        assert_eq!(margin(&row, shift), 0.0);
    }

    /// A model that computes nonsense must not get a figure.
    #[test]
    fn rows_that_are_not_finite_are_refused() {
        for wrong in [f32::NAN, f32::INFINITY] {
            for at in [0, 1, 2] {
                let mut row = [1.0, 2.0, 3.0];
                row[at] = wrong;
                assert!(Shift::of(&row).is_err(), "{row:?}");
            }
        }
        assert!(Shift::of(&[f32::NEG_INFINITY; 3]).is_err());
    }

    /// A model diverges from itself by nothing, and from others by more than nothing.
    #[test]
    fn divergence_is_zero_of_equals_only() {
        let (a, b) = ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]);
        let shift = |row: &[f32]| Shift::of(row).expect("finite");
        assert_eq!(divergence(&a, shift(&a), &a, shift(&a)), 0.0);
        let found = divergence(&a, shift(&a), &b, shift(&b));
        let p = [1.0f64, 2.0, 3.0].map(|x| x.exp() / [1.0f64, 2.0, 3.0].iter().map(|x| x.exp()).sum::<f64>());
        let expected: f64 = (0..3).map(|i| p[i] * (p[i] / p[2 - i]).ln()).sum();
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}
