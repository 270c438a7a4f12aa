//! What keeping fine-tunes as differences saves: arithmetic over numbers that all come from the user.
//!
//! Costs are whole hundredths of the currency before anything is summed, so that totals are the sums of
//! what is printed. Nothing is assumed about prices: without one, there is no cost.

use serde::Serialize;

/// Bytes of the units that prices are told in: decimal ones, as providers count.
const TB: f64 = 1e12;
const GB: f64 = 1e9;
/// Hundredths beyond which floating point no longer counts each one.
const MAX_HUNDREDTHS: f64 = 9e15;

/// A set of fine-tunes of one base, and what storing and moving them costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenario {
    pub fine_tunes: u64,
    /// Bytes of the base, of one fine-tune, and of what git sparse stores of one.
    pub base_size: u64,
    pub fine_tune_size: u64,
    pub delta_size: u64,
    pub price_per_tb_month: Option<f64>,
    pub price_per_gb_traffic: Option<f64>,
    /// Of each fine-tune, in a month.
    pub downloads: Option<u64>,
    pub months: u64,
    /// Whoever downloads a fine-tune has the base already.
    pub base_at_hand: bool,
}

/// A quantity with whole files, with git sparse, and the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compared {
    pub whole: i64,
    pub sparse: i64,
    /// Below zero where git sparse takes more.
    pub saved: i64,
}

/// What a scenario comes to; costs are in hundredths of the currency, none where a number is missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Savings {
    pub stored_bytes: Compared,
    pub storage_cost: Option<Compared>,
    /// Over all months.
    pub traffic_bytes: Option<Compared>,
    pub traffic_cost: Option<Compared>,
    /// Both costs; none where one is missing.
    pub total_cost: Option<Compared>,
}

