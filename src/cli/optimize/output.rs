//! What a run found, for people and programs: a table, a document, and files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::cli::report as printed;
use crate::daemon::message::Failure;
use crate::daemon::words;
use crate::optimize::candidates::Catalogue;
use crate::optimize::choice::{Choice, Near};
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
    match json {
        true => printed::json("optimize", with_nearest(report, choice)),
        false => {
            table(report);
            estimates(report);
            notes(report, is_check);
            verdict(report, choice, is_check);
        }
    }
    matches!(choice, Choice::Infeasible(_))
}

/// The report, and where nothing passes what came nearest.
fn with_nearest(report: &Report, choice: &Choice) -> serde_json::Value {
    let mut document = serde_json::to_value(report).expect("because its keys are strings");
    if let Choice::Infeasible(found) = choice {
        let name = |at: usize| &report.candidates[at].name;
        let near = |near: &Near| serde_json::json!({ "candidate": name(near.candidate), "limit": near.limit, "excess": near.excess });
        document["infeasible"] = serde_json::json!({
            "binding": found.binding,
            "nearest": found.nearest.iter().map(near).collect::<Vec<_>>(),
            "undecided": found.undecided.iter().map(|at| name(*at)).collect::<Vec<_>>(),
        });
    }
    document
}

/// A row for each candidate.
fn table(report: &Report) {
    let chosen = report.chosen.as_deref();
    let rows = report.candidates.iter().map(|candidate| markdown::row(candidate, chosen));
    printed::table(&markdown::HEAD, rows);
    if report.candidates.len() > 1 {
        printed::say(
            "★ chosen, • no other is better in everything, ? the machine was busy: no ground for a verdict",
        );
    }
}

/// What is to be said of single candidates, and of the source.
fn notes(report: &Report, is_check: bool) {
    for candidate in &report.candidates {
        if let Some(note) = &candidate.note {
            printed::say(&format!("{}: {note}", candidate.name));
        }
    }
    let Some(from) = &report.source.dequantised_from else { return };
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

/// Who was chosen and why, or why nobody was.
fn verdict(report: &Report, choice: &Choice, is_check: bool) {
    let chosen = match choice {
        Choice::Chosen(at) => &report.candidates[*at],
        Choice::Infeasible(found) => {
            printed::say("no candidate passes");
            markdown::why_not(report, found).iter().for_each(|sentence| printed::say(sentence));
            return;
        }
    };
    let name = &chosen.name;
    if chosen.bytes >= report.source.bytes {
        printed::note(&format!("{name} is no smaller than the source, which loses nothing: keep that"));
    }
    let verdicts: Vec<String> = chosen
        .verdicts
        .iter()
        .map(|judged| format!("{}: {} ({})", judged.limit, markdown::name(judged.verdict), judged.because))
        .collect();
    printed::say(&match verdicts.is_empty() {
        true => format!("{name} is the cheapest; no limit was set (--max-ppl-delta PCT is one on quality)"),
        false if is_check => format!("{name} still holds: {}", verdicts.join(", ")),
        false => format!("{name} is the cheapest that passes: {}", verdicts.join(", ")),
    });
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
