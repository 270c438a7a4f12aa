//! The place where things are measured: an engine with the source in it, started when the first measurement needs it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::super::ledger::{Key, Ledger, Made, Windows};
use super::super::survey::{Survey, survey};
use super::{Calibration, RunError, Wish, Work, work::Recipe};
use crate::engine::{
    Baseline, Distort, Engine, EngineError, HeldId, Importance, Loaded, ModelId, Planned, Quantize, Scored,
    Window,
};
use crate::eval::{self, EvalError, Text, TooShort};
use crate::format::OpenFile;
use crate::id::Oid;

/// Starts another engine.
pub type Start<'a> = dyn Fn() -> Result<Engine, EngineError> + 'a;

/// The source.
pub struct Model<'a> {
    /// The file that the engine loads, which may have to be made first; an error in words.
    pub gguf: &'a dyn Fn() -> Result<PathBuf, String>,
    pub weights: Oid,
    /// Of its files, as the user has them.
    pub bytes: u64,
}

/// An engine, the source, and what is known.
pub struct Lab<'a> {
    pub model: Model<'a>,
    pub ledger: Ledger,
    survey: Option<Survey>,
    /// Where files of candidates lie while they are measured.
    scratch: PathBuf,
    start: &'a Start<'a>,
    threads: u32,
    engine: Engine,
    /// Build and processor: what figures depend on.
    name: String,
    source: Option<Loaded>,
    cuts: HashMap<Oid, Vec<Window>>,
    held: HashMap<(Oid, usize), HeldId>,
    held_bytes: u64,
    /// The candidate that is loaded, by its recipe.
    loaded: Option<(String, ModelId)>,
    /// The text that variants may learn from.
    teacher: Option<Text>,
    /// What was learned, and lies where it belongs.
    learned: HashSet<Calibration>,
}

/// What the source said is kept for candidates to come, up to this; after that it is worked out anew each time.
const MOST_HELD_BYTES: u64 = 1 << 30;

