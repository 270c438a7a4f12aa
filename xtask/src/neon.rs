//! The codec's NEON path, tested where no such machine is: compiled by Debian's Rust, as that has the
//! standard library of other machines, and run in an emulator.
//!
//! Nothing is installed. The packages are unpacked below target/, where nothing else finds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::binary::{cargo, workspace};
use crate::home::said;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const PACKAGES: [&str; 5] =
    ["rustc-web", "libstd-rust-web-dev:arm64", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"];

/// The tests are those of `src/codec/lanes/` alone: all of the program takes many times as long to compile.
const MANIFEST: &str = r#"[package]
name = "lanes"
edition = "2024"

[lib]
path = "lanes.rs"

[workspace]

[dev-dependencies]
proptest = { version = "1.12", default-features = false, features = ["std"] }

[profile.dev]
opt-level = 1
"#;

/// A command that compiles and runs the tests, once all that it needs is there.
pub fn tests() -> Result<Command, Failure> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return Err("it is emulated on x86-64 with Linux only; on 64-bit Arm all tests run it".into());
    }
    let place = workspace().join("target/neon");
    let root = unpacked(&place)?;
    let directory = place.join("lanes");
    write_crate(&directory)?;
    let tool = |name: &str| root.join("usr/bin").join(name);
    let for_target = |name: &str| format!("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_{name}");
    let mut command = cargo();
    command
        .current_dir(directory)
        .args(["test", "--lib", "--target", TARGET, "--target-dir"])
        .arg(place.join("build"))
        .env("RUSTC", tool("rustc"))
        .env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"))
        .env(for_target("LINKER"), tool("aarch64-linux-gnu-gcc"))
        .env(for_target("RUSTFLAGS"), format!("-Clink-arg=--sysroot={}", root.display()))
        .env(for_target("RUNNER"), format!("{} -L {}", tool("qemu-aarch64").display(), root.display()));
    Ok(command)
}

/// The directory with the packages' files, fetched when it is not there.
fn unpacked(place: &Path) -> Result<PathBuf, Failure> {
    let (root, done) = (place.join("root"), place.join("unpacked"));
    if fs::read_to_string(&done).is_ok_and(|packages| packages == PACKAGES.join(" ")) {
        return Ok(root);
    }
    for below in ["state/lists/partial", "cache/archives/partial", "root"] {
        create_directory(&place.join(below))?;
    }
    eprintln!("fetching a compiler and an emulator for 64-bit Arm: 250 MB, 1.2 GB below {}", root.display());
    finish(apt(place).args(["update", "-q"]))?;
    let install = ["install", "-q", "-y", "--download-only", "--no-install-recommends"];
    finish(apt(place).args(install).args(PACKAGES))?;
    let archives = place.join("cache/archives");
    let failed = |error: std::io::Error| format!("{}: {error}", archives.display());
    for entry in fs::read_dir(&archives).map_err(failed)? {
        let package = entry.map_err(failed)?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            finish(Command::new("dpkg").arg("-x").arg(&package).arg(&root))?;
        }
    }
    fs::remove_dir_all(&archives).map_err(failed)?;
    fs::write(&done, PACKAGES.join(" ")).map_err(|error| format!("{}: {error}", done.display()))?;
    Ok(root)
}

/// apt-get with lists and archives of its own, for packages of both machines; needs no root.
fn apt(place: &Path) -> Command {
    let options = [
        "APT::Architectures::=amd64".to_owned(),
        "APT::Architectures::=arm64".into(),
        "APT::Sandbox::User=root".into(),
        "Acquire::Languages=none".into(),
        "Debug::NoLocking=1".into(),
        format!("Dir::Cache={}", place.join("cache").display()),
        format!("Dir::State={}", place.join("state").display()),
        "Dir::State::status=/var/lib/dpkg/status".into(),
    ];
    let mut command = Command::new("apt-get");
    for option in options {
        command.arg("-o").arg(option);
    }
    command
}

/// A crate around the files of `lanes`, with the versions that the workspace is locked to.
fn write_crate(directory: &Path) -> Result<(), Failure> {
    create_directory(directory)?;
    let lanes = workspace().join("src/codec/lanes/mod.rs");
    let source =
        format!("#![allow(dead_code)]\n\nmod codec {{\n    #[path = {lanes:?}]\n    mod lanes;\n}}\n");
    let write = |name: &str, text: &[u8]| {
        let file = directory.join(name);
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    };
    let lock = workspace().join("Cargo.lock");
    let lock = fs::read(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    write("Cargo.toml", MANIFEST.as_bytes())?;
    write("Cargo.lock", &lock)?;
    write("lanes.rs", source.as_bytes())
}

fn create_directory(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn finish(command: &mut Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} ended with {}\n{}", output.status, said(&output)))
}
