//! llama.cpp's own programs, compiled with the libraries and sources that the engine was built of: what they say is the measure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::home::Home;

/// The program of `tools/NAME`, of these files; `None` where it can't be compiled.
pub fn tool(home: &Home, name: &str, files: &[&str]) -> Option<PathBuf> {
    let cache = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/llama-cmake-cache")).ok()?;
    let build = cache
        .flatten()
        .map(|entry| entry.path().join("build"))
        .find(|build| build.join("src/libllama.a").is_file())?;
    let settings = fs::read_to_string(build.join("CMakeCache.txt")).ok()?;
    let source = settings.lines().find_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="))?;
    let source = Path::new(source);
    let libraries = [
        "common/libllama-common.a",
        "common/libllama-common-base.a",
        "src/libllama.a",
        "ggml/src/libggml.a",
        "ggml/src/libggml-cpu.a",
        "ggml/src/libggml-base.a",
        "vendor/hash/libvendor-hash.a",
        "vendor/cpp-httplib/libcpp-httplib.a",
    ];
    let target = home.path(format!("llama-{name}"));
    // It is built with TLS where OpenSSL's headers were.
    let compiled = [&["-lssl", "-lcrypto"][..], &[]].into_iter().any(|tls| {
        let mut command = Command::new("g++");
        command.args(["-O1", "-std=c++17", "-o"]).arg(&target);
        for include in ["common", "include", "ggml/include", "vendor", "src"] {
            command.arg("-I").arg(source.join(include));
        }
        command.args(files.iter().map(|file| source.join("tools").join(name).join(file)));
        command.arg("-Wl,--start-group").args(libraries.map(|library| build.join(library)));
        command.args(["-Wl,--end-group", "-lpthread", "-ldl"]).args(tls);
        command.output().is_ok_and(|output| output.status.success())
    });
    compiled.then_some(target)
}
