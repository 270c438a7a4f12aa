//! How results and errors look: tables for people, one JSON document for programs.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::calendar;
use crate::daemon::message::Failure;

/// Prints a failure and gives its exit code.
pub fn failure(failure: &Failure) -> ExitCode {
    eprintln!("error: {}", printable(&failure.message));
    if let Some(fix) = &failure.fix {
        eprintln!("  fix: {}", printable(fix));
    }
    ExitCode::from(super::exit_code(failure.kind))
}

/// Prints one JSON document that names its schema: `git-sparse/<verb>/1`.
pub fn json(verb: &str, value: impl Serialize) {
    let mut document = serde_json::json!({ "schema": format!("git-sparse/{verb}/1") });
    let value = serde_json::to_value(value).expect("because our own types have string keys");
    match (&mut document, value) {
        (serde_json::Value::Object(document), serde_json::Value::Object(fields)) => document.extend(fields),
        (document, value) => document["value"] = value,
    }
    say(&format!("{document:#}"));
}

/// The same of a value that may be large: it is not in memory a second time.
pub fn long_json(verb: &str, value: &impl Serialize) {
    #[derive(Serialize)]
    struct Document<'a, T> {
        schema: String,
        #[serde(flatten)]
        value: &'a T,
    }
    let document = Document { schema: format!("git-sparse/{verb}/1"), value };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let formatter = Quiet(PrettyFormatter::new());
    let done = document.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter));
    said(done.map_err(io::Error::from).and_then(|()| writeln!(out)).and_then(|()| out.flush()));
}

/// Pretty JSON whose strings don't speak to the terminal.
struct Quiet(PrettyFormatter<'static>);

impl Formatter for Quiet {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        out.write_all(printable(text).as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, is_first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, is_first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, is_first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, is_first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

/// A table with a head; columns whose head starts with `>` are numbers and stand to the right.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|title| title.trim_start_matches('>')));
    for row in rows {
        table.add_row(row);
    }
    for (index, title) in head.iter().enumerate() {
        let column = table.column_mut(index).expect("because the head has this column");
        column.set_padding((0, 2));
        if title.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.to_string().lines() {
        say(line.trim_end());
    }
}

/// One line on standard output; a reader that has seen enough (`| head`) is no error.
pub fn say(line: &str) {
    said(writeln!(io::stdout(), "{}", printable(line)));
}

/// A piece of a line, at once.
pub fn piece(text: &str) {
    let mut out = io::stdout();
    said(write!(out, "{}", printable(text)).and_then(|()| out.flush()));
}

/// What writing to standard output came to.
fn said(written: io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: standard output: {error}");
            std::process::exit(128);
        }
    }
}

/// One line for people beside the result.
pub fn note(line: &str) {
    eprintln!("note: {}", printable(line));
}

/// Names come from strangers' files: none of them may speak to the terminal.
fn printable(text: &str) -> Cow<'_, str> {
    let turns = |sign: char| matches!(sign, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let speaks = |sign: char| sign.is_control() && sign != '\n' && sign != '\t' || turns(sign);
    if !text.contains(speaks) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|sign| if speaks(sign) { char::REPLACEMENT_CHARACTER } else { sign }).collect()
}

/// Bytes with a binary unit: `1.9 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// So many of a thing: `1 pack`, `2 packs`, `3 copies`, `4 days`.
pub fn count(number: impl TryInto<u64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let stem = thing.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (number, stem) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {thing}s"),
    }
}

/// A share of a whole: `24.3 %`.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

/// A weight in a sum: `0.3333`, `0.5`, `2`.
pub fn weight(weight: f64) -> String {
    let text = format!("{weight:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A tensor's shape: `32×64`.
pub fn shape(shape: &[u64]) -> String {
    shape.iter().map(u64::to_string).collect::<Vec<_>>().join("×")
}

/// The first twelve digits of an id.
pub fn short(id: &impl std::fmt::Display) -> String {
    format!("{id:.12}")
}

/// A point in time, in seconds since 1970, as ISO 8601 in UTC.
pub fn date(seconds: i64) -> String {
    let (date, time) = calendar::utc(seconds);
    format!("{date}T{}Z", &time[..5])
}

/// Asks before something is deleted; off a terminal only `--yes` is consent.
pub fn confirmed(question: &str, yes: bool) -> bool {
    if yes {
        return true;
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        eprintln!("{question} Not on a terminal: say --yes to go on.");
        return false;
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor may be called anything: its name must not move the cursor or set a title.
    #[test]
    fn names_do_not_speak_to_the_terminal() {
        assert_eq!(printable("a\u{1b}]0;x\u{7}\u{9b}b"), "a\u{fffd}]0;x\u{fffd}\u{fffd}b");
        assert_eq!(printable("weights 32×64\tü\n"), "weights 32×64\tü\n");
        assert_eq!(printable("a\u{202e}b"), "a\u{fffd}b");
    }

    /// Dates, sizes and numbers are what people compare: known values of each.
    #[test]
    fn formats_dates_sizes_and_numbers() {
        assert_eq!(date(0), "1970-01-01T00:00Z");
        assert_eq!(date(1_709_210_096), "2024-02-29T12:34Z");
        assert_eq!(date(-1), "1969-12-31T23:59Z");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_980_640), "1.9 MiB");
        assert_eq!(share(1, 4), "25.0 %");
        assert_eq!([count(0u64, "pack"), count(1u64, "pack")], ["0 packs", "1 pack"]);
        assert_eq!([count(1usize, "copy"), count(2usize, "copy")], ["1 copy", "2 copies"]);
        assert_eq!([count(1u64, "day"), count(14u64, "day")], ["1 day", "14 days"]);
    }
}
