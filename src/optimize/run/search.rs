//! Mixed precision: how much each group of tensors can bear is found out, and the best files follow.
//!
//! All matrices are `Q8_0`, which is nearly lossless, but those of one group in one type: the divergence from the source that
//! this adds is measured. For the group's other types it is taken to grow as the sum of squared errors of its weights does,
//! each counted by what a text multiplies it with: for small errors the divergence is a square of them. The text is another
//! one than that of the evaluation, or what was learned from it would be tested on itself. What is proposed is measured
//! afterwards like any other candidate.

use super::super::allocation::{
    Allocation, Group, Kind, frontier, kinds_of, roles, within_bytes, within_divergence,
};
use super::super::ledger::Key;
use super::super::limits::Limits;
use super::super::size::Tensor;
use super::calibration::Calibration;
use super::distortion::{Distortions, distortions};
use super::lab::Lab;
use super::work::{Recipe, Work};
use super::{Around, RunError};
use crate::engine::{EngineError, Window};
use crate::eval::Text;
use crate::statistics::{ln_ratio, sum};

/// What all tensors are but those that are looked at.
const REST: &str = "Q8_0";
/// The types that a group may get. i-quants are none of them: a file takes twenty times as long to make with them, and more to read.
const WANTED: [&str; 10] = ["Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "Q3_K", "Q2_K"];
/// Windows of the search and their tokens: divergence is exact enough on some hundred tokens, since it does not depend
/// on which one really came.
const WINDOWS: usize = 2;
const WINDOW_TOKENS: usize = 384;
/// The first tokens of a window have little before them.
const SCORED_FROM: usize = 16;
/// Divergences that are proposed for a limit on quality, as multiples of the growth that it allows: the two are alike, but
/// no more than that.
const TRIALS: [f64; 4] = [1.2, 0.9, 0.65, 0.45];

/// Presets whose sizes are those of the files that are proposed where no limit says how large one may be.
const SIZES_OF: [&str; 3] = ["Q4_0", "Q4_K_M", "Q5_K_M"];

/// Measures the groups of the source's tensors on `text` and proposes files: for a limit on the size or on quality
/// the best under it, else the best at the sizes of some presets.
///
/// # Errors
/// The text of the evaluation itself, and those of the engine.
pub fn propose(
    lab: &mut Lab<'_>,
    text: &Text,
    evaluation: &Text,
    limits: &Limits,
    calibration: Option<Calibration>,
    around: &Around<'_>,
) -> Result<Vec<Work>, RunError> {
    if text.hash == evaluation.hash {
        return Err(RunError::SameText);
    }
    let groups = roles(&lab.survey()?.tensors);
    let mut measured: Vec<(Group, Vec<Kind>)> = Vec::new();
    let mut search = Search { text, windows: Vec::new(), calibration };
    let tensors: Vec<&Tensor> = groups.iter().flat_map(|group| &group.tensors).collect();
    let errors = distortions(lab, &tensors, &WANTED, calibration, around)?;
    let rest = search.divergence(lab, None)?;
    for group in groups {
        (around.tell)(&format!("what {} can bear", group.name));
        let kinds = search.kinds(lab, &group, rest, &errors)?;
        (around.progress)(1)?;
        if (around.is_late)() {
            return Ok(Vec::new());
        }
        measured.push((group, kinds));
    }
    let kinds: Vec<Vec<Kind>> = measured.iter().map(|(_, kinds)| kinds.clone()).collect();
    let as_rest = |group: &Group| kinds_of(group, &[REST]).first().map_or(0, |(_, bytes)| *bytes);
    let matrices: u64 = measured.iter().map(|(group, _)| as_rest(group)).sum();
    // What is neither in a group nor changes: header, norms and the like.
    let fixed = bytes_of(lab, REST)?.saturating_sub(matrices);
    let sizes: Vec<u64> = SIZES_OF.iter().map(|preset| bytes_of(lab, preset)).collect::<Result<_, _>>()?;
    let picks = picks(&frontier(&kinds), limits, lab.model.bytes, fixed, rest, &sizes);
    let mut works: Vec<Work> =
        picks.iter().map(|allocation| work(allocation, &measured, fixed, calibration)).collect();
    // Two may be of one size, to the megabyte.
    for at in 1..works.len() {
        if works[..at].iter().any(|other| other.candidate.name == works[at].candidate.name) {
            works[at].candidate.name.push_str(&format!("-{}", at + 1));
        }
    }
    Ok(works)
}

/// The size of a preset's file.
fn bytes_of(lab: &mut Lab<'_>, preset: &str) -> Result<u64, RunError> {
    let mut work = Work::new(preset, Recipe::preset(preset, None));
    work.plan(lab)?;
    Ok(work.candidate.bytes)
}

fn work(
    allocation: &Allocation,
    measured: &[(Group, Vec<Kind>)],
    fixed: u64,
    calibration: Option<Calibration>,
) -> Work {
    let typed = allocation.kinds.iter().zip(measured).map(|(at, (group, kinds))| (group, &kinds[*at]));
    let overrides = typed
        .filter(|(_, kind)| kind.dtype != REST)
        .map(|(group, kind)| (group.pattern.clone(), kind.dtype.clone()))
        .collect();
    let megabytes = (allocation.bytes + fixed) as f64 / 1e6;
    let name =
        if megabytes >= 10.0 { format!("mixed-{megabytes:.0}MB") } else { format!("mixed-{megabytes:.2}MB") };
    let mut work = Work::new(&name, Recipe { preset: REST.to_owned(), overrides, calibration });
    work.is_proposed = true;
    work
}

/// The allocations that are worth a measurement, each once.
fn picks(
    frontier: &[Allocation],
    limits: &Limits,
    source_bytes: u64,
    fixed: u64,
    rest: f64,
    sizes: &[u64],
) -> Vec<Allocation> {
    let by_ratio = limits.min_compression.map(|times| (source_bytes as f64 / times) as u64);
    let by_size = limits.max_size_bytes.into_iter().chain(by_ratio).min();
    let mut picks: Vec<&Allocation> = Vec::new();
    if let Some(percent) = limits.max_ppl_delta {
        let allowed = ln_ratio(percent);
        picks.extend(TRIALS.iter().filter_map(|times| within_divergence(frontier, times * allowed - rest)));
    }
    // The header grows by some bytes, for each tensor whose type is told.
    let inside = |bytes: u64| within_bytes(frontier, bytes.saturating_sub(fixed).saturating_sub(4096));
    picks.extend(by_size.and_then(inside));
    if picks.is_empty() {
        picks.extend(sizes.iter().filter_map(|bytes| inside(*bytes)));
    }
    let mut once: Vec<Allocation> = Vec::new();
    for pick in picks {
        if !once.iter().any(|other| other.kinds == pick.kinds) {
            once.push(pick.clone());
        }
    }
    once
}

/// A search on a text.
struct Search<'a> {
    text: &'a Text,
    /// Cut when the first of them is needed.
    windows: Vec<Window>,
    calibration: Option<Calibration>,
}

