//! A text as each protocol reads it: one stream, or articles that stand alone.

use std::sync::LazyLock;

use regex_lite::Regex;
use sha2::{Digest, Sha256};

use super::protocol::Rule;
use crate::id::Oid;

/// SHA-256 of `wiki.test.raw`, the raw test split of WikiText-2 (Merity et al. 2016), of 1 290 590 bytes.
pub const WIKITEXT2_TEST: &str = "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08";
/// The longest text that is taken: a measurement of more would take years.
pub const MAX_TEXT_BYTES: u64 = 1 << 30;

/// A text, and what it is known as.
#[derive(Debug, Clone)]
pub struct Text {
    pub content: String,
    pub hash: Oid,
}

/// What is scored by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub text: String,
    /// Words of it as it was published, where the protocol counts them.
    pub words: Option<u64>,
    /// Bytes of it as it was published.
    pub bytes: u64,
}

impl Text {
    pub fn new(content: String) -> Text {
        let hash = Oid::from_bytes(Sha256::digest(content.as_bytes()).into());
        Text { content, hash }
    }

    /// Whether this is the text that published figures are of.
    pub fn is_wikitext2(&self) -> bool {
        self.hash.to_string() == WIKITEXT2_TEST
    }

    /// What is scored, under a protocol's rule.
    pub fn documents(&self, rule: Rule) -> Vec<Document> {
        let whole = |text: String| vec![Document { words: None, bytes: text.len() as u64, text }];
        match rule {
            Rule::LlamaCpp => whole(self.content.clone()),
            // They have it from a library that gives lines, and join those by two line ends.
            Rule::Gptq | Rule::Stride if self.is_wikitext2() => whole(joined_lines(&self.content)),
            Rule::Gptq | Rule::Stride => whole(self.content.clone()),
            Rule::Words => articles(&self.content).into_iter().map(article).collect(),
        }
    }
}

/// Lines with their ends, blank ones as nothing, joined by two line ends.
fn joined_lines(text: &str) -> String {
    let lines: Vec<&str> =
        text.split_inclusive('\n').map(|line| if line.trim().is_empty() { "" } else { line }).collect();
    lines.join("\n\n")
}

/// The parts that begin with a heading of the first level, ` = Name = `; a text without any is one.
fn articles(text: &str) -> Vec<&str> {
    let is_heading = |line: &str| {
        let line = line.trim_end_matches('\n');
        line.starts_with(" = ") && line.ends_with(" = ") && !line.starts_with(" = =") && line.len() > 5
    };
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if is_heading(line) && !text[*starts.last().expect("because it has one")..at].trim().is_empty() {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts[1..].iter().copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &text[*start..end])
        .filter(|part| !part.trim().is_empty())
        .collect()
}

fn article(text: &str) -> Document {
    // The harness counts the parts between runs of white space, also empty ones at both ends.
    let words = WHITE.split(text).count() as u64;
    Document { text: without_marks(text), words: Some(words), bytes: text.len() as u64 }
}

static WHITE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\s+"));
static PAIRS: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    [
        (pattern(r"\(\s*([^\)]*?)\s*\)"), "($1)"),
        (pattern(r"\[\s*([^\]]*?)\s*\]"), "[$1]"),
        (pattern(r"\{\s*([^\}]*?)\s*\}"), "{$1}"),
        (pattern(r#""\s*([^"]*?)\s*""#), "\"$1\""),
        (pattern(r"'\s*([^']*?)\s*'"), "'$1'"),
    ]
});
/// What the corpus put between words to have tokens, and what was there before; in this order.
const MARKS: [(&str, &str); 10] = [
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    (" : ", ": "),
    (" ; ", "; "),
    (" . ", ". "),
    (" ! ", "! "),
    (" ? ", "? "),
    (" , ", ", "),
    ("s '", "s'"),
];
const LAST_MARKS: [(&str, &str); 8] = [
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" \u{b0} ", "\u{b0}"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
];

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("because the pattern is fixed")
}

/// The text without the marks of a tokenised corpus, as lm-evaluation-harness' task `wikitext` reads it.
fn without_marks(text: &str) -> String {
    // The apostrophe of a plural comes first there, the other marks follow.
    let (first, rest) = MARKS.split_last().expect("because there are some");
    let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    let text = rest.iter().fold(replace(text.to_owned(), first), replace);
    let text = PAIRS.iter().fold(text, |text, (regex, to)| regex.replace_all(&text, *to).into_owned());
    LAST_MARKS.iter().fold(text, replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of papers are of lines joined in their way; one byte less gives others.
    #[test]
    fn lines_are_joined_as_data_sets_gives_them() {
        assert_eq!(joined_lines(" \n = A = \n \n text \n"), "\n\n = A = \n\n\n\n\n text \n");
    }

    /// Headings of lower levels are within an article.
    #[test]
    fn articles_begin_at_their_titles() {
        let text = " \n = A = \n \n one \n = = B = = \n two \n = C = \n three \n";
        let found = articles(text);
        assert_eq!(found, [" \n = A = \n \n one \n = = B = = \n two \n", " = C = \n three \n"]);
        assert_eq!(articles("plain"), ["plain"]);
    }

    /// A model that never saw the corpus's marks is not asked to predict them.
    #[test]
    fn marks_are_taken_out() {
        let text = "the boys ' dog , a half @-@ breed ( of 1 @,@ 000 ) , is \" old \" \n";
        assert_eq!(without_marks(text), "the boys' dog, a half-breed (of 1,000), is \"old\"\n");
        let words = article(" a b \n").words;
        assert_eq!(words, Some(4), "the empty parts at both ends count");
    }
}
