//! The cheapest candidate that passes, or what stands in the way.

use super::limits::{Limit, Limits};
use super::report::{Candidate, Verdict};

/// What a run comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// The index of the winner.
    Chosen(usize),
    /// Nothing passed.
    Infeasible(Infeasible),
}

/// How near it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Infeasible {
    /// For each limit that a candidate came nearest to keeping while it kept all others, or else over all: nearest first.
    pub nearest: Vec<Near>,
    /// Limits without any one of which something would pass; if there is no such limit, those that rule out the most.
    pub binding: Vec<String>,
    /// Candidates that no limit ruled out, but not all were decided.
    pub undecided: Vec<usize>,
}

/// A candidate that is not good enough, and by how much.
#[derive(Debug, Clone, PartialEq)]
pub struct Near {
    pub candidate: usize,
    /// The limit that it misses by most, and by which factor.
    pub limit: String,
    pub excess: f64,
}

/// Points that are shown for "infeasible".
const MOST_NEAREST: usize = 3;

/// Chooses by cost where prices are known, else by bytes. `verdicts` of all candidates must be filled.
///
/// With prices, a candidate without one can't win: nobody knows what it costs.
pub fn choose(candidates: &[Candidate], limits: &Limits, with_prices: bool) -> Choice {
    let passes = |candidate: &Candidate| {
        candidate.quality.is_some() && candidate.verdicts.iter().all(|judged| judged.verdict == Verdict::Pass)
    };
    let price = |candidate: &Candidate| {
        if with_prices {
            candidate.cost.map(|cost| cost.output_usd_per_mtok)
        } else {
            Some(candidate.bytes as f64)
        }
    };
    let passing = candidates.iter().enumerate().filter(|(_, candidate)| passes(candidate));
    let priced = passing.filter_map(|(at, candidate)| Some((at, price(candidate)?, candidate.bytes)));
    let cheapest =
        priced.min_by(|(_, one, bytes), (_, other, others)| one.total_cmp(other).then(bytes.cmp(others)));
    match cheapest {
        Some((at, ..)) => Choice::Chosen(at),
        None => Choice::Infeasible(infeasible(candidates, &limits.list())),
    }
}

fn infeasible(candidates: &[Candidate], limits: &[Limit]) -> Infeasible {
    let real = || candidates.iter().enumerate().filter(|(_, candidate)| !candidate.verdicts.is_empty());
    let mut nearest: Vec<Near> = real()
        .filter_map(|(at, candidate)| near(at, candidate, limits))
        .filter(|near| near.excess > 1.0)
        .collect();
    nearest.sort_by(|one, other| one.excess.total_cmp(&other.excess));
    nearest.truncate(MOST_NEAREST);
    let undecided = real().filter(|(_, candidate)| candidate.quality.is_some());
    let undecided = undecided.filter(|(_, candidate)| none_fails(candidate) && !all_pass(candidate));
    Infeasible {
        nearest,
        binding: binding(candidates, limits),
        undecided: undecided.map(|(at, _)| at).collect(),
    }
}

fn none_fails(candidate: &Candidate) -> bool {
    candidate.verdicts.iter().all(|judged| judged.verdict != Verdict::Fail)
}

fn all_pass(candidate: &Candidate) -> bool {
    candidate.verdicts.iter().all(|judged| judged.verdict == Verdict::Pass)
}

/// The limit that a candidate misses by most; `None` where a limit could not be held against it.
fn near(at: usize, candidate: &Candidate, limits: &[Limit]) -> Option<Near> {
    let misses = limits.iter().filter_map(|limit| Some((limit, limit.excess(candidate)?)));
    let (limit, excess) = misses.max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    Some(Near { candidate: at, limit: limit.words.clone(), excess })
}

