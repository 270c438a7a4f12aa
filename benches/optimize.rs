//! What the sequential test saves, and whether it is ever wrong: `cargo bench --bench optimize -- FILE [LIMIT] [ORDERS]`.
//!
//! FILE is what `git sparse optimize` keeps of one source (`measurements/*.jsonl` in the store), with all windows of each
//! candidate measured: run it without `--max-ppl-delta`. Each candidate's windows are then put into random orders,
//! and in each order the test is asked after every window.

use std::collections::BTreeMap;

use git_sparse::optimize::ledger::{Key, Scored};
use git_sparse::statistics::sequential::{Sequential, Verdict};
use git_sparse::statistics::{Random, ln_ratio, percent, sum};

const CONFIDENCE: f64 = 0.95;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let Some(file) = arguments.first() else {
        println!("usage: cargo bench --bench optimize -- FILE [LIMIT in percent] [ORDERS]");
        return;
    };
    let number = |at: usize, otherwise: f64| {
        arguments.get(at).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (limit, orders) = (number(1, 2.0), number(2, 200.0) as u64);
    let candidates = read(file);
    println!("limit {limit} %, confidence {CONFIDENCE}, {orders} orders of each candidate's windows");
    println!(
        "{:<10} {:>8} {:>8} {:>12} {:>12} {:>6} {:>10} {:>14}",
        "candidate",
        "windows",
        "grew %",
        "fixed tokens",
        "mean tokens",
        "wrong",
        "undecided",
        "early at own %"
    );
    let (mut fixed, mut used, mut worst, mut wrong) = (0, 0.0, 0, 0);
    for (name, windows) in &candidates {
        let all: usize = windows.iter().map(Vec::len).sum();
        let growth = sum(windows.iter().flatten().copied()) / all as f64;
        let truth = if growth <= ln_ratio(limit) { Verdict::Pass } else { Verdict::Fail };
        let runs: Vec<(Verdict, u64)> = (0..orders).map(|seed| run(windows, ln_ratio(limit), seed)).collect();
        let count = |of: &dyn Fn(Verdict) -> bool| runs.iter().filter(|(verdict, _)| of(*verdict)).count();
        let mean = runs.iter().map(|(_, tokens)| *tokens as f64).sum::<f64>() / orders as f64;
        let missed = count(&|verdict| verdict != truth && verdict != Verdict::Undecided);
        // A limit that is the growth itself is the hardest: whatever is decided before the last window is chance.
        let early = (0..orders).filter(|seed| run(windows, growth, *seed).1 < all as u64).count();
        println!(
            "{name:<10} {:>8} {:>8.2} {all:>12} {mean:>12.0} {missed:>6} {:>10} {:>13.1}%",
            windows.len(),
            percent(growth),
            count(&|verdict| verdict == Verdict::Undecided),
            100.0 * early as f64 / orders as f64
        );
        fixed += all;
        used += mean;
        worst += runs.iter().map(|(_, tokens)| *tokens).max().unwrap_or(0);
        wrong += missed;
    }
    println!(
        "in all: {fixed} tokens in fixed windows, {used:.0} on average, {worst} if each had its worst order; {wrong} wrong verdicts"
    );
}

/// The falls of ln p of each candidate that is a preset, window by window.
fn read(file: &str) -> BTreeMap<String, Vec<Vec<f64>>> {
    #[derive(serde::Deserialize)]
    struct Line {
        key: Key,
        value: serde_json::Value,
    }
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut windows: BTreeMap<String, BTreeMap<usize, Vec<f64>>> = BTreeMap::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        let Key::Window { recipe, window, .. } = line.key else { continue };
        let Ok(scored) = serde_json::from_value::<Scored>(line.value) else { continue };
        let falls = scored.source_ln_p.iter().zip(&scored.ln_p).map(|(source, ln_p)| source - ln_p).collect();
        if !recipe.contains(' ') {
            windows.entry(recipe).or_default().insert(window, falls);
        }
    }
    windows.into_iter().map(|(name, windows)| (name, windows.into_values().collect())).collect()
}

/// The verdict in one order, and the tokens that it took.
fn run(windows: &[Vec<f64>], limit: f64, seed: u64) -> (Verdict, u64) {
    let mut test = Sequential::new(windows.iter().map(|window| window.len() as u64).sum());
    let mut verdict = Verdict::Undecided;
    for at in Random::new(seed).order(windows.len()) {
        test.add(&windows[at]);
        verdict = test.verdict(limit, CONFIDENCE);
        if verdict != Verdict::Undecided {
            break;
        }
    }
    (verdict, test.scored_tokens())
}
