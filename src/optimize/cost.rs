//! What a million tokens cost on a machine that is paid by the hour.

use super::report::{Cost, Speed};

/// What an hour costs, and which share of it serves answers: idle hours cost the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hourly {
    pub usd_per_hour: f64,
    /// More than 0 and at most 1.
    pub utilisation: f64,
}

/// Dollars for a million tokens read and for a million written, one answer at a time.
///
/// Servers that batch answers share the reading of the weights among them and are cheaper; this is what was measured.
pub fn cost(speed: &Speed, hourly: Hourly) -> Option<Cost> {
    let per_second = hourly.usd_per_hour / 3600.0 / hourly.utilisation;
    let of = |tokens_per_second: f64| {
        let cost = per_second * 1e6 / tokens_per_second;
        (cost.is_finite() && cost >= 0.0).then_some(cost)
    };
    Some(Cost { input_usd_per_mtok: of(speed.prefill_tps)?, output_usd_per_mtok: of(speed.decode_tps)? })
}

#[cfg(test)]
mod tests {
    use super::super::report::Quantiles;
    use super::*;
    use crate::statistics::Interval;

    fn speed(prefill_tps: f64, decode_tps: f64) -> Speed {
        let none = Interval { value: 0.0, low: 0.0, high: 0.0 };
        let none = Quantiles { p50: none, p95: none, p99: none };
        Speed { first_token_ms: none, token_ms: none, prefill_tps, decode_tps, samples: 0, unreliable: None }
    }

    /// People pay by these figures: the example of the notes, by hand.
    #[test]
    fn a_million_tokens_cost_their_time() {
        // $0.0425 an hour, 10.4 ms a token.
        let found =
            cost(&speed(1000.0, 1e3 / 10.4), Hourly { usd_per_hour: 0.0425, utilisation: 1.0 }).unwrap();
        assert!((found.output_usd_per_mtok - 0.122_78).abs() < 1e-4, "{found:?}");
        let half = cost(&speed(1000.0, 100.0), Hourly { usd_per_hour: 3.6, utilisation: 0.5 }).unwrap();
        assert!(
            (half.input_usd_per_mtok - 2.0).abs() < 1e-9 && (half.output_usd_per_mtok - 20.0).abs() < 1e-9
        );
        assert_eq!(cost(&speed(0.0, 100.0), Hourly { usd_per_hour: 1.0, utilisation: 1.0 }), None);
    }
}