impl Search<'_> {
    /// What a group may be, and how much each adds to the divergence: measured of one type, and worked out for the others.
    fn kinds(
        &mut self,
        lab: &mut Lab<'_>,
        group: &Group,
        rest: f64,
        errors: &Distortions,
    ) -> Result<Vec<Kind>, RunError> {
        let of = |dtype: &str| errors.of(&group.tensors, dtype);
        let least = of(REST).unwrap_or(0.0);
        let possible: Vec<(String, u64, f64)> = kinds_of(group, &WANTED)
            .into_iter()
            .filter_map(|(dtype, bytes)| Some((of(&dtype)? - least, dtype, bytes)))
            .map(|(error, dtype, bytes)| (dtype, bytes, error.max(0.0)))
            .collect();
        let rest_bytes = possible.iter().find(|(dtype, ..)| dtype == REST).map_or(0, |(_, bytes, _)| *bytes);
        // Of about half the rest's size: with more bits there is little to be measured, with fewer the sum of small errors
        // is a rule no longer. Of these the one that loses the most: some lose nothing on a source that was dequantised.
        let probe = possible
            .iter()
            .filter(|(dtype, bytes, error)| dtype != REST && 2 * *bytes >= rest_bytes && *error > 0.0)
            .max_by(|one, other| one.2.total_cmp(&other.2));
        let scale = match probe {
            Some((dtype, _, error)) => (self.divergence(lab, Some((group, dtype)))? - rest).max(0.0) / error,
            None => 0.0,
        };
        let kind =
            |(dtype, bytes, error): (String, u64, f64)| Kind { dtype, bytes, divergence: scale * error };
        Ok(possible.into_iter().map(kind).collect())
    }

    /// The mean divergence from the source where one group has a type of its own, from the ledger or measured.
    fn divergence(&mut self, lab: &mut Lab<'_>, change: Option<(&Group, &str)>) -> Result<f64, RunError> {
        let overrides: Vec<(String, String)> =
            change.iter().map(|(group, dtype)| (group.pattern.clone(), (*dtype).to_owned())).collect();
        let rest = Recipe { preset: REST.to_owned(), overrides: Vec::new(), calibration: self.calibration };
        let key = Key::Sensitivity {
            group: change.map_or_else(String::new, |(group, _)| group.pattern.clone()),
            dtype: change.map_or(REST, |(_, dtype)| dtype).to_owned(),
            rest: rest.words(),
            engine: lab.engine_name().to_owned(),
            text: self.text.hash,
            windows: WINDOWS,
        };
        if let Some(known) = lab.ledger.find::<f64>(&key) {
            return Ok(known);
        }
        let recipe = Recipe { overrides, ..rest };
        if self.windows.is_empty() {
            self.windows = lab.search_windows(self.text, WINDOWS, WINDOW_TOKENS, SCORED_FROM)?;
        }
        let mut divergences: Vec<f64> = Vec::new();
        for (number, window) in self.windows.iter().enumerate() {
            let scored = lab.score(&recipe, self.text.hash, number, window)?;
            divergences.extend(scored.against.ok_or(EngineError::Answer)?.divergence);
        }
        lab.discard(&recipe)?;
        let mean = sum(divergences.iter().copied()) / divergences.len().max(1) as f64;
        lab.ledger.keep(&key, &mean)?;
        Ok(mean)
    }
}
