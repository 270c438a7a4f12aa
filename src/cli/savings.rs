//! `git sparse savings`: what a set of fine-tunes costs, whole and as differences, by the user's own numbers.

use clap::{ArgGroup, Args};

use super::report;
use crate::daemon::message::{Failure, Kind};
use crate::savings::{Compared, Savings as Outcome, SavingsError, Scenario, savings};

/// What storing and moving fine-tunes costs, whole and with git sparse, by your own prices
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("delta").args(["delta_size", "ratio"]).required(true))]
pub struct Savings {
    /// Fine-tunes of one base
    #[arg(long, value_name = "N", value_parser = positive, allow_hyphen_values = true)]
    fine_tunes: u64,
    /// Size of the base, as 14GB, 13.5GiB or in bytes
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    base_size: u64,
    /// Size of a whole fine-tune; that of the base if you don't say
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    fine_tune_size: Option<u64>,
    /// What git sparse stores of a fine-tune (`stored` in git sparse log)
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    delta_size: Option<u64>,
    /// The same in parts of a whole fine-tune, as 0.3 (`ratio` in git sparse log)
    #[arg(long, value_name = "X", value_parser = ratio, allow_hyphen_values = true)]
    ratio: Option<f64>,
    /// Price of storing a TB (10^12 bytes) for a month
    #[arg(long, value_name = "PRICE", value_parser = price, allow_hyphen_values = true)]
    price_per_tb_month: Option<f64>,
    /// Price of moving a GB (10^9 bytes)
    #[arg(long, value_name = "PRICE", value_parser = price, allow_hyphen_values = true)]
    price_per_gb_traffic: Option<f64>,
    /// Downloads of each fine-tune in a month
    #[arg(long, value_name = "N", value_parser = positive, allow_hyphen_values = true)]
    downloads: Option<u64>,
    /// Months to count
    #[arg(long, value_name = "N", value_parser = positive, allow_hyphen_values = true)]
    months: u64,
    /// Whoever downloads a fine-tune has the base already: only the delta travels
    #[arg(long)]
    base_at_hand: bool,
    /// Currency of the prices, for the output
    #[arg(long, value_name = "NAME", value_parser = currency)]
    currency: Option<String>,
    /// Print one JSON document (schema git-sparse/savings/1)
    #[arg(long)]
    json: bool,
}

impl Savings {
    pub fn run(self) -> Result<(), Failure> {
        let scenario = self.scenario();
        let outcome = savings(&scenario).map_err(|error| {
            Failure::new(Kind::Usage, error.to_string()).fix(match error {
                SavingsError::Delta { .. } => {
                    "check --delta-size and --fine-tune-size (the base's size, if you don't say)"
                }
                SavingsError::Bytes { .. } => "check the sizes, --fine-tunes, --downloads and --months",
                SavingsError::Cost { .. } => {
                    "check the prices (of a TB and of a GB), --months and --downloads"
                }
            })
        })?;
        if self.json {
            report::json("savings", document(&scenario, &outcome, self.currency.as_deref()));
            return Ok(());
        }
        let rows = rows(&outcome, self.currency.as_deref());
        report::table(&["", ">whole", ">git sparse", ">saved", ">ratio"], rows);
        let notes = left_out(&scenario).into_iter().chain(assumptions(&scenario));
        notes.for_each(|note| report::say(&note));
        Ok(())
    }

    fn scenario(&self) -> Scenario {
        let fine_tune_size = self.fine_tune_size.unwrap_or(self.base_size);
        let share = self.ratio.map(|ratio| ((fine_tune_size as f64 * ratio).round() as u64).max(1));
        Scenario {
            fine_tunes: self.fine_tunes,
            base_size: self.base_size,
            fine_tune_size,
            delta_size: self.delta_size.or(share).expect("because one of the two arguments is required"),
            price_per_tb_month: self.price_per_tb_month,
            price_per_gb_traffic: self.price_per_gb_traffic,
            downloads: self.downloads,
            months: self.months,
            base_at_hand: self.base_at_hand,
        }
    }
}

