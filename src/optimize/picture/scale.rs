//! From values to places on an axis, and round numbers along it.

/// An axis.
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_curved: bool,
}

/// Where the curved axis turns from even steps to even ratios, in percent.
const BEND: f64 = 1.0;
/// Room beside the outermost values, as a share of the axis.
const ROOM: f64 = 0.09;

impl Scale {
    /// Even steps, from a bit below the least value to a bit above the greatest.
    pub fn linear(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Scale {
        Scale::new(values, from, to, false)
    }

    /// Steps that are even around 0 and grow with the value, so that 0.5 % and 50 % can both be read; also below 0.
    pub fn curved(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Scale {
        Scale::new(values, from, to, true)
    }

    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64, is_curved: bool) -> Scale {
        let bent = |value: f64| if is_curved { (value / BEND).asinh() } else { value };
        let mut bounds: Option<(f64, f64)> = None;
        for value in values.filter(|value| value.is_finite()).map(bent) {
            let (low, high) = bounds.unwrap_or((value, value));
            bounds = Some((low.min(value), high.max(value)));
        }
        let (low, high) = bounds.unwrap_or((0.0, 1.0));
        let room = if high > low { ROOM * (high - low) } else { 0.5 * low.abs().max(1.0) };
        Scale { low: low - room, high: high + room, from, to, is_curved }
    }

    pub fn place(&self, value: f64) -> f64 {
        let bent = if self.is_curved { (value / BEND).asinh() } else { value };
        self.from + (bent - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round values on the axis.
    pub fn ticks(&self) -> Vec<f64> {
        if self.is_curved { self.curved_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / 8.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= raw);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.low / step).ceil() as i64;
        (first..first + 12).map(|at| rounded(at as f64 * step)).filter(|tick| *tick <= self.high).collect()
    }

    fn curved_ticks(&self) -> Vec<f64> {
        const STEPS: [f64; 12] = [0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 1e3, 1e4];
        let negative = STEPS[1..].iter().rev().map(|tick| -tick);
        let all = negative.chain(STEPS);
        let inside = |tick: &f64| (self.low..=self.high).contains(&(tick / BEND).asinh());
        all.filter(inside).collect()
    }
}

/// Without the crumbs of binary fractions.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
