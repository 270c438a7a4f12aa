//! How decisions look: a table of models with the limits they fail, batches grouped by the chosen one.

use std::collections::BTreeMap;

use super::Route;

use crate::answer::Answered;
use crate::cli::report;
use crate::daemon::message::Failure;
use crate::route::choice::{Choice, Quality, Weighed};
use crate::route::complexity::{COMPLEX_TOKENS, DENSE, MODERATE_TOKENS};
use crate::route::decision::Decision;
use crate::route::evidence::{BOUND, Basis, FAR};

/// Letters of a prompt that a batch shows.
const SHOWN: usize = 60;

/// Prints what was decided; ids only where a log has the decisions.
pub fn decisions(route: &Route, prompts: &[String], decisions: &[Decision], is_logged: bool) {
    match (route.json, decisions) {
        (true, [decision]) if route.batch.is_none() => report::json("route", document(decision)),
        (true, _) => report::json("route", batch_document(decisions)),
        (false, [decision]) if route.batch.is_none() => one(decision, route.explain, is_logged),
        (false, _) => batch(prompts, decisions),
    }
}

/// Prints what was answered; why, beside it. An answer of a batch is headed by its number and its model.
pub fn answers(route: &Route, decisions: &[Decision], answers: &[Result<Option<Answered>, Failure>]) {
    if route.json {
        let document = |(decision, answer): (&Decision, &Result<Option<Answered>, Failure>)| {
            let mut document = document(decision);
            match answer {
                Ok(answer) => document["answer"] = serde_json::json!(answer),
                Err(failure) => document["error"] = failure.message.clone().into(),
            }
            document
        };
        let documents: Vec<_> = decisions.iter().zip(answers).map(document).collect();
        match &documents[..] {
            [only] if route.batch.is_none() => report::json("route", only),
            _ => report::json("route", serde_json::json!({ "decisions": documents })),
        }
        return;
    }
    for (at, (decision, answer)) in decisions.iter().zip(answers).enumerate() {
        match answer {
            Ok(Some(answer)) => {
                if route.batch.is_some() {
                    report::say(&format!("prompt {}, {}:\n{}\n", at + 1, answer.model, answer.answer.text));
                }
                let passed_on = answer.wasted.as_ref().map(|(first, wasted)| {
                    let confidence = wasted.confidence.unwrap_or_default();
                    format!(" (after {first}, whose confidence of {confidence:.3} was too low)")
                });
                let why = &decision.choice.reason;
                report::note(&format!("{}{}: {why}", answer.model, passed_on.unwrap_or_default()));
                report::note(&format!("git sparse route --feedback {} good|bad", decision.id));
            }
            Ok(None) => report::note(&decision.choice.reason),
            Err(failure) => report::note(&format!("prompt {}: {}", at + 1, failure.message)),
        }
    }
}

fn document(decision: &Decision) -> serde_json::Value {
    let Decision { id, complexity, request, learnt_lines, choice, .. } = decision;
    serde_json::json!({
        "id": id, "request": request, "complexity": complexity, "outcomes": learnt_lines, "choice": choice,
    })
}

fn batch_document(decisions: &[Decision]) -> serde_json::Value {
    let groups: Vec<_> = grouped(decisions)
        .into_iter()
        .map(|(chosen, group)| {
            let cost = total(&decisions_of(decisions, &group), |choice| choice.cost_usd);
            let saved = total(&decisions_of(decisions, &group), |choice| choice.saved_usd);
            serde_json::json!({ "model": chosen, "prompts": group, "cost_usd": cost, "saved_usd": saved })
        })
        .collect();
    serde_json::json!({ "groups": groups, "decisions": decisions.iter().map(document).collect::<Vec<_>>() })
}

/// Numbers of the decisions for each chosen model, from 0.
fn grouped(decisions: &[Decision]) -> BTreeMap<Option<String>, Vec<usize>> {
    let mut groups: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
    for (at, decision) in decisions.iter().enumerate() {
        groups.entry(decision.choice.chosen.clone()).or_default().push(at);
    }
    groups
}

fn decisions_of<'a>(decisions: &'a [Decision], group: &[usize]) -> Vec<&'a Decision> {
    group.iter().map(|at| &decisions[*at]).collect()
}

/// A sum; none where a part of it is not known.
fn total(decisions: &[&Decision], of: impl Fn(&Choice) -> Option<f64>) -> Option<f64> {
    decisions.iter().map(|decision| of(&decision.choice)).sum()
}

