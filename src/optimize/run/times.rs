//! How fast a candidate is: it and the source take turns, each in an engine of its own.

use super::super::ledger::{Key, Times};
use super::super::speed::{self, Round, takes_turn};
use super::lab::Lab;
use super::work::Work;
use super::{Around, RunError, Wish};
use crate::engine::{Timed, Token};

/// Tokens of the prompt, and of each answer.
const PROMPT: usize = 128;
const OUTPUT: u32 = 65;
/// Rounds of each, at least: halves are compared.
const LEAST_ROUNDS: usize = 4;
/// What is measured, for the key of records.
const WORK: &str = "prompt 128, output 65";
/// What is run before the first round, and not counted.
const WARM_UP: u32 = 8;

/// Measures a candidate's times and memory.
pub fn measure(lab: &mut Lab<'_>, wish: &Wish, work: &mut Work, around: &Around<'_>) -> Result<(), RunError> {
    let Some(recipe) = work.recipe.clone() else { return Ok(()) };
    let key = key(lab, wish, &recipe.words());
    let known = match lab.ledger.find::<Times>(&key) {
        Some(known) => known,
        None => {
            (around.tell)(&format!("times of {}", work.candidate.name));
            let measured = take_turns(lab, wish, work, around)?;
            // What a busy machine said is told now and measured anew the next time.
            if is_reliable(&measured, wish) {
                lab.ledger.keep(&key, &measured)?;
            }
            measured
        }
    };
    work.candidate.speed = speed::speed(&known.candidate, &known.source, wish.threads, wish.confidence);
    work.candidate.peak_memory_bytes = Some(known.peak_bytes).filter(|bytes| *bytes > 0);
    Ok(())
}

fn is_reliable(times: &Times, wish: &Wish) -> bool {
    let speed = speed::speed(&times.candidate, &times.source, wish.threads, wish.confidence);
    speed.is_some_and(|speed| speed.unreliable.is_none())
}

fn key(lab: &Lab<'_>, wish: &Wish, recipe: &str) -> Key {
    Key::Times {
        recipe: recipe.to_owned(),
        engine: lab.engine_name().to_owned(),
        hardware: wish.hardware.clone(),
        threads: wish.threads,
        work: WORK.to_owned(),
        samples: wish.samples,
    }
}

fn take_turns(lab: &mut Lab<'_>, wish: &Wish, work: &Work, around: &Around<'_>) -> Result<Times, RunError> {
    let Some(recipe) = &work.recipe else { return Ok(Times::default()) };
    lab.learn(recipe, around)?;
    let path = lab.make(recipe)?;
    let prompt = prompt(lab)?;
    let mut engine = lab.another()?;
    let model = engine.load(&path, lab.threads())?.model;
    lab.time_source(&prompt, WARM_UP)?;
    engine.time(model, &prompt, WARM_UP)?;
    let rounds = wish.samples.div_ceil(OUTPUT as usize - 1).max(LEAST_ROUNDS);
    let mut times = Times::default();
    for turn in 0..2 * rounds {
        let load = (around.load)();
        if takes_turn(turn) {
            times.candidate.push(round(&prompt, engine.time(model, &prompt, OUTPUT)?, load));
        } else {
            times.source.push(round(&prompt, lab.time_source(&prompt, OUTPUT)?, load));
        }
        (around.progress)(0)?;
    }
    times.peak_bytes = engine.peak_bytes()?;
    Ok(times)
}

fn round(prompt: &[Token], timed: Timed, load: Option<f64>) -> Round {
    Round {
        prompt_tokens: prompt.len() as u32,
        first_token_ms: timed.first_token_ms,
        token_ms: timed.token_ms,
        wall_ms: timed.wall_ms,
        processor_ms: timed.processor_ms,
        preempted: timed.preempted,
        load,
    }
}

/// Tokens of real text would do; any do as well, since reading them takes as long.
fn prompt(lab: &mut Lab<'_>) -> Result<Vec<Token>, RunError> {
    let source = lab.source()?;
    let vocabulary = source.vocabulary.max(2) as usize;
    let len = PROMPT.min((source.context as usize / 2).max(1));
    Ok((0..len).map(|at| ((at * 7919 + 1) % vocabulary) as Token).collect())
}

/// Leaves out what the bandwidth of memory rules out: its tokens would take a multiple of what is allowed.
///
/// On a busy machine nothing is left out: there the source itself takes a multiple of its time.
pub fn leave_out_hopeless(
    lab: &mut Lab<'_>,
    wish: &Wish,
    works: &mut [Work],
    around: &Around<'_>,
) -> Result<(), RunError> {
    // The limit is about another machine, or there is none.
    let Some(limit) = wish.limits.token_ms().filter(|_| wish.elsewhere.is_none()) else { return Ok(()) };
    let key = key(lab, wish, "source");
    let rounds = match lab.ledger.find::<Times>(&key) {
        Some(known) => known.source,
        None => {
            (around.tell)("times of the source");
            let prompt = prompt(lab)?;
            let load = (around.load)();
            let found = round(&prompt, lab.time_source(&prompt, OUTPUT)?, load);
            if speed::is_busy(&found, wish.threads) {
                return Ok(());
            }
            lab.ledger.keep(&key, &Times { source: vec![found.clone()], ..Times::default() })?;
            vec![found]
        }
    };
    // The quickest: what disturbs a machine must not rule anything out.
    let quickest = rounds.into_iter().flat_map(|round| round.token_ms).min_by(f64::total_cmp);
    let Some(baseline_ms) = quickest else { return Ok(()) };
    for work in works {
        let estimate = speed::estimate(work.candidate.bytes, lab.model.bytes, baseline_ms);
        if let Some(ms) = estimate.filter(|ms| speed::is_hopeless(*ms, limit)) {
            work.note(&format!(
                "estimated at {ms:.1} ms a token by the bandwidth of memory, where {limit:.1} are allowed"
            ));
        }
    }
    Ok(())
}
