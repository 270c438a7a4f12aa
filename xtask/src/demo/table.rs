//! The demo's table.

/// One push.
pub struct Row {
    /// The path in the repository, or the directory when a push changed several files.
    pub file: String,
    /// What was pushed.
    pub revision: String,
    /// Bytes of the files as a user has them.
    pub size_bytes: u64,
    /// Bytes that the remote grew by.
    pub stored_bytes: u64,
    /// Steps from the deepest object to a whole one, where that is known.
    pub depth: Option<u64>,
    /// How long `git push` took.
    pub push_seconds: f64,
    /// How long `git checkout` took in the clone.
    pub checkout_seconds: f64,
}

const HEAD: [&str; 8] = ["file", "revision", "size", "stored", "ratio", "depth", "push s", "checkout s"];

/// Columns of words are flush left, columns of numbers flush right.
const COLUMNS_OF_WORDS: usize = 2;

/// The table as lines of text.
pub fn render<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                if column < COLUMNS_OF_WORDS { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            })
            .collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    [
        row.file.clone(),
        row.revision.clone(),
        grouped(row.size_bytes),
        grouped(row.stored_bytes),
        format!("{:.3}", row.stored_bytes as f64 / row.size_bytes.max(1) as f64),
        row.depth.map_or("-".into(), |depth| depth.to_string()),
        format!("{:.2}", row.push_seconds),
        format!("{:.2}", row.checkout_seconds),
    ]
}

/// A number with its thousands set apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader compares numbers down a column, so they are aligned at their last digit.
    #[test]
    fn numbers_are_grouped_and_aligned() {
        let row = |file: &str, size_bytes, stored_bytes, depth| Row {
            file: file.into(),
            revision: "r".into(),
            size_bytes,
            stored_bytes,
            depth,
            push_seconds: 1.0,
            checkout_seconds: 0.25,
        };
        let rows = [row("model/a", 1_980_640, 495_160, Some(1)), row("b", 10, 10, None)];
        let table = render(rows.iter());
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[1], "model/a  r         1,980,640  495,160  0.250      1    1.00        0.25");
        assert_eq!(lines[2], "b        r                10       10  1.000      -    1.00        0.25");
        assert_eq!([grouped(0), grouped(999), grouped(1_000)], ["0", "999", "1,000"]);
    }
}
