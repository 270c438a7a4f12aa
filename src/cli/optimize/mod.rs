//! `git sparse optimize MODEL`: the cheapest variant that is good enough, by what was measured.

mod apply;
mod check;
mod hardware;
pub mod machine;
mod output;
mod tools;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::subject::{self, Subject};
use super::{engine, eval, interrupt, report};
use crate::artifact::Staging;
use crate::daemon::message::{Failure, Kind};
use crate::daemon::place::Place;
use crate::engine::Engine;
use crate::eval::{Protocol, Text};
use crate::id::Oid;
use crate::optimize::candidates::{BUILT_IN, Catalogue, Made, Named};
use crate::optimize::choice::Choice;
use crate::optimize::ledger::Ledger;
use crate::optimize::limits::Limits;
use crate::optimize::report::{Calibration as Learned, Hardware, Report, SCHEMA, Source};
use crate::optimize::run::{self, Around, Calibration, Lab, Model, Outcome, Recipe, RunError, Wish, Work};
use crate::prices::{Hourly, Today};
use crate::progress::Cancelled;

/// Windows after which a candidate is left undecided, unless --eval-samples says how many there are.
const MOST_WINDOWS: usize = 64;
/// Times of tokens, and as many as a p99 needs.
const SAMPLES: usize = 192;
const SAMPLES_OF_TAIL: usize = 512;
/// The order of windows is the same in each run, or nothing would be measured only once.
const SEED: u64 = 1;

/// Find the cheapest variant of a model that keeps your limits: measured, not guessed
#[derive(Debug, Args)]
pub struct Optimize {
    /// The model: a GGUF file, a directory, REV:PATH, or org/name[@revision]
    model: String,
    /// The perplexity may grow by at most so many percent
    #[arg(long, value_name = "PCT", allow_hyphen_values = true)]
    max_ppl_delta: Option<f64>,
    /// The median token may take so many ms
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    max_latency_ms: Option<f64>,
    /// 99 of 100 tokens may take so many ms
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    max_latency_p99_ms: Option<f64>,
    /// So many tokens must be written a second
    #[arg(long, value_name = "TPS", allow_hyphen_values = true)]
    min_throughput_tps: Option<f64>,
    /// The engine may need so many GB (10^9 bytes) of memory
    #[arg(long, value_name = "GB", allow_hyphen_values = true)]
    max_memory_gb: Option<f64>,
    /// The file must be so many times smaller than the source
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    min_compression: Option<f64>,
    /// The file may take so much, as 1.5GB
    #[arg(long, value_name = "SIZE", value_parser = super::savings::size, allow_hyphen_values = true)]
    max_size: Option<u64>,
    /// The machine's name in the price file
    #[arg(long, value_name = "NAME")]
    hardware: Option<String>,
    /// Prices by the hour (docs/optimize.md, "Prices"); without, the smallest file wins
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Count prices that are older than 90 days, too
    #[arg(long)]
    allow_stale: bool,
    /// What to try: names and groups with commas between; --candidates help lists them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    candidates: Vec<String>,
    /// A file of candidates in place of the one that is built in
    #[arg(long, value_name = "FILE")]
    candidates_file: Option<PathBuf>,
    /// An outside tool and its virtual environment, as hqq=/opt/venv
    #[arg(long, value_name = "NAME=VENV")]
    backend: Vec<String>,
    /// The text of the evaluation, in UTF-8 [default: WikiText-2]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Another text, to learn from: which inputs matter (importance matrix), mixed precision, calibration of tools
    #[arg(long, value_name = "FILE")]
    search_text: Option<PathBuf>,
    /// Learn from no text: no importance matrix, no mixed precision, no tools that are calibrated
    #[arg(long)]
    no_calibration: bool,
    /// How the text is cut and scored (git sparse eval --help)
    #[arg(long, default_value = "llama.cpp-512", value_parser = protocol)]
    protocol: Protocol,
    /// Tokens of a window, in place of the protocol's
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Of intervals and verdicts
    #[arg(long, default_value_t = 0.95, value_parser = eval::confidence)]
    confidence: f64,
    /// The evaluation is the first N windows of the text [default: all, of which at most 64 are drawn]
    #[arg(long, value_name = "N")]
    eval_samples: Option<usize>,
    /// Times of tokens to measure, 0 for none [default: 192, or 512 for a p99]
    #[arg(long, value_name = "N")]
    benchmark_samples: Option<usize>,
    /// Threads of the engine [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = engine::thread_count)]
    threads: Option<u32>,
    /// Stop measuring after so long, as 90s, 20m or 2h, and decide by what there is
    #[arg(long, value_name = "TIME", value_parser = machine::duration)]
    max_time: Option<Duration>,
    /// Refuse to begin anew: earlier measurements of this model are always used, and with this there must be some
    #[arg(long)]
    resume: bool,
    /// Measure the choice in the report of -o DIR again: 1 if it no longer keeps the limits
    #[arg(long, requires = "output", conflicts_with = "apply")]
    check: bool,
    /// Write the chosen variant into -o DIR, and store it as a recipe or delta of its source
    #[arg(long, requires = "output")]
    apply: bool,
    /// A directory for report.json, report.md and picture.svg
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print one JSON document (schema git-sparse/optimize/1)
    #[arg(long)]
    json: bool,
}

