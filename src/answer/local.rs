//! Answers of variants: the engine, which loads a model when it is first asked and keeps the last few.

use std::path::{Path, PathBuf};

use super::{Answer, AnswerError, Ask, Take};
use crate::engine::{Ended, Engine, EngineError, Generate, Loaded, Prompt};

/// Models that stay loaded.
const MOST_LOADED: usize = 2;

/// The engine, and what it has loaded.
pub struct Local {
    program: PathBuf,
    threads: u32,
    engine: Option<Engine>,
    /// The last that was asked at the end.
    loaded: Vec<(PathBuf, Loaded)>,
}

impl Local {
    /// Nothing is started yet.
    pub fn new(program: PathBuf, threads: u32) -> Local {
        Local { program, threads, engine: None, loaded: Vec::new() }
    }

    /// Asks the model in a GGUF file, which is called `name`.
    pub fn answer(
        &mut self,
        name: &str,
        file: &Path,
        ask: &Ask,
        take: &mut Take,
    ) -> Result<Answer, AnswerError> {
        let answer = self.try_answer(file, ask, take);
        if matches!(&answer, Err(EngineError::Died(_) | EngineError::Answer)) {
            // The next one that asks gets a new engine.
            self.engine = None;
            self.loaded.clear();
        }
        answer.map_err(|error| AnswerError::Engine { model: name.into(), error })
    }

    fn try_answer(&mut self, file: &Path, ask: &Ask, take: &mut Take) -> Result<Answer, EngineError> {
        let engine = match &mut self.engine {
            Some(engine) => engine,
            none => none.insert(Engine::start(&self.program)?),
        };
        let at = self.loaded.iter().position(|(path, _)| path == file);
        let (path, model) = match at {
            Some(at) => self.loaded.remove(at),
            None => {
                if self.loaded.len() == MOST_LOADED {
                    let (_, oldest) = self.loaded.remove(0);
                    engine.unload(oldest.model)?;
                }
                (file.to_owned(), engine.load(file, self.threads)?)
            }
        };
        let prompt =
            if model.has_template { Prompt::Chat(ask.turns.clone()) } else { Prompt::Text(plain(ask)) };
        let order = Generate {
            model: model.model,
            prompt,
            max_tokens: ask.max_tokens,
            temperature: ask.temperature,
            top_p: ask.top_p,
            seed: ask.seed,
            stop: ask.stop.clone(),
        };
        self.loaded.push((path, model));
        let mut text = String::new();
        let mut heard = true;
        let generated = engine.generate(&order, &mut |piece| {
            text.push_str(piece);
            // The engine can't be interrupted: the rest is written for nobody.
            heard = heard && take(piece);
        })?;
        let least = generated.ln_p.iter().copied().reduce(f32::min);
        Ok(Answer {
            text,
            input_tokens: u64::from(generated.prompt_tokens),
            output_tokens: u64::from(generated.output_tokens),
            confidence: least.map(|ln_p| f64::from(ln_p).exp()),
            is_whole: generated.ended == Ended::Stop,
        })
    }
}

/// What is read by a model that knows no conversations.
fn plain(ask: &Ask) -> String {
    ask.turns.iter().map(|turn| turn.content.as_str()).collect::<Vec<_>>().join("\n")
}
