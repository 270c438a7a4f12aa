//! The measurement itself: a text through a model, window by window, alone or beside a baseline.

use serde::Serialize;

use super::protocol::{Placed, Protocol, Rule, TooShort};
use super::text::{Document, Text};
use crate::engine::{Baseline, Engine, EngineError, Loaded, ModelId, Scored, Token, Window};
use crate::progress::{Cancelled, Progress};
use crate::statistics::paired::{Paired, PairedError};
use crate::statistics::perplexity::{PerplexityError, perplexity};
use crate::statistics::{self, Interval};

/// Resamples of the bootstrap; its ends move by about a hundredth of the interval from seed to seed.
const RESAMPLES: usize = 4000;
/// Tokens of one question to the engine: less than a second's work of a small model.
const TOKENS_AT_ONCE: usize = 2048;
/// Of the bootstrap: the same measurement says the same.
const SEED: u64 = 1;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error("{0}")]
    Text(#[from] TooShort),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Perplexity(#[from] PerplexityError),
    #[error("{0}")]
    Paired(#[from] PairedError),
    #[error("the model wants no token before a text, and has none that ends one: {0} can't be done with it")]
    NoBegin(Protocol),
    #[error(
        "{model} and {baseline} have other vocabularies ({model_tokens} and {baseline_tokens} tokens, or other texts of \
         them), and can't be compared token by token"
    )]
    Vocabulary { model: String, baseline: String, model_tokens: u32, baseline_tokens: u32 },
    /// Beyond what it was trained for a model is another one.
    #[error("windows of {window} tokens: the model was trained to read {trained}")]
    Window { window: usize, trained: u32 },
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// The windows of a text for one vocabulary.
#[derive(Debug, Clone)]
pub struct Cut {
    pub windows: Vec<Window>,
    /// Tokens of the whole text, with none added.
    pub tokens: u64,
    /// Bytes of text that the scored tokens of each window stand for.
    pub scored_bytes: Vec<u64>,
    /// Words of the text as it was published, where the protocol counts them, and its bytes.
    pub words: Option<(u64, u64)>,
    /// Whether a begin token was put before texts.
    pub begins: bool,
}

/// What was found of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// By token, or by word where the protocol says so.
    pub perplexity: f64,
    /// Of the perplexity, with tokens taken as independent.
    pub standard_error: f64,
    /// Of the perplexity, with only windows taken as independent, which is nearer to the truth.
    pub window_standard_error: Option<f64>,
    pub bits_per_byte: Option<f64>,
    pub windows: u64,
    pub scored_tokens: u64,
}

/// What was found of a model beside its baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub baseline: Measured,
    /// By how much the perplexity is above the baseline's, in percent, by a bootstrap of windows.
    pub increase_percent: Interval,
    /// Mean Kullback-Leibler divergence from the baseline, in nats.
    pub divergence: f64,
    /// Share of tokens where both find the same one the most likely.
    pub same_top: f64,
    /// The largest difference of two logits.
    pub max_logit: f64,
    /// The mean difference of two logits.
    pub mean_logit: f64,
}

/// Cuts a text into the windows of a protocol; of more than `most`, the first.
pub fn cut(
    engine: &mut Engine,
    model: &Loaded,
    text: &Text,
    protocol: Protocol,
    most: Option<usize>,
) -> Result<Cut, EvalError> {
    let begin = match protocol.rule {
        // The harness conditions the first token on the end of a text where a model has no beginning.
        Rule::Words => Some(model.begin.or(model.end).ok_or(EvalError::NoBegin(protocol))?),
        _ => model.begin,
    };
    if let Some(window) = protocol.window.filter(|window| *window > model.context as usize) {
        return Err(EvalError::Window { window, trained: model.context });
    }
    let mut cut = Cut {
        windows: Vec::new(),
        tokens: 0,
        scored_bytes: Vec::new(),
        words: None,
        begins: begin.is_some() && protocol.begins,
    };
    for document in text.documents(protocol.rule) {
        add(&mut cut, engine, model, &document, protocol, begin)?;
        if most.is_some_and(|most| cut.windows.len() >= most) {
            break;
        }
    }
    // Words are counted by article, so an article is scored whole or not at all.
    if let (Some(most), None) = (most, cut.words) {
        cut.windows.truncate(most);
        cut.scored_bytes.truncate(most);
    }
    if cut.windows.is_empty() { Err(TooShort::Empty.into()) } else { Ok(cut) }
}

