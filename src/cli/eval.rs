//! `git sparse eval`: how well a model predicts a text.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::subject::{self, Subject};
use super::{engine, report, watch};
use crate::daemon::message::{Failure, Kind};
use crate::daemon::place::Place;
use crate::daemon::words;
use crate::engine::{Engine, Loaded};
use crate::eval::{
    self, Comparison, Cut, EvalError, MAX_TEXT_BYTES, Measured, Protocol, Rule, Text, WIKITEXT2_TEST,
};

/// What WikiText-2 is called where it lies.
const WIKITEXT2_FILE: &str = "wikitext-2-raw-test.txt";

/// Measure how well a model predicts a text (perplexity), alone or against a baseline
#[derive(Debug, Args)]
pub struct Eval {
    /// The model: a GGUF file, a directory, REV:PATH, or org/name[@revision]
    model: String,
    /// The text, in UTF-8
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// A text by its name: wikitext2
    #[arg(long, value_name = "NAME", conflicts_with = "text")]
    dataset: Option<String>,
    /// How it is cut and scored: llama.cpp-512, gptq-2048, hf-stride-512 or lm-eval-words
    #[arg(long, default_value = "llama.cpp-512", value_parser = protocol)]
    protocol: Protocol,
    /// Tokens of a window, in place of the protocol's
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Tokens between the beginnings of two windows, in place of the protocol's
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Leave out the token that the model wants before a text
    #[arg(long)]
    no_bos: bool,
    /// Score the first windows only
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// A model to compare with, token by token on the same text
    #[arg(long, value_name = "MODEL")]
    baseline: Option<String>,
    /// Of the intervals
    #[arg(long, default_value_t = 0.95, value_parser = confidence)]
    confidence: f64,
    /// Threads of the engine [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = engine::thread_count)]
    threads: Option<u32>,
    /// Print one JSON document (schema git-sparse/eval/1)
    #[arg(long)]
    json: bool,
}

/// All that makes a figure what it is.
#[derive(Serialize)]
struct Document<'a> {
    model: About<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<About<'a>>,
    protocol: &'a str,
    text: TextAbout<'a>,
    engine: &'a str,
    processor: &'a str,
    threads: u32,
    confidence: f64,
    measured: &'a Measured,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

#[derive(Serialize)]
struct About<'a> {
    name: &'a str,
    description: &'a str,
    weights: String,
    bytes: u64,
}

#[derive(Serialize)]
struct TextAbout<'a> {
    name: &'a str,
    sha256: String,
    tokens: u64,
    begins_with_bos: bool,
}

impl Eval {
    pub fn run(self) -> Result<(), Failure> {
        let protocol = self.protocol()?;
        let (text_name, text) = self.text()?;
        let subject = subject::find(&self.model)?;
        let baseline = self.baseline.as_deref().map(subject::find).transpose()?;
        let threads = engine::threads(self.threads);
        let mut engine = engine::start()?;
        let loaded = engine::load(&mut engine, &subject, threads)?;
        let base =
            baseline.as_ref().map(|baseline| engine::load(&mut engine, baseline, threads)).transpose()?;
        if let Some(base) = &base {
            eval::same_vocabulary(&loaded, base).map_err(|error| failed(&error))?;
        }
        let protocol = protocol.within(loaded.context as usize);
        let cut = eval::cut(&mut engine, &loaded, &text, protocol, self.samples);
        let cut = cut.map_err(|error| failed(&error))?;
        let (measured, comparison) = self.measure(&mut engine, &loaded, base.as_ref(), &cut)?;
        let protocol = match text.is_wikitext2() {
            true => format!("wikitext2-raw/{protocol}"),
            false => protocol.to_string(),
        };
        let document = Document {
            model: about(&subject, &loaded),
            baseline: baseline.as_ref().zip(base.as_ref()).map(|(subject, loaded)| about(subject, loaded)),
            protocol: &protocol,
            text: TextAbout {
                name: &text_name,
                sha256: text.hash.to_string(),
                tokens: cut.tokens,
                begins_with_bos: cut.begins,
            },
            engine: &engine.hello().build,
            processor: &engine.hello().processor,
            threads,
            confidence: self.confidence,
            measured: &measured,
            comparison: comparison.as_ref(),
        };
        if self.json {
            report::json("eval", document);
        } else {
            say(&document, matches!(self.protocol.rule, Rule::Words));
        }
        Ok(())
    }

    /// The protocol with what was set otherwise.
    fn protocol(&self) -> Result<Protocol, Failure> {
        let zero =
            [("--max-length", self.max_length), ("--stride", self.stride), ("--samples", self.samples)];
        if let Some((name, _)) = zero.iter().find(|(_, value)| *value == Some(0)) {
            return Err(Failure::new(Kind::Usage, format!("{name} is 0")).fix("give a number above it"));
        }
        let mut protocol = self.protocol;
        protocol.window = self.max_length.or(protocol.window);
        protocol.stride = self.stride.or(protocol.stride);
        protocol.begins &= !self.no_bos;
        Ok(protocol)
    }

    /// The text and its name.
    fn text(&self) -> Result<(String, Text), Failure> {
        match (&self.text, self.dataset.as_deref()) {
            (Some(file), _) => Ok((file.display().to_string(), read(file)?)),
            (None, None | Some("wikitext2")) => Ok(("wikitext2".to_owned(), wikitext2()?)),
            (None, Some(other)) => {
                Err(Failure::new(Kind::Usage, format!("{other}: no text is known by this name"))
                    .fix("--dataset wikitext2, or --text FILE"))
            }
        }
    }

