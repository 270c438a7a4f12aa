//! Where the engine is, and how its failures are told.

use std::path::PathBuf;

use crate::daemon::message::{Failure, Kind};
use crate::engine::{Engine, EngineError, Loaded};

/// Names the engine's program, where it is not beside `git-sparse` or on PATH.
const VARIABLE: &str = "GIT_SPARSE_ENGINE";
const PROGRAM: &str = "git-sparse-engine";

/// More than any machine has; the engine refuses more.
const MAX_THREADS: u32 = 1024;

/// Starts the engine.
pub fn start() -> Result<Engine, Failure> {
    Engine::start(&program()?).map_err(|error| failed(&error))
}

/// The engine's program.
pub fn program() -> Result<PathBuf, Failure> {
    find().ok_or_else(|| {
        Failure::new(Kind::NotFound, "the engine, git-sparse-engine, is not installed: models can't be run")
            .fix("in a clone of git sparse: cargo xtask install --engine; or set GIT_SPARSE_ENGINE to its path")
    })
}

/// Where the engine is: named by the environment, beside this program, or on PATH.
fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let own = std::env::current_exe().ok().and_then(|own| std::fs::canonicalize(own).ok());
    let beside = own.and_then(|own| Some(own.parent()?.join(PROGRAM)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(PROGRAM));
    beside.into_iter().chain(on_path).find(|file| file.is_file())
}

/// Loads a model on so many threads.
pub fn load(engine: &mut Engine, subject: &super::subject::Subject, threads: u32) -> Result<Loaded, Failure> {
    engine.load(&subject.gguf()?, threads).map_err(|error| {
        let failure = failed(&error);
        Failure { message: format!("{}: {}", subject.name, failure.message), ..failure }
    })
}

/// Threads that are used unless a user says otherwise: as many as there are processors.
pub fn threads(wanted: Option<u32>) -> u32 {
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |count| count.get() as u32))
}

/// A number of threads as people give it.
pub fn thread_count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX_THREADS).contains(count));
    count.ok_or_else(|| format!("expected a number of threads, 1 to {MAX_THREADS}"))
}

/// An engine's error in words.
pub fn failed(error: &EngineError) -> Failure {
    let message = error.to_string();
    match error {
        EngineError::Start { .. } => Failure::new(Kind::Fatal, message)
            .fix("build it anew: cargo xtask install --engine; or set GIT_SPARSE_ENGINE to its path"),
        EngineError::Version { .. } => Failure::new(Kind::Fatal, message)
            .fix("install both of one version: cargo xtask install --engine"),
        EngineError::Died(_) => Failure::new(Kind::Fatal, message)
            .fix("the model may need more memory than there is, or not be sound: git sparse verify"),
        EngineError::Answer | EngineError::Failed(_) => Failure::new(Kind::Fatal, message),
        EngineError::Full(_) => Failure::new(Kind::Fatal, message)
            .fix("free some space below the directory for temporary files, or set TMPDIR to another"),
        EngineError::Model(_) => Failure::new(Kind::Refused, message),
        EngineError::NotFinite(_) => Failure::new(Kind::Corrupt, message)
            .fix("its weights are not sound: there is no figure for such a model"),
        EngineError::Request(_) => Failure::new(Kind::Usage, message),
    }
}
