//! Scripted tools: one that behaves, and ones that lie, crash, or talk nonsense.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A virtual environment whose "Python" answers lines by this part of a shell's `case`.
fn venv(cases: &str) -> tempfile::TempDir {
    scripted(&format!("#!/bin/sh\nwhile read -r line; do case \"$line\" in\n{cases}\nesac; done\n"))
}

/// A virtual environment whose "Python" is this script.
fn scripted(script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    // Written beside and renamed: what was just written to can't always be run.
    let partial = bin.join("partial");
    fs::write(&partial, script).unwrap();
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&partial, bin.join("python")).unwrap();
    dir
}

fn start(venv: &tempfile::TempDir) -> Outside {
    Outside::start(venv.path(), Path::new("adapter.py")).unwrap()
}

fn wanted(method: &str) -> Backend {
    Backend { name: "t".into(), method: method.into(), settings: BTreeMap::new(), needs_text: false }
}

fn probed() -> Probed {
    Probed { tool: "t".into(), version: "1".into(), device: "cpu".into(), methods: vec!["nf4".into()] }
}

const PROBE: &str =
    r#"*probe*) echo '{"probed":{"tool":"t","version":"1","device":"cpu","methods":["nf4"]}}';;"#;

/// A tool that behaves is believed: its size is what lies on disk, its probabilities are as many as were asked for.
#[test]
fn a_tool_that_behaves_gives_a_candidate() {
    let target = tempfile::tempdir().unwrap();
    let place = target.path().display();
    let cases = format!(
        "{PROBE}\n*quantize*) head -c 1000 /dev/zero > {place}/model.safetensors; echo {{}} > {place}/config.json
echo '{{\"quantized\":{{\"bytes\":1000}}}}';;\n*logprobs*) echo '{{\"logprobs\":[-1.5,-0.25]}}';;"
    );
    let venv = venv(&cases);
    let mut tool = start(&venv);
    assert_eq!(tool.probe().unwrap(), probed());
    let bytes = tool.quantize(&probed(), &wanted("nf4"), Path::new("s"), target.path(), None).unwrap();
    assert_eq!(bytes, 1000);
    assert_eq!(tool.logprobs(target.path(), &[1, 2, 3], 1).unwrap(), [-1.5, -0.25]);
}

/// "get_memory_footprint() said 538 MB" was the size before quantisation: a claim is no size.
#[test]
fn a_size_that_is_not_on_disk_is_not_believed() {
    let target = tempfile::tempdir().unwrap();
    fs::write(target.path().join("model.safetensors"), [0; 1000]).unwrap();
    for (claim, is_fine) in [(1000, true), (1005, true), (500, false), (4000, false)] {
        let venv = venv(&format!("*) echo '{{\"quantized\":{{\"bytes\":{claim}}}}}';;"));
        let found = start(&venv).quantize(&probed(), &wanted("nf4"), Path::new("s"), target.path(), None);
        assert_eq!(found.is_ok(), is_fine, "{claim}: {found:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    let venv = venv("*) echo '{\"quantized\":{\"bytes\":0}}';;");
    let found = start(&venv).quantize(&probed(), &wanted("nf4"), Path::new("s"), empty.path(), None);
    assert!(matches!(found, Err(OutsideError::Size { said: 0, found: 0 })));
}

/// Whatever a tool does, it is an error with a reason, never a hang, a panic or a figure.
#[test]
fn tools_that_misbehave_are_told_by_their_reason() {
    let logprobs = |cases: &str| {
        let venv = venv(cases);
        start(&venv).logprobs(Path::new("m"), &[1, 2, 3], 1).unwrap_err().to_string()
    };
    let cases = [
        ("*) exit 3;;", "the tool ended"),
        (
            "*) echo 'Traceback' >&2; echo 'ImportError: no torch' >&2; exit 1;;",
            "it said: ImportError: no torch",
        ),
        ("*) echo hello;;", "in words that mean nothing"),
        ("*) printf '{\"logprobs\":[-1.0';;", "ended"),
        ("*) echo '{\"quantized\":{\"bytes\":1}}';;", "another question"),
        ("*) echo '{\"logprobs\":[-1.0]}';;", "of 2 tokens the tool scored 1"),
        ("*) echo '{\"logprobs\":[-1.0,0.5]}';;", "gave 0.5"),
        ("*) echo '{\"logprobs\":[-1.0,NaN]}';;", "mean nothing"),
        ("*) echo '{\"failed\":\"out of memory\"}';;", "the tool failed: out of memory"),
    ];
    for (script, expected) in cases {
        // One that ends its output in the middle is still running: it has to end, too.
        let script = script.replace("[-1.0';;", "[-1.0'; exit;;");
        let found = logprobs(&script);
        assert!(found.contains(expected), "{script}: {found}");
    }
    let found =
        start(&venv(PROBE)).quantize(&probed(), &wanted("gptq"), Path::new("s"), Path::new("t"), None);
    assert_eq!(found.unwrap_err().to_string(), "the tool can't do gptq, only nf4");
    let none = tempfile::tempdir().unwrap();
    let missing = Outside::start(none.path(), Path::new("adapter.py")).err().unwrap().to_string();
    assert!(missing.contains("bin/python can't be started"), "{missing}");
}

/// What the real tools were asked and said, one after another.
fn recorded(tool: &str) -> Vec<(serde_json::Value, String)> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/backends").join(format!("{tool}.jsonl"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (turns, rest) = lines.as_chunks::<2>();
    assert!(rest.is_empty() && !turns.is_empty(), "{tool}");
    turns.iter().map(|[asked, answered]| (asked["asked"].clone(), answered["answered"].to_string())).collect()
}

