//! Every test there is, one step after another, ending in a line that counts them truly.
//!
//! A step that can't run on this machine says so; a step that ran and counted nothing is a failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::binary::{self, cargo, workspace};
use crate::prerequisites::{self, first_line};
use crate::{Failure, bucket_servers, demo, neon, table_writers};

/// How long each fuzz target runs.
const FUZZ_SECONDS: u32 = 10;
/// The engine's package: whatever is done to all others would build llama.cpp for it.
const ENGINE: &str = "git-sparse-engine";
const EMULATED: &str = "the codec's NEON path, emulated";

/// Tests and steps that passed or failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs all tests, or with `filter` only the tests whose name holds it; `false` if anything failed.
pub fn run(long: bool, filter: Option<&str>) -> Result<bool, Failure> {
    prerequisites::run()?;
    prerequisites::for_power_cuts();
    prerequisites::for_ssh();
    prerequisites::for_python();
    bucket_servers::install();
    let mut count = writers();
    let engine = engine(&mut count);
    if filter.is_none() {
        count += format_check();
        count += clippy();
        count += if engine.is_some() { engine_tests() } else { Count::default() };
    }
    let tests = tests(long, filter, engine.as_deref());
    count += tests;
    count += doc_tests(filter);
    if filter.is_none() {
        count += demo_check();
        count += fuzz();
    }
    if long && filter.is_none() {
        count += emulated();
    }
    if tests.passed + tests.failed == 0 {
        eprintln!("FAILED: no test ran");
        count.failed += 1;
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(count.failed == 0)
}

/// Runs only the tests of the codec's NEON path; `false` if anything failed.
pub fn run_neon() -> Result<bool, Failure> {
    let count = counted(EMULATED, &mut neon::tests()?, count_libtest);
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(count.failed == 0 && count.passed > 0)
}

fn format_check() -> Count {
    if !has_component("fmt", "rustfmt") {
        return skip("cargo fmt --check", "rustfmt is not installed (rustup component add rustfmt)");
    }
    step("cargo fmt --check", cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Count {
    if !has_component("clippy", "clippy") {
        return skip("cargo clippy", "clippy is not installed (rustup component add clippy)");
    }
    let arguments = ["clippy", "--workspace", "--exclude", ENGINE, "--all-targets", "--", "-D", "warnings"];
    step("cargo clippy", cargo().args(arguments))
}

/// What writes people's tables. Where Python is, its packages are to be had: whoever can't install them has not tested
/// what the tests of their tables do.
fn writers() -> Count {
    match table_writers::install() {
        Ok(true) => Count::default(),
        Ok(false) => skip("tables of Python's writers", "there is no Python 3.11 or later with venv"),
        Err(failure) => {
            eprintln!("FAILED: the writers of tables can't be installed: {failure}");
            Count { passed: 0, failed: 1 }
        }
    }
}

/// Builds the engine. Where its tools can't be had, what needs it is skipped; where it does not build, that is a failure.
fn engine(count: &mut Count) -> Option<PathBuf> {
    if let Err(why) = prerequisites::for_engine() {
        *count += skip("the engine, and all tests that run models", &why);
        return None;
    }
    announce("the engine");
    binary::engine()
        .inspect_err(|failure| {
            eprintln!("FAILED: {failure}");
            count.failed += 1;
        })
        .ok()
}

/// In the profile that it was built in, or llama.cpp would be built twice.
fn engine_tests() -> Count {
    let mut count = Count::default();
    if has_component("clippy", "clippy") {
        let arguments = ["clippy", "--release", "-p", ENGINE, "--all-targets", "--", "-D", "warnings"];
        count += step("cargo clippy of the engine", cargo().args(arguments));
    }
    count +=
        counted("the engine's own tests", cargo().args(["test", "--release", "-p", ENGINE]), count_libtest);
    count
}

/// All tests but those in documentation, by nextest where it is installed.
fn tests(long: bool, filter: Option<&str>, engine: Option<&Path>) -> Count {
    let with_nextest = quiet(cargo().args(["nextest", "--version"]));
    let mut command = cargo();
    command.envs(engine.map(|engine| ("GIT_SPARSE_ENGINE", engine)));
    if with_nextest {
        command.args(["nextest", "run", "--workspace", "--exclude", ENGINE, "--no-fail-fast"]);
        command.args(["--no-tests=pass", "--color=never"]);
        command.args(if long { &["--run-ignored", "all"][..] } else { &[] });
        command.args(filter);
    } else {
        // `--lib --bins --tests` is all but the doc tests, which are a step of their own.
        command.args([
            "test",
            "--workspace",
            "--exclude",
            ENGINE,
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
        ]);
        command.args(filter).arg("--").args(if long { &["--include-ignored"][..] } else { &[] });
    }
    let name = if with_nextest { "cargo nextest run" } else { "cargo test" };
    counted(name, &mut command, if with_nextest { count_nextest } else { count_libtest })
}

fn doc_tests(filter: Option<&str>) -> Count {
    let mut command = cargo();
    command.args(["test", "--workspace", "--exclude", ENGINE, "--no-fail-fast", "--doc"]).args(filter);
    counted("cargo test --doc", &mut command, count_libtest)
}

fn demo_check() -> Count {
    announce("cargo xtask demo --check");
    match demo::run(&demo::Options { own: None, keep: false, check: true }) {
        Ok(true) => Count { passed: 1, failed: 0 },
        Ok(false) => Count { passed: 0, failed: 1 },
        Err(failure) => {
            eprintln!("FAILED: demo: {failure}");
            Count { passed: 0, failed: 1 }
        }
    }
}

/// The codec's NEON path, where an emulator and a compiler for it are to be had.
fn emulated() -> Count {
    match neon::tests() {
        Ok(mut command) => counted(EMULATED, &mut command, count_libtest),
        Err(failure) => skip(EMULATED, &failure),
    }
}

/// A short run of each fuzz target, where cargo-fuzz and the nightly compiler that it needs are there.
fn fuzz() -> Count {
    if !workspace().join("fuzz/Cargo.toml").is_file() {
        return skip("fuzz targets", "there is no fuzz/Cargo.toml");
    }
    if !quiet(cargo().args(["fuzz", "--version"])) {
        return skip("fuzz targets", "cargo-fuzz is not installed (cargo install cargo-fuzz)");
    }
    if first_line("rustup", &["run", "nightly", "rustc", "--version"]).is_none() {
        return skip("fuzz targets", "there is no nightly compiler (rustup toolchain install nightly)");
    }
    let Ok(listed) = nightly_fuzz().arg("list").output() else {
        return step("cargo fuzz list", nightly_fuzz().arg("list"));
    };
    let mut count = Count::default();
    for target in String::from_utf8_lossy(&listed.stdout).lines() {
        let mut command = nightly_fuzz();
        command.args(["run", target, "--", &format!("-max_total_time={FUZZ_SECONDS}")]);
        count += step(&format!("fuzz {target} for {FUZZ_SECONDS} s"), &mut command);
    }
    count
}

fn nightly_fuzz() -> Command {
    let mut command = Command::new("rustup");
    // The variables of the cargo that runs this task would pull its own toolchain in again.
    command.args(["run", "nightly", "cargo", "fuzz"]).current_dir(workspace());
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

/// Whether `cargo NAME` works, after an attempt to have rustup fetch what brings it.
fn has_component(name: &str, component: &str) -> bool {
    quiet(cargo().args([name, "--version"]))
        || (quiet(Command::new("rustup").args(["component", "add", component]))
            && quiet(cargo().args([name, "--version"])))
}

/// Runs a step that counts as one test.
fn step(name: &str, command: &mut Command) -> Count {
    announce(name);
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Count { passed: 1, failed: 0 },
        Ok(status) => {
            eprintln!("FAILED: {name} ended with {status}");
            Count { passed: 0, failed: 1 }
        }
        Err(error) => {
            eprintln!("FAILED: {name}: {error}");
            Count { passed: 0, failed: 1 }
        }
    }
}

/// Runs a test runner, shows what it says, and counts the tests in it.
///
/// A runner that fails without a failed test (it did not compile, it was killed) counts as one failure.
fn counted(name: &str, command: &mut Command, count_line: fn(&str) -> Count) -> Count {
    announce(name);
    let (status, mut count) = match watch(command, count_line) {
        Ok(done) => done,
        Err(error) => {
            eprintln!("FAILED: {name}: {error}");
            return Count { passed: 0, failed: 1 };
        }
    };
    if !status.success() && count.failed == 0 {
        eprintln!("FAILED: {name} ended with {status}");
        count.failed = 1;
    }
    count
}

/// Passes both streams on while it counts in them, as runners differ in which they use.
fn watch(
    command: &mut Command,
    count_line: fn(&str) -> Count,
) -> std::io::Result<(std::process::ExitStatus, Count)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().expect("because it was piped");
    let stderr = child.stderr.take().expect("because it was piped");
    let (out, err) = thread::scope(|scope| {
        let out = scope.spawn(|| pass_on(stdout, std::io::stdout(), count_line));
        let err = pass_on(stderr, std::io::stderr(), count_line);
        (out.join().expect("because counting does not panic"), err)
    });
    let mut count = out?;
    count += err?;
    Ok((child.wait()?, count))
}

fn pass_on(from: impl Read, mut to: impl Write, count_line: fn(&str) -> Count) -> std::io::Result<Count> {
    let mut count = Count::default();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        count += count_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    to.flush()?;
    Ok(count)
}

/// `     Summary [   0.013s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 0 skipped`
fn count_nextest(line: &str) -> Count {
    let line = line.trim_start();
    let Some((_, counts)) = line.strip_prefix("Summary [").and_then(|rest| rest.split_once(" run: ")) else {
        return Count::default();
    };
    // "3 passed (1 slow, 1 leaky)" has its own list in brackets.
    let outer = without_brackets(counts);
    let mut count = Count::default();
    for part in outer.split(',') {
        let Some((number, what)) = part.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match what.trim() {
            "passed" => count.passed += number,
            "failed" | "timed out" | "exec failed" => count.failed += number,
            _ => {}
        }
    }
    count
}

/// `test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn count_libtest(line: &str) -> Count {
    let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
        return Count::default();
    };
    let number = |what: &str| {
        let part = counts.split(';').find(|part| part.trim().ends_with(what))?;
        part.trim().strip_suffix(what)?.trim().parse::<u64>().ok()
    };
    Count { passed: number("passed").unwrap_or(0), failed: number("failed").unwrap_or(0) }
}

