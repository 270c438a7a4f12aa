//! Real models behind `git sparse route --run` and `--serve`; the endpoint of one server is another one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use git_sparse::convert::{Checkpoint, Plan};
use git_sparse::id::Oid;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{today, write};
use crate::support::engine::{engine, model};
use crate::support::home::{Home, Mode};

/// A server that ends with the test.
struct Served {
    child: Child,
    url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn start(home: &Home, engine: &Path, arguments: &[&str]) -> Served {
        let mut command = home.command("git-sparse", &home.path(""));
        command.arg("route").args(arguments).args(["--serve", "--listen", "127.0.0.1:0", "--threads", "1"]);
        let mut child = command
            .env("GIT_SPARSE_ENGINE", engine)
            .env("CHAT_KEY", "k3y")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let at = line.find("http://").unwrap_or_else(|| panic!("{line}"));
        let url = line[at..].split('/').take(3).collect::<Vec<_>>().join("/");
        Served { child, url }
    }

    /// Status, headers as one text, and body.
    fn post(&self, path: &str, body: &Value) -> (u16, String, String) {
        let request = ureq::post(format!("{}{path}", self.url)).config().http_status_as_error(false).build();
        let mut response = request.content_type("application/json").send(body.to_string()).unwrap();
        let headers = format!("{:?}", response.headers());
        (response.status().as_u16(), headers, response.body_mut().read_to_string().unwrap())
    }
}

fn chat(model: &str, stream: bool) -> Value {
    let messages = [json!({ "role": "user", "content": "fn main() { let x =" })];
    json!({ "model": model, "messages": messages, "max_tokens": 8, "temperature": 0, "stream": stream })
}

/// A home with two real models and a log in which the small one always sufficed.
fn home() -> Home {
    let home = Home::new(Mode::InProcess);
    let mut tables = String::from("prices = \"prices.toml\"\n");
    for name in ["tiny-base", "tiny-sft"] {
        let checkpoint = Checkpoint::open(Path::new(&model(name))).unwrap();
        let plan = Plan::of(&checkpoint).unwrap();
        plan.write(&mut fs::File::create(home.path(format!("{name}.gguf"))).unwrap()).unwrap();
        tables.push_str(&format!(
            "[variant.{name}]\nreport = \"report.json\"\ncandidate = \"{name}\"\nfile = \"{name}.gguf\"\n"
        ));
    }
    write(&home, "route.toml", &tables);
    write(&home, "report.json", &report().to_string());
    let price = "price_per_hour_usd = 0.1\nsource = \"s\"";
    write(&home, "prices.toml", &format!("[hardware.cpu]\n{price}\ndate = \"{}\"\n", today()));
    let line = |at| json!({ "prompt": format!("fn main() {{ let y = {at}"), "scores": { "tiny-base": true, "tiny-sft": true } });
    write(&home, "outcomes.jsonl", &(0..40).map(|at| format!("{}\n", line(at))).collect::<String>());
    home
}

/// A report in which `tiny-base` is twice as fast.
fn report() -> Value {
    let at = |value: f64| json!({ "value": value, "low": value, "high": value });
    let candidate = |name: &str, ms: f64| {
        let quantiles = json!({ "p50": at(ms), "p95": at(ms), "p99": at(ms) });
        json!({
            "name": name, "engine": "llama.cpp", "recipe": name, "bytes": 1, "file": null, "compression": 1.0,
            "quality": null, "peak_memory_bytes": null, "cost": null, "verdicts": [], "is_on_front": true, "note": null,
            "speed": { "first_token_ms": quantiles, "token_ms": quantiles, "prefill_tps": 1000.0 / ms,
                       "decode_tps": 1000.0 / ms, "samples": 100, "unreliable": null },
        })
    };
    let none = "0".repeat(64);
    json!({
        "schema": "git-sparse/optimize/1", "engine": "e", "protocol": "p", "text": none, "confidence": 0.95,
        "source": { "name": "tiny", "weights": none, "bytes": 1, "dtype": "BF16", "dequantised_from": null },
        "hardware": { "name": "cpu", "fingerprint": "f", "threads": 1 },
        "candidates": [candidate("tiny-base", 1.0), candidate("tiny-sft", 2.0)],
        "chosen": null, "measured_at": 0,
    })
}