fn add(
    cut: &mut Cut,
    engine: &mut Engine,
    model: &Loaded,
    document: &Document,
    protocol: Protocol,
    begin: Option<Token>,
) -> Result<(), EvalError> {
    let tokens = engine.tokenize(model.model, &document.text, false)?;
    let windows = protocol.windows(&tokens.tokens, begin, model.context as usize)?;
    cut.tokens += tokens.tokens.len() as u64;
    // A begin token is none of the text's bytes.
    let added = usize::from(begin.is_some() && protocol.begins);
    let sizes: Vec<u64> =
        std::iter::repeat_n(0, added).chain(tokens.bytes.iter().map(|bytes| u64::from(*bytes))).collect();
    for Placed { window, at } in windows {
        let scored = at + window.scored_from..at + window.tokens.len();
        cut.scored_bytes.push(sizes.get(scored).unwrap_or_default().iter().sum());
        cut.windows.push(window);
    }
    if let Some(words) = document.words {
        let (all, bytes) = cut.words.unwrap_or_default();
        cut.words = Some((all + words, bytes + document.bytes));
    }
    Ok(())
}

/// Scores the windows of a model.
pub fn measure(
    engine: &mut Engine,
    model: ModelId,
    cut: &Cut,
    progress: &Progress<'_>,
) -> Result<Measured, EvalError> {
    let ln_p = score(engine, model, cut, None, progress)?.into_iter().map(|scored| scored.ln_p);
    measured(&ln_p.collect::<Vec<_>>(), cut)
}

/// Scores the windows of a model and of its baseline, both at the same time: nothing of them is written down.
pub fn compare(
    engine: &mut Engine,
    model: &Loaded,
    baseline: &Loaded,
    cut: &Cut,
    confidence: f64,
    progress: &Progress<'_>,
) -> Result<(Measured, Comparison), EvalError> {
    same_vocabulary(model, baseline)?;
    let scored = score(engine, model.model, cut, Some(Baseline::Model(baseline.model)), progress)?;
    let mut ln_p = Vec::with_capacity(scored.len());
    let mut compared = Vec::with_capacity(scored.len());
    for window in scored {
        ln_p.push(window.ln_p);
        compared.extend(window.against);
    }
    let base: Vec<&[f64]> = compared.iter().map(|window| window.ln_p.as_slice()).collect();
    let of_model: Vec<&[f64]> = ln_p.iter().map(Vec::as_slice).collect();
    let paired = Paired::new(&of_model, &base)?;
    let tokens = paired.scored_tokens() as f64;
    let same = compared.iter().flat_map(|window| &window.same_top).filter(|same| **same).count();
    let divergence = compared.iter().flat_map(|window| window.divergence.iter().copied());
    let mean_logit = compared.iter().map(|window| window.mean_logit * window.ln_p.len() as f64);
    let comparison = Comparison {
        baseline: measured(&base, cut)?,
        increase_percent: paired.bootstrap(confidence, RESAMPLES, SEED).map(statistics::percent),
        divergence: statistics::sum(divergence) / tokens,
        same_top: same as f64 / tokens,
        max_logit: compared.iter().map(|window| window.max_logit).fold(0.0, f64::max),
        mean_logit: statistics::sum(mean_logit) / tokens,
    };
    Ok((measured(&ln_p, cut)?, comparison))
}