    fn measure(
        &self,
        engine: &mut Engine,
        model: &Loaded,
        base: Option<&Loaded>,
        cut: &Cut,
    ) -> Result<(Measured, Option<Comparison>), Failure> {
        let done = watch::steps("score", "windows", cut.windows.len() as u64, |progress| match base {
            None => Ok((eval::measure(engine, model.model, cut, progress)?, None)),
            Some(base) => {
                let compared = eval::compare(engine, model, base, cut, self.confidence, progress)?;
                Ok((compared.0, Some(compared.1)))
            }
        });
        done.map_err(|error: EvalError| failed(&error))
    }
}

/// A protocol's name that a user gives.
pub fn protocol(text: &str) -> Result<Protocol, String> {
    text.parse().map_err(|error: eval::UnknownProtocol| error.to_string())
}

/// A confidence that a user gives.
pub fn confidence(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.5..1.0).contains(value));
    value.ok_or_else(|| "expected a number from 0.5 up to, and not, 1, such as 0.95".into())
}

/// Reads a text.
pub fn read(path: &Path) -> Result<Text, Failure> {
    let len = fs::metadata(path).map_err(|error| words::file(path, &error))?.len();
    if len > MAX_TEXT_BYTES {
        let told = format!("{}: a text of {len} bytes; {MAX_TEXT_BYTES} at most are scored", path.display());
        return Err(Failure::new(Kind::Refused, told));
    }
    let bytes = fs::read(path).map_err(|error| words::file(path, &error))?;
    let content = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(Kind::Usage, format!("{}: byte {at} is no UTF-8", path.display()))
            .fix("convert it: iconv -t UTF-8")
    })?;
    if content.trim().is_empty() {
        return Err(Failure::new(Kind::Usage, format!("{}: the text is empty", path.display()))
            .fix("name a file with some pages of plain text: --text FILE"));
    }
    Ok(Text::new(content))
}

/// The test split of WikiText-2, from the directory for texts.
pub fn wikitext2() -> Result<Text, Failure> {
    let place = Place::from_environment()?.cache.join("texts").join(WIKITEXT2_FILE);
    if !place.exists() {
        let told = format!("the raw test split of WikiText-2 is not at {}", place.display());
        return Err(Failure::new(Kind::NotFound, told).fix(
            "put wiki.test.raw of wikitext-2-raw-v1 there under that name, or measure another text: --text FILE",
        ));
    }
    let text = read(&place)?;
    match text.is_wikitext2() {
        true => Ok(text),
        false => {
            let told = format!(
                "{} is not the raw test split of WikiText-2: its SHA-256 is {}, expected {WIKITEXT2_TEST}",
                place.display(),
                text.hash
            );
            Err(Failure::new(Kind::Corrupt, told)
                .fix("figures of another text go by another name: --text FILE"))
        }
    }
}

fn about<'a>(subject: &'a Subject, loaded: &'a Loaded) -> About<'a> {
    About {
        name: &subject.name,
        description: &loaded.description,
        weights: subject.weights.to_string(),
        bytes: subject.bytes,
    }
}

fn say(document: &Document<'_>, by_word: bool) {
    let measured = document.measured;
    let row = |name: &str, measured: &Measured| {
        let bits = measured.bits_per_byte.map_or("-".to_owned(), |bits| format!("{bits:.4}"));
        let error = measured.window_standard_error.unwrap_or(measured.standard_error);
        vec![
            name.to_owned(),
            format!("{:.4}", measured.perplexity),
            format!("{:.4}", measured.standard_error),
            format!("{error:.4}"),
            bits,
        ]
    };
    let by = if by_word { ">perplexity by word" } else { ">perplexity" };
    let head = ["model", by, ">± of tokens", ">± of windows", ">bits per byte"];
    let mut rows = vec![row(document.model.name, measured)];
    if let (Some(about), Some(comparison)) = (&document.baseline, document.comparison) {
        rows.insert(0, row(about.name, &comparison.baseline));
    }
    report::table(&head, rows);
    if let Some(comparison) = document.comparison {
        let increase = comparison.increase_percent;
        report::say(&format!(
            "against the baseline: perplexity {:+.3} % (from {:+.3} to {:+.3} at {:.0} %), KL divergence {:.6}, same first \
             choice {:.2} %, logits differ by {:.3} at most, {:.5} in the mean",
            increase.value,
            increase.low,
            increase.high,
            100.0 * document.confidence,
            comparison.divergence,
            100.0 * comparison.same_top,
            comparison.max_logit,
            comparison.mean_logit,
        ));
    }
    let text = &document.text;
    report::say(&format!(
        "{} of {} in {}, {}; text SHA-256 {:.12}…, begin token {}; {}",
        report::count(measured.scored_tokens, "scored token"),
        report::count(text.tokens, "token"),
        report::count(measured.windows, "window"),
        document.protocol,
        text.sha256,
        if text.begins_with_bos { "added" } else { "none" },
        document.engine,
    ));
}

/// A measurement that failed, in words.
pub fn failed(error: &EvalError) -> Failure {
    let message = error.to_string();
    match error {
        EvalError::Engine(error) => engine::failed(error),
        EvalError::Text(_) => Failure::new(Kind::Usage, message)
            .fix("give a longer text, or shorter windows: --max-length N (another protocol by name)"),
        EvalError::Window { trained, .. } => Failure::new(Kind::Usage, message)
            .fix(format!("give windows that it can read: --max-length {trained}")),
        EvalError::NoBegin(_) => Failure::new(Kind::Usage, message).fix("choose another --protocol"),
        EvalError::Vocabulary { .. } => {
            Failure::new(Kind::Refused, message).fix("evaluate each alone, and compare their bits per byte")
        }
        EvalError::Cancelled(_) => Failure::new(Kind::Interrupted, "interrupted; nothing was left behind"),
        EvalError::Perplexity(_) | EvalError::Paired(_) => Failure::new(Kind::Corrupt, message),
    }
}
