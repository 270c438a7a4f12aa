//! A source file as the rules see it: its text, and its code without comments and strings.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A tracked text file.
pub struct Source {
    /// Relative to the top of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// For Rust: the text with comments and the insides of literals blanked, line by line the same.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = if path.ends_with(".rs") { code_only(text) } else { String::new() };
        Source { path: path.into(), text: text.into(), code }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The code that is shipped: without a test module at the end, and nothing of a file of tests.
    pub fn shipped(&self) -> &str {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        let is_module = |rest: &str| {
            let item = rest.trim_start().strip_prefix("mod ");
            item.and_then(|item| item.find(['{', ';']).map(|at| item[at..].starts_with('{'))).unwrap_or(false)
        };
        let marker = "#[cfg(test)]";
        let start = self
            .code
            .match_indices(marker)
            .find(|(at, _)| is_module(&self.code[at + marker.len()..]))
            .map_or(self.code.len(), |(at, _)| at);
        &self.code[..start]
    }
}

/// All files that git tracks or would track, apart from binary ones.
pub fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git")
        .current_dir(top)
        // In CI the clone may belong to another user than the one who tests it.
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("UTF-8 names");
    let mut names: Vec<&str> = names.split('\0').filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let found: Vec<Source> = names
        .into_iter()
        // A file that is deleted and not yet committed is listed, too; a binary one is no text.
        .filter_map(|name| Some(Source::new(name, &fs::read_to_string(top.join(name)).ok()?)))
        .collect();
    assert!(found.iter().any(|source| source.path == "src/lib.rs"), "src/lib.rs is not among the sources");
    found
}

/// An identifier, with what stands around it.
pub struct Word<'code> {
    /// Counted from 1.
    pub line: usize,
    pub name: &'code str,
    pub before: &'code str,
    pub after: &'code str,
}

/// The identifiers in `code`.
pub fn words(code: &str) -> impl Iterator<Item = Word<'_>> {
    let mut at = 0;
    let mut line = 1;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(is_name)?;
        let end = code[start..].find(|sign| !is_name(sign)).map_or(code.len(), |len| start + len);
        line += code[at..start].matches('\n').count();
        at = end;
        Some(Word { line, name: &code[start..end], before: &code[..start], after: &code[end..] })
    })
}

fn is_name(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// Blanks comments and the insides of string and character literals, and keeps every line break.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let previous = out.chars().next_back();
        let (len, kept) = match literal_or_comment(rest, previous) {
            Some(len) => (len, false),
            None => (first.len_utf8(), true),
        };
        let (piece, following) = rest.split_at(len);
        if kept {
            out.push_str(piece);
        } else {
            out.extend(piece.chars().map(|sign| if sign == '\n' { '\n' } else { ' ' }));
        }
        rest = following;
    }
    out
}

/// The length of the comment or literal that `rest` begins with.
fn literal_or_comment(rest: &str, previous: Option<char>) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        // A lifetime has no second quote two signs later, nor does a backslash follow.
        let mut signs = inside.chars();
        let (second, third) = (signs.next(), signs.next());
        return (second == Some('\\') || third == Some('\'')).then(|| quoted(rest, '\''));
    }
    if !previous.is_some_and(is_name) {
        return raw_string(rest);
    }
    None
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    for (at, _) in rest.char_indices() {
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else if at >= 2 && rest[..at].ends_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in rest.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = ["br", "cr", "r"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let start = rest.len() - body.len();
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// What a rule must not see, so that a rule's name in a comment or a message is no offence.
#[test]
fn comments_and_literals_are_no_code() {
    let text = concat!(
        "let a = \"unsafe \\\" {\"; // unsafe\n",
        "/* unsafe /* nested */ unsafe */ let b = 'u';\n",
        "let c = r#\"unsafe \" \"#; fn f<'unsafe_life>(x: &'unsafe_life str) {}\n",
        "let d = '\\''; let e = b\"unsafe\"; let bar = 1;\n",
    );
    let code = code_only(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(words(&code).filter(|word| word.name == "unsafe").count(), 0, "{code}");
    assert!(["a", "b", "c", "d", "e", "bar"].iter().all(|name| words(&code).any(|word| word.name == *name)));
    let line = words(&code).find(|word| word.name == "bar").map(|word| word.line);
    assert_eq!(line, Some(4));
}

/// A test module at the end is not shipped; one in a file of its own leaves what follows it shipped.
#[test]
fn a_test_module_is_not_shipped() {
    let inline = Source::new("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
    assert_eq!(inline.shipped().trim(), "fn a() {}");
    let outside = Source::new("src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n");
    assert!(outside.shipped().contains("fn a()"));
    let single = Source::new("src/a.rs", "#[cfg(test)]\nfn only_here() {}\nfn a() {}\n");
    assert!(single.shipped().contains("fn a()"));
    assert_eq!(Source::new("src/a/tests.rs", "fn a() {}").shipped(), "");
}
