//! What a run found, for people and programs: a table, a document, and files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::cli::report as printed;
use crate::daemon::message::Failure;
use crate::daemon::words;
use crate::optimize::candidates::Catalogue;
use crate::optimize::choice::Choice;
use crate::optimize::limits::Limits;
use crate::optimize::markdown;
use crate::optimize::picture;
use crate::optimize::report::Report;

/// The names of the files in the directory of `-o`.
pub const REPORT: &str = "report.json";
const MARKDOWN: &str = "report.md";
const PICTURE: &str = "picture.svg";

/// Says what was found; `true` where nothing passes.
///
/// With `is_check` the choice was made before, and only has to hold.
pub fn say(report: &Report, choice: &Choice, json: bool, is_check: bool) -> bool {
    let infeasible = match choice {
        Choice::Chosen(_) => None,
        Choice::Infeasible(found) => Some(found),
    };
    if json {
        let mut document = serde_json::to_value(report).expect("because its keys are strings");
        if let (Some(found), Some(fields)) = (infeasible, document.as_object_mut()) {
            let nearest: Vec<_> = found
                .nearest
                .iter()
                .map(|near| {
                    let name = &report.candidates[near.candidate].name;
                    serde_json::json!({ "candidate": name, "limit": near.limit, "excess": near.excess })
                })
                .collect();
            let undecided: Vec<_> = found.undecided.iter().map(|at| &report.candidates[*at].name).collect();
            fields.insert(
                "infeasible".into(),
                serde_json::json!({ "binding": found.binding, "nearest": nearest, "undecided": undecided }),
            );
        }
        printed::json("optimize", document);
        return infeasible.is_some();
    }
    let chosen = report.chosen.as_deref();
    printed::table(
        &markdown::HEAD,
        report.candidates.iter().map(|candidate| markdown::row(candidate, chosen)),
    );
    if report.candidates.len() > 1 {
        printed::say(
            "★ chosen, • no other is better in everything, ? the machine was busy: no ground for a verdict",
        );
    }
    estimates(report);
    for candidate in report.candidates.iter().filter(|candidate| candidate.note.is_some()) {
        printed::say(&format!("{}: {}", candidate.name, candidate.note.as_deref().unwrap_or_default()));
    }
    if let Some(from) = &report.source.dequantised_from {
        printed::note(&format!(
            "the source's weights lie on the grid of {from}: it was dequantised, and what resembles {from} looks better \
             here than it is"
        ));
        if !is_check && !report.candidates.iter().any(|candidate| candidate.name == *from) {
            printed::note(&format!(
                "{from} itself was not tried, and may lose next to nothing: --candidates {from}"
            ));
        }
    }
    match (choice, infeasible) {
        (Choice::Chosen(at), _) => {
            let chosen = &report.candidates[*at];
            let verdicts: Vec<String> = chosen
                .verdicts
                .iter()
                .map(|judged| {
                    format!("{}: {} ({})", judged.limit, markdown::name(judged.verdict), judged.because)
                })
                .collect();
            let name = &chosen.name;
            if chosen.bytes >= report.source.bytes {
                printed::note(&format!(
                    "{name} is no smaller than the source, which loses nothing: keep that"
                ));
            }
            printed::say(&match verdicts.is_empty() {
                true => format!(
                    "{name} is the cheapest; no limit was set (--max-ppl-delta PCT is one on quality)"
                ),
                false if is_check => format!("{name} still holds: {}", verdicts.join(", ")),
                false => format!("{name} is the cheapest that passes: {}", verdicts.join(", ")),
            });
        }
        (_, Some(found)) => {
            printed::say("no candidate passes");
            for sentence in markdown::why_not(report, found) {
                printed::say(&sentence);
            }
        }
        _ => {}
    }
    infeasible.is_some()
}

/// What the times come to on the machine that was named, where that is another one.
fn estimates(report: &Report) {
    let estimated =
        report.candidates.iter().filter_map(|candidate| Some((candidate, candidate.estimate.as_ref()?)));
    let rows: Vec<Vec<String>> =
        estimated.clone().map(|(candidate, estimate)| markdown::estimate_row(candidate, estimate)).collect();
    if let Some((_, estimate)) = estimated.clone().next() {
        printed::say(&format!(
            "on {}, as estimated from the times measured here and from what both machines can do; costs are of these, and \
             no limit on time is decided by them:",
            estimate.machine
        ));
        printed::table(&markdown::ESTIMATE_HEAD, rows);
    }
}

/// Writes the report in its three forms; one that is there and says the same stays as it is.
pub fn write(dir: &Path, report: &Report, choice: &Choice, limits: &Limits) -> Result<(), Failure> {
    if is_there(dir, report) {
        return Ok(());
    }
    let files = [
        (REPORT, document(report)),
        (MARKDOWN, markdown::markdown(report, choice)),
        (PICTURE, picture::picture(report, limits)),
    ];
    fs::create_dir_all(dir).map_err(|error| words::file(dir, &error))?;
    for (name, text) in files {
        let path = dir.join(name);
        replace(&path, text.as_bytes()).map_err(|error| words::file(&path, &error))?;
    }
    Ok(())
}

/// Whether a directory has this report, but for when it was written, so that git sees no change where there is none.
fn is_there(dir: &Path, report: &Report) -> bool {
    let before = fs::read_to_string(dir.join(REPORT)).unwrap_or_default();
    let Ok(Report { measured_at, .. }) = serde_json::from_str(&before) else { return false };
    let same = document(&Report { measured_at, ..report.clone() }) == before;
    same && [MARKDOWN, PICTURE].iter().all(|name| dir.join(name).exists())
}

fn document(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("because its keys are strings") + "\n"
}

/// Writes a file beside its name first, so that the old one or the new one is there, whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

/// What can be asked for.
pub fn list(catalogue: &Catalogue) {
    let rows = catalogue.all().map(|named| {
        vec![
            named.name.clone(),
            named.means(),
            named.groups().join(" "),
            named.like.clone().unwrap_or_default(),
        ]
    });
    printed::table(&["candidate", "made by", "groups", "like"], rows);
}
