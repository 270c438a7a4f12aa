//! What machines and endpoints cost: a file that its user writes, each row with a source and a date.
//!
//! No price stands in code. A row that is missing or old is told as such where it is asked for, so that
//! whoever compares costs can leave that candidate out: a missing price must never win.
//!
//! ```toml
//! [hardware.dev-cpu]
//! price_per_hour_usd = 0.085
//! utilisation = 0.6
//! source = "https://…"
//! date = "2026-11-01"
//!
//! [endpoint."gpt-x"]
//! input_usd_per_mtok = 0.15
//! output_usd_per_mtok = 0.60
//! source = "https://…"
//! date = "2026-11-01"
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calendar;

/// Days after which a row is old.
pub const FRESH_DAYS: i64 = 90;
/// The largest price file, and the largest list to import from, in bytes.
pub const MAX_BYTES: u64 = 64 << 20;
const HOUR_S: f64 = 3600.0;
const MILLION: f64 = 1e6;

/// The rows of a price file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices {
    hardware: BTreeMap<String, Row<Hourly>>,
    endpoint: BTreeMap<String, Row<Rates>>,
    profile: BTreeMap<String, Profile>,
}

/// What a machine can do, as `git sparse bench-hw` measured it there. Two profiles make an estimate, and no more than that.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Processor, processors and memory.
    pub fingerprint: String,
    /// Gigabytes (10^9) of memory read a second.
    pub memory_gb_per_s: f64,
    /// 10^9 additions and multiplications of 32-bit floats a second.
    pub gflops: f64,
}

/// A price, where it is from, and the day it was looked up, counted from 1970-01-01.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<T> {
    pub price: T,
    pub source: String,
    pub day: i64,
}

/// A machine by the hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hourly {
    pub usd: f64,
    /// The share of paid hours in which it works: idle hours cost the same.
    pub utilisation: f64,
}

/// US dollars for a million tokens, read and written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub input_usd_per_mtok: f64,
    pub output_usd_per_mtok: f64,
}

/// Until when prices count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Today {
    /// Counted from 1970-01-01.
    pub day: i64,
    /// Old rows count as well.
    pub allow_stale: bool,
}

/// Why a file gives no prices.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    #[error("{0}")]
    Toml(Box<toml::de::Error>),
    #[error("[{row}]: {field} is {found}, expected {expected}")]
    Value { row: String, field: &'static str, found: String, expected: &'static str },
    #[error("not a list of prices as LiteLLM has it: {0}")]
    List(#[from] serde_json::Error),
    #[error("the list has no prices of {0:?} by input_cost_per_token and output_cost_per_token")]
    NotListed(String),
}

/// Why there is no price for one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPrice {
    #[error("no price: [{0}] is not in the price file")]
    Missing(String),
    #[error("stale price: [{row}] is {days} days old, at most {FRESH_DAYS} count")]
    Stale { row: String, days: i64 },
    #[error("no price: the date of [{row}] lies {days} days ahead")]
    Ahead { row: String, days: i64 },
}

impl Prices {
    /// The rows of a price file; fields that are not known are refused, since they may be misspelt.
    pub fn parse(text: &str) -> Result<Prices, PricesError> {
        let file: File = toml::from_str(text).map_err(|error| PricesError::Toml(Box::new(error)))?;
        let mut prices = Prices::default();
        for (name, row) in file.hardware {
            let title = format!("hardware.{name}");
            let usd = above_zero(&title, "price_per_hour_usd", row.price_per_hour_usd)?;
            let utilisation = above_zero(&title, "utilisation", row.utilisation)?;
            if utilisation > 1.0 {
                return Err(value(&title, "utilisation", utilisation, "a share above 0 and up to 1"));
            }
            if let (Some(fingerprint), Some(memory), Some(gflops)) =
                (row.fingerprint, row.memory_gb_per_s, row.gflops)
            {
                let memory_gb_per_s = above_zero(&title, "memory_gb_per_s", memory)?;
                let gflops = above_zero(&title, "gflops", gflops)?;
                prices.profile.insert(name.clone(), Profile { fingerprint, memory_gb_per_s, gflops });
            }
            let row = dated(&title, Hourly { usd, utilisation }, row.source, &row.date)?;
            prices.hardware.insert(name, row);
        }
        for (name, row) in file.endpoint {
            let title = format!("endpoint.{name}");
            let rates = Rates {
                input_usd_per_mtok: not_negative(&title, "input_usd_per_mtok", row.input_usd_per_mtok)?,
                output_usd_per_mtok: not_negative(&title, "output_usd_per_mtok", row.output_usd_per_mtok)?,
            };
            prices.endpoint.insert(name, dated(&title, rates, row.source, &row.date)?);
        }
        Ok(prices)
    }