fn document(scenario: &Scenario, outcome: &Outcome, currency: Option<&str>) -> serde_json::Value {
    let cost = |cost: Option<Compared>| {
        let money = |hundredths: i64| hundredths as f64 / 100.0;
        cost.map(|it| {
            serde_json::json!({
                "whole": money(it.whole), "sparse": money(it.sparse), "saved": money(it.saved)
            })
        })
    };
    serde_json::json!({
        "inputs": scenario,
        "currency": currency,
        "stored_bytes": outcome.stored_bytes,
        "storage_cost": cost(outcome.storage_cost),
        "traffic_bytes": outcome.traffic_bytes,
        "traffic_cost": cost(outcome.traffic_cost),
        "total_cost": cost(outcome.total_cost),
        "left_out": left_out(scenario),
        "assumptions": assumptions(scenario),
    })
}

fn rows(outcome: &Outcome, currency: Option<&str>) -> Vec<Vec<String>> {
    let currency = currency.map(|name| format!(" {name}")).unwrap_or_default();
    let money = |name: &str, cost: Compared| row(name, cost, &currency);
    let mut rows = vec![size_row("stored", outcome.stored_bytes)];
    rows.extend(outcome.storage_cost.map(|cost| money("storage cost", cost)));
    rows.extend(outcome.traffic_bytes.map(|bytes| size_row("traffic", bytes)));
    rows.extend(outcome.traffic_cost.map(|cost| money("traffic cost", cost)));
    rows.extend(outcome.total_cost.map(|cost| money("total cost", cost)));
    rows
}

/// One unit for the row, the largest in which none of its sizes is a fraction only.
fn size_row(name: &str, bytes: Compared) -> Vec<String> {
    let smaller = bytes.whole.min(bytes.sparse) as f64;
    let fitting = UNITS.iter().filter(|(unit, size)| is_decimal(unit) && *size <= smaller);
    let (unit, size) = fitting.max_by(|a, b| a.1.total_cmp(&b.1)).copied().unwrap_or(("B", 1.0));
    row(name, bytes.rounded(size / 100.0), &format!(" {unit}"))
}

/// A row of numbers that are given in hundredths.
fn row(name: &str, compared: Compared, unit: &str) -> Vec<String> {
    let shown = |hundredths: i64| {
        let sign = if hundredths < 0 { "-" } else { "" };
        let size = hundredths.unsigned_abs();
        format!("{sign}{}.{:02}{unit}", size / 100, size % 100)
    };
    let Compared { whole, sparse, saved } = compared;
    let ratio =
        if whole == 0 { "-".into() } else { format!("{:.1} %", 100.0 * sparse as f64 / whole as f64) };
    vec![name.into(), shown(whole), shown(sparse), shown(saved), ratio]
}

/// What is not in the table, and which number is missing for it.
fn left_out(scenario: &Scenario) -> Vec<String> {
    let missing = |what: &str, argument: &str| format!("Left out: {what}; say {argument}.");
    let mut notes = Vec::new();
    if scenario.price_per_tb_month.is_none() {
        notes.push(missing("storage cost and total", "--price-per-tb-month"));
    }
    if scenario.downloads.is_none() {
        notes.push(missing("traffic, its cost and the total", "--downloads"));
    }
    if scenario.price_per_gb_traffic.is_none() {
        notes.push(missing("traffic cost and total", "--price-per-gb-traffic"));
    }
    notes
}

fn assumptions(scenario: &Scenario) -> Vec<String> {
    let Scenario { fine_tunes, base_size, fine_tune_size, delta_size, months, .. } = scenario;
    let count = |number, thing| report::count(number, thing);
    let mut notes = vec![format!(
        "Stored for {}: the base ({base_size} bytes) once, and {} of {fine_tune_size} bytes whole or \
         {delta_size} bytes with git sparse.",
        count(*months, "month"),
        count(*fine_tunes, "fine-tune"),
    )];
    notes.extend(scenario.downloads.map(|downloads| {
        let each = count(downloads, "download");
        let whole =
            format!("{each} of each fine-tune in a month; whole, one moves the fine-tune's file alone");
        match scenario.base_at_hand {
            true => format!("{whole}, with git sparse its delta: the base is at hand."),
            false => {
                format!("{whole}, with git sparse the base and its delta (--base-at-hand: the delta alone).")
            }
        }
    }));
    notes.push("Units are decimal: a GB is 10^9 bytes, a TB 10^12.".into());
    notes
}