impl<'a> Lab<'a> {
    /// Starts an engine; no model is loaded yet.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn open(
        model: Model<'a>,
        ledger: Ledger,
        scratch: &Path,
        start: &'a Start<'a>,
        threads: u32,
    ) -> Result<Lab<'a>, EngineError> {
        let engine = start()?;
        let name = format!("{}; {}", engine.hello().build, engine.hello().processor);
        Ok(Lab {
            model,
            ledger,
            survey: None,
            scratch: scratch.to_owned(),
            start,
            threads,
            engine,
            name,
            source: None,
            cuts: HashMap::new(),
            held: HashMap::new(),
            held_bytes: 0,
            loaded: None,
            teacher: None,
            learned: HashSet::new(),
        })
    }

    /// Gives the text that variants may learn from.
    pub fn teach(&mut self, text: Text) {
        self.teacher = Some(text);
    }

    pub(super) fn teacher(&self, text: Oid) -> Option<Text> {
        self.teacher.clone().filter(|teacher| teacher.hash == text)
    }

    /// Build and processor.
    pub fn engine_name(&self) -> &str {
        &self.name
    }

    /// A new engine in the place of one that ended; the source is loaded into it when it is needed again.
    pub(super) fn restart(&mut self) -> Result<(), RunError> {
        self.engine = (self.start)()?;
        self.source = None;
        self.held.clear();
        self.held_bytes = 0;
        self.loaded = None;
        Ok(())
    }

    /// Another engine, with nothing in it.
    pub(super) fn another(&self) -> Result<Engine, EngineError> {
        (self.start)()
    }

    pub(super) fn threads(&self) -> u32 {
        self.threads
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// What the source is made of.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn survey(&mut self) -> Result<&Survey, RunError> {
        if self.survey.is_none() {
            let known = self.ledger.find::<Survey>(&Key::Source);
            let found = match known {
                Some(known) => known,
                None => {
                    let path = self.gguf()?;
                    let failed = |error| RunError::File { path: path.clone(), error };
                    let found = survey(&OpenFile::open(&path).map_err(failed)?).map_err(failed)?;
                    self.ledger.keep(&Key::Source, &found)?;
                    found
                }
            };
            self.survey = Some(found);
        }
        Ok(self.survey.as_ref().expect("because it was just made"))
    }

    /// The file that the engine loads.
    pub(super) fn gguf(&self) -> Result<PathBuf, RunError> {
        (self.model.gguf)().map_err(RunError::Source)
    }

    /// Whether a matrix was found, or computed, in this run.
    pub(super) fn has_learned(&self, calibration: Calibration) -> bool {
        self.learned.contains(&calibration)
    }

    pub(super) fn remember(&mut self, calibration: Calibration) {
        self.learned.insert(calibration);
    }

    /// The types that a recipe would give.
    pub(super) fn plan(&mut self, recipe: &Recipe) -> Result<Planned, RunError> {
        let order = self.order(recipe, &self.scratch.join("planned.gguf"))?;
        Ok(self.engine.plan(&order)?)
    }

    /// The file of a recipe, made if it is not there.
    pub fn make(&mut self, recipe: &Recipe) -> Result<PathBuf, RunError> {
        let path = self.path_of(recipe);
        if !path.exists() {
            let partial = path.with_extension("partial");
            let bytes = self.engine.quantize(&self.order(recipe, &partial)?)?;
            fs::rename(&partial, &path).map_err(|error| RunError::File { path: partial, error })?;
            let key = Key::File { recipe: recipe.words(), engine: self.name.clone() };
            if self.ledger.find::<Made>(&key).is_none() {
                self.ledger.keep(&key, &Made { bytes, file: None })?;
            }
        }
        Ok(path)
    }

    /// Its real size, once it was made.
    pub(super) fn settle_size(&mut self, work: &mut Work) {
        let Some(recipe) = &work.recipe else { return };
        let key = Key::File { recipe: recipe.words(), engine: self.name.clone() };
        if let Some(made) = self.ledger.find::<Made>(&key) {
            work.candidate.bytes = made.bytes;
            work.candidate.compression = self.model.bytes as f64 / made.bytes as f64;
        }
    }

    /// Takes a candidate's file away.
    pub(super) fn discard(&mut self, recipe: &Recipe) -> Result<(), RunError> {
        self.unload()?;
        // It may never have been made.
        let _ = fs::remove_file(self.path_of(recipe));
        Ok(())
    }

    /// A new directory for what an outside tool makes of a recipe.
    pub(super) fn directory(&self, recipe: &str) -> Result<PathBuf, RunError> {
        let hash = blake3::hash(recipe.as_bytes()).to_hex();
        let path = self.scratch.join(format!("outside-{hash:.16}"));
        fs::create_dir_all(&path).map_err(|error| RunError::File { path: path.clone(), error })?;
        Ok(path)
    }

    fn path_of(&self, recipe: &Recipe) -> PathBuf {
        let hash = blake3::hash(recipe.words().as_bytes()).to_hex();
        self.scratch.join(format!("{}-{:.16}.gguf", recipe.preset, hash))
    }

    fn order(&self, recipe: &Recipe, target: &Path) -> Result<Quantize, RunError> {
        Ok(Quantize {
            source: self.gguf()?,
            target: target.to_owned(),
            preset: recipe.preset.clone(),
            overrides: recipe.overrides.clone(),
            importance: recipe.calibration.map(|calibration| self.matrix(calibration)),
            threads: self.threads,
        })
    }

    /// The source, loaded.
    pub(super) fn source(&mut self) -> Result<&Loaded, RunError> {
        if self.source.is_none() {
            let path = self.gguf()?;
            let loaded = self.engine.load(&path, self.threads)?;
            self.source = Some(loaded);
        }
        Ok(self.source.as_ref().expect("because it was just loaded"))
    }

    /// Scored tokens of each window of a text.
    pub(super) fn windows(&mut self, wish: &Wish, text: &Text) -> Result<Vec<usize>, RunError> {
        let protocol = wish.protocol.to_string();
        let key = Key::Windows { protocol, text: text.hash, most: wish.windows };
        if let Some(known) = self.ledger.find::<Windows>(&key) {
            return Ok(known.tokens);
        }
        let cut = self.cut(wish, text)?;
        let tokens: Vec<usize> = cut.iter().map(|window| window.tokens.len() - window.scored_from).collect();
        self.ledger.keep(&key, &Windows { tokens: tokens.clone() })?;
        Ok(tokens)
    }

    pub(super) fn cut(&mut self, wish: &Wish, text: &Text) -> Result<&[Window], RunError> {
        if !self.cuts.contains_key(&text.hash) {
            let source = self.source()?.clone();
            let cut = eval::cut(&mut self.engine, &source, text, wish.protocol, wish.windows)?;
            self.cuts.insert(text.hash, cut.windows);
        }
        Ok(&self.cuts[&text.hash])
    }

    /// Windows of a text that is no evaluation's: so many of so many tokens, spread over it.
    pub(super) fn search_windows(
        &mut self,
        text: &Text,
        count: usize,
        len: usize,
        scored_from: usize,
    ) -> Result<Vec<Window>, RunError> {
        let source = self.source()?.clone();
        let len = len.min(source.context as usize);
        let tokens = self.engine.tokenize(source.model, &text.content, false)?.tokens;
        if tokens.len() <= scored_from {
            let too_short = TooShort::Tokens { found: tokens.len(), needed: len, window: len };
            return Err(RunError::Eval(EvalError::Text(too_short)));
        }
        let len = len.min(tokens.len());
        let count = count.min(tokens.len() / len).max(1);
        let window = |number: usize| {
            let at = (tokens.len() - len) * number / count.max(2).saturating_sub(1).max(1);
            Window { tokens: tokens[at..at + len].to_vec(), scored_from }
        };
        Ok((0..count).map(window).collect())
    }

    /// Scores one window by a recipe's model, against the source.
    pub(super) fn score(
        &mut self,
        recipe: &Recipe,
        text: Oid,
        number: usize,
        window: &Window,
    ) -> Result<Scored, RunError> {
        let baseline = self.baseline(text, number, window)?;
        let model = self.load(recipe)?;
        let mut scored = self.engine.score(model, std::slice::from_ref(window), Some(baseline))?;
        scored.pop().ok_or(RunError::Engine(EngineError::Answer))
    }

    /// What the source says of a window: kept, if there is room.
    fn baseline(&mut self, text: Oid, number: usize, window: &Window) -> Result<Baseline, RunError> {
        if let Some(held) = self.held.get(&(text, number)) {
            return Ok(Baseline::Held(*held));
        }
        let source = self.source()?.clone();
        let tokens = (window.tokens.len() - window.scored_from) as u64;
        let bytes = tokens * u64::from(source.vocabulary) * size_of::<f32>() as u64;
        if self.held_bytes + bytes > MOST_HELD_BYTES {
            return Ok(Baseline::Model(source.model));
        }
        let (held, _) = self.engine.hold(source.model, std::slice::from_ref(window))?;
        self.held.insert((text, number), held);
        self.held_bytes += bytes;
        Ok(Baseline::Held(held))
    }

    /// A recipe's model, loaded in place of the one before.
    fn load(&mut self, recipe: &Recipe) -> Result<ModelId, RunError> {
        let words = recipe.words();
        if let Some((loaded, model)) = &self.loaded
            && *loaded == words
        {
            return Ok(*model);
        }
        self.unload()?;
        let path = self.make(recipe)?;
        let model = self.engine.load(&path, self.threads)?.model;
        self.loaded = Some((words, model));
        Ok(model)
    }

    fn unload(&mut self) -> Result<(), RunError> {
        match self.loaded.take() {
            Some((_, model)) => Ok(self.engine.unload(model)?),
            None => Ok(()),
        }
    }

    /// How far tensors would be from themselves in other types.
    pub(super) fn distort(&mut self, order: &Distort) -> Result<Vec<Vec<Option<f64>>>, RunError> {
        Ok(self.engine.distort(order)?)
    }

    /// Has the source read windows, and written which inputs of its matrices matter.
    pub(super) fn importance(
        &mut self,
        order: impl FnOnce(ModelId) -> Importance,
        told: &mut dyn FnMut(usize) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let order = order(self.source()?.model);
        self.engine.importance(&order, told)
    }

    /// Measures how long the source takes.
    pub(super) fn time_source(
        &mut self,
        prompt: &[crate::engine::Token],
        output: u32,
    ) -> Result<crate::engine::Timed, RunError> {
        let model = self.source()?.model;
        Ok(self.engine.time(model, prompt, output)?)
    }
}
