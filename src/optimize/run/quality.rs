//! How much worse a candidate is than the source: window after window, until it is decided.

use super::super::ledger::{Key, Scored as Known};
use super::super::report::{Quality, Verdict};
use super::lab::Lab;
use super::work::{Recipe, Work};
use super::{Around, RunError, Wish};
use crate::engine::EngineError;
use crate::eval::Text;
use crate::statistics::sequential::Sequential;
use crate::statistics::{self, Random, ln_ratio, percent, sum};

/// What was seen of a candidate.
pub struct Found {
    pub test: Sequential,
    pub seen: Vec<Known>,
    /// Time ran out before it was decided.
    pub is_late: bool,
}

/// Gives one window, from the ledger or measured.
pub type Score<'a, 'lab> = dyn FnMut(&mut Lab<'lab>, usize) -> Result<Known, RunError> + 'a;

/// Measures a candidate's quality. An engine that fails on it leaves a note.
pub fn measure(
    lab: &mut Lab<'_>,
    wish: &Wish,
    text: &Text,
    work: &mut Work,
    around: &Around<'_>,
) -> Result<(), RunError> {
    let Some(recipe) = work.recipe.clone() else { return Ok(()) };
    (around.tell)(&format!("quality of {}", work.candidate.name));
    let mut of_window = |lab: &mut Lab<'_>, number| window(lab, wish, text, &recipe, number);
    let found = lab.learn(&recipe, around).and_then(|()| score(lab, wish, text, &mut of_window, around));
    match found {
        Ok(found) => {
            work.candidate.quality = quality(&found, wish);
            lab.settle_size(work);
            if found.is_late {
                work.note("no time was left to decide its quality");
            }
            Ok(())
        }
        // llama.cpp ends its process where it finds itself wrong: that is this candidate's fault, not the run's.
        Err(RunError::Engine(EngineError::Died(why))) => {
            work.note(&format!("the engine ended on it: {why}"));
            lab.restart()
        }
        Err(RunError::Engine(error)) if !is_fatal(&error) => {
            work.note(&format!("the engine can't run it: {error}"));
            lab.discard(&recipe)
        }
        Err(error) => Err(error),
    }
}

/// Whether it would be no better with any other candidate.
fn is_fatal(error: &EngineError) -> bool {
    matches!(error, EngineError::Start { .. } | EngineError::Answer | EngineError::Full(_))
}

/// Windows in random order, until the limit is decided, or enough were seen.
pub fn score<'lab>(
    lab: &mut Lab<'lab>,
    wish: &Wish,
    text: &Text,
    score: &mut Score<'_, 'lab>,
    around: &Around<'_>,
) -> Result<Found, RunError> {
    let sizes = lab.windows(wish, text)?;
    let population: usize = sizes.iter().sum();
    let mut found = Found { test: Sequential::new(population as u64), seen: Vec::new(), is_late: false };
    let limit = wish.limits.max_ppl_delta.map(ln_ratio);
    for number in Random::new(wish.seed).order(sizes.len()).into_iter().take(wish.most_windows) {
        if (around.is_late)() {
            found.is_late = true;
            break;
        }
        let known = score(lab, number)?;
        let falls: Vec<f64> =
            known.source_ln_p.iter().zip(&known.ln_p).map(|(source, ln_p)| source - ln_p).collect();
        found.test.add(&falls);
        found.seen.push(known);
        (around.progress)(1)?;
        if limit.is_some_and(|limit| found.test.verdict(limit, wish.confidence) != Verdict::Undecided) {
            break;
        }
    }
    Ok(found)
}

/// One window, from the ledger or measured and kept.
fn window(
    lab: &mut Lab<'_>,
    wish: &Wish,
    text: &Text,
    recipe: &Recipe,
    number: usize,
) -> Result<Known, RunError> {
    let key = Key::Window {
        recipe: recipe.words(),
        engine: lab.engine_name().to_owned(),
        protocol: wish.protocol.to_string(),
        text: text.hash,
        window: number,
    };
    if let Some(known) = lab.ledger.find(&key) {
        return Ok(known);
    }
    let window = lab.cut(wish, text)?[number].clone();
    let scored = lab.score(recipe, text.hash, number, &window)?;
    let against = scored.against.ok_or(RunError::Engine(EngineError::Answer))?;
    let count = scored.ln_p.len().max(1) as f64;
    let known = Known {
        divergence: Some(sum(against.divergence.iter().copied()) / count),
        same_top: Some(against.same_top.iter().filter(|same| **same).count() as f64 / count),
        ln_p: scored.ln_p,
        source_ln_p: against.ln_p,
    };
    lab.ledger.keep(&key, &known)?;
    Ok(known)
}

/// The figures of what was seen; `None` of nothing.
pub fn quality(found: &Found, wish: &Wish) -> Option<Quality> {
    let Found { test, seen, .. } = found;
    let ln_p: Vec<&[f64]> = seen.iter().map(|window| window.ln_p.as_slice()).collect();
    let perplexity = statistics::perplexity::perplexity(&ln_p).ok()?;
    let weighted = |of: &dyn Fn(&Known) -> Option<f64>| {
        let sums: Option<Vec<f64>> =
            seen.iter().map(|window| Some(of(window)? * window.ln_p.len() as f64)).collect();
        sums.map(|sums| sum(sums) / perplexity.scored_tokens as f64)
    };
    Some(Quality {
        perplexity: perplexity.value,
        increase_percent: test.interval(wish.confidence).map(percent),
        scored_tokens: test.scored_tokens(),
        divergence: weighted(&|window| window.divergence),
        same_top: weighted(&|window| window.same_top),
    })
}
