//! How well the router knows which prompts need the stronger model, against two baselines, and how fast.
//!
//! `route OUTCOMES [--inside N]`: a line per prompt with `domain`, `prompt`, `weak_right`, `strong_right`.
//! With `--inside`, only learning halves are looked at (of other seeds), each split again N times: what
//! settings are chosen by, so that test halves have no say in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use git_sparse::route::evidence::Evidence;
use git_sparse::route::features::Features;
use git_sparse::route::outcome::Outcome;
use git_sparse::statistics::Random;

const SEEDS: [u64; 3] = [101, 102, 103];
/// Of splits that settings are chosen on.
const INSIDE: std::ops::Range<u64> = 201..209;
/// Of more splits, to see how much three of them say.
const MORE: std::ops::Range<u64> = 301..321;
const BOOTSTRAPS: usize = 1000;
const WEAK: &str = "weak";
const STRONG: &str = "strong";

#[derive(serde::Deserialize)]
struct Line {
    domain: String,
    prompt: String,
    weak_right: bool,
    strong_right: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let text = std::fs::read_to_string(arguments.first().expect("the file of outcomes")).expect("outcomes");
    let lines: Vec<Line> =
        text.lines().map(|line| serde_json::from_str(line).expect("an outcome a line")).collect();
    let log: Vec<Outcome> = lines.iter().map(outcome).collect();
    let inside = arguments.iter().position(|it| it == "--inside").map(|at| &arguments[at + 1]);
    if let Some(times) = inside {
        return tuned(&lines, &log, times.parse().expect("a number"));
    }
    println!("{} prompts, {} domains", lines.len(), domains(&lines, &all(&lines)).len());
    for kind in [Split::Prompts, Split::Domains] {
        judged(&lines, &log, kind);
        let more: Vec<_> = MORE.map(|seed| halves(&lines, &all(&lines), kind, seed)).collect();
        println!("  mean of {} more splits", more.len());
        means(&lines, &log, &more);
    }
    timed(&lines, &log);
}

fn outcome(line: &Line) -> Outcome {
    let score = |right: bool| if right { 1.0 } else { 0.0 };
    let scores = [(WEAK.to_owned(), score(line.weak_right)), (STRONG.to_owned(), score(line.strong_right))];
    Outcome { features: Features::of(&line.prompt), scores: scores.into(), confidences: BTreeMap::new() }
}

/// What halves are made of.
#[derive(Clone, Copy, Debug)]
enum Split {
    Prompts,
    Domains,
}

fn all(lines: &[Line]) -> Vec<usize> {
    (0..lines.len()).collect()
}

fn domains<'a>(lines: &'a [Line], among: &[usize]) -> Vec<&'a str> {
    let names: BTreeSet<&str> = among.iter().map(|at| lines[*at].domain.as_str()).collect();
    names.into_iter().collect()
}

fn shuffled<T>(mut items: Vec<T>, random: &mut Random) -> Vec<T> {
    for at in (1..items.len()).rev() {
        items.swap(at, random.below(at + 1));
    }
    items
}

/// A half to learn from and a half to be tested on.
fn halves(lines: &[Line], among: &[usize], kind: Split, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut random = Random::new(seed);
    match kind {
        Split::Prompts => {
            let mut learn = shuffled(among.to_vec(), &mut random);
            let test = learn.split_off(learn.len() / 2);
            (learn, test)
        }
        Split::Domains => {
            let names = shuffled(domains(lines, among), &mut random);
            let known: BTreeSet<&str> = names[..names.len() / 2].iter().copied().collect();
            among.iter().partition(|at| known.contains(lines[**at].domain.as_str()))
        }
    }
}

/// Who gives each prompt a number: the higher, the rather the stronger model is asked.
fn routers(
    lines: &[Line],
    log: &[Outcome],
    learn: &[usize],
    test: &[usize],
) -> Vec<(&'static str, Vec<f64>)> {
    let known: Vec<Outcome> = learn.iter().map(|at| log[*at].clone()).collect();
    let evidence = Evidence::of(&known, &[(WEAK.to_owned(), STRONG.to_owned())]);
    let estimates: Vec<_> = test
        .iter()
        .map(|at| {
            let prompt = &log[*at].features;
            evidence.estimate(prompt, &evidence.near(prompt), WEAK, STRONG).expect("enough outcomes")
        })
        .collect();
    let length = test.iter().map(|at| lines[*at].prompt.len() as f64).collect();
    vec![
        ("prompt length", length),
        ("TF-IDF kNN, k = 100", plain_neighbours(log, learn, test)),
        ("router", estimates.iter().map(|it| it.difference).collect()),
        ("router, by P(no worse)", estimates.iter().map(|it| -it.no_worse).collect()),
    ]
}