/// The tools that were recorded with `tests/data/backends/make.py`.
const RECORDED: [&str; 5] = ["bitsandbytes", "gptqmodel", "hqq", "quanto", "torchao"];

/// The real adapters and this client speak one language: asked what they were asked when they were recorded, the client writes the
/// same questions, and takes the answers for what they are.
#[test]
fn what_real_tools_said_is_understood() {
    for tool in RECORDED {
        let turns = recorded(tool);
        let place = tempfile::tempdir().unwrap();
        let answers: Vec<&str> = turns.iter().map(|(_, answer)| answer.as_str()).collect();
        fs::write(place.path().join("answers"), answers.join("\n") + "\n").unwrap();
        let asked = place.path().join("asked");
        // Answers with the next line, whatever is asked, and writes down what that was.
        let script = format!(
            "#!/bin/sh\nexec 3< {0}/answers\nwhile IFS= read -r line; do printf '%s\\n' \"$line\" >> {0}/asked; IFS= read -r answer <&3; \
             printf '%s\\n' \"$answer\"; done\n",
            place.path().display()
        );
        let python = scripted(&script);
        let mut client = Outside::start(python.path(), Path::new("adapter.py")).unwrap();
        let mut probed = None;
        let mut measured = 0;
        for (question, answer) in &turns {
            let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
            let (kind, asked) = question.as_object().unwrap().iter().next().unwrap();
            match kind.as_str() {
                "probe" => probed = Some(client.probe().unwrap()),
                "quantize" => {
                    let target = tempfile::tempdir().unwrap();
                    let bytes = answer["quantized"]["bytes"].as_u64();
                    let weights = vec![0; bytes.unwrap_or(1) as usize];
                    fs::write(target.path().join("model.safetensors"), weights).unwrap();
                    let settings = serde_json::from_value(asked["settings"].clone()).unwrap();
                    let method = asked["method"].as_str().unwrap().to_owned();
                    let wanted = Backend { name: tool.into(), method, settings, needs_text: true };
                    let made = client.quantize(
                        probed.as_ref().unwrap(),
                        &wanted,
                        Path::new("SOURCE"),
                        target.path(),
                        Some(Path::new("TEXT")),
                    );
                    match bytes {
                        Some(bytes) => assert_eq!(made.unwrap(), bytes, "{tool}"),
                        None => assert!(matches!(made, Err(OutsideError::Failed(_))), "{tool}"),
                    }
                }
                "logprobs" => {
                    let tokens: Vec<Token> = serde_json::from_value(asked["tokens"].clone()).unwrap();
                    let model = asked["model"].as_str().unwrap();
                    let from = asked["scored_from"].as_u64().unwrap() as usize;
                    let ln_p = client.logprobs(Path::new(model), &tokens, from).unwrap();
                    let expected: Vec<f64> = serde_json::from_value(answer["logprobs"].clone()).unwrap();
                    assert_eq!(ln_p, expected, "{tool}");
                    measured += 1;
                }
                other => panic!("{tool}: {other}"),
            }
        }
        assert!(measured >= 2, "{tool}: a candidate and its source");
        let asked = fs::read_to_string(asked).unwrap();
        for (line, (question, _)) in asked.lines().zip(&turns) {
            let mut asked: serde_json::Value = serde_json::from_str(line).unwrap();
            // The one thing that is another each time is where the model is written.
            if let Some(target) = asked.pointer_mut("/quantize/target") {
                *target = question["quantize"]["target"].clone();
            }
            assert_eq!(&asked, question, "{tool}");
        }
        let probed = probed.unwrap();
        assert!(!probed.version.is_empty() && !probed.methods.is_empty(), "{tool}");
    }
}
