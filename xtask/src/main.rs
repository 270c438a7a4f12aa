//! `cargo xtask <task>`: the commands that a person types in a clone of this project.

use std::path::PathBuf;
use std::process::ExitCode;

use xtask::{Failure, binary, demo, install, prerequisites, test};

const USAGE: &str = "\
usage: cargo xtask demo [BASE FINE_TUNE] [--keep] [--check]
                                 push real models (or your own files), clone them, compare every byte
       cargo xtask test [--long] [FILTER]
                                 every test there is; with FILTER only the tests whose name holds it
       cargo xtask test --neon   the codec's NEON path in an emulator, with packages from Debian
       cargo xtask install [--prefix DIR] [--engine]
                                 build and install git-sparse for this user, or below DIR; with --engine also
                                 what runs models, built with cmake and libclang, which it installs if they are missing
       cargo xtask engine        build the engine alone, and say where it is
       cargo xtask prerequisites
                                 install git-lfs if it is missing
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one task; `false` if it came to its end and found something wrong.
fn run(arguments: &[String]) -> Result<bool, Failure> {
    let (task, mut rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest.to_vec()),
        None => ("help", Vec::new()),
    };
    match task {
        "demo" => {
            let (keep, check) = (flag(&mut rest, "--keep"), flag(&mut rest, "--check"));
            let own = match positional(&rest, 2)? {
                [] => None,
                [base, fine_tune] => Some((PathBuf::from(base), PathBuf::from(fine_tune))),
                _ => return Err(format!("demo takes two paths or none\n{USAGE}")),
            };
            demo::run(&demo::Options { own, keep, check })
        }
        "test" => {
            let (long, neon) = (flag(&mut rest, "--long"), flag(&mut rest, "--neon"));
            if neon {
                positional(&rest, 0)?;
                return test::run_neon();
            }
            test::run(long, positional(&rest, 1)?.first().map(String::as_str))
        }
        "install" => {
            let prefix = value(&mut rest, "--prefix")?;
            let engine = flag(&mut rest, "--engine");
            positional(&rest, 0)?;
            install::run(prefix.map(PathBuf::from).as_deref(), engine).map(|()| true)
        }
        "engine" => {
            positional(&rest, 0)?;
            prerequisites::for_engine()?;
            println!("{}", binary::engine()?.display());
            Ok(true)
        }
        "prerequisites" => {
            positional(&rest, 0)?;
            prerequisites::for_ssh();
            prerequisites::run().map(|()| true)
        }
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        other => Err(format!("no task `{other}`\n{USAGE}")),
    }
}

/// Takes the flag `name` out of `rest`; `true` if it was there.
fn flag(rest: &mut Vec<String>, name: &str) -> bool {
    let before = rest.len();
    rest.retain(|argument| argument != name);
    rest.len() < before
}

/// Takes `name VALUE` out of `rest`.
fn value(rest: &mut Vec<String>, name: &str) -> Result<Option<String>, Failure> {
    let Some(at) = rest.iter().position(|argument| argument == name) else { return Ok(None) };
    if at + 1 == rest.len() {
        return Err(format!("{name} needs a value\n{USAGE}"));
    }
    rest.remove(at);
    Ok(Some(rest.remove(at)))
}

/// What is left once the flags are taken out: at most `most` words, none of them an unknown flag.
fn positional(rest: &[String], most: usize) -> Result<&[String], Failure> {
    if let Some(unknown) = rest.iter().find(|argument| argument.starts_with('-')) {
        return Err(format!("unknown flag {unknown}\n{USAGE}"));
    }
    if rest.len() > most {
        return Err(format!("unexpected `{}`\n{USAGE}", rest[most]));
    }
    Ok(rest)
}
