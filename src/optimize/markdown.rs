//! A report as Markdown: what was found, by what means, and what to do about it, for people.

use std::fmt::Write;

use super::choice::{Choice, Infeasible};
use super::limits::{megabytes, words};
use super::report::{Candidate, Estimate, Report, Verdict};

/// The report, in the order in which questions come: which one, why, how do you know.
pub fn markdown(report: &Report, choice: &Choice) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# Variants of {}\n", plain(&report.source.name));
    match choice {
        Choice::Chosen(at) => {
            let chosen = &report.candidates[*at];
            let _ = writeln!(text, "**{}** is the cheapest that passes.\n", plain(&chosen.name));
            for judged in &chosen.verdicts {
                let _ = writeln!(
                    text,
                    "- `{}`: {}, {}",
                    judged.limit,
                    name(judged.verdict),
                    plain(&judged.because)
                );
            }
            let _ = writeln!(text);
        }
        Choice::Infeasible(found) => infeasible(&mut text, report, found),
    }
    table(&mut text, &report.candidates, report.chosen.as_deref());
    estimates(&mut text, &report.candidates);
    let left_out: Vec<&Candidate> =
        report.candidates.iter().filter(|candidate| candidate.note.is_some()).collect();
    if !left_out.is_empty() {
        let _ = writeln!(text, "## Not measured in full\n");
        for candidate in left_out {
            let note = candidate.note.as_deref().unwrap_or_default();
            let _ = writeln!(text, "- {}: {}", plain(&candidate.name), plain(note));
        }
        let _ = writeln!(text);
    }
    means(&mut text, report);
    text
}

/// What a verdict is called.
pub fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Undecided => "undecided",
    }
}

/// The sentences for "nothing passes".
pub fn why_not(report: &Report, found: &Infeasible) -> Vec<String> {
    let mut said = Vec::new();
    if !found.binding.is_empty() {
        said.push(format!("what stands in the way: {}", found.binding.join(", ")));
    }
    for near in &found.nearest {
        let candidate = &report.candidates[near.candidate];
        let judged = candidate.verdicts.iter().find(|judged| judged.limit == near.limit);
        let because = judged.map_or("", |judged| judged.because.as_str());
        said.push(format!("nearest: {} misses {} ({because})", candidate.name, near.limit));
    }
    for at in &found.undecided {
        let open: Vec<String> = report.candidates[*at]
            .verdicts
            .iter()
            .filter(|judged| judged.verdict == Verdict::Undecided)
            .map(|judged| format!("{} ({})", judged.limit, judged.because))
            .collect();
        said.push(format!("undecided: {}: {}", report.candidates[*at].name, open.join(", ")));
    }
    said
}

fn infeasible(text: &mut String, report: &Report, found: &Infeasible) {
    let _ = writeln!(text, "**No candidate passes.**\n");
    for sentence in why_not(report, found) {
        let _ = writeln!(text, "- {}", plain(&sentence));
    }
    let _ = writeln!(text);
}

/// The head of the table of candidates; `>` as [`crate::cli`]'s tables have it.
pub const HEAD: [&str; 9] = [
    "candidate",
    ">size",
    ">times smaller",
    ">perplexity %",
    ">tokens",
    ">token p50 ms",
    ">p99 ms",
    ">memory",
    ">$/M out",
];

/// The cells of one candidate's row, as [`HEAD`] has them. The winner has a star, what is on the front a dot.
pub fn row(candidate: &Candidate, chosen: Option<&str>) -> Vec<String> {
    let none = || "-".to_owned();
    let sign = match (chosen == Some(candidate.name.as_str()), candidate.is_on_front) {
        (true, _) => "★ ",
        (false, true) => "• ",
        (false, false) => "  ",
    };
    let is_made = candidate.bytes > 0;
    let quality = candidate.quality.as_ref();
    let speed = candidate.speed.as_ref();
    let doubt = speed.map_or("", |speed| if speed.unreliable.is_some() { "?" } else { "" });
    vec![
        format!("{sign}{}", candidate.name),
        // What was never made has no size.
        if is_made { megabytes(candidate.bytes) } else { none() },
        if is_made { format!("{:.2}", candidate.compression) } else { none() },
        quality.map_or_else(none, |quality| words(quality.increase_percent, "")),
        quality.map_or_else(none, |quality| quality.scored_tokens.to_string()),
        speed.map_or_else(none, |speed| format!("{:.2}{doubt}", speed.token_ms.p50.value)),
        speed.map_or_else(none, |speed| format!("{:.2}{doubt}", speed.token_ms.p99.value)),
        candidate.peak_memory_bytes.map_or_else(none, megabytes),
        candidate.cost.map_or_else(none, |cost| format!("{:.4}{doubt}", cost.output_usd_per_mtok)),
    ]
}

