//! The command line: one file a verb. Words for people, exit codes, and nothing of storage.

mod bench_hw;
mod cache;
mod clone;
mod daemon;
mod dataset;
mod delta;
mod diff;
mod doctor;
mod du;
mod engine;
mod eval;
mod filter;
mod find;
mod fsck;
mod gc;
mod generate;
mod hub;
mod init;
mod install;
mod interrupt;
mod lfs_agent;
mod log;
mod migrate;
mod model;
mod optimize;
mod prune;
mod remote;
mod repo;
mod report;
mod route;
mod savings;
mod serve;
mod show;
mod ssh_host;
mod status;
mod subject;
mod textconv;
mod token;
mod trust;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::daemon::message::{Failure, Kind};

/// Versioned storage for models and data sets inside ordinary git (not related to git sparse-checkout)
#[derive(Debug, Parser)]
#[command(name = "git-sparse", bin_name = "git sparse", version, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Install(install::Install),
    Uninstall(install::Uninstall),
    Init(init::Init),
    Trust(trust::Trust),
    Remote(remote::Remote),
    Clone(clone::Clone),
    Status(status::Status),
    Log(log::Log),
    Show(show::Show),
    Diff(diff::Diff),
    Du(du::Du),
    Savings(savings::Savings),
    Where(find::Where),
    Verify(verify::Verify),
    Fsck(fsck::Fsck),
    Gc(gc::Gc),
    Repack(gc::Repack),
    Prune(prune::Prune),
    Migrate(migrate::Migrate),
    Delta(delta::Delta),
    Dataset(dataset::Dataset),
    Eval(eval::Eval),
    Optimize(Box<optimize::Optimize>),
    BenchHw(bench_hw::BenchHw),
    Route(route::Route),
    Cache(cache::Cache),
    Doctor(doctor::Doctor),
    Daemon(daemon::Daemon),
    Serve(serve::Serve),
    Token(token::Token),
    #[command(hide = true)]
    LfsAgent(lfs_agent::LfsAgent),
    #[command(hide = true)]
    LfsTransfer(ssh_host::LfsTransfer),
    #[command(hide = true)]
    LfsAuthenticate(ssh_host::LfsAuthenticate),
    #[command(hide = true)]
    Textconv(textconv::Textconv),
    #[command(hide = true)]
    KnownPointers(filter::KnownPointers),
    #[command(hide = true)]
    Generate(generate::Generate),
    #[command(hide = true, disable_help_flag = true, alias = "set", alias = "list")]
    Checkout(Mistaken),
}

/// What people type who mean git's own sparse checkout.
#[derive(Debug, clap::Args)]
struct Mistaken {
    /// What git sparse-checkout would take
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<String>,
}

/// Runs the command line and says how it ended.
pub fn main() -> ExitCode {
    let arguments = ssh_host::arguments(std::env::args_os());
    match dispatch(Cli::parse_from(arguments).verb) {
        Ok(code) => code,
        Err(failure) => report::failure(&failure),
    }
}

fn dispatch(verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Diff(args) => return args.run(),
        Verb::Doctor(args) => return args.run(),
        Verb::Delta(args) => return args.run(),
        Verb::Dataset(args) => return args.run(),
        Verb::Remote(args) => return args.run(),
        Verb::Optimize(args) => return args.run(),
        Verb::Route(args) => return args.run(),
        Verb::Install(args) => args.run(),
        Verb::Uninstall(args) => args.run(),
        Verb::Init(args) => args.run(),
        Verb::Trust(args) => args.run(),
        Verb::Clone(args) => args.run(),
        Verb::Status(args) => args.run(),
        Verb::Log(args) => args.run(),
        Verb::Show(args) => args.run(),
        Verb::Du(args) => args.run(),
        Verb::Savings(args) => args.run(),
        Verb::Where(args) => args.run(),
        Verb::Verify(args) => args.run(),
        Verb::Fsck(args) => args.run(),
        Verb::Gc(args) => args.run(),
        Verb::Repack(args) => args.run(),
        Verb::Prune(args) => args.run(),
        Verb::Migrate(args) => args.run(),
        Verb::Eval(args) => args.run(),
        Verb::BenchHw(args) => args.run(),
        Verb::Cache(args) => args.run(),
        Verb::Daemon(args) => args.run(),
        Verb::Serve(args) => args.run(),
        Verb::Token(args) => args.run(),
        Verb::LfsAgent(args) => args.run(),
        Verb::LfsTransfer(args) => args.run(),
        Verb::LfsAuthenticate(args) => args.run(),
        Verb::Textconv(args) => args.run(),
        Verb::KnownPointers(args) => args.run(),
        Verb::Generate(args) => args.run(),
        Verb::Checkout(_) => {
            Err(Failure::new(Kind::Usage, "git sparse has no such verb")
                .fix("did you mean git sparse-checkout?"))
        }
    }
    .map(|()| ExitCode::SUCCESS)
}

/// The daemon answered with something that does not belong to the question.
fn unexpected() -> Failure {
    Failure::new(Kind::Fatal, "the daemon answered another question")
        .fix("git sparse daemon stop, then try again")
}

/// The exit code of a failure; `docs/commands.md` has the table.
fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Usage => 2,
        Kind::NotFound => 3,
        Kind::Remote => 4,
        Kind::Corrupt => 5,
        Kind::Refused => 6,
        Kind::Fatal => 128,
        Kind::Interrupted => interrupt::EXIT_CODE,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Help that only repeats an argument's name sends people to the source.
    #[test]
    fn every_verb_and_argument_has_help() {
        fn bare(command: &clap::Command, path: &str) -> Vec<String> {
            let path = format!("{path} {}", command.get_name());
            let silent = command.get_arguments().filter(|argument| argument.get_help().is_none());
            let mut found: Vec<_> = silent.map(|argument| format!("{path}: {}", argument.get_id())).collect();
            found.extend(command.get_about().is_none().then(|| path.clone()));
            found.extend(command.get_subcommands().flat_map(|verb| bare(verb, &path)));
            found
        }
        assert_eq!(bare(&Cli::command(), "git"), Vec::<String>::new());
    }
}
