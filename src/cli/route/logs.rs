//! `git sparse route --replay`, `--feedback` and `--import`: what was decided, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use super::read;
use crate::cli::report;
use crate::daemon::message::{Failure, Kind};
use crate::route::catalog::Catalog;
use crate::route::decision::{Decision, Replayed};
use crate::route::journal::{self, Journal, JournalError};
use crate::route::outcome::{Line, Outcome, Score};

/// Takes each decision of a log again.
pub fn replay(log: &Path, catalog: &Catalog, json: bool) -> Result<ExitCode, Failure> {
    if !log.exists() {
        return Err(Failure::new(Kind::NotFound, format!("{}: there is no such log", log.display()))
            .fix(format!("decisions are logged in {}", catalog.decisions.display())));
    }
    let decisions = Journal::read(log, Decision::parse).map_err(|error| failed(&error))?.entries;
    let outcomes = Journal::read(&catalog.outcomes, Outcome::parse).map_err(|error| failed(&error))?;
    let replayed: Vec<(String, Replayed)> =
        decisions.iter().map(|decision| (decision.id.clone(), decision.replayed(&outcomes))).collect();
    let same = replayed.iter().filter(|(_, replayed)| *replayed == Replayed::Same).count();
    if json {
        let others = replayed.iter().filter(|(_, replayed)| *replayed != Replayed::Same);
        let others: BTreeMap<&String, serde_json::Value> =
            others.map(|(id, replayed)| (id, document(replayed))).collect();
        let document = serde_json::json!({ "decisions": replayed.len(), "same": same, "others": others });
        report::json("route-replay", document);
    } else {
        for (id, replayed) in replayed.iter().filter(|(_, replayed)| *replayed != Replayed::Same) {
            report::say(&format!("{id}: {}", said(replayed)));
        }
        report::say(&format!("{}, {same} the same", report::count(replayed.len(), "decision")));
    }
    Ok(if same == replayed.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn said(replayed: &Replayed) -> String {
    match replayed {
        Replayed::Same => "the same".into(),
        Replayed::OtherLog => "the outcomes that it was taken from are no longer in the log".into(),
        Replayed::Differs(fields) => {
            let changed =
                fields.iter().map(|it| format!("{} was {}, is now {}", it.field, it.logged, it.again));
            changed.collect::<Vec<_>>().join("; ")
        }
    }
}

fn document(replayed: &Replayed) -> serde_json::Value {
    match replayed {
        Replayed::Differs(fields) => serde_json::json!(fields),
        _ => said(replayed).into(),
    }
}

/// Learns whether the answer of a decision was good.
pub fn feedback(id: &str, word: &str, catalog: &Catalog) -> Result<ExitCode, Failure> {
    let good = match word {
        "good" => true,
        "bad" => false,
        _ => {
            return Err(Failure::new(Kind::Usage, format!("{word:?} is no verdict"))
                .fix(format!("git sparse route --feedback {id} good, or bad")));
        }
    };
    let decisions = Journal::read(&catalog.decisions, Decision::parse).map_err(|error| failed(&error))?;
    let Some(decision) = decisions.entries.iter().rev().find(|decision| decision.id == id) else {
        return Err(Failure::new(
            Kind::NotFound,
            format!("no decision {id} in {}", catalog.decisions.display()),
        )
        .fix("git sparse route prints the id of each decision"));
    };
    let Some(line) = decision.judged(good) else {
        return Err(Failure::new(Kind::Usage, format!("decision {id} chose no model: there was no answer"))
            .fix("name another decision"));
    };
    let told: Vec<String> = line.scores.keys().cloned().collect();
    let new = journal::append_new(&catalog.outcomes, &[line]).map_err(|error| failed(&error))?;
    let word = if new == 0 { format!("known already: {word}") } else { format!("learnt: {word}") };
    report::say(&format!("{word} of {}", told.join(" and ")));
    Ok(ExitCode::SUCCESS)
}

/// Learns the outcomes of a file; none of them, if one is bad.
pub fn import(file: &Path, scores: &[String], catalog: &Catalog) -> Result<ExitCode, Failure> {
    let mut fields = Vec::new();
    for score in scores {
        let Some((field, model)) = score.split_once('=') else {
            return Err(Failure::new(Kind::Usage, format!("--score {score:?} names no model"))
                .fix("as --score weak_right=MODEL"));
        };
        fields.push((field, model));
    }
    let text = read(Some(&file.to_owned()))?;
    let mut lines = Vec::new();
    for (at, text) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = line(text, &fields).and_then(|line| Outcome::of(line.clone()).map(|_| line));
        lines.push(line.map_err(|why| {
            Failure::new(Kind::Usage, format!("{}: line {}: {why}", file.display(), at + 1))
                .fix("a line has a prompt, and scores by model: docs/route.md")
        })?);
    }
    let new = journal::append_new(&catalog.outcomes, &lines).map_err(|error| failed(&error))?;
    let names = catalog.names();
    let scored: BTreeSet<&String> = lines.iter().flat_map(|line| line.scores.keys()).collect();
    for name in scored.into_iter().filter(|name| !names.contains(&name.as_str())) {
        report::note(&format!(
            "{name} is not in the catalogue ({}): its scores count once it is",
            names.join(", ")
        ));
    }
    report::say(&format!("learnt: {}", report::count(new, "outcome")));
    if new < lines.len() {
        report::say(&format!("{} in the log already", report::count(lines.len() - new, "line")));
    }
    Ok(ExitCode::SUCCESS)
}

/// A line with its own scores, or with those that stand in named fields.
fn line(text: &str, fields: &[(&str, &str)]) -> Result<Line, String> {
    if fields.is_empty() {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut scores = BTreeMap::new();
    for (field, model) in fields {
        let score = value.get(field).cloned().ok_or_else(|| format!("no field {field:?}"))?;
        let score: Score = serde_json::from_value(score).map_err(|_| format!("{field:?} is no score"))?;
        scores.insert((*model).to_owned(), score);
    }
    let prompt = value.get("prompt").and_then(|prompt| prompt.as_str());
    let prompt = prompt.ok_or("no prompt")?.to_owned();
    Ok(Line { prompt: Some(prompt), scores, ..Line::default() })
}

pub fn failed(error: &JournalError) -> Failure {
    let failure = |kind| Failure::new(kind, error.to_string());
    match error {
        JournalError::Io { .. } => failure(Kind::Fatal).fix("check the disk, and the paths in the catalogue"),
        JournalError::Line { .. } => failure(Kind::Corrupt).fix("mend that line, or take it away"),
        JournalError::Lines(_) => {
            failure(Kind::Refused).fix("begin a new log: name another file in the catalogue")
        }
    }
}
