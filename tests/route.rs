//! `git sparse route` as a user meets it: choices and exit codes, logs that are replayed and taught, and
//! real models that answer, here and over OpenAI's protocol.

mod serve;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::home::{Home, Mode};

const PRICES: &str = r#"
[endpoint.weak]
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.4
source = "a list"
date = "DATE"
[endpoint.strong]
input_usd_per_mtok = 2.5
output_usd_per_mtok = 10.0
source = "a list"
date = "DATE"
"#;

const CATALOG: &str = r#"
prices = "prices.toml"
[endpoint.weak]
url = "http://127.0.0.1:9/v1"
first_token_p99_ms = 300.0
token_p99_ms = 10.0
[endpoint.strong]
url = "http://127.0.0.1:9/v1"
[endpoint.unpriced]
url = "http://127.0.0.1:9/v1"
"#;

const EASY: &str = "translate the sentence above into french";

/// Runs `git-sparse route …` in the home; its exit code and all it said.
#[track_caller]
fn route(home: &Home, arguments: &[&str]) -> (i32, String) {
    let mut command = home.command("git-sparse", &home.path(""));
    let output = home.output(command.arg("route").args(arguments));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit, not a signal"), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn told(home: &Home, arguments: &[&str]) -> Value {
    let (_, said) = route(home, &[arguments, &["--json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// A home with a catalogue, prices of a date, and outcomes: translations are easy, proofs are not.
fn experienced(date: &str) -> Home {
    let home = Home::new(Mode::InProcess);
    write(&home, "route.toml", CATALOG);
    write(&home, "prices.toml", &PRICES.replace("DATE", date));
    let mut outcomes = String::new();
    for at in 0..150 {
        for (prompt, weak) in
            [("translate the sentence N into french", true), ("prove the theorem N about groups", false)]
        {
            let prompt = prompt.replace('N', &format!("number {}", 10 + at % 10));
            let line =
                serde_json::json!({ "q": 1, "prompt": prompt, "weak_right": weak, "strong_right": true });
            outcomes.push_str(&format!("{line}\n"));
        }
    }
    write(&home, "past.jsonl", &outcomes);
    let scores = ["--score", "weak_right=weak", "--score", "strong_right=strong"];
    let (code, said) = route(&home, &[&["--import", "past.jsonl"], &scores[..]].concat());
    assert_eq!((code, said.as_str()), (0, "learnt: 300 outcomes\n"));
    home
}

fn write(home: &Home, name: &str, text: &str) {
    fs::write(home.path(name), text).unwrap();
}

/// Today, as price files have it.
fn today() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    git_sparse::calendar::utc(now.as_secs() as i64).0
}

/// Who reads the decision must find the choice, its reason, what it costs and saves, and why no other one.
#[test]
fn a_choice_says_why_and_why_not() {
    let home = experienced(&today());
    let document = told(&home, &["strong", EASY]);
    assert_eq!(document["schema"], "git-sparse/route/1");
    assert_eq!((&document["choice"]["chosen"], &document["complexity"]), (&"weak".into(), &"simple".into()));
    let cost = document["choice"]["cost_usd"].as_f64().unwrap();
    // 40 bytes are 10 tokens; 256 come back.
    assert!((cost - (10.0 * 0.1 + 256.0 * 0.4) / 1e6).abs() < 1e-12, "{cost}");
    assert!(document["choice"]["saved_usd"].as_f64().unwrap() > 20.0 * cost);

    let (code, said) = route(&home, &["strong", EASY, "--explain"]);
    assert_eq!(code, 0, "{said}");
    for word in [
        "weak\n",
        "like prompts in the log",
        "unpriced",
        "no evidence",
        "coverage",
        "simple",
        "less than strong",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let hard = told(&home, &["strong", "prove the theorem of Sylow about groups"]);
    assert_eq!(hard["choice"]["chosen"], "strong");
}

/// A model whose name was mistyped would never be chosen by what was learnt of it: that is said.
#[test]
fn outcomes_of_unknown_models_are_named() {
    let home = experienced(&today());
    write(&home, "more.jsonl", "{\"prompt\": \"hi\", \"scores\": {\"weak\": true, \"storng\": true}}\n");
    let (code, said) = route(&home, &["--import", "more.jsonl"]);
    assert!(code == 0 && said.contains("learnt: 1 outcome\n"), "{code} {said}");
    assert!(said.contains("storng is not in the catalogue (strong, unpriced, weak)"), "{said}");
}

/// Limits that nothing meets end with 1 and say what each model fails; those without sense are refused.
#[test]
fn limits_decide_and_nonsense_is_refused() {
    let home = experienced(&today());
    let (code, said) = route(&home, &["strong", EASY, "--max-cost", "0.00000001"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no model meets all limits") && said.contains("cost: 0.000103 USD"), "{said}");
    let (code, said) = route(&home, &["strong", EASY, "--max-latency-p99-ms", "2000"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("p99 2850 ms") && said.contains("declares no first_token_p99_ms"), "{said}");
    let fast = told(&home, &["strong", EASY, "--max-latency-p99-ms", "2000", "--max-tokens", "100"]);
    assert_eq!(fast["choice"]["chosen"], "weak");

    for (arguments, code, word) in [
        (&["strong", EASY, "--max-cost", "0"][..], 2, "above 0"),
        (&["strong", EASY, "--max-latency-p99-ms", "-5"], 2, "above 0"),
        (&["strong", EASY, "--quality-threshold", "1.5"], 2, "0.85"),
        (&["strong", EASY, "--max-tokens", "0"], 2, "from 1"),
        (&["stronger", EASY], 3, "weak, strong"),
        (&["strong", ""], 2, "no prompt"),
        (&["strong"], 2, "no prompt"),
        (&[], 2, "no model"),
        (&["strong", EASY, "--catalog", "nowhere.toml"], 3, "nowhere.toml"),
        (&["--feedback", "0123456789abcdef", "good"], 3, "no decision"),
        (&["--replay", "nowhere.jsonl"], 3, "no such log"),
    ] {
        let (found, said) = route(&home, arguments);
        let named = word.split(", ").all(|word| said.contains(word));
        assert!(found == code && named, "{arguments:?}: {found} {said}");
    }
}

/// Old prices must not decide, unless somebody says so; and what has no price never wins.
#[test]
fn stale_prices_do_not_count() {
    let home = experienced("2020-01-01");
    let (code, said) = route(&home, &["strong", EASY]);
    assert!(code == 0 && said.starts_with("strong\n") && said.contains("stale price"), "{code} {said}");
    let allowed = told(&home, &["strong", EASY, "--allow-stale"]);
    assert_eq!(allowed["choice"]["chosen"], "weak");
    let unpriced = told(&home, &["strong", EASY, "--allow-stale"]);
    let options = unpriced["choice"]["options"].as_array().unwrap().clone();
    let option = options.iter().find(|it| it["name"] == "unpriced").unwrap();
    assert!(option["fails"].to_string().contains("no price"), "{option}");
}

/// Without a catalogue or a log there is no ground to choose anything but the model that was named.
#[test]
fn a_cold_start_takes_the_model_itself() {
    let home = Home::new(Mode::InProcess);
    let (code, said) = route(&home, &["any-model", "hello"]);
    assert!(code == 0 && said.starts_with("any-model\n"), "{code} {said}");
    // No log has it, so there is nothing to give feedback on.
    assert!(!said.contains("decision:"), "{said}");
    write(&home, "route.toml", CATALOG);
    write(&home, "prices.toml", &PRICES.replace("DATE", &today()));
    let cold = told(&home, &["strong", "hello"]);
    assert_eq!(cold["choice"]["chosen"], "strong");
    assert!(cold["choice"]["reason"].as_str().unwrap().starts_with("no evidence"));
}

/// A batch is sent model by model: it is grouped so, and bad lines are named.
#[test]
fn a_batch_is_grouped_by_model() {
    let home = experienced(&today());
    let lines = format!(
        "{EASY}\n\n{{\"prompt\": \"prove the theorem of Sylow about groups\"}}\ntranslate the sentence number 7 into french\n"
    );
    write(&home, "batch.txt", &lines);
    let document = told(&home, &["strong", "--batch", "batch.txt"]);
    let groups = document["groups"].as_array().unwrap();
    let sizes: Vec<_> = groups
        .iter()
        .map(|it| (it["model"].as_str().unwrap(), it["prompts"].as_array().unwrap().len()))
        .collect();
    assert_eq!(sizes, [("strong", 1), ("weak", 2)]);
    write(&home, "bad.txt", "hello\n{\"text\": 1}\n");
    let (code, said) = route(&home, &["strong", "--batch", "bad.txt"]);
    assert!(code == 2 && said.contains("bad.txt: line 2"), "{code} {said}");
}

/// Decisions are recomputed from their log, also after more was learnt; changed ones are found.
#[test]
fn decisions_are_replayed_and_taught() {
    let home = experienced(&today());
    let document = told(&home, &["strong", EASY]);
    told(&home, &["strong", "something else"]);
    let replayed = |expected: (i32, &str)| {
        let (code, said) = route(&home, &["--replay", "decisions.jsonl"]);
        assert!(code == expected.0 && said.contains(expected.1), "{code} {said}");
    };
    replayed((0, "2 decisions, 2 the same"));
    let id = document["id"].as_str().unwrap();
    for _ in 0..40 {
        let (code, said) = route(&home, &["--feedback", id, "bad"]);
        assert!(code == 0 && said.contains("bad of strong and weak"), "{code} {said}");
    }
    replayed((0, "2 decisions, 2 the same"));
    let taught = told(&home, &["strong", EASY]);
    assert_eq!(taught["choice"]["chosen"], "strong", "{taught}");

    let log = fs::read_to_string(home.path("decisions.jsonl")).unwrap();
    write(&home, "decisions.jsonl", &log.replacen("\"chosen\":\"weak\"", "\"chosen\":\"strong\"", 1));
    replayed((1, "3 decisions, 2 the same"));
    replayed((1, "chosen was \"strong\", is now \"weak\"\n"));
    write(&home, "decisions.jsonl", &format!("{log}{{\n"));
    replayed((5, "line 4"));
    let outcomes = fs::read_to_string(home.path("outcomes.jsonl")).unwrap();
    write(&home, "outcomes.jsonl", &outcomes.replacen("number 10", "number 11", 1));
    write(&home, "decisions.jsonl", &log);
    replayed((1, "no longer in the log"));
}

/// Numbers about money come from the user alone; rows of a list become rows of a price file.
#[test]
fn savings_and_prices_are_worked_out() {
    let home = Home::new(Mode::InProcess);
    let scenario = ["savings", "--requests", "1000", "--input-tokens", "600", "--output-tokens", "400"];
    let rates = ["--strong", "10,10", "--weak", "1,1", "--weak-share", "0.5", "--escalated-share", "0.2"];
    let document = told(&home, &[&scenario[..], &rates].concat());
    assert_eq!(document["schema"], "git-sparse/route-savings/1");
    assert!((document["month"]["saved_usd"].as_f64().unwrap() - 3.5).abs() < 1e-9, "{document}");
    let dear = ["--strong", "1,1", "--weak", "10,10", "--weak-share", "0.5"];
    let (_, said) = route(&home, &[&scenario[..], &dear].concat());
    assert!(said.contains("routing costs 450.0 % more"), "{said}");
    write(&home, "list.json", r#"{"x": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}"#);
    let asked = ["prices", "list.json", "x", "--date", "2026-11-28", "--source", "https://example.com"];
    let (code, rows) = route(&home, &asked);
    assert!(code == 0 && rows.contains("output_usd_per_mtok = 2.0"), "{code} {rows}");
    let (code, said) = route(&home, &["prices", "list.json", "y", "--date", "2026-11-28", "--source", "s"]);
    assert!(code == 2 && said.contains("\"y\""), "{code} {said}");
    assert!(Path::new(&home.path("list.json")).exists());
}