/// What two models say of one prompt, and of what follows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub tokens: u64,
    /// The largest difference of two logits.
    pub max_logit: f64,
    /// The mean difference of two logits.
    pub mean_logit: f64,
    /// Mean Kullback-Leibler divergence from the baseline, in nats.
    pub divergence: f64,
    /// Share of tokens after which both find the same one the most likely.
    pub same_top: f64,
}

/// Compares all logits after each token of a prompt; also after its last one, where an answer begins.
pub fn prompt(
    engine: &mut Engine,
    model: &Loaded,
    baseline: &Loaded,
    text: &str,
) -> Result<Answer, EvalError> {
    let tokens = engine.tokenize(model.model, text, false)?.tokens;
    let tokens: Vec<Token> = model.begin.into_iter().chain(tokens).collect();
    let count = tokens.len() as u64;
    // Any token will do at the end: its own probability is not looked at.
    let Some(last) = tokens.last().copied() else { return Err(TooShort::Empty.into()) };
    let window = Window { tokens: [tokens, vec![last]].concat(), scored_from: 1 };
    let scored = engine.score(model.model, &[window], Some(Baseline::Model(baseline.model)))?;
    let compared = scored.into_iter().next().and_then(|scored| scored.against).ok_or(EngineError::Answer)?;
    let same = compared.same_top.iter().filter(|same| **same).count();
    Ok(Answer {
        tokens: count,
        max_logit: compared.max_logit,
        mean_logit: compared.mean_logit,
        divergence: statistics::sum(compared.divergence) / count as f64,
        same_top: same as f64 / count as f64,
    })
}

/// Refuses to compare models whose tokens are not the same texts.
pub fn same_vocabulary(model: &Loaded, baseline: &Loaded) -> Result<(), EvalError> {
    if model.vocabulary_hash == baseline.vocabulary_hash && model.vocabulary == baseline.vocabulary {
        return Ok(());
    }
    Err(EvalError::Vocabulary {
        model: model.description.clone(),
        baseline: baseline.description.clone(),
        model_tokens: model.vocabulary,
        baseline_tokens: baseline.vocabulary,
    })
}

/// A few windows after the other, so that progress is seen and the work can be stopped.
fn score(
    engine: &mut Engine,
    model: ModelId,
    cut: &Cut,
    against: Option<Baseline>,
    progress: &Progress<'_>,
) -> Result<Vec<Scored>, EvalError> {
    let mut scored = Vec::with_capacity(cut.windows.len());
    let longest = cut.windows.iter().map(|window| window.tokens.len()).max().unwrap_or(1);
    for windows in cut.windows.chunks((TOKENS_AT_ONCE / longest).max(1)) {
        scored.extend(engine.score(model, windows, against)?);
        progress(windows.len() as u64)?;
    }
    Ok(scored)
}

/// What ln p of all windows comes to.
pub fn measured<W: AsRef<[f64]>>(ln_p: &[W], cut: &Cut) -> Result<Measured, EvalError> {
    let found = perplexity(ln_p)?;
    let (by, bytes) = match cut.words {
        None => (found.scored_tokens, cut.scored_bytes.iter().sum()),
        Some((words, bytes)) => (words.max(1), bytes),
    };
    // By word, the sum of all is divided by fewer.
    let share = found.scored_tokens as f64 / by as f64;
    let value = if cut.words.is_none() { found.value } else { (found.nats_per_token * share).exp() };
    // An error of the mean of ln p grows by the same share, and becomes one of `value` by its slope there.
    let error = |error: f64| error / found.value * share * value;
    Ok(Measured {
        perplexity: value,
        standard_error: error(found.standard_error),
        window_standard_error: found.window_standard_error.map(error),
        bits_per_byte: found.bits_per_byte(bytes),
        windows: ln_p.len() as u64,
        scored_tokens: found.scored_tokens,
    })
}
