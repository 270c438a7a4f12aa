//! What routing saves: arithmetic over a user's own rates and shares. No price is assumed.

use serde::Serialize;

use crate::prices::Rates;

/// Requests of a month, and who answers them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scenario {
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub strong: Rates,
    pub weak: Rates,
    /// The share of requests that the weak model answers, from 0 to 1.
    pub weak_share: f64,
    /// The share of those where it answers in vain, and the strong one is asked as well.
    pub escalated_share: f64,
}

/// Dollars a month.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spending {
    pub strong_only_usd: f64,
    pub routed_usd: f64,
    /// Of what is routed: answers of the weak model that nobody used.
    pub wasted_usd: f64,
    /// Below zero where routing costs more.
    pub saved_usd: f64,
    pub saved_percent: f64,
}

impl Scenario {
    pub fn spending(&self) -> Spending {
        let each = |rates: Rates| rates.request_usd(self.input_tokens, self.output_tokens);
        let requests = self.requests as f64;
        let (strong, weak) = (each(self.strong), each(self.weak));
        let escalated = self.weak_share * self.escalated_share;
        let strong_only_usd = requests * strong;
        let routed_usd = requests * (self.weak_share * weak + (1.0 - self.weak_share + escalated) * strong);
        let saved_usd = strong_only_usd - routed_usd;
        let saved_percent = if strong_only_usd > 0.0 { 100.0 * saved_usd / strong_only_usd } else { 0.0 };
        let wasted_usd = requests * escalated * weak;
        Spending { strong_only_usd, routed_usd, wasted_usd, saved_usd, saved_percent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Savings are promises about money: a case by hand, and the one where routing only costs.
    #[test]
    fn savings_are_what_is_left_after_waste() {
        let rates = |usd: f64| Rates { input_usd_per_mtok: usd, output_usd_per_mtok: usd };
        let scenario = Scenario {
            requests: 1000,
            input_tokens: 600,
            output_tokens: 400,
            strong: rates(10.0),
            weak: rates(1.0),
            weak_share: 0.5,
            escalated_share: 0.2,
        };
        let spending = scenario.spending();
        assert!((spending.strong_only_usd - 10.0).abs() < 1e-12);
        // 500 weak answers, 500 strong ones, and 100 strong ones after a weak one.
        assert!((spending.routed_usd - 6.5).abs() < 1e-12);
        assert!((spending.wasted_usd - 0.1).abs() < 1e-12);
        assert!((spending.saved_percent - 35.0).abs() < 1e-9);
        let vain = Scenario { escalated_share: 1.0, ..scenario }.spending();
        assert!(vain.saved_usd < 0.0);
    }
}
