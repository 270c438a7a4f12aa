//! A run: candidates are made and measured by the engine, the cheap questions first, and nothing twice.
//!
//! Size rules out first, since it costs nothing. Then an estimate of the speed by the bandwidth of memory, then quality,
//! as many windows as it takes, and times only for those that are left. Each measurement is kept before the next begins.

mod calibration;
mod distortion;
mod lab;
mod outside;
mod quality;
mod search;
mod times;
mod work;

use crate::engine::EngineError;
use crate::eval::{EvalError, Protocol, Text};
use crate::progress::{Cancelled, Progress};

use super::choice::{self, Choice};
use super::front;
use super::ledger::LedgerError;
use super::limits::{About, Limits};
use super::outside::OutsideError;
use super::report::{Candidate, Verdict};
use super::speed::Elsewhere;
use crate::prices::Hourly;

pub use calibration::Calibration;
pub use lab::{Lab, Model, Start};
pub use outside::Tool;
pub use search::propose;
pub use work::{Recipe, Work};

/// What is asked of a run.
#[derive(Debug, Clone)]
pub struct Wish {
    pub limits: Limits,
    pub confidence: f64,
    pub protocol: Protocol,
    /// The windows that the evaluation is about, the first of the text; all of it where it is `None`.
    pub windows: Option<usize>,
    /// Windows after which a candidate is left undecided.
    pub most_windows: usize,
    /// Times of tokens that are measured of each candidate; 0 measures none.
    pub samples: usize,
    pub threads: u32,
    /// What times depend on beside the engine: the machine.
    pub hardware: String,
    /// The machine that times and costs are wanted of, where that is another one: they are estimates then.
    pub elsewhere: Option<Elsewhere>,
    /// Of the order of windows.
    pub seed: u64,
}

/// What lies outside of the run: the clock, the machine, whoever watches.
pub struct Around<'a> {
    /// Threads of others that are at work.
    pub load: &'a dyn Fn() -> Option<f64>,
    /// Whether the time is up.
    pub is_late: &'a dyn Fn() -> bool,
    /// Hears what is being done.
    pub tell: &'a dyn Fn(&str),
    pub progress: &'a Progress<'a>,
}

/// Why a run came to no end. What was measured until then is kept.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Of one candidate only.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{}: {error}", path.display())]
    File { path: std::path::PathBuf, error: std::io::Error },
    #[error(
        "the text of the search is that of the evaluation: what was learned from it would be tested on itself"
    )]
    SameText,
    #[error("the text that an importance matrix is learned from is not here: its SHA-256 is {text}")]
    Untaught { text: crate::id::Oid },
    #[error("{name}: its file is {found:.12}… now, and was {expected:.12}… in the report")]
    Changed { name: String, expected: crate::id::Oid, found: crate::id::Oid },
    /// The source could not be made ready.
    #[error("{0}")]
    Source(String),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What could be told of each candidate, and verdicts; in the order of their sizes.
    pub candidates: Vec<Candidate>,
    pub choice: Choice,
    /// For each candidate, how it is made; `None` of those that can't be.
    pub recipes: Vec<Option<Recipe>>,
}

/// Runs: measures what has to be measured, and chooses.
///
/// # Errors
/// What stops the whole run. A candidate that can't be made or measured is one with a note.
pub fn run(
    lab: &mut Lab<'_>,
    wish: &Wish,
    text: &Text,
    mut works: Vec<Work>,
    tools: &[Tool],
    hourly: Option<Hourly>,
    around: &Around<'_>,
) -> Result<Outcome, RunError> {
    for work in &mut works {
        work.plan(lab)?;
    }
    works.sort_by_key(|work| work.candidate.bytes);
    work::leave_out_twins(&mut works);
    times::leave_out_hopeless(lab, wish, &mut works, around)?;
    let mut has_found = false;
    for work in &mut works {
        if has_found && work.is_proposed {
            work.note("a smaller one of its kind is good enough");
        }
        if work.is_open(&wish.limits, About::Size) && !stop(work, around) {
            quality::measure(lab, wish, text, work, around)?;
            has_found |= work.is_proposed && work.is_good(&wish.limits);
            // Files of what is out are not kept: those of large models fill disks.
            if let (false, Some(recipe)) = (work.is_open(&wish.limits, About::Quality), work.recipe.clone()) {
                lab.discard(&recipe)?;
            }
        }
    }
    for work in works.iter_mut().filter(|work| work.outside.is_some()) {
        let tool =
            tools.iter().find(|tool| work.outside.as_ref().is_some_and(|backend| backend.name == tool.name));
        match tool {
            Some(tool) if !stop(work, around) => outside::measure(lab, wish, text, tool, work, around)?,
            _ => work.note("its back end is not there"),
        }
    }
    for work in &mut works {
        if wish.samples > 0 && work.is_open(&wish.limits, About::Quality) && !stop(work, around) {
            times::measure(lab, wish, work, around)?;
        }
    }
    works.sort_by_key(|work| work.candidate.bytes);
    let recipes = works.iter().map(|work| work.recipe.clone()).collect();
    let mut candidates: Vec<Candidate> = works.into_iter().map(|work| work.candidate).collect();
    for candidate in &mut candidates {
        candidate.estimate = wish
            .elsewhere
            .as_ref()
            .zip(candidate.speed.as_ref())
            .map(|(elsewhere, speed)| elsewhere.estimate(speed));
        candidate.cost = cost(candidate, hourly);
        // Of what has no size there is nothing to judge.
        candidate.verdicts = if candidate.bytes > 0 { wish.limits.judge(candidate) } else { Vec::new() };
    }
    front::mark(&mut candidates);
    let choice = choice::choose(&candidates, &wish.limits, hourly.is_some());
    Ok(Outcome { candidates, choice, recipes })
}

/// Whether there is no more time for this one.
fn stop(work: &mut Work, around: &Around<'_>) -> bool {
    let is_late = (around.is_late)();
    if is_late {
        work.note("no time was left");
    }
    is_late
}

fn cost(candidate: &Candidate, hourly: Option<Hourly>) -> Option<super::report::Cost> {
    let speed = candidate.speed.as_ref()?;
    let (prefill_tps, decode_tps) = match &candidate.estimate {
        Some(estimate) => (estimate.prefill_tps, estimate.decode_tps),
        None => (speed.prefill_tps, speed.decode_tps),
    };
    let rates = hourly?.rates(prefill_tps, decode_tps);
    let is_number = rates.input_usd_per_mtok.is_finite() && rates.output_usd_per_mtok.is_finite();
    is_number.then_some(super::report::Cost {
        input_usd_per_mtok: rates.input_usd_per_mtok,
        output_usd_per_mtok: rates.output_usd_per_mtok,
    })
}

/// Whether any limit up to this kind is failed already.
fn fails(candidate: &Candidate, limits: &Limits, about: About) -> bool {
    limits
        .list()
        .iter()
        .filter(|limit| limit.about <= about)
        .any(|limit| limit.judge(candidate).verdict == Verdict::Fail)
}