/// Why a scenario has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavingsError {
    #[error("a delta of {delta} bytes is larger than the whole fine-tune of {whole}: it would save nothing")]
    Delta { delta: u64, whole: u64 },
    #[error("{what} comes to more than 2^63 bytes")]
    Bytes { what: &'static str },
    #[error("the cost of {what} comes to more than 90 trillion")]
    Cost { what: &'static str },
}

/// Computes a scenario.
///
/// # Errors
/// A delta larger than its file, and results beyond 2^63 bytes or 90 trillion of the currency.
pub fn savings(scenario: &Scenario) -> Result<Savings, SavingsError> {
    let Scenario { base_size, fine_tune_size, delta_size, base_at_hand, .. } = *scenario;
    if delta_size > fine_tune_size {
        return Err(SavingsError::Delta { delta: delta_size, whole: fine_tune_size });
    }
    let stored = |each: u64| sum_of_products("what is stored", base_size, &[each, scenario.fine_tunes]);
    let stored_bytes = Compared::of(stored(fine_tune_size)?, stored(delta_size)?);
    let traffic_bytes = scenario.downloads.map(|downloads| {
        let times = [scenario.fine_tunes, downloads, scenario.months];
        let moved = |each: &[u64]| sum_of_products("the traffic", 0, &[each, &times].concat());
        let with_base = if base_at_hand { 0 } else { moved(&[base_size])? };
        let sparse = moved(&[delta_size])?.checked_add(with_base);
        Ok(Compared::of(
            moved(&[fine_tune_size])?,
            sparse.ok_or(SavingsError::Bytes { what: "the traffic" })?,
        ))
    });
    let traffic_bytes = traffic_bytes.transpose()?;
    let storage_price = scenario.price_per_tb_month.map(|price| price * scenario.months as f64 / TB);
    let traffic_price = scenario.price_per_gb_traffic.map(|price| price / GB);
    let storage_cost = cost("storage", Some(stored_bytes), storage_price)?;
    let traffic_cost = cost("traffic", traffic_bytes, traffic_price)?;
    let total_cost = storage_cost.zip(traffic_cost).map(|(storage, traffic)| storage.plus(traffic));
    Ok(Savings { stored_bytes, storage_cost, traffic_bytes, traffic_cost, total_cost })
}

impl Compared {
    fn of(whole: i64, sparse: i64) -> Compared {
        Compared { whole, sparse, saved: whole - sparse }
    }

    fn plus(self, other: Compared) -> Compared {
        Compared::of(self.whole + other.whole, self.sparse + other.sparse)
    }

    /// The same in units of so many, rounded; what is saved is the difference of what is shown.
    pub fn rounded(self, unit: f64) -> Compared {
        let round = |count: i64| (count as f64 / unit).round() as i64;
        Compared::of(round(self.whole), round(self.sparse))
    }
}

fn sum_of_products(what: &'static str, first: u64, factors: &[u64]) -> Result<i64, SavingsError> {
    let product = factors.iter().try_fold(1u64, |product, factor| product.checked_mul(*factor));
    let sum = product.and_then(|product| product.checked_add(first));
    sum.and_then(|sum| i64::try_from(sum).ok()).ok_or(SavingsError::Bytes { what })
}

/// Hundredths of the currency for bytes at a price for each.
fn cost(
    what: &'static str,
    bytes: Option<Compared>,
    price: Option<f64>,
) -> Result<Option<Compared>, SavingsError> {
    let Some((bytes, price)) = bytes.zip(price) else { return Ok(None) };
    let hundredths = |bytes: i64| {
        let cost = (bytes as f64 * price * 100.0).round();
        if cost <= MAX_HUNDREDTHS { Ok(cost as i64) } else { Err(SavingsError::Cost { what }) }
    };
    Ok(Some(Compared::of(hundredths(bytes.whole)?, hundredths(bytes.sparse)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        Scenario {
            fine_tunes: 100,
            base_size: 14_000_000_000,
            fine_tune_size: 14_000_000_000,
            delta_size: 3_500_000_000,
            price_per_tb_month: Some(20.0),
            price_per_gb_traffic: Some(0.05),
            downloads: Some(3),
            months: 12,
            base_at_hand: true,
        }
    }

    /// People decide by these numbers: each one against a calculation by hand.
    #[test]
    fn a_scenario_comes_to_what_a_calculation_by_hand_gives() {
        let found = savings(&scenario()).unwrap();
        // 14 GB + 100 × 14 GB, and 14 GB + 100 × 3.5 GB.
        assert_eq!(found.stored_bytes, Compared::of(1_414_000_000_000, 364_000_000_000));
        // × 20 × 12 months.
        assert_eq!(found.storage_cost, Some(Compared::of(33_936, 8_736)));
        // 100 × 3 × 12 downloads.
        assert_eq!(found.traffic_bytes, Some(Compared::of(50_400_000_000_000, 12_600_000_000_000)));
        assert_eq!(found.traffic_cost, Some(Compared::of(252_000, 63_000)));
        assert_eq!(found.total_cost, Some(Compared::of(285_936, 71_736)));

        let fresh = savings(&Scenario { base_at_hand: false, ..scenario() }).unwrap();
        let traffic = fresh.traffic_bytes.unwrap();
        assert_eq!((traffic.sparse, traffic.saved), (63_000_000_000_000, -12_600_000_000_000));
    }

    /// A price that nobody named must not become one: what needs it is left out, the total, too.
    #[test]
    fn without_a_number_there_is_no_result_from_it() {
        let found = savings(&Scenario { price_per_tb_month: None, ..scenario() }).unwrap();
        assert!(found.storage_cost.is_none() && found.traffic_cost.is_some() && found.total_cost.is_none());
        let found = savings(&Scenario { downloads: None, ..scenario() }).unwrap();
        assert!(found.traffic_bytes.is_none() && found.traffic_cost.is_none() && found.total_cost.is_none());
    }

    /// Totals are checked with a pocket calculator: as printed, parts add up.
    #[test]
    fn sums_are_those_of_what_is_printed() {
        for (price, traffic) in [(0.333, 0.0777), (19.99, 0.0123), (1e-6, 1e-6)] {
            let odd = Scenario {
                price_per_tb_month: Some(price),
                price_per_gb_traffic: Some(traffic),
                base_size: 1_234_567_891,
                delta_size: 987_654_321,
                ..scenario()
            };
            let found = savings(&odd).unwrap();
            let (a, b) = (found.storage_cost.unwrap(), found.traffic_cost.unwrap());
            let total = found.total_cost.unwrap();
            assert_eq!([total.whole, total.sparse], [a.whole + b.whole, a.sparse + b.sparse]);
            assert_eq!(total.saved, a.saved + b.saved);
            let shown = found.stored_bytes.rounded(1e7);
            assert_eq!(shown.saved, shown.whole - shown.sparse);
        }
    }

    /// Numbers that overflow give wrong advice quietly: they are refused.
    #[test]
    fn what_can_not_be_counted_is_refused() {
        let refused = |scenario: Scenario| savings(&scenario).unwrap_err();
        let huge = refused(Scenario { fine_tunes: u64::MAX, ..scenario() });
        assert_eq!(huge, SavingsError::Bytes { what: "what is stored" });
        let moved = refused(Scenario { downloads: Some(1 << 40), ..scenario() });
        assert_eq!(moved, SavingsError::Bytes { what: "the traffic" });
        let dear = refused(Scenario { price_per_tb_month: Some(1e300), ..scenario() });
        assert_eq!(dear, SavingsError::Cost { what: "storage" });
        let larger = refused(Scenario { delta_size: 15_000_000_000, ..scenario() });
        assert!(matches!(larger, SavingsError::Delta { .. }));
    }
}
