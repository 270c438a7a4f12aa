//! The distributions that tests need: Student's t and the binomial one, both by the incomplete beta function.

/// The probability that Student's t of `freedom` degrees (any positive number) is at most `t`.
pub fn student(t: f64, freedom: f64) -> f64 {
    if t.is_nan() || t.is_infinite() {
        return if t > 0.0 { 1.0 } else { 0.0 };
    }
    let outside = incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t));
    if t > 0.0 { 1.0 - outside / 2.0 } else { outside / 2.0 }
}

/// The probability that of `trials` at most `successes` succeed, where each does with `chance`.
pub fn binomial(successes: u64, trials: u64, chance: f64) -> f64 {
    if successes >= trials {
        return 1.0;
    }
    incomplete_beta((trials - successes) as f64, successes as f64 + 1.0, 1.0 - chance)
}

/// The regularised incomplete beta function of positive `a` and `b`, by its continued fraction
/// (Abramowitz and Stegun 1964, 26.5.8, evaluated from the front as Lentz 1976 does).
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0).round();
    }
    // The fraction is quick on this side of the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    (front.exp() / a * fraction(a, b, x)).min(1.0)
}

/// Steps of the fraction; far fewer are needed on its quick side.
const MOST_STEPS: usize = 10_000;

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let held = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut above = 1.0;
    let mut below = 1.0 / held(1.0 - (a + b) * x / (a + 1.0));
    let mut found = below;
    for step in 1..MOST_STEPS {
        let step = step as f64;
        let even = step * (b - step) * x / ((a + 2.0 * step - 1.0) * (a + 2.0 * step));
        let odd = -(a + step) * (a + b + step) * x / ((a + 2.0 * step) * (a + 2.0 * step + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            below = 1.0 / held(1.0 + term * below);
            above = held(1.0 + term / above);
            change = below * above;
            found *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    found
}

/// ln Γ of a positive number (Lanczos 1964, with g = 7 and nine terms).
pub fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let series: f64 = TERMS.iter().enumerate().skip(1).map(|(at, term)| term / (x + at as f64)).sum();
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + (TERMS[0] + series).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-10 * expected.abs().max(1.0), "{found} is not {expected}");
    }

    /// Verdicts rest on these: values of the printed tables, and of the cases with a closed form.
    #[test]
    fn the_functions_have_the_values_of_the_tables() {
        near(ln_gamma(1.0), 0.0);
        near(ln_gamma(11.0), 3_628_800f64.ln());
        near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln());
        // One degree is Cauchy's, two have a root.
        near(student(1.0, 1.0), 0.75);
        near(student(-2.0, 2.0), 0.5 - 1.0 / 6f64.sqrt());
        // t of 0.975 and 10 degrees, to the digits of the table.
        assert!((student(2.228_138_852, 10.0) - 0.975).abs() < 1e-9);
        near(student(0.0, 3.7), 0.5);
        assert_eq!((student(f64::INFINITY, 3.0), student(f64::NEG_INFINITY, 3.0)), (1.0, 0.0));
        near(binomial(0, 10, 0.1), 0.9f64.powi(10));
        near(binomial(2, 4, 0.5), 11.0 / 16.0);
        assert_eq!(binomial(4, 4, 0.3), 1.0);
    }

    /// Long runs have thousands of samples: sums of the binomial, term by term, say the same.
    #[test]
    fn the_binomial_is_its_own_sum() {
        for (trials, chance) in [(100u64, 0.99f64), (1000, 0.95), (5000, 0.5)] {
            let mut ln_term = trials as f64 * (1.0 - chance).ln();
            let mut sum = 0.0;
            for successes in 0..trials {
                sum += ln_term.exp();
                if sum > 1e-12 && sum < 1.0 - 1e-12 {
                    assert!((binomial(successes, trials, chance) - sum).abs() < 1e-8);
                }
                let next = (trials - successes) as f64 / (successes + 1) as f64;
                ln_term += (next * chance / (1.0 - chance)).ln();
            }
        }
    }
}