/// Everything that a run needs and the arguments name.
struct Ready {
    wish: Wish,
    text: Text,
    search: Option<Text>,
    hourly: Option<Hourly>,
    hardware: Hardware,
}

/// The winner's file, as it was written.
struct Applied {
    path: PathBuf,
    hash: Oid,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    text.parse().map_err(|error: crate::eval::UnknownProtocol| error.to_string())
}

impl Optimize {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let catalogue = self.catalogue()?;
        if self.candidates.iter().any(|name| name == "help") {
            output::list(&catalogue);
            return Ok(ExitCode::SUCCESS);
        }
        let backends = self.backends()?;
        let chosen: Vec<Named> = match self.check {
            true => Vec::new(),
            false => {
                let names: Vec<String> = backends.iter().map(|backend| backend.name.clone()).collect();
                self.chosen(&catalogue, &names)?
            }
        };
        let ready = self.ready()?;
        let subject = subject::find(&self.model)?;
        let committed = self.check.then(|| check::read(self.dir(), &subject)).transpose()?;
        let (report, outcome) = self.measure(&ready, &subject, &chosen, &backends, committed.as_ref())?;
        let infeasible = output::say(&report, &outcome.choice, self.json, self.check);
        if let Some(dir) = &self.output
            && !self.check
        {
            output::write(dir, &report, &outcome.choice, &ready.wish.limits)?;
        }
        Ok(if infeasible { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn dir(&self) -> &std::path::Path {
        self.output.as_deref().expect("because clap requires it")
    }

    fn catalogue(&self) -> Result<Catalogue, Failure> {
        let text = match &self.candidates_file {
            None => BUILT_IN.to_owned(),
            Some(path) => machine::small_file(path)?,
        };
        let from =
            self.candidates_file.as_ref().map_or_else(String::new, |path| format!("{}: ", path.display()));
        Catalogue::parse(&text).map_err(|error| Failure::new(Kind::Usage, format!("{from}{error}")))
    }

    fn chosen(&self, catalogue: &Catalogue, backends: &[String]) -> Result<Vec<Named>, Failure> {
        let found = catalogue.select(&self.candidates, backends).map_err(|error| {
            Failure::new(Kind::Usage, error.to_string()).fix("git sparse optimize MODEL --candidates help")
        })?;
        Ok(found.into_iter().cloned().collect())
    }

    /// The back ends that were given.
    fn backends(&self) -> Result<Vec<tools::Named>, Failure> {
        self.backend.iter().map(|backend| tools::parse(backend)).collect()
    }

    fn ready(&self) -> Result<Ready, Failure> {
        let limits = self.limits()?;
        for (name, value) in [("--max-length", self.max_length), ("--eval-samples", self.eval_samples)] {
            if value == Some(0) {
                return Err(Failure::new(Kind::Usage, format!("{name} is 0")).fix("give a number above it"));
            }
        }
        let text = match &self.text {
            Some(path) => eval::read(path)?,
            None => eval::wikitext2()?,
        };
        let search = self.search_text.as_deref().map(eval::read).transpose()?;
        let search = search.filter(|_| !self.no_calibration);
        if search.as_ref().is_some_and(|search| search.hash == text.hash) {
            return Err(failed(&RunError::SameText));
        }
        let threads = engine::threads(self.threads);
        let fingerprint = machine::fingerprint();
        let hardware::Priced { hourly, elsewhere, name } = self.priced(&fingerprint)?;
        let of_tail = limits.max_latency_p99_ms.is_some();
        let samples = self.benchmark_samples.unwrap_or(if of_tail { SAMPLES_OF_TAIL } else { SAMPLES });
        if hourly.is_some() && samples == 0 {
            let told =
                "--prices with --benchmark-samples 0: costs follow from times, and none would be measured";
            return Err(Failure::new(Kind::Usage, told).fix("leave out one of the two"));
        }
        let mut protocol = self.protocol;
        protocol.window = self.max_length.or(protocol.window);
        let wish = Wish {
            limits,
            confidence: self.confidence,
            protocol,
            windows: self.eval_samples,
            most_windows: self.eval_samples.unwrap_or(MOST_WINDOWS),
            samples,
            threads,
            hardware: fingerprint.clone(),
            elsewhere,
            seed: SEED,
        };
        Ok(Ready { wish, text, search, hourly, hardware: Hardware { name, fingerprint, threads } })
    }

    fn priced(&self, fingerprint: &str) -> Result<hardware::Priced, Failure> {
        let today = Today { day: machine::now() / 86_400, allow_stale: self.allow_stale };
        hardware::priced(self.prices.as_deref(), self.hardware.as_deref(), today, fingerprint)
    }

    fn limits(&self) -> Result<Limits, Failure> {
        let limits = Limits {
            max_ppl_delta: self.max_ppl_delta,
            max_latency_ms: self.max_latency_ms,
            max_latency_p99_ms: self.max_latency_p99_ms,
            min_throughput_tps: self.min_throughput_tps,
            // What is no number above 0 becomes 0, and is refused as that.
            max_memory_bytes: self.max_memory_gb.map(|gigabytes| (gigabytes * 1e9) as u64),
            min_compression: self.min_compression,
            max_size_bytes: self.max_size,
        };
        limits.checked().map_err(|error| Failure::new(Kind::Usage, error.to_string()))
    }

    fn measure(
        &self,
        ready: &Ready,
        subject: &Subject,
        chosen: &[Named],
        backends: &[tools::Named],
        committed: Option<&check::Committed>,
    ) -> Result<(Report, Outcome), Failure> {
        let place = Place::from_environment()?;
        let ledger = Ledger::open(&place.store.join("measurements"), subject.weights)
            .map_err(|error| failed(&RunError::Ledger(error)))?;
        if self.resume {
            resume(&ledger, subject)?;
        }
        let scratch = Staging::begin(&std::env::temp_dir().join("git-sparse-optimize"))
            .map_err(|error| Failure::new(Kind::Fatal, error.to_string()))?;
        let tools = tools::prepare(backends, scratch.path(), subject.checkpoint(), self.search_text.clone())?;
        // What the engine or the source said of itself, with its fix.
        let told: RefCell<Option<Failure>> = RefCell::new(None);
        let gguf = || {
            subject.gguf().map_err(|failure| {
                let message = failure.message.clone();
                told.replace(Some(failure));
                message
            })
        };
        let program = engine::program()?;
        let start = || Engine::start(&program);
        let model = Model { gguf: &gguf, weights: subject.weights, bytes: subject.bytes };
        let mut lab = Lab::open(model, ledger, scratch.path(), &start, ready.wish.threads)
            .map_err(|error| engine::failed(&error))?;
        if let Some(search) = &ready.search {
            lab.teach(search.clone());
        }
        let (begun, interrupted) = (Instant::now(), interrupt::flag());
        let bar = machine::Bar::new();
        let around = Around {
            load: &machine::foreign_threads,
            is_late: &|| self.max_time.is_some_and(|most| begun.elapsed() >= most),
            tell: &|what| bar.tell(what),
            progress: &|_| match interrupted.load(std::sync::atomic::Ordering::Relaxed) {
                true => Err(Cancelled),
                false => Ok(()),
            },
        };
        let mut go = || -> Result<(Report, Outcome, Option<Applied>), RunError> {
            let works = match committed {
                Some(committed) => {
                    committed.adopt(&mut lab, self.dir())?;
                    vec![committed.work()]
                }
                None => self.works(&mut lab, ready, chosen, backends, &around)?,
            };
            let mut outcome =
                run::run(&mut lab, &ready.wish, &ready.text, works, &tools, ready.hourly, &around)?;
            let applied = self.settle(&mut lab, &mut outcome, subject, committed, &around)?;
            Ok((report_of(&mut lab, ready, subject, &outcome)?, outcome, applied))
        };
        let done = go();
        bar.clear();
        let (report, outcome, applied) =
            done.map_err(|error| told.take().unwrap_or_else(|| failed(&error)))?;
        if let Some(Applied { path, hash }) = applied {
            let stored = apply::store(&path, hash, subject)?;
            report::note(&format!("{}: stored in {}", path.display(), report::bytes(stored)));
        }
        Ok((report, outcome))
    }

    /// The candidates, as work to be done.
    fn works(
        &self,
        lab: &mut Lab<'_>,
        ready: &Ready,
        chosen: &[Named],
        backends: &[tools::Named],
        around: &Around<'_>,
    ) -> Result<Vec<Work>, RunError> {
        let mut works = Vec::new();
        let calibration = ready.search.as_ref().map(Calibration::of);
        for named in chosen {
            match &named.made {
                Made::Preset(preset) => {
                    works.push(Work::new(&named.name, Recipe::preset(preset, calibration)));
                }
                Made::Mixed if self.no_calibration => {
                    works.push(Work::missing(named, "left out by --no-calibration"));
                }
                Made::Mixed => match &ready.search {
                    Some(search) => {
                        let found = run::propose(lab, search, &ready.text, &ready.wish.limits, calibration, around)?;
                        works.extend(found);
                    }
                    None => works.push(Work::missing(
                        named,
                        "mixed precision is searched on another text than that of the evaluation: --search-text FILE",
                    )),
                },
                Made::Backend(backend) if backend.needs_text && self.no_calibration => {
                    works.push(Work::missing(named, "left out by --no-calibration"));
                }
                Made::Backend(backend) if backends.iter().any(|given| given.name == backend.name) => {
                    works.push(Work::outside(&named.name, backend));
                }
                Made::Backend(backend) => {
                    let why = format!("the back end {0} is not there: --backend {0}=VENV", backend.name);
                    works.push(Work::missing(named, &why));
                }
            }
        }
        Ok(works)
    }

    /// What is done with the winner's file: it is compared with the committed one, or written.
    fn settle(
        &self,
        lab: &mut Lab<'_>,
        outcome: &mut Outcome,
        subject: &Subject,
        committed: Option<&check::Committed>,
        around: &Around<'_>,
    ) -> Result<Option<Applied>, RunError> {
        let Choice::Chosen(at) = outcome.choice else { return Ok(None) };
        let Some(recipe) = outcome.recipes[at].clone() else { return Ok(None) };
        if !self.apply && committed.is_none() {
            return Ok(None);
        }
        lab.learn(&recipe, around)?;
        let made = lab.make(&recipe)?;
        let hash = machine::hash(&made)?;
        outcome.candidates[at].file = Some(hash);
        match committed {
            Some(committed) => committed.compare(hash).map(|()| None),
            None => {
                let path = apply::write(self.dir(), &made, subject, &outcome.candidates[at].name)?;
                if let Some(calibration) = recipe.calibration {
                    apply::write_matrix(self.dir(), &lab.matrix(calibration))?;
                }
                Ok(Some(Applied { path, hash }))
            }
        }
    }
}

/// `--resume`: there must be something to go on from.
fn resume(ledger: &Ledger, subject: &Subject) -> Result<(), Failure> {
    if ledger.is_empty() {
        let told = format!("{}: nothing was measured of these weights in this store", subject.name);
        return Err(Failure::new(Kind::NotFound, told)
            .fix("begin without --resume; or name the store of the earlier run (GIT_SPARSE_DIR)"));
    }
    report::note(&format!("{} measurements of these weights are there already", ledger.len()));
    Ok(())
}

/// The document that lies beside the winner.
fn report_of(
    lab: &mut Lab<'_>,
    ready: &Ready,
    subject: &Subject,
    outcome: &Outcome,
) -> Result<Report, RunError> {
    let survey = lab.survey()?.clone();
    let chosen = match outcome.choice {
        Choice::Chosen(at) => Some(outcome.candidates[at].name.clone()),
        Choice::Infeasible(_) => None,
    };
    let protocol = match ready.text.is_wikitext2() {
        true => format!("wikitext2-raw/{}", ready.wish.protocol),
        false => ready.wish.protocol.to_string(),
    };
    Ok(Report {
        schema: SCHEMA.to_owned(),
        source: Source {
            name: subject.name.clone(),
            weights: subject.weights,
            bytes: subject.bytes,
            dtype: survey.dtype,
            dequantised_from: survey.dequantised_from,
        },
        engine: lab.engine_name().to_owned(),
        hardware: ready.hardware.clone(),
        protocol,
        text: ready.text.hash,
        confidence: ready.wish.confidence,
        calibration: learned(lab, outcome),
        candidates: outcome.candidates.clone(),
        chosen,
        measured_at: machine::now().max(0) as u64,
    })
}

/// What the candidates of the engine learned from, where any did.
fn learned(lab: &Lab<'_>, outcome: &Outcome) -> Option<Learned> {
    let mut calibrations = outcome.recipes.iter().flatten().filter_map(|recipe| recipe.calibration);
    calibrations.find_map(|calibration| {
        let known = lab.known(calibration)?;
        Some(Learned { text: calibration.text, tokens: known.tokens, matrix: known.matrix })
    })
}

/// A run that failed, in words.
fn failed(error: &RunError) -> Failure {
    let message = error.to_string();
    match error {
        RunError::Engine(error) => engine::failed(error),
        RunError::Eval(error) => eval::failed(error),
        RunError::Ledger(_) => {
            Failure::new(Kind::Fatal, message).fix("make room, and run it again: what was measured is kept")
        }
        RunError::File { .. } | RunError::Outside(_) => Failure::new(Kind::Fatal, message),
        RunError::SameText => Failure::new(Kind::Usage, message).fix("give another text: --search-text FILE"),
        RunError::Untaught { .. } => Failure::new(Kind::NotFound, message)
            .fix("give that text: --search-text FILE; or the file importance.imatrix beside the report"),
        RunError::Source(_) => Failure::new(Kind::Refused, message),
        RunError::Changed { .. } => {
            Failure::new(Kind::Refused, message).fix("apply it anew: git sparse optimize … --apply -o DIR")
        }
        RunError::Cancelled(_) => Failure::new(Kind::Interrupted, "interrupted; what was measured is kept"),
    }
}