/// What clients of OpenAI's protocol rely on: shapes, headers, streams, errors; the answer is the model's own.
#[test]
fn the_chosen_model_answers_over_http() {
    let Some(engine) = engine("the_chosen_model_answers_over_http") else { return };
    let home = home();
    let served = Served::start(&home, &engine, &["tiny-sft", "--quality-threshold", "0.7"]);
    let (status, headers, body) = served.post("/v1/chat/completions", &chat("sparse/auto", false));
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(!text.is_empty() && answer["usage"]["completion_tokens"].as_u64().unwrap() <= 8, "{body}");
    for header in
        ["x-sparse-model\": \"tiny-base", "x-sparse-reason", "x-sparse-cost-usd", "x-sparse-decision"]
    {
        assert!(headers.contains(header), "{header}: {headers}");
    }
    // The same as a stream, piece by piece.
    let (status, headers, body) = served.post("/v1/chat/completions", &chat("sparse/auto", true));
    assert!(
        status == 200 && headers.contains("text/event-stream") && body.ends_with("data: [DONE]\n\n"),
        "{body}"
    );
    let events =
        body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| line.starts_with('{'));
    let events: Vec<Value> = events.map(|line| serde_json::from_str(line).unwrap()).collect();
    let streamed: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(streamed, text);
    // A model that is named is asked itself; one that is not there, and what can't be done, is refused.
    let (_, headers, _) = served.post("/v1/chat/completions", &chat("tiny-sft", false));
    assert!(headers.contains("x-sparse-model\": \"tiny-sft"), "{headers}");
    let (status, _, body) = served.post("/v1/chat/completions", &chat("gpt-none", true));
    assert!(status == 404 && body.contains("tiny-base, tiny-sft"), "{status} {body}");
    let (status, _, body) = served.post("/v1/chat/completions", &json!({ "model": "sparse/auto" }));
    assert!(status == 400 && body.contains("error"), "{status} {body}");
    let models =
        ureq::get(format!("{}/v1/models", served.url)).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(["sparse/auto", "tiny-base", "tiny-sft"].iter().all(|name| models.contains(name)), "{models}");
    // Only a page that may set the type of a body can ask.
    let plain = ureq::post(format!("{}/v1/chat/completions", served.url))
        .config()
        .http_status_as_error(false)
        .build();
    assert_eq!(
        plain.content_type("text/plain").send(chat("sparse/auto", false).to_string()).unwrap().status(),
        415
    );

    // Nor one whose name was made to lead here.
    for (header, value) in [("origin", "http://evil.example"), ("host", "evil.example:80"), ("host", "[::2]")]
    {
        let page = ureq::post(format!("{}/v1/chat/completions", served.url))
            .config()
            .http_status_as_error(false)
            .build();
        let page = page.content_type("application/json").header(header, value);
        assert_eq!(
            page.send(chat("sparse/auto", false).to_string()).unwrap().status(),
            403,
            "{header}: {value}"
        );
    }

    let log = fs::read_to_string(home.path("decisions.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 2);
    let decision: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let (status, _, body) = served.post("/v1/feedback", &json!({ "id": decision["id"], "good": true }));
    assert_eq!(status, 200, "{body}");
    assert_eq!(fs::read_to_string(home.path("outcomes.jsonl")).unwrap().lines().count(), 41);
}

/// An endpoint is asked over HTTP with its key and its own name for the model; a server that is gone is told.
#[test]
fn endpoints_are_asked_over_http() {
    let Some(engine) = engine("endpoints_are_asked_over_http") else { return };
    let far = home();
    let served = Served::start(&far, &engine, &["tiny-sft"]);
    let near = Home::new(Mode::InProcess);
    let url = &served.url;
    write(
        &near,
        "route.toml",
        &format!("[endpoint.far]\nurl = \"{url}/v1\"\nmodel = \"tiny-base\"\nkey_env = \"CHAT_KEY\"\n"),
    );
    let run = |key: Option<&str>| {
        let mut command = near.command("git-sparse", &near.path(""));
        command.args(["route", "far", "fn main() { let x =", "--run", "--max-tokens", "8"]);
        key.map(|key| command.env("CHAT_KEY", key));
        let output = near.output(&mut command);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said, notes) = run(Some("k3y"));
    assert!(code == 0 && notes.contains("far: "), "{code} {said} {notes}");
    let (_, _, body) = served.post("/v1/chat/completions", &chat("tiny-base", false));
    let direct: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(said.trim_end(), direct["choices"][0]["message"]["content"].as_str().unwrap().trim_end());
    let (code, _, notes) = run(None);
    assert!(code == 2 && notes.contains("CHAT_KEY"), "{code} {notes}");
    drop(served);
    let (code, _, notes) = run(Some("k3y"));
    assert!(code == 4 && notes.contains("/v1/chat/completions"), "{code} {notes}");
}

/// A cascade at run time: the first model's answer counts where it was sure enough, else the second one's.
#[test]
fn a_cascade_asks_twice_where_it_must() {
    let Some(engine) = engine("a_cascade_asks_twice_where_it_must") else { return };
    let home = home();
    // Right where it was a little surer; nothing else tells the prompts apart.
    let line = |at: u32| {
        let sure = at.is_multiple_of(2);
        let confidence = if sure { 0.99 } else { 0.98 };
        json!({ "prompt": "fn main() { let z = 1", "scores": { "tiny-base": sure, "tiny-sft": true },
                "confidences": { "tiny-base": confidence } })
    };
    write(&home, "outcomes.jsonl", &(0..400).map(|at| format!("{}\n", line(at))).collect::<String>());
    let mut command = home.command("git-sparse", &home.path(""));
    command.args(["route", "tiny-sft", "fn main() { let z = 1", "--run", "--max-tokens", "6", "--json"]);
    let output = home.output(command.env("GIT_SPARSE_ENGINE", &engine));
    let said = String::from_utf8(output.stdout).unwrap();
    let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    // Half is passed on, and one costs half of the other: together they cost as much as the second alone.
    assert_eq!(document["choice"]["chosen"], "tiny-sft", "{said}");
    let (priced, prices) = (home.path("prices.toml"), home.path("report.json"));
    assert!(priced.exists());
    let cheaper = report().to_string().replacen("\"prefill_tps\":1000.0", "\"prefill_tps\":9000.0", 1);
    let cheaper = cheaper.replacen("\"decode_tps\":1000.0", "\"decode_tps\":9000.0", 1);
    fs::write(prices, cheaper).unwrap();
    let mut command = home.command("git-sparse", &home.path(""));
    command.args(["route", "tiny-sft", "fn main() { let z = 1", "--run", "--max-tokens", "6", "--json"]);
    let output = home.output(command.env("GIT_SPARSE_ENGINE", &engine));
    let said = String::from_utf8(output.stdout).unwrap();
    let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(document["choice"]["then"]["model"], "tiny-sft", "{said}");
    // A model of a million weights is never that sure.
    assert_eq!(document["answer"]["model"], "tiny-sft", "{said}");
    assert_eq!(document["answer"]["wasted"][0], "tiny-base", "{said}");
}

/// Evidence is of exact bytes: another file under the same name does not answer; of a batch, each answer says whose it is.
#[test]
fn only_the_file_that_was_measured_answers() {
    let Some(engine) = engine("only_the_file_that_was_measured_answers") else { return };
    let home = home();
    let measured = Oid::from_bytes(Sha256::digest(fs::read(home.path("tiny-base.gguf")).unwrap()).into());
    let known = report().to_string().replacen("\"file\":null", &format!("\"file\":\"{measured}\""), 1);
    write(&home, "report.json", &known);
    write(&home, "batch.txt", "fn main() { let y = 1\nfn main() { let y = 2\n");
    let run = || {
        let mut command = home.command("git-sparse", &home.path(""));
        command.args(["route", "tiny-sft", "--batch", "batch.txt", "--run", "--max-tokens", "4"]);
        command.args(["--quality-threshold", "0.7"]);
        let output = home.output(command.env("GIT_SPARSE_ENGINE", &engine));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, said, notes) = run();
    assert!(code == 0 && said.contains("prompt 1, tiny-base:\n"), "{code} {said} {notes}");
    assert!(said.contains("prompt 2, tiny-base:\n"), "{said}");
    fs::copy(home.path("tiny-sft.gguf"), home.path("tiny-base.gguf")).unwrap();
    let (code, said, notes) = run();
    assert!(
        code == 6 && said.is_empty() && notes.contains("not the file that was measured"),
        "{code} {notes}"
    );
}
