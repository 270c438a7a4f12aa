//! What a prompt looks like, as numbers: its words, pairs of words, and its shape.
//!
//! Words say what a prompt is about, which is only worth something near prompts that were seen. Shape
//! (length, digits, signs, sentences) means the same everywhere, so it is what is left far from them.

use hashbrown::HashMap;

/// Bytes of a prompt that are looked at: half from its begin, half from its end.
const MOST_BYTES: usize = 64 << 10;
/// Numbers in a shape.
pub const SHAPES: usize = 16;
/// Which of them is the length: ln of the bytes.
pub const LENGTH: usize = 0;
/// The roots of the shares of digits, and of signs of mathematics and code.
pub const DIGITS: usize = 4;
pub const SYMBOLS: usize = 6;
/// Letters of a word, on average, beyond which it makes no difference.
const LONGEST_WORD: f32 = 30.0;
/// Terms that are kept of a prompt; more say nothing new.
const MOST_TERMS: usize = 4096;
/// Bytes of a token, about, where no tokenizer was asked.
pub const BYTES_PER_TOKEN: f64 = 4.0;

/// A prompt as the estimators see it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Features {
    /// Hash of each term, ascending, and 1 + ln of how often it comes.
    pub terms: Vec<(u32, f32)>,
    pub shape: [f32; SHAPES],
}

impl Features {
    /// The features of a prompt of any length.
    pub fn of(prompt: &str) -> Features {
        let (head, tail) = bounded(prompt);
        let mut counts: HashMap<u32, f32, foldhash::fast::FixedState> = HashMap::default();
        let mut shape = Shape::default();
        for part in [head, tail] {
            shape.take(part);
            let mut before: Option<u64> = None;
            for word in words(part) {
                let lower = word.to_lowercase();
                if lower.chars().count() < 2 {
                    continue;
                }
                let hash = hashed(FIRST, lower.as_bytes());
                shape.word(&lower, counts.contains_key(&folded(hash)));
                *counts.entry(folded(hash)).or_default() += 1.0;
                if let Some(before) = before {
                    *counts.entry(folded(hashed(before ^ PAIR, &hash.to_le_bytes()))).or_default() += 1.0;
                }
                before = Some(hash);
            }
        }
        let mut terms: Vec<_> = counts.into_iter().map(|(term, count)| (term, 1.0 + count.ln())).collect();
        terms.sort_unstable_by_key(|(term, _)| *term);
        // Hashes are as good as drawn by lot.
        terms.truncate(MOST_TERMS);
        Features { terms, shape: shape.numbers(prompt.len()) }
    }

    /// Whether features that come from outside are such as `of` gives.
    pub fn are_sound(&self) -> bool {
        let fits = |weight: f32| weight.is_finite() && (1.0..=20.0).contains(&weight);
        self.terms.len() <= MOST_TERMS
            && self.terms.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.terms.iter().all(|(_, weight)| fits(*weight))
            && self.shape.iter().all(|number| number.is_finite() && number.abs() < 1e3)
    }

    /// Tokens of the prompt, about.
    pub fn tokens(&self) -> u64 {
        (f64::from(self.shape[LENGTH]).exp_m1() / BYTES_PER_TOKEN).ceil() as u64
    }
}

/// The two parts of a prompt that are looked at; all of it, and nothing, if it is short.
fn bounded(prompt: &str) -> (&str, &str) {
    if prompt.len() <= MOST_BYTES {
        return (prompt, "");
    }
    let head = (0..=MOST_BYTES / 2).rev().find(|at| prompt.is_char_boundary(*at)).unwrap_or(0);
    let from = prompt.len() - MOST_BYTES / 2;
    let tail = (from..=prompt.len()).find(|at| prompt.is_char_boundary(*at)).unwrap_or(prompt.len());
    (&prompt[..head], &prompt[tail..])
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|sign: char| !sign.is_alphanumeric() && sign != '_').filter(|word| !word.is_empty())
}

const FIRST: u64 = 0xcbf2_9ce4_8422_2325;
const PAIR: u64 = 0x9e37_79b9_7f4a_7c15;

/// FNV-1a: the same on every machine and in every version, since logs outlive both.
fn hashed(from: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(from, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn folded(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// What is counted for a shape.
#[derive(Default)]
struct Shape {
    signs: f32,
    digits: f32,
    capitals: f32,
    symbols: f32,
    points: f32,
    foreign: f32,
    sentences: f32,
    questions: f32,
    lines: f32,
    longest_line: f32,
    last_line: f32,
    words: f32,
    letters: f32,
    long_words: f32,
    seen_words: f32,
    denials: f32,
}

impl Shape {
    fn take(&mut self, text: &str) {
        for sign in text.chars() {
            self.signs += 1.0;
            self.digits += yes(sign.is_ascii_digit());
            self.capitals += yes(sign.is_uppercase());
            self.symbols += yes("=+*/^<>|\\{}()[]_$%&#@~`".contains(sign));
            self.points += yes(",;:.!?'\"-".contains(sign));
            self.foreign += yes(!sign.is_ascii());
            self.sentences += yes(".!?".contains(sign));
            self.questions += yes(sign == '?');
        }
        for line in text.lines() {
            self.lines += 1.0;
            self.longest_line = self.longest_line.max(line.len() as f32);
            self.last_line = line.len() as f32;
        }
    }

    fn word(&mut self, lower: &str, is_seen: bool) {
        let letters = lower.chars().count() as f32;
        self.words += 1.0;
        self.letters += letters;
        self.long_words += yes(letters >= 9.0);
        self.seen_words += yes(is_seen);
        self.denials += yes(matches!(lower, "not" | "except" | "never" | "least" | "without" | "false"));
    }

    fn numbers(&self, bytes: usize) -> [f32; SHAPES] {
        let signs = self.signs.max(1.0);
        let words = self.words.max(1.0);
        [
            (1.0 + bytes as f32).ln(),
            (self.letters / words).min(LONGEST_WORD),
            self.long_words / words,
            self.seen_words / words,
            (self.digits / signs).sqrt(),
            (self.capitals / signs).sqrt(),
            (self.symbols / signs).sqrt(),
            (self.points / signs).sqrt(),
            (self.foreign / signs).sqrt(),
            (1.0 + self.sentences).ln(),
            (1.0 + words / (1.0 + self.sentences)).ln(),
            (1.0 + self.lines).ln(),
            (1.0 + self.longest_line).ln(),
            (1.0 + self.last_line).ln(),
            self.questions.min(3.0),
            self.denials.min(3.0),
        ]
    }
}

fn yes(is: bool) -> f32 {
    if is { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Logs are read by later versions and other machines: the hash of a word must stay what it is.
    #[test]
    fn terms_are_the_same_everywhere() {
        let features = Features::of("Sort the list, sort it.");
        let sort = folded(hashed(FIRST, b"sort"));
        assert_eq!(sort, 0xaf93_d109, "{sort:#x}");
        let weight = features.terms.iter().find(|(term, _)| *term == sort).map(|(_, weight)| *weight);
        assert_eq!(weight, Some(1.0 + 2f32.ln()));
        // sort, the, list, it; four pairs, of which none comes twice.
        assert_eq!(features.terms.len(), 8);
        assert_eq!(features.tokens(), 6);
    }

    proptest! {
        /// Prompts are anything: features of all of them are sound, and those of long ones bounded.
        #[test]
        fn any_text_has_sound_features(text in ".{0,200}", times in 1usize..2000) {
            let features = Features::of(&text.repeat(times));
            prop_assert!(features.are_sound());
        }
    }
}