/// The baseline: the mean difference over the 100 nearest prompts by TF-IDF (1-2-grams, sublinear counts,
/// terms of at least two prompts, scikit-learn's weights).
fn plain_neighbours(log: &[Outcome], learn: &[usize], test: &[usize]) -> Vec<f64> {
    let mut counts: BTreeMap<u32, f32> = BTreeMap::new();
    for (term, _) in learn.iter().flat_map(|at| &log[*at].features.terms) {
        *counts.entry(*term).or_default() += 1.0;
    }
    counts.retain(|_, count| *count >= 2.0);
    let vector = |at: &usize| {
        let weight = |count: &f32| ((1.0 + learn.len() as f32) / (1.0 + count)).ln() + 1.0;
        let terms = log[*at].features.terms.iter();
        let mut terms: Vec<(u32, f32)> =
            terms.filter_map(|(term, often)| Some((*term, often * weight(counts.get(term)?)))).collect();
        let length = terms.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
        terms.iter_mut().for_each(|(_, weight)| *weight /= length);
        terms
    };
    let mut postings: BTreeMap<u32, Vec<(usize, f32)>> = BTreeMap::new();
    for (number, at) in learn.iter().enumerate() {
        for (term, weight) in vector(at) {
            postings.entry(term).or_default().push((number, weight));
        }
    }
    let mut answers = Vec::new();
    for at in test {
        let mut near: Vec<(f32, usize)> = (0..learn.len()).map(|number| (0.0, number)).collect();
        for (term, weight) in vector(at) {
            for (number, there) in postings.get(&term).into_iter().flatten() {
                near[*number].0 += weight * there;
            }
        }
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.truncate(100);
        answers
            .push(near.iter().map(|(_, number)| gap(&log[learn[*number]])).sum::<f64>() / near.len() as f64);
    }
    answers
}

fn gap(outcome: &Outcome) -> f64 {
    f64::from(outcome.scores[STRONG] - outcome.scores[WEAK])
}

/// Prompts in the order in which the stronger model gets them.
fn ranked(numbers: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|a, b| numbers[*b].total_cmp(&numbers[*a]));
    order
}

/// Average performance gap recovered (RouteLLM, arXiv 2406.18665): the mean, over all shares of calls to
/// the stronger model, of the share of the quality gap that they close. `times` each prompt is counted.
fn recovered(order: &[usize], gaps: &[f64], times: &[u32]) -> f64 {
    let (mut sum, mut area, mut count) = (0.0, 0.0, 0.0);
    for at in order {
        let gained = f64::from(times[*at]) * gaps[*at];
        area += f64::from(times[*at]) * (sum + gained / 2.0);
        sum += gained;
        count += f64::from(times[*at]);
    }
    area / sum / count
}

/// The share of calls that closes a share of the gap.
fn calls_for(share: f64, order: &[usize], gaps: &[f64]) -> f64 {
    let whole: f64 = gaps.iter().sum();
    let mut sum = 0.0;
    let reached = order.iter().position(|at| {
        sum += gaps[*at];
        sum >= share * whole
    });
    reached.map_or(1.0, |at| (at + 1) as f64 / order.len() as f64)
}

fn judged(lines: &[Line], log: &[Outcome], kind: Split) {
    println!("\nhalves by {kind:?}, seeds {SEEDS:?}: APGR [95 %], and calls for 50 / 80 / 95 % of the gap");
    let mut means: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    // For each resampling, the router's mean over the splits less the better baseline's.
    let mut ahead = vec![[0.0; 2]; BOOTSTRAPS];
    for seed in SEEDS {
        let (learn, test) = halves(lines, &all(lines), kind, seed);
        let gaps: Vec<f64> = test.iter().map(|at| gap(&log[*at])).collect();
        let routers = routers(lines, log, &learn, &test);
        let orders: Vec<Vec<usize>> = routers.iter().map(|(_, numbers)| ranked(numbers)).collect();
        let mut random = Random::new(seed);
        let mut spread = vec![Vec::new(); orders.len()];
        for ahead in &mut ahead {
            let mut times = vec![0u32; test.len()];
            (0..test.len()).for_each(|_| times[random.below(test.len())] += 1);
            let drawn: Vec<f64> = orders.iter().map(|order| recovered(order, &gaps, &times)).collect();
            spread.iter_mut().zip(&drawn).for_each(|(spread, drawn)| spread.push(*drawn));
            (0..2).for_each(|baseline| ahead[baseline] += (drawn[2] - drawn[baseline]) / SEEDS.len() as f64);
        }
        println!("  seed {seed}: {} learnt, {} tested", learn.len(), test.len());
        for ((name, _), (order, spread)) in routers.iter().zip(orders.iter().zip(&mut spread)) {
            let value = recovered(order, &gaps, &vec![1; test.len()]);
            means.entry(name).or_default().push(value);
            let [low, high] = middle(spread);
            let calls = [0.5, 0.8, 0.95].map(|share| format!("{:.2}", calls_for(share, order, &gaps)));
            println!("    {name:24} {value:.3} [{low:.3}, {high:.3}]  {}", calls.join(" / "));
        }
        promised(log, &learn, &test);
    }
    println!("  mean of the three");
    for (name, values) in &means {
        println!("    {name:24} {:.4}", values.iter().sum::<f64>() / values.len() as f64);
    }
    for (baseline, name) in ["prompt length", "TF-IDF kNN"].iter().enumerate() {
        let mut ahead: Vec<f64> = ahead.iter().map(|it| it[baseline]).collect();
        let mean = ahead.iter().sum::<f64>() / ahead.len() as f64;
        let [low, high] = middle(&mut ahead);
        println!("    router less {name:14} {mean:+.4} [{low:+.4}, {high:+.4}]");
    }
}