/// Units of sizes and their bytes.
const UNITS: [(&str, f64); 11] = [
    ("B", 1.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("PB", 1e15),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("PiB", 1_125_899_906_842_624.0),
];

fn is_decimal(unit: &str) -> bool {
    !unit.contains('i')
}

pub fn size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a size above 0, as 14GB, 13.5GiB or 14000000000 (a point, no commas)";
    let text = text.trim();
    let number_len = text.find(|sign: char| !sign.is_ascii_digit() && sign != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..number_len], text[number_len..].trim());
    let bytes = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, size)) => size,
        None if unit.is_empty() => &1.0,
        None if number.is_empty() => return Err(EXPECTED.into()),
        None => {
            let known: Vec<_> = UNITS.iter().map(|(name, _)| *name).collect();
            return Err(format!("{EXPECTED}; {unit:?} is no unit, these are: {}", known.join(", ")));
        }
    };
    let size = (number.parse::<f64>().map_err(|_| EXPECTED)? * bytes).round();
    // Below it, floating point counts each byte.
    if (1.0..=2f64.powi(53)).contains(&size) {
        Ok(size as u64)
    } else {
        Err(format!("{EXPECTED}, up to 9 PB"))
    }
}

fn positive(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number above 0".into())
}

fn price(text: &str) -> Result<f64, String> {
    let price = text.parse().ok().filter(|price: &f64| price.is_finite() && *price > 0.0);
    price.ok_or_else(|| "expected a price above 0, as 21.50; leave the argument out if there is none".into())
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| *ratio > 0.0 && *ratio <= 1.0);
    ratio.ok_or_else(|| "expected a part of the whole above 0 and up to 1, as 0.3 for 30 %".into())
}

fn currency(text: &str) -> Result<String, String> {
    let fits = (1..=8).contains(&text.chars().count()) && text.chars().all(|sign| !sign.is_whitespace());
    let fits = fits && !text.chars().any(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 8 letters or signs without spaces, as EUR".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A size in the wrong unit is wrong advice by a factor: each unit, and what is none.
    #[test]
    fn sizes_have_the_units_they_name() {
        let known = [
            ("14GB", 14_000_000_000),
            ("14 gb", 14_000_000_000),
            ("1.5KiB", 1536),
            ("2TiB", 2_199_023_255_552),
            ("2TB", 2_000_000_000_000),
            ("7", 7),
            ("7B", 7),
        ];
        for (text, bytes) in known {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "-1GB", "GB", "1G", "NaN", "inf", "1e9", "1.2.3MB", "0.0001B", "99999PB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    /// Prices and counts without sense are refused, with what to say instead.
    #[test]
    fn numbers_without_sense_are_refused() {
        for text in ["0", "-1", "NaN", "inf", "x", ""] {
            assert!(price(text).is_err() && ratio(text).is_err() && positive(text).is_err(), "{text}");
        }
        assert!(ratio("1.01").is_err() && positive("1.5").is_err());
        assert!(currency("").is_err() && currency("a b").is_err() && currency("EUR").is_ok());
    }

    /// A row has one unit, and its columns add up as they stand there.
    #[test]
    fn rows_add_up_in_one_unit() {
        let bytes = Compared { whole: 1_414_000_000_000, sparse: 364_004_000_000, saved: 0 };
        assert_eq!(size_row("stored", bytes)[1..4], ["1414.00 GB", "364.00 GB", "1050.00 GB"]);
        let more = Compared { whole: 100, sparse: 250, saved: -150 };
        assert_eq!(row("cost", more, " EUR")[1..], ["1.00 EUR", "2.50 EUR", "-1.50 EUR", "250.0 %"]);
    }
}