fn one(decision: &Decision, explain: bool, is_logged: bool) {
    let Decision { id, complexity, request, learnt_lines, choice, .. } = decision;
    report::say(&match (&choice.chosen, &choice.then) {
        (Some(first), Some(then)) => format!("{first}, then {} where it is not sure", then.model),
        (Some(chosen), None) => chosen.clone(),
        (None, _) => "no model".into(),
    });
    report::say(&format!("  reason: {}", choice.reason));
    let saved = choice.saved_usd.map(|saved| format!(", {} less than {}", usd(Some(saved)), request.model));
    report::say(&format!(
        "  cost: {} for {} tokens in and {} out{}",
        usd(choice.cost_usd),
        request.input_tokens,
        request.max_tokens,
        saved.unwrap_or_default()
    ));
    report::say(&format!("  prompt: {} ({} tokens, about)", complexity.word(), request.input_tokens));
    if is_logged {
        report::say(&format!("  decision: {id}"));
    }
    report::say("");
    let row = |option: &Weighed| {
        let latency = option.latency_p99_ms.map_or("-".into(), |ms| format!("{ms:.0} ms"));
        let quality = match (&option.quality, option.quality.low()) {
            (Quality::Reference, _) => "reference".into(),
            (_, Some(low)) => format!("{low:.3}"),
            (_, None) => "-".into(),
        };
        let fails = if option.fails.is_empty() { "meets all limits".into() } else { option.fails.join("; ") };
        vec![option.name.clone(), quality, usd(option.cost_usd), latency, fails]
    };
    report::table(
        &["model", ">no worse, at least", ">cost", ">p99", "limits"],
        choice.options.iter().map(row),
    );
    if explain {
        report::say("");
        explained(&choice.options, *learnt_lines);
    }
}

fn explained(options: &[Weighed], outcomes: usize) {
    for option in options {
        let name = &option.name;
        report::say(&match &option.quality {
            Quality::Reference => format!("{name}: what others are compared with"),
            Quality::Outcomes(it) => format!(
                "{name}: {:.1} votes of neighbours among {} outcomes, coverage {:.3} ({}); no worse with a probability of \
                 {:.3}, at least {:.3}; the reference scores {:+.3} more",
                it.votes,
                it.outcomes,
                it.coverage,
                match it.basis {
                    Basis::Neighbours => "the log has prompts like it",
                    Basis::Shape => "far from the log: mostly by the shape of the prompt",
                },
                it.no_worse,
                it.low,
                it.difference
            ),
            Quality::Tokens { share, low, tokens } => format!(
                "{name}: same most likely token as the reference at {share:.4} of {tokens} tokens, at least {low:.4}; of tokens, not of answers"
            ),
            Quality::Unknown => format!("{name}: nothing is known of its answers"),
        });
    }
    report::say(&format!(
        "{}; lower bounds hold with a confidence of {BOUND}; a coverage below {FAR} is far",
        report::count(outcomes, "outcome")
    ));
    report::say(&format!(
        "prompts are moderate from {MODERATE_TOKENS} tokens on, complex from {COMPLEX_TOKENS}; more than {:.0} % of digits \
         and signs of code and mathematics lift one by a class",
        100.0 * DENSE
    ));
}

fn batch(prompts: &[String], decisions: &[Decision]) {
    for (chosen, group) in grouped(decisions) {
        let of_group = decisions_of(decisions, &group);
        report::say(&format!(
            "{}: {}, {}{}",
            chosen.as_deref().unwrap_or("no model"),
            report::count(group.len(), "prompt"),
            usd(total(&of_group, |choice| choice.cost_usd)),
            total(&of_group, |choice| choice.saved_usd)
                .map_or(String::new(), |saved| format!(", {} saved", usd(Some(saved)))),
        ));
        let row = |at: &usize| {
            let decision = &decisions[*at];
            let shown: String = prompts[*at].chars().take(SHOWN).collect();
            let cost = usd(decision.choice.cost_usd);
            vec![(at + 1).to_string(), shown, cost, decision.choice.reason.clone()]
        };
        report::table(&[">line", "prompt", ">cost", "reason"], group.iter().map(row));
        report::say("");
    }
}

/// Dollars, to a millionth.
pub fn usd(amount: Option<f64>) -> String {
    amount.map_or("-".into(), |amount| format!("{amount:.6} USD"))
}