/// The head of the table of estimates for another machine.
pub const ESTIMATE_HEAD: [&str; 5] =
    ["candidate", ">~ token ms", ">~ first token ms", ">~ tokens/s written", ">~ tokens/s read"];

/// The cells of one candidate's row, as [`ESTIMATE_HEAD`] has them.
pub fn estimate_row(candidate: &Candidate, estimate: &Estimate) -> Vec<String> {
    vec![
        candidate.name.clone(),
        format!("{:.2}", estimate.token_ms),
        format!("{:.1}", estimate.first_token_ms),
        format!("{:.1}", estimate.decode_tps),
        format!("{:.0}", estimate.prefill_tps),
    ]
}

fn estimates(text: &mut String, candidates: &[Candidate]) {
    let estimated: Vec<(&Candidate, &Estimate)> =
        candidates.iter().filter_map(|candidate| Some((candidate, candidate.estimate.as_ref()?))).collect();
    let Some((_, first)) = estimated.first() else { return };
    let _ = writeln!(text, "## Estimates for {}\n", plain(&first.machine));
    let _ = writeln!(
        text,
        "Nothing was measured there: these are the times measured here, by what both machines can do. Costs are of these; no limit \
         on time is decided by them.\n"
    );
    let titles: Vec<&str> = ESTIMATE_HEAD.iter().map(|title| title.trim_start_matches('>')).collect();
    let _ = writeln!(text, "| {} |\n| --- | ---: | ---: | ---: | ---: |", titles.join(" | "));
    for (candidate, estimate) in estimated {
        let cells: Vec<String> = estimate_row(candidate, estimate).iter().map(|cell| plain(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let _ = writeln!(text);
}

fn table(text: &mut String, candidates: &[Candidate], chosen: Option<&str>) {
    let titles: Vec<&str> = HEAD.iter().map(|title| title.trim_start_matches('>')).collect();
    let _ = writeln!(text, "| {} | verdicts |", titles.join(" | "));
    let rules: Vec<&str> =
        HEAD.iter().map(|title| if title.starts_with('>') { "---:" } else { "---" }).collect();
    let _ = writeln!(text, "| {} | --- |", rules.join(" | "));
    for candidate in candidates {
        let cells: Vec<String> = row(candidate, chosen).iter().map(|cell| plain(cell.trim())).collect();
        let verdicts: Vec<String> = candidate
            .verdicts
            .iter()
            .map(|judged| format!("{} {}", name(judged.verdict), judged.limit.trim_start_matches("--")))
            .collect();
        let _ = writeln!(text, "| {} | {} |", cells.join(" | "), plain(&verdicts.join(", ")));
    }
    let _ = writeln!(
        text,
        "\n★ chosen · • on the front: nothing is better in everything · ? on a busy machine\n"
    );
}

fn means(text: &mut String, report: &Report) {
    let source = &report.source;
    let _ = writeln!(text, "## How it was measured\n");
    let _ = writeln!(
        text,
        "- Source: {} of {}, SHA-256 `{}`{}",
        megabytes(source.bytes),
        plain(&source.dtype),
        source.weights,
        source.dequantised_from.as_ref().map_or(String::new(), |from| {
            format!(
                ". **Its weights lie on the grid of {}**: it is no full-precision model, and what resembles \
                     that type looks better here than it is",
                plain(from)
            )
        })
    );
    let _ = writeln!(text, "- Quality: `{}`, text SHA-256 `{}`", plain(&report.protocol), report.text);
    if let Some(calibration) = &report.calibration {
        let _ = writeln!(
            text,
            "- Importance matrix: learned from {} tokens of the text with SHA-256 `{}`; its file's SHA-256 is `{}`",
            calibration.tokens, calibration.text, calibration.matrix
        );
    }
    let _ = writeln!(
        text,
        "- Intervals and verdicts: confidence {}, paired token by token against the source, valid at whatever point the \
         test stopped",
        report.confidence
    );
    let _ = writeln!(text, "- Engine: {}", plain(&report.engine));
    let hardware = &report.hardware;
    let _ = writeln!(
        text,
        "- Hardware: {} ({}), {} threads",
        plain(&hardware.name),
        plain(&hardware.fingerprint),
        hardware.threads
    );
}

/// Names and reasons come from files and tools: they become neither markup nor cells.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '<' => safe.push_str("&lt;"),
            '|' | '*' | '[' | ']' | '`' | '\\' => safe.extend(['\\', sign]),
            sign if sign.is_control() => safe.push(' '),
            sign => safe.push(sign),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::choice::Near;
    use super::super::report::{Calibration, Hardware, Judged, SCHEMA, Source};
    use super::*;
    use crate::id::Oid;

    fn report() -> Report {
        let candidate = Candidate {
            name: "Q4|0 <b>".into(),
            engine: "llama.cpp".into(),
            recipe: "Q4_0".into(),
            bytes: 91_700_000,
            file: None,
            compression: 2.95,
            quality: None,
            speed: None,
            estimate: None,
            peak_memory_bytes: None,
            cost: None,
            verdicts: vec![Judged {
                limit: "--max-size 50.0 MB".into(),
                verdict: Verdict::Fail,
                because: "91.7 MB".into(),
            }],
            is_on_front: false,
            note: Some("too large\nby far".into()),
        };
        Report {
            schema: SCHEMA.into(),
            source: Source {
                name: "model".into(),
                weights: Oid::from_bytes([1; 32]),
                bytes: 270_900_000,
                dtype: "F16".into(),
                dequantised_from: Some("Q4_1".into()),
            },
            engine: "llama.cpp".into(),
            hardware: Hardware { name: "dev".into(), fingerprint: "2 cores".into(), threads: 1 },
            protocol: "wikitext2-raw/llama.cpp-512".into(),
            text: Oid::from_bytes([2; 32]),
            calibration: Some(Calibration {
                text: Oid::from_bytes([3; 32]),
                tokens: 8192,
                matrix: Oid::from_bytes([4; 32]),
            }),
            confidence: 0.95,
            candidates: vec![candidate],
            chosen: None,
            measured_at: 0,
        }
    }

    /// A report without an answer must say what would be one, and one about a dequantised source must say so.
    #[test]
    fn a_report_without_a_winner_tells_what_is_near() {
        let near = Near { candidate: 0, limit: "--max-size 50.0 MB".into(), excess: 1.8 };
        let found =
            Infeasible { nearest: vec![near], binding: vec!["--max-size 50.0 MB".into()], undecided: vec![] };
        let text = markdown(&report(), &Choice::Infeasible(found));
        assert!(text.contains("No candidate passes") && text.contains("misses --max-size 50.0 MB (91.7 MB)"));
        assert!(text.contains("8192 tokens of the text with SHA-256 `0303"), "{text}");
        assert!(text.contains("grid of Q4_1") && text.contains("too large by far"), "{text}");
    }

    /// A name with a bar must not shift the columns, nor one with a tag become HTML.
    #[test]
    fn rows_keep_their_columns_whatever_names_are() {
        let text = markdown(&report(), &Choice::Infeasible(Infeasible::default()));
        let row = text.lines().find(|line| line.contains("Q4")).unwrap();
        assert!(row.contains(r"Q4\|0 &lt;b>"), "{row}");
        let bars = row.replace(r"\|", "").matches('|').count();
        assert_eq!(bars, HEAD.len() + 2, "{row}");
    }
}