/// Between what 95 % of values lie.
fn middle(values: &mut [f64]) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    [0.025, 0.975].map(|share| values[(share * (values.len() - 1) as f64).round() as usize])
}

/// Whether probabilities and lower bounds are true of prompts that were not learnt from.
fn promised(log: &[Outcome], learn: &[usize], test: &[usize]) {
    let known: Vec<Outcome> = learn.iter().map(|at| log[*at].clone()).collect();
    let evidence = Evidence::of(&known, &[(WEAK.to_owned(), STRONG.to_owned())]);
    let asked: Vec<_> = test
        .iter()
        .map(|at| {
            let prompt = &log[*at].features;
            let estimate = evidence.estimate(prompt, &evidence.near(prompt), WEAK, STRONG);
            (estimate.expect("enough outcomes"), gap(&log[*at]) <= 0.0)
        })
        .collect();
    let error = (0..10).map(|bin| {
        let inside: Vec<_> =
            asked.iter().filter(|(it, _)| ((it.no_worse * 10.0) as usize).min(9) == bin).collect();
        let promised: f64 = inside.iter().map(|(it, _)| it.no_worse).sum();
        let kept = inside.iter().filter(|(_, kept)| *kept).count() as f64;
        (promised - kept).abs() / asked.len() as f64
    });
    let far = asked.iter().filter(|(it, _)| it.coverage < git_sparse::route::evidence::FAR).count();
    println!(
        "    expected calibration error of P(no worse) {:.3}; far from the log {:.1} %, mean coverage {:.3}",
        error.sum::<f64>(),
        100.0 * far as f64 / asked.len() as f64,
        asked.iter().map(|(it, _)| it.coverage).sum::<f64>() / asked.len() as f64
    );
    for threshold in [0.7, 0.75, 0.8, 0.85, 0.9] {
        let weak: Vec<_> = asked.iter().filter(|(it, _)| it.low >= threshold).collect();
        let kept = weak.iter().filter(|(_, kept)| *kept).count();
        println!(
            "    threshold {threshold}: {:.1} % to the weak model, {:.3} of them no worse",
            100.0 * weak.len() as f64 / asked.len() as f64,
            kept as f64 / weak.len().max(1) as f64
        );
    }
}

/// Mean APGR over splits of learning halves only.
fn tuned(lines: &[Line], log: &[Outcome], times: u64) {
    for kind in [Split::Prompts, Split::Domains] {
        let learning = INSIDE.map(|seed| (seed, halves(lines, &all(lines), kind, seed).0));
        let inside = learning.flat_map(|(seed, learning)| {
            (0..times).map(move |time| halves(lines, &learning, kind, 1000 * seed + time))
        });
        let inside: Vec<_> = inside.collect();
        println!("inside learning halves by {kind:?}, {} splits", inside.len());
        means(lines, log, &inside);
    }
}

/// Prints the mean APGR over splits.
fn means(lines: &[Line], log: &[Outcome], splits: &[(Vec<usize>, Vec<usize>)]) {
    let mut found: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (learn, test) in splits {
        let gaps: Vec<f64> = test.iter().map(|at| gap(&log[*at])).collect();
        for (name, numbers) in routers(lines, log, learn, test) {
            let value = recovered(&ranked(&numbers), &gaps, &vec![1; test.len()]);
            found.entry(name).or_default().push(value);
        }
    }
    for (name, values) in found {
        println!("    {name:24} {:.4}", values.iter().sum::<f64>() / values.len() as f64);
    }
}

/// How long a decision takes with 10,000 outcomes, from the prompt's text on.
fn timed(lines: &[Line], log: &[Outcome]) {
    const ENTRIES: usize = 10_000;
    let known: Vec<Outcome> = log.iter().cycle().take(ENTRIES).cloned().collect();
    let begin = Instant::now();
    let evidence = Evidence::of(&known, &[(WEAK.to_owned(), STRONG.to_owned())]);
    println!("\nindex of {ENTRIES} outcomes: {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
    let order = shuffled(all(lines), &mut Random::new(1));
    let mut took: Vec<f64> = Vec::new();
    for at in order.iter().take(5000) {
        let begin = Instant::now();
        let prompt = Features::of(&lines[*at].prompt);
        let estimate = evidence.estimate(&prompt, &evidence.near(&prompt), WEAK, STRONG);
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        assert!(estimate.is_some());
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[(share * (took.len() - 1) as f64) as usize];
    println!(
        "estimate from the prompt's text: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