    /// The machines that have a row.
    pub fn machines(&self) -> impl Iterator<Item = &str> {
        self.hardware.keys().map(String::as_str)
    }

    /// What a machine can do, where its row says so.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profile.get(name)
    }

    /// The row of the machine with this fingerprint.
    pub fn machine(&self, fingerprint: &str) -> Option<(&str, &Profile)> {
        let mut found = self.profile.iter().filter(|(_, profile)| profile.fingerprint == fingerprint);
        found.next().map(|(name, profile)| (name.as_str(), profile))
    }

    /// What a machine costs.
    pub fn hardware(&self, name: &str, today: Today) -> Result<Hourly, NoPrice> {
        fresh(self.hardware.get(name), || format!("hardware.{name}"), today)
    }

    /// What an endpoint costs.
    pub fn endpoint(&self, name: &str, today: Today) -> Result<Rates, NoPrice> {
        fresh(self.endpoint.get(name), || format!("endpoint.{name}"), today)
    }

    /// The names of all machines and all endpoints that have a row.
    pub fn names(&self) -> (Vec<&str>, Vec<&str>) {
        (
            self.hardware.keys().map(String::as_str).collect(),
            self.endpoint.keys().map(String::as_str).collect(),
        )
    }
}

impl Hourly {
    /// Dollars for a million tokens, on a machine that reads and writes so many a second, one request at a time.
    pub fn rates(self, prefill_tps: f64, decode_tps: f64) -> Rates {
        let usd_per_second = self.usd / self.utilisation / HOUR_S;
        Rates {
            input_usd_per_mtok: usd_per_second * MILLION / prefill_tps,
            output_usd_per_mtok: usd_per_second * MILLION / decode_tps,
        }
    }
}

impl Rates {
    /// Dollars for one request.
    pub fn request_usd(self, input_tokens: u64, output_tokens: u64) -> f64 {
        (input_tokens as f64 * self.input_usd_per_mtok + output_tokens as f64 * self.output_usd_per_mtok)
            / MILLION
    }
}

/// Rows for a price file out of LiteLLM's `model_prices_and_context_window.json`, which tells US dollars
/// a token. That file has no dates: `date` is the day it was fetched.
pub fn imported(list: &str, names: &[String], source: &str, date: &str) -> Result<String, PricesError> {
    let listed: BTreeMap<String, serde_json::Value> = serde_json::from_str(list)?;
    let mut rows = Endpoints::default();
    for name in names {
        let rate = |field: &str| Some(listed.get(name)?.get(field)?.as_f64()? * MILLION);
        let rates = rate("input_cost_per_token").zip(rate("output_cost_per_token"));
        let Some((input, output)) = rates else { return Err(PricesError::NotListed(name.clone())) };
        let row = EndpointRow {
            input_usd_per_mtok: rounded(input),
            output_usd_per_mtok: rounded(output),
            source: source.into(),
            date: date.into(),
        };
        rows.endpoint.insert(name.clone(), row);
    }
    let text = rows.to_string();
    // What is written must be read again, or a strange name or number stands in the file for good.
    Prices::parse(&text)?;
    Ok(text)
}

/// Without the last digits, which multiplying by a million made.
fn rounded(usd: f64) -> f64 {
    (usd * 1e9).round() / 1e9
}

fn fresh<T: Copy>(row: Option<&Row<T>>, name: impl Fn() -> String, today: Today) -> Result<T, NoPrice> {
    let row = row.ok_or_else(|| NoPrice::Missing(name()))?;
    let days = today.day - row.day;
    match days {
        // A day ahead may be a place further east.
        ..-1 => Err(NoPrice::Ahead { row: name(), days: -days }),
        days if days > FRESH_DAYS && !today.allow_stale => Err(NoPrice::Stale { row: name(), days }),
        _ => Ok(row.price),
    }
}

fn dated<T>(title: &str, price: T, source: String, date: &str) -> Result<Row<T>, PricesError> {
    if source.trim().is_empty() {
        return Err(value(title, "source", "empty", "where the price was read"));
    }
    let day = calendar::day(date).ok_or_else(|| value(title, "date", date, "a day such as 2026-11-28"))?;
    Ok(Row { price, source, day })
}

fn above_zero(title: &str, field: &'static str, number: f64) -> Result<f64, PricesError> {
    let fits = number.is_finite() && number > 0.0;
    if fits { Ok(number) } else { Err(value(title, field, number, "a number above 0")) }
}

fn not_negative(title: &str, field: &'static str, number: f64) -> Result<f64, PricesError> {
    let fits = number.is_finite() && number >= 0.0;
    if fits { Ok(number) } else { Err(value(title, field, number, "a number from 0 on")) }
}

