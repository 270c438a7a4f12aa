//! The engine, as a process that this one talks to: `git-sparse-engine`, which runs llama.cpp.
//!
//! A crash there is an error here, with the last words that it said; its memory is its own, and can be
//! measured. All it answers is checked before it is used.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use engine_messages::{
    Baseline, Compared, Distort, Ended, Generate, Generated, HeldId, Hello, Importance, Loaded, ModelId,
    Piece, Place, Planned, Prompt, Quantize, Scored, Timed, Token, Tokens, Turn, Window,
};
use engine_messages::{Failed, Reply, Request, VERSION};

use crate::worker::{Worker, WorkerError};

/// The longest reply: what was scored of some windows is far below it.
const MAX_REPLY_BYTES: u64 = 256 << 20;

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{}: the engine can't be started: {error}", path.display())]
    Start { path: PathBuf, error: io::Error },
    #[error("the engine ended: {0}")]
    Died(String),
    #[error("the engine speaks version {found} of its protocol, {VERSION} is needed")]
    Version { found: u32 },
    #[error("the engine answered another question, or in words that mean nothing")]
    Answer,
    /// The file is no model that it can run.
    #[error("{0}")]
    Model(String),
    #[error("{0}")]
    NotFinite(String),
    #[error("{0}")]
    Request(String),
    #[error("{0}")]
    Failed(String),
    /// No file can be written where one was wanted.
    #[error("{0}")]
    Full(String),
}

impl From<WorkerError> for EngineError {
    fn from(error: WorkerError) -> EngineError {
        match error {
            WorkerError::Died { .. } => EngineError::Died(error.to_string()),
            WorkerError::Answer => EngineError::Answer,
        }
    }
}

/// A running engine.
pub struct Engine {
    worker: Worker,
    hello: Hello,
}

impl Engine {
    /// Starts the program at `path`.
    pub fn start(path: &Path) -> Result<Engine, EngineError> {
        let worker = Worker::start(Command::new(path), MAX_REPLY_BYTES);
        let mut worker = worker.map_err(|error| EngineError::Start { path: path.to_owned(), error })?;
        let Reply::Hello(hello) = worker.call(&Request::Hello)? else { return Err(EngineError::Answer) };
        match hello.protocol {
            VERSION => Ok(Engine { worker, hello }),
            found => Err(EngineError::Version { found }),
        }
    }

    /// Who it is.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Loads a GGUF file, to be run on so many threads.
    pub fn load(&mut self, path: &Path, threads: u32) -> Result<Loaded, EngineError> {
        match self.ask(&Request::Load { path: path.to_owned(), threads })? {
            Reply::Loaded(loaded) if loaded.vocabulary > 0 => Ok(loaded),
            _ => Err(EngineError::Answer),
        }
    }

    pub fn unload(&mut self, model: ModelId) -> Result<(), EngineError> {
        match self.ask(&Request::Unload { model })? {
            Reply::Unloaded => Ok(()),
            _ => Err(EngineError::Answer),
        }
    }

    /// Text as tokens; none is added. With `special`, markup such as `<|im_end|>` is one token.
    pub fn tokenize(&mut self, model: ModelId, text: &str, special: bool) -> Result<Tokens, EngineError> {
        match self.ask(&Request::Tokenize { model, text: text.to_owned(), special })? {
            Reply::Tokens(tokens) if tokens.tokens.len() == tokens.bytes.len() => Ok(tokens),
            _ => Err(EngineError::Answer),
        }
    }

    /// ln p of the scored tokens of each window, and of a baseline that reads the same.
    pub fn score(
        &mut self,
        model: ModelId,
        windows: &[Window],
        against: Option<Baseline>,
    ) -> Result<Vec<Scored>, EngineError> {
        match self.ask(&Request::Score { model, windows: windows.to_vec(), against })? {
            Reply::Scored(scored) => checked(scored, windows, against.is_some()),
            _ => Err(EngineError::Answer),
        }
    }

    /// Scores windows and keeps what the model said of all its vocabulary, for `Baseline::Held`.
    pub fn hold(&mut self, model: ModelId, windows: &[Window]) -> Result<(HeldId, Vec<Scored>), EngineError> {
        match self.ask(&Request::Hold { model, windows: windows.to_vec() })? {
            Reply::Held { held, scored } => Ok((held, checked(scored, windows, false)?)),
            _ => Err(EngineError::Answer),
        }
    }

    /// Forgets what is held.
    pub fn let_go(&mut self, held: HeldId) -> Result<(), EngineError> {
        match self.ask(&Request::LetGo { held })? {
            Reply::LetGo => Ok(()),
            _ => Err(EngineError::Answer),
        }
    }

