//! Perplexity of scored tokens, and how exact it is.

use super::sum;

/// How well a model predicts a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perplexity {
    /// `exp` of the mean of -ln p.
    pub value: f64,
    /// Of `value`, as if tokens were independent: what `llama-perplexity` prints behind `+/-`.
    pub standard_error: f64,
    /// Of `value`, as if windows were independent, which tokens of one window are not; `None` of one window.
    pub window_standard_error: Option<f64>,
    /// The mean of -ln p, in nats for each token.
    pub nats_per_token: f64,
    pub scored_tokens: u64,
}

impl Perplexity {
    /// Bits for each byte of the text that was scored: the one figure that compares models of different vocabularies.
    pub fn bits_per_byte(&self, scored_bytes: u64) -> Option<f64> {
        let bits = self.nats_per_token * self.scored_tokens as f64 / std::f64::consts::LN_2;
        (scored_bytes > 0).then(|| bits / scored_bytes as f64)
    }
}

/// Why there is no perplexity.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PerplexityError {
    #[error("no token was scored")]
    Nothing,
    #[error("window {window}, scored token {token}: ln p is {found}, expected a number of at most 0")]
    NotAProbability { window: usize, token: usize, found: f64 },
}

/// A probability may come out as 1 and a little, by rounding.
const MOST_ABOVE_ZERO: f64 = 1e-6;

/// The perplexity of windows of ln p, one number for each scored token.
///
/// # Errors
/// No token at all, and numbers that are no logarithms of probabilities.
pub fn perplexity<W: AsRef<[f64]>>(windows: &[W]) -> Result<Perplexity, PerplexityError> {
    check(windows)?;
    let tokens = || windows.iter().flat_map(|window| window.as_ref().iter().copied());
    let count = tokens().count();
    if count == 0 {
        return Err(PerplexityError::Nothing);
    }
    let mean = -sum(tokens()) / count as f64;
    let squares = sum(tokens().map(|ln_p| (ln_p + mean).powi(2)));
    let value = mean.exp();
    // As llama.cpp does: the variance of the tokens by n, that of their mean by n - 1.
    let error = if count > 1 { (squares / count as f64 / (count - 1) as f64).sqrt() } else { 0.0 };
    Ok(Perplexity {
        value,
        standard_error: value * error,
        window_standard_error: window_standard_error(windows, -mean).map(|error| value * error),
        nats_per_token: mean,
        scored_tokens: count as u64,
    })
}

/// The standard error of the mean of all tokens where whole windows were drawn (a ratio estimate, Cochran 1977, 2.11).
pub(super) fn window_standard_error<W: AsRef<[f64]>>(windows: &[W], mean: f64) -> Option<f64> {
    let filled = windows.iter().map(AsRef::as_ref).filter(|window| !window.is_empty());
    let count = filled.clone().count();
    let tokens: usize = filled.clone().map(<[f64]>::len).sum();
    if count < 2 {
        return None;
    }
    let deviation = |window: &[f64]| sum(window.iter().map(|value| value - mean)).powi(2);
    let squares = sum(filled.map(deviation));
    Some((squares * count as f64 / (count - 1) as f64).sqrt() / tokens as f64)
}

fn check<W: AsRef<[f64]>>(windows: &[W]) -> Result<(), PerplexityError> {
    for (window, tokens) in windows.iter().enumerate() {
        let is_bad = |ln_p: &f64| !ln_p.is_finite() || *ln_p > MOST_ABOVE_ZERO;
        if let Some(token) = tokens.as_ref().iter().position(is_bad) {
            return Err(PerplexityError::NotAProbability { window, token, found: tokens.as_ref()[token] });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one perplexity that needs no reference: who knows nothing is as perplexed as there are tokens.
    #[test]
    fn a_uniform_guess_has_the_perplexity_of_its_vocabulary() {
        for vocabulary in [2.0f64, 2048.0, 49_152.0, 262_144.0] {
            let windows = vec![vec![-vocabulary.ln(); 255]; 16];
            let found = perplexity(&windows).unwrap();
            assert!((found.value / vocabulary - 1.0).abs() < 1e-14, "{found:?}");
            assert!(found.standard_error < 1e-9 * vocabulary, "{found:?}");
            assert_eq!(found.scored_tokens, 16 * 255);
        }
    }

    /// The figures are those of `llama-perplexity`: its formula, by hand on four tokens.
    #[test]
    fn the_error_is_that_of_llama_perplexity() {
        let found = perplexity(&[[-1.0, -2.0], [-3.0, -6.0]]).unwrap();
        assert_eq!(found.nats_per_token, 3.0);
        assert!((found.value - 3f64.exp()).abs() < 1e-12);
        // Squares: mean of 1, 4, 9, 36 is 12.5, less 9, by n - 1.
        assert!((found.standard_error - (3.5f64 / 3.0).sqrt() * 3f64.exp()).abs() < 1e-12);
        // Windows: deviations of -3 and 3, so sqrt(18 × 2) of 4 tokens.
        assert!((found.window_standard_error.unwrap() - 1.5 * 3f64.exp()).abs() < 1e-12);
        let bits = found.bits_per_byte(24).unwrap();
        assert!((bits - 12.0 / 24.0 / 2f64.ln()).abs() < 1e-12);
        assert_eq!(found.bits_per_byte(0), None);
    }

    /// A number that is none must not become a figure in a report.
    #[test]
    fn what_is_no_probability_is_refused_by_its_place() {
        assert_eq!(perplexity::<Vec<f64>>(&[]), Err(PerplexityError::Nothing));
        assert_eq!(perplexity(&[Vec::new()]), Err(PerplexityError::Nothing));
        for bad in [f64::NAN, f64::NEG_INFINITY, 0.5] {
            let error = perplexity(&[vec![-1.0], vec![-1.0, bad]]).unwrap_err();
            let PerplexityError::NotAProbability { window: 1, token: 1, .. } = error else {
                panic!("{error:?}")
            };
        }
    }
}
