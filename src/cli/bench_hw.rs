//! `git sparse bench-hw`: a row for the price file, with what this machine is, how fast it reads memory and how fast it reckons.

use std::hint::black_box;
use std::time::Instant;

use clap::Args;

use super::optimize::machine;
use super::{engine, report};
use crate::calendar;
use crate::daemon::message::Failure;

/// Far more than any cache holds.
const BYTES: usize = 512 << 20;
/// The quickest of so many is what the machine can do.
const ROUNDS: usize = 5;

/// Print a row for the price file: this machine, its memory and its arithmetic
#[derive(Debug, Args)]
pub struct BenchHw {
    /// What it is called in the price file
    #[arg(long, value_name = "NAME", default_value = "this-machine")]
    name: String,
    /// Threads that read [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Print one JSON document (schema git-sparse/bench-hw/1)
    #[arg(long)]
    json: bool,
}

impl BenchHw {
    pub fn run(self) -> Result<(), Failure> {
        let threads = engine::threads(self.threads);
        let fingerprint = machine::fingerprint();
        let gigabytes = bandwidth(threads as usize);
        let gflops = arithmetic(threads as usize);
        let (date, _) = calendar::utc(machine::now());
        if self.json {
            let document = serde_json::json!({
                "name": self.name, "fingerprint": fingerprint, "threads": threads, "memory_gb_per_s": gigabytes,
                "gflops": gflops
            });
            report::json("bench-hw", document);
            return Ok(());
        }
        // A model of so many bytes can't write more tokens a second than it can be read times a second.
        report::say(&format!("# measured on {date} with {threads} threads"));
        report::say(&format!("[hardware.{:?}]", self.name));
        report::say("price_per_hour_usd = 0       # what it costs; rows without a price are refused");
        report::say("utilisation = 1.0            # the share of paid hours in which it works");
        report::say("source = \"\"                  # where the price is from");
        report::say(&format!("date = \"{date}\""));
        // A string of JSON is one of TOML.
        report::say(&format!("fingerprint = {}", serde_json::Value::from(fingerprint)));
        report::say(&format!("memory_gb_per_s = {gigabytes:.2}"));
        report::say(&format!("gflops = {gflops:.2}"));
        Ok(())
    }
}

/// Gigabytes (10^9) that so many threads read a second.
fn bandwidth(threads: usize) -> f64 {
    let words: Vec<u64> = (0..BYTES / size_of::<u64>()).map(|at| at as u64).collect();
    let part = words.len().div_ceil(threads);
    let seconds = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for part in words.chunks(part) {
                scope.spawn(move || black_box(part.iter().fold(0u64, |sum, word| sum.wrapping_add(*word))));
            }
        });
        begun.elapsed().as_secs_f64()
    });
    BYTES as f64 / 1e9 / seconds.fold(f64::INFINITY, f64::min)
}

/// Numbers that are worked on at once, which fit into any cache, and how often.
const LANES: usize = 256;
const STEPS: usize = 1 << 18;

/// 10^9 additions and multiplications of 32-bit floats that so many threads do a second. Models are run by better code; of two
/// machines that are measured alike, the ratio counts.
fn arithmetic(threads: usize) -> f64 {
    let seconds = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let (times, plus) = (black_box(0.999f32), black_box(0.001f32));
                    let mut lanes = [1.0f32; LANES];
                    for _ in 0..STEPS {
                        for lane in &mut lanes {
                            *lane = *lane * times + plus;
                        }
                    }
                    black_box(lanes)
                });
            }
        });
        begun.elapsed().as_secs_f64()
    });
    let done = (2 * LANES * STEPS * threads) as f64;
    done / 1e9 / seconds.fold(f64::INFINITY, f64::min)
}