fn binding(candidates: &[Candidate], limits: &[Limit]) -> Vec<String> {
    let fails = |candidate: &Candidate, at: usize| {
        candidate.verdicts.get(at).is_some_and(|judged| judged.verdict == Verdict::Fail)
    };
    let is_alone = |at: usize| {
        candidates.iter().any(|candidate| {
            let others = candidate.verdicts.iter().enumerate().filter(|(other, _)| *other != at);
            fails(candidate, at) && others.clone().all(|(_, judged)| judged.verdict == Verdict::Pass)
        })
    };
    let words = |at: usize| limits[at].words.clone();
    let alone: Vec<String> = (0..limits.len()).filter(|at| is_alone(*at)).map(words).collect();
    if !alone.is_empty() {
        return alone;
    }
    let count = |at: usize| candidates.iter().filter(|candidate| fails(candidate, at)).count();
    let most = (0..limits.len()).map(count).max().filter(|most| *most > 0);
    (0..limits.len()).filter(|at| Some(count(*at)) == most).map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::super::front;
    use super::super::report::{Cost, Interval, Quality};
    use super::*;

    fn candidate(name: &str, bytes: u64, increase: f64) -> Candidate {
        let increase_percent = Interval { value: increase, low: increase - 0.1, high: increase + 0.1 };
        Candidate {
            name: name.into(),
            engine: "llama.cpp".into(),
            recipe: name.into(),
            bytes,
            file: None,
            compression: 200.0 / bytes as f64,
            quality: Some(Quality {
                perplexity: 20.0,
                increase_percent,
                scored_tokens: 1000,
                divergence: None,
                same_top: None,
            }),
            speed: None,
            estimate: None,
            peak_memory_bytes: None,
            cost: None,
            verdicts: Vec::new(),
            is_on_front: false,
            note: None,
        }
    }

    fn judged(limits: &Limits, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        for candidate in &mut candidates {
            candidate.verdicts = limits.judge(candidate);
        }
        candidates
    }

    fn three() -> Vec<Candidate> {
        vec![candidate("large", 100, 0.5), candidate("middle", 60, 1.5), candidate("small", 40, 9.0)]
    }

    fn quality(percent: f64) -> Limits {
        Limits { max_ppl_delta: Some(percent), ..Limits::default() }
    }

    /// The answer that people act on: the smallest of those that pass, or the cheapest where there are prices.
    #[test]
    fn the_cheapest_that_passes_is_chosen() {
        let limits = quality(2.0);
        let mut candidates = judged(&limits, three());
        assert_eq!(choose(&candidates, &limits, false), Choice::Chosen(1));
        let cost = |output| Some(Cost { input_usd_per_mtok: 0.0, output_usd_per_mtok: output });
        candidates[0].cost = cost(1.0);
        assert_eq!(choose(&candidates, &limits, true), Choice::Chosen(0), "a missing price can't win");
        candidates[1].cost = cost(2.0);
        assert_eq!(choose(&candidates, &limits, true), Choice::Chosen(0));
        candidates[1].cost = cost(1.0);
        assert_eq!(choose(&candidates, &limits, true), Choice::Chosen(1), "equal costs: the smaller");
    }

    /// "Infeasible" helps only with what would be feasible instead.
    #[test]
    fn infeasible_says_what_stands_in_the_way() {
        let limits = Limits { max_size_bytes: Some(50), ..quality(2.0) };
        let Choice::Infeasible(found) = choose(&judged(&limits, three()), &limits, false) else { panic!() };
        assert_eq!(found.binding, ["--max-size 0.1 kB", "--max-ppl-delta 2"]);
        // 60 of 50 bytes; 100 of 50; 9 of 2 %.
        let nearest: Vec<_> = found.nearest.iter().map(|near| (near.candidate, near.excess)).collect();
        assert_eq!(nearest, [(1, 1.2), (0, 2.0), (2, 4.5)]);
        assert!(found.undecided.is_empty());
        // Nothing is kept by leaving out one limit.
        let limits = Limits { max_size_bytes: Some(30), ..quality(0.2) };
        let Choice::Infeasible(found) = choose(&judged(&limits, three()), &limits, false) else { panic!() };
        assert_eq!(found.binding.len(), 2);
    }

    /// What was not decided is neither chosen nor counted as failed.
    #[test]
    fn undecided_candidates_do_not_win() {
        let limits = quality(1.55);
        let mut candidates = judged(&limits, three());
        candidates.remove(0);
        let Choice::Infeasible(found) = choose(&candidates, &limits, false) else { panic!() };
        assert_eq!(found.undecided, [0]);
    }

    /// Without any limit the smallest would win, whatever it is worth: it must at least have been measured.
    #[test]
    fn what_was_never_measured_is_not_chosen() {
        let mut candidates = three();
        candidates[2].quality = None;
        assert_eq!(choose(&candidates, &Limits::default(), false), Choice::Chosen(1));
    }

    /// The front is what is left when everything that something else beats is gone.
    #[test]
    fn the_front_has_no_candidate_that_another_beats() {
        let mut candidates = three();
        candidates.push(candidate("worse", 70, 1.6));
        candidates.push(candidate("equal", 60, 1.5));
        candidates.push(candidate("unknown", 1, 1.0));
        candidates[5].quality = None;
        front::mark(&mut candidates);
        let on: Vec<bool> = candidates.iter().map(|candidate| candidate.is_on_front).collect();
        assert_eq!(on, [true, true, true, false, true, false]);
        // Better in something that was measured, worse in something else.
        candidates[3].peak_memory_bytes = Some(10);
        candidates[1].peak_memory_bytes = Some(20);
        candidates[4].peak_memory_bytes = Some(20);
        front::mark(&mut candidates);
        assert!(candidates[3].is_on_front);
    }
}