fn without_brackets(text: &str) -> String {
    let mut depth = 0;
    text.chars()
        .filter(|&sign| {
            depth += i32::from(sign == '(');
            let outside = depth == 0;
            depth -= i32::from(sign == ')');
            outside
        })
        .collect()
}

fn quiet(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

fn announce(name: &str) {
    eprintln!("\n=== {name}");
}

fn skip(name: &str, why: &str) -> Count {
    eprintln!("\n=== SKIPPED: {name}: {why}");
    Count::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last line of `cargo xtask test` is only true if nextest's summary is read rightly.
    #[test]
    fn a_nextest_summary_is_counted() {
        let count = |line| count_nextest(line);
        let all = "     Summary [   0.013s] 5 tests run: 5 passed, 0 skipped\n";
        assert_eq!(count(all), Count { passed: 5, failed: 0 });
        let mixed = "     Summary [  61.1s] 9/10 tests run: 4 passed (1 slow, 2 leaky), 2 failed, 1 exec failed, \
                     2 timed out, 3 skipped";
        assert_eq!(count(mixed), Count { passed: 4, failed: 5 });
        let one = "     Summary [   0.002s] 1 test run: 1 passed, 7 skipped";
        assert_eq!(count(one), Count { passed: 1, failed: 0 });
        assert_eq!(count("        PASS [   0.002s] xtask a_test_about_a_summary"), Count::default());
    }

    /// Without nextest, each test binary has a line of its own.
    #[test]
    fn a_line_of_cargo_test_is_counted() {
        let line = "test result: FAILED. 3 passed; 12 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.1s";
        assert_eq!(count_libtest(line), Count { passed: 3, failed: 12 });
        assert_eq!(count_libtest("test result_is_told ... ok"), Count::default());
    }

    /// A runner that dies without a word must not look like success.
    #[test]
    #[cfg(unix)]
    fn a_runner_that_fails_without_a_count_is_a_failure() {
        let dead = counted("false", &mut Command::new("false"), count_libtest);
        assert_eq!(dead, Count { passed: 0, failed: 1 });
        let missing = counted("no such", &mut Command::new("/nowhere/at/all"), count_libtest);
        assert_eq!(missing, Count { passed: 0, failed: 1 });
    }
}
