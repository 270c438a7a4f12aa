//! Candidates of outside tools: made and scored by them, measured as all others are.

use std::path::{Path, PathBuf};

use super::super::candidates::Backend;
use super::super::ledger::{Key, Made, Scored};
use super::super::outside::{Outside, OutsideError, Probed};
use super::lab::Lab;
use super::quality;
use super::work::Work;
use super::{Around, RunError, Wish};
use crate::engine::Window;
use crate::eval::Text;

/// Where a tool is, and what it works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// As candidates name it.
    pub name: String,
    /// Its virtual environment.
    pub venv: PathBuf,
    /// The script that speaks for it.
    pub script: PathBuf,
    /// The source as a checkpoint, which is what such tools read.
    pub source: Option<PathBuf>,
    /// A text for calibration.
    pub text: Option<PathBuf>,
}

/// A tool that runs, with a model that it made.
struct Running<'a> {
    outside: Outside,
    name: String,
    source: &'a Path,
    target: PathBuf,
}

/// Measures a candidate of a tool: its size and its quality. What goes wrong is a note.
///
/// # Errors
/// Those that concern the whole run.
pub fn measure(
    lab: &mut Lab<'_>,
    wish: &Wish,
    text: &Text,
    tool: &Tool,
    work: &mut Work,
    around: &Around<'_>,
) -> Result<(), RunError> {
    let Some(backend) = work.outside.clone() else { return Ok(()) };
    (around.tell)(&format!("{} of {}", work.candidate.name, tool.name));
    match attempt(lab, wish, text, tool, &backend, work, around) {
        Ok(()) => {
            work.note("quality and size only: another engine serves it");
            Ok(())
        }
        Err(RunError::Outside(error)) => {
            work.candidate.quality = None;
            work.note(&error.to_string());
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn attempt(
    lab: &mut Lab<'_>,
    wish: &Wish,
    text: &Text,
    tool: &Tool,
    backend: &Backend,
    work: &mut Work,
    around: &Around<'_>,
) -> Result<(), RunError> {
    let unfit = |why| RunError::Outside(OutsideError::Unfit(why));
    let source = tool.source.as_deref();
    let source =
        source.ok_or_else(|| unfit("the tool reads checkpoints in safetensors, and the source is none"))?;
    if backend.needs_text && tool.text.is_none() {
        return Err(unfit("it learns from text: --search-text FILE, another one than the evaluation's"));
    }
    let mut outside = Outside::start(&tool.venv, &tool.script)?;
    let probed = outside.probe()?;
    let name = format!("{} {} on {}", probed.tool, probed.version, probed.device);
    work.candidate.engine.clone_from(&name);
    let target = lab.directory(&work.candidate.recipe)?;
    let bytes = made(lab, &mut outside, &probed, tool, backend, source, &target, work)?;
    work.candidate.bytes = bytes;
    work.candidate.compression = lab.model.bytes as f64 / bytes as f64;
    if !work.is_small_enough(&wish.limits) {
        return Ok(());
    }
    let mut running = Running { outside, name, source, target };
    let recipe = work.candidate.recipe.clone();
    let mut score = |lab: &mut Lab<'_>, number: usize| running.window(lab, wish, text, &recipe, number);
    let found = quality::score(lab, wish, text, &mut score, around)?;
    let is_same = found.seen.iter().all(|window| window.ln_p == window.source_ln_p);
    if is_same && !found.seen.is_empty() {
        return Err(OutsideError::NotQuantised.into());
    }
    work.candidate.quality = quality::quality(&found, wish);
    Ok(())
}

/// Makes the model, or takes its size from what is known; then it is made when a window has to be scored.
#[expect(clippy::too_many_arguments, reason = "all of them are what one question to the tool is made of")]
fn made(
    lab: &mut Lab<'_>,
    outside: &mut Outside,
    probed: &Probed,
    tool: &Tool,
    backend: &Backend,
    source: &Path,
    target: &Path,
    work: &Work,
) -> Result<u64, RunError> {
    let key = Key::File { recipe: work.candidate.recipe.clone(), engine: work.candidate.engine.clone() };
    let bytes = outside.quantize(probed, backend, source, target, tool.text.as_deref())?;
    if lab.ledger.find::<Made>(&key).is_none() {
        lab.ledger.keep(&key, &Made { bytes, file: None })?;
    }
    Ok(bytes)
}

impl Running<'_> {
    /// One window, from the ledger or measured and kept; the source is scored by the same tool.
    fn window(
        &mut self,
        lab: &mut Lab<'_>,
        wish: &Wish,
        text: &Text,
        recipe: &str,
        number: usize,
    ) -> Result<Scored, RunError> {
        let key = Key::Window {
            recipe: recipe.to_owned(),
            engine: self.name.clone(),
            protocol: wish.protocol.to_string(),
            text: text.hash,
            window: number,
        };
        if let Some(known) = lab.ledger.find(&key) {
            return Ok(known);
        }
        let Window { tokens, scored_from } = lab.cut(wish, text)?[number].clone();
        let ln_p = self.outside.logprobs(&self.target, &tokens, scored_from)?;
        let source_ln_p = self.outside.logprobs(self.source, &tokens, scored_from)?;
        let known = Scored { ln_p, source_ln_p, divergence: None, same_top: None };
        lab.ledger.keep(&key, &known)?;
        Ok(known)
    }
}