    /// Writes a model in other types, and gives the size of the file in bytes.
    pub fn quantize(&mut self, order: &Quantize) -> Result<u64, EngineError> {
        match self.ask(&Request::Quantize(order.clone()))? {
            Reply::Quantized { bytes } => Ok(bytes),
            _ => Err(EngineError::Answer),
        }
    }

    /// The types that `quantize` would choose.
    pub fn plan(&mut self, order: &Quantize) -> Result<Planned, EngineError> {
        match self.ask(&Request::Plan(order.clone()))? {
            Reply::Planned(planned) if !planned.tensors.is_empty() => Ok(planned),
            _ => Err(EngineError::Answer),
        }
    }

    /// For each tensor and each type the sum of squared errors over the whole tensor, in the mean of what a text multiplies them with.
    pub fn distort(&mut self, order: &Distort) -> Result<Vec<Vec<Option<f64>>>, EngineError> {
        let Reply::Distorted(found) = self.ask(&Request::Distort(order.clone()))? else {
            return Err(EngineError::Answer);
        };
        let is_whole = |errors: &Vec<Option<f64>>| {
            errors.len() == order.types.len()
                && errors.iter().flatten().all(|error| error.is_finite() && *error >= 0.0)
        };
        let is_whole = found.len() == order.tensors.len() && found.iter().all(is_whole);
        if is_whole { Ok(found) } else { Err(EngineError::Answer) }
    }

    /// Reads windows and writes which inputs of the matrices matter; `told` hears how many windows were read, and may end it:
    /// then this engine is of no more use.
    ///
    /// # Errors
    /// Those of `told`, and of the engine.
    pub fn importance<E: From<EngineError>>(
        &mut self,
        order: &Importance,
        told: &mut dyn FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reply = self.ask(&Request::Importance(order.clone()))?;
        loop {
            match reply {
                Reply::Read { windows } => told(windows)?,
                Reply::Importance { tensors } if tensors > 0 => return Ok(()),
                _ => return Err(EngineError::Answer.into()),
            }
            reply = accepted(self.worker.answer().map_err(EngineError::from)?)?;
        }
    }

    /// Writes text; `take` gets each piece as it comes.
    pub fn generate(
        &mut self,
        order: &Generate,
        take: &mut dyn FnMut(&str),
    ) -> Result<Generated, EngineError> {
        let mut reply = self.ask(&Request::Generate(order.clone()))?;
        loop {
            match reply {
                Reply::Piece(piece) => take(&piece.text),
                Reply::Generated(generated) => return Ok(generated),
                _ => return Err(EngineError::Answer),
            }
            reply = accepted(self.worker.answer()?)?;
        }
    }

    /// How long it takes to read `prompt` and to write `output` tokens.
    pub fn time(&mut self, model: ModelId, prompt: &[Token], output: u32) -> Result<Timed, EngineError> {
        match self.ask(&Request::Time { model, prompt: prompt.to_vec(), output })? {
            Reply::Timed(timed) if timed.token_ms.len() + 1 == output as usize => Ok(timed),
            _ => Err(EngineError::Answer),
        }
    }

    /// The most memory that the engine had in use at once, in bytes.
    pub fn peak_bytes(&mut self) -> Result<u64, EngineError> {
        match self.ask(&Request::Memory)? {
            Reply::Memory { peak_bytes } => Ok(peak_bytes),
            _ => Err(EngineError::Answer),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, EngineError> {
        accepted(self.worker.call(request)?)
    }
}

fn accepted(reply: Reply) -> Result<Reply, EngineError> {
    match reply {
        Reply::Failed { kind, message } => Err(match kind {
            Failed::Model => EngineError::Model(message),
            Failed::NotFinite => EngineError::NotFinite(message),
            Failed::Request => EngineError::Request(message),
            Failed::Engine => EngineError::Failed(message),
            Failed::Full => EngineError::Full(message),
        }),
        reply => Ok(reply),
    }
}

/// Whether there is a finite number for each token that was asked for.
fn checked(scored: Vec<Scored>, windows: &[Window], compared: bool) -> Result<Vec<Scored>, EngineError> {
    let is_whole = |scored: &Scored, window: &Window| {
        let count = window.tokens.len().saturating_sub(window.scored_from);
        let are_numbers =
            |values: &[f64]| values.len() == count && values.iter().all(|value| value.is_finite());
        are_numbers(&scored.ln_p)
            && match &scored.against {
                None => !compared,
                Some(base) => {
                    are_numbers(&base.ln_p) && are_numbers(&base.divergence) && base.same_top.len() == count
                }
            }
    };
    let is_whole = scored.len() == windows.len()
        && scored.iter().zip(windows).all(|(scored, window)| is_whole(scored, window));
    if is_whole { Ok(scored) } else { Err(EngineError::Answer) }
}