fn value(
    row: &str,
    field: &'static str,
    found: impl std::fmt::Display,
    expected: &'static str,
) -> PricesError {
    PricesError::Value { row: row.into(), field, found: found.to_string(), expected }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    hardware: BTreeMap<String, HardwareRow>,
    #[serde(default)]
    endpoint: BTreeMap<String, EndpointRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HardwareRow {
    price_per_hour_usd: f64,
    #[serde(default = "always")]
    utilisation: f64,
    source: String,
    date: String,
    fingerprint: Option<String>,
    memory_gb_per_s: Option<f64>,
    gflops: Option<f64>,
}

fn always() -> f64 {
    1.0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointRow {
    input_usd_per_mtok: f64,
    output_usd_per_mtok: f64,
    source: String,
    date: String,
}

#[derive(Default)]
struct Endpoints {
    endpoint: BTreeMap<String, EndpointRow>,
}

impl std::fmt::Display for Endpoints {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        for (name, row) in &self.endpoint {
            // A string of JSON is one of TOML; what isn't does not pass the check of the whole.
            let text = |text: &str| serde_json::Value::from(text).to_string();
            writeln!(out, "[endpoint.{}]", text(name))?;
            writeln!(out, "input_usd_per_mtok = {:?}", row.input_usd_per_mtok)?;
            writeln!(out, "output_usd_per_mtok = {:?}", row.output_usd_per_mtok)?;
            writeln!(out, "source = {}\ndate = {}\n", text(&row.source), text(&row.date))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [hardware.cpu]
        price_per_hour_usd = 0.09
        utilisation = 0.5
        source = "invoice"
        date = "2026-11-01"
        [endpoint."gpt-x"]
        input_usd_per_mtok = 0.15
        output_usd_per_mtok = 0.6
        source = "https://example.com"
        date = "2026-11-01"
    "#;

    fn on(date: &str, allow_stale: bool) -> Today {
        Today { day: calendar::day(date).expect("a day"), allow_stale }
    }

    /// A price decides what runs: an old one, one of tomorrow and one that is missing must not count.
    #[test]
    fn old_and_missing_prices_do_not_count() {
        let prices = Prices::parse(FILE).expect("prices");
        assert!(prices.endpoint("gpt-x", on("2027-01-30", false)).is_ok());
        let stale = prices.endpoint("gpt-x", on("2027-01-31", false));
        assert_eq!(stale, Err(NoPrice::Stale { row: "endpoint.gpt-x".into(), days: 91 }));
        assert!(prices.endpoint("gpt-x", on("2027-01-31", true)).is_ok());
        assert!(matches!(prices.hardware("cpu", on("2026-10-01", true)), Err(NoPrice::Ahead { .. })));
        assert!(matches!(prices.hardware("gpu", on("2026-11-01", true)), Err(NoPrice::Missing(_))));
    }

    /// Idle hours are paid as well, and reading costs less than writing: worked out by hand.
    #[test]
    fn a_machine_costs_by_its_speed_and_its_idle_hours() {
        let hourly =
            Prices::parse(FILE).expect("prices").hardware("cpu", on("2026-11-02", false)).expect("cpu");
        let rates = hourly.rates(500.0, 100.0);
        assert!((rates.output_usd_per_mtok - 0.5).abs() < 1e-12);
        assert!((rates.input_usd_per_mtok - 0.1).abs() < 1e-12);
        assert!((rates.request_usd(1_000_000, 2_000_000) - 1.1).abs() < 1e-12);
    }

    /// A misspelt field or a number without sense must not become a price of zero.
    #[test]
    fn rows_without_sense_are_refused() {
        let changes = [
            ("0.09", "0"),
            ("0.09", "-1.0"),
            ("0.09", "nan"),
            ("0.5", "1.5"),
            ("0.15", "-0.1"),
            ("0.6", "inf"),
            ("2026-11-01", "2026-02-30"),
            ("\"invoice\"", "\"\""),
            ("utilisation", "utilization"),
            ("hardware", "hardwares"),
        ];
        for (from, to) in changes {
            assert!(Prices::parse(&FILE.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
    }

    /// LiteLLM tells dollars a token: six zeros too many or too few would decide everything.
    #[test]
    fn a_list_by_the_token_becomes_rows_by_the_million() {
        let list = r#"{"gpt-x": {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07, "mode": "chat"},
                       "image": {"output_cost_per_image": 0.06}}"#;
        let rows = imported(list, &["gpt-x".into()], "LiteLLM", "2026-11-20").expect("rows");
        let rates = Prices::parse(&rows).expect("prices").endpoint("gpt-x", on("2026-11-20", false));
        assert_eq!(rates, Ok(Rates { input_usd_per_mtok: 0.15, output_usd_per_mtok: 0.6 }));
        for name in ["image", "gpt-y"] {
            assert!(imported(list, &[name.into()], "LiteLLM", "2026-11-20").is_err(), "{name}");
        }
        assert!(imported("[]", &[], "x", "2026-11-20").is_err());
    }
}
