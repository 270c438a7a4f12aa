//! `git sparse route savings` and `route prices`: arithmetic with a user's rates, and rows for a price file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::told::usd;
use super::{above_zero, count, number};
use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::prices::{self, Rates};
use crate::route::catalog;
use crate::route::spending::Scenario;

/// What routing would save in a month, by your own rates and shares
#[derive(Debug, Args)]
pub struct Savings {
    /// Requests in a month
    #[arg(long, value_name = "N", value_parser = requests, allow_hyphen_values = true)]
    requests: u64,
    /// Tokens of a prompt
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    input_tokens: u64,
    /// Tokens of an answer
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    output_tokens: u64,
    /// US dollars for a million tokens that the strong model reads and writes: IN,OUT
    #[arg(long, value_name = "IN,OUT", value_parser = rates, allow_hyphen_values = true)]
    strong: Rates,
    /// The same of the weak model
    #[arg(long, value_name = "IN,OUT", value_parser = rates, allow_hyphen_values = true)]
    weak: Rates,
    /// Share of requests that the weak model gets
    #[arg(long, value_name = "SHARE", value_parser = share, allow_hyphen_values = true)]
    weak_share: f64,
    /// Share of those that the strong model answers again
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, allow_hyphen_values = true)]
    escalated_share: f64,
    /// Print one JSON document (schema git-sparse/route-savings/1)
    #[arg(long)]
    json: bool,
}

impl Savings {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let scenario = Scenario {
            requests: self.requests,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            strong: self.strong,
            weak: self.weak,
            weak_share: self.weak_share,
            escalated_share: self.escalated_share,
        };
        let spending = scenario.spending();
        if self.json {
            report::json("route-savings", serde_json::json!({ "inputs": scenario, "month": spending }));
            return Ok(ExitCode::SUCCESS);
        }
        let row = |name: &str, amount: f64| vec![name.to_owned(), format!("{amount:.2} USD")];
        report::table(
            &["a month", ">"],
            [
                row("strong model alone", spending.strong_only_usd),
                row("routed", spending.routed_usd),
                row("of it, answers that nobody used", spending.wasted_usd),
                row("saved", spending.saved_usd),
            ],
        );
        report::say(&match spending.saved_percent {
            saved if saved < 0.0 => format!(
                "routing costs {:.1} % more: the weak model's answers cost more than they save",
                -saved
            ),
            saved => format!("{saved:.1} % saved"),
        });
        let each = scenario.strong.request_usd(self.input_tokens, self.output_tokens);
        report::say(&format!("a request to the strong model: {}", usd(Some(each))));
        Ok(ExitCode::SUCCESS)
    }
}

/// Print rows for a price file out of LiteLLM's list of prices
#[derive(Debug, Args)]
pub struct Import {
    /// The list: model_prices_and_context_window.json
    #[arg(value_name = "FILE")]
    list: PathBuf,
    /// Models to take from it, as they are called there
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// The day it was fetched, as 2026-11-28
    #[arg(long, value_name = "DATE")]
    date: String,
    /// Where it was fetched
    #[arg(long, value_name = "URL")]
    source: String,
}

impl Import {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let list = catalog::text(&self.list, prices::MAX_BYTES).map_err(|error| super::unreadable(&error))?;
        let rows = prices::imported(&list, &self.names, &self.source, &self.date).map_err(|error| {
            Failure::new(Kind::Usage, format!("{}: {error}", self.list.display()))
                .fix("check the names and the date: git sparse route prices --help")
        })?;
        report::say(rows.trim_end());
        Ok(ExitCode::SUCCESS)
    }
}

fn requests(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=1_000_000_000_000).contains(number));
    number.ok_or_else(|| "expected a whole number above 0".into())
}

fn share(text: &str) -> Result<f64, String> {
    let fits = number(text).filter(|number| (0.0..=1.0).contains(number));
    fits.ok_or_else(|| "expected a share from 0 to 1, as 0.4".into())
}

fn rates(text: &str) -> Result<Rates, String> {
    let both =
        text.split_once(',').map(|(input, output)| (above_zero(input.trim()), above_zero(output.trim())));
    match both {
        Some((Ok(input_usd_per_mtok), Ok(output_usd_per_mtok))) => {
            Ok(Rates { input_usd_per_mtok, output_usd_per_mtok })
        }
        _ => Err("expected two prices above 0, as 2.50,10".into()),
    }
}
