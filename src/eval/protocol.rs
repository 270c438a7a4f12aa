//! How a text becomes windows: the protocols under which perplexities are published, each by its name.
//!
//! They differ in what is one text, how long a window is, how much of it is scored, and whether texts begin
//! with a token of their own; figures of two protocols can't be compared (docs/eval.md).

use std::fmt;
use std::str::FromStr;

use crate::engine::{Token, Window};

/// How windows are cut and what of them is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    pub rule: Rule,
    /// Tokens of a window; `None` is as many as the model was trained to read.
    pub window: Option<usize>,
    /// Tokens between the beginnings of two windows.
    pub stride: Option<usize>,
    /// Whether texts begin with the token that the model wants there.
    pub begins: bool,
}

/// A published way to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// llama.cpp, tools/perplexity: windows of 512 one after another, each beginning with the begin token; the
    /// second half of each is scored.
    LlamaCpp,
    /// Frantar et al. 2022 (GPTQ), and most papers after it: windows of 2048 one after another, all but the
    /// first token scored.
    Gptq,
    /// Hugging Face, "Perplexity of fixed-length models": windows as long as the model can read, 512 apart;
    /// what the window before did not score is scored.
    Stride,
    /// EleutherAI's lm-evaluation-harness, task `wikitext`: article by article, without the marks of the
    /// tokenised corpus, every token scored; the perplexity is by word.
    Words,
}

/// A window, and where in its text it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub window: Window,
    /// The index of its first token in the text, which begins with the begin token where there is one.
    pub at: usize,
}

/// A name that is no protocol's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: no such protocol; there are llama.cpp-512, gptq-2048, hf-stride-512 and lm-eval-words")]
pub struct UnknownProtocol(String);

/// Why a text can't be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooShort {
    #[error("the text is empty")]
    Empty,
    #[error("the text has {found} tokens, and {needed} are needed for a window of {window}")]
    Tokens { found: usize, needed: usize, window: usize },
    #[error(
        "windows of {window} tokens, {stride} apart: expected at least 2, and no more apart than they are long"
    )]
    Window { window: usize, stride: usize },
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// The name, with or without the text's before it.
    fn from_str(text: &str) -> Result<Protocol, UnknownProtocol> {
        let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
        let (rule, window, stride) = match name {
            "llama.cpp-512" => (Rule::LlamaCpp, Some(512), None),
            "gptq-2048" => (Rule::Gptq, Some(2048), None),
            "hf-stride-512" => (Rule::Stride, None, Some(512)),
            "lm-eval-words" => (Rule::Words, None, None),
            _ => return Err(UnknownProtocol(text.to_owned())),
        };
        // Hugging Face's text has none; the harness has its own.
        Ok(Protocol { rule, window, stride, begins: rule != Rule::Stride })
    }
}

impl fmt::Display for Protocol {
    /// Its name, which tells everything that was set otherwise.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |size: Option<usize>| size.map_or("max".to_owned(), |size| size.to_string());
        match self.rule {
            Rule::LlamaCpp => write!(out, "llama.cpp-{}", size(self.window))?,
            Rule::Gptq => write!(out, "gptq-{}", size(self.window))?,
            Rule::Stride => write!(out, "hf-stride-{}", size(self.stride))?,
            Rule::Words => write!(out, "lm-eval-words")?,
        }
        match (self.rule, self.window, self.stride) {
            (Rule::Stride | Rule::Words, Some(window), _) => write!(out, "-window-{window}")?,
            (Rule::LlamaCpp | Rule::Gptq, _, Some(stride)) => write!(out, "-stride-{stride}")?,
            _ => {}
        }
        let usual = self.rule != Rule::Stride;
        if self.begins == usual {
            Ok(())
        } else {
            write!(out, "-{}", if self.begins { "bos" } else { "no-bos" })
        }
    }
}

impl Protocol {
    /// The protocol as a model that was trained on so many tokens can follow it: strides are no longer than windows,
    /// and the name tells how long they are.
    pub fn within(self, trained: usize) -> Protocol {
        let window = self.window.unwrap_or(trained);
        match self.rule {
            Rule::Stride => Protocol { stride: self.stride.map(|stride| stride.min(window)), ..self },
            _ => self,
        }
    }

    /// The windows of one text. `begin` is the token that the model wants first, `trained` how many it can read.
    ///
    /// `Rule::Words` wants a token before the first in any case: `begin`, or what ends a text.
    pub fn windows(
        &self,
        tokens: &[Token],
        begin: Option<Token>,
        trained: usize,
    ) -> Result<Vec<Placed>, TooShort> {
        if tokens.is_empty() {
            return Err(TooShort::Empty);
        }
        let begin = begin.filter(|_| self.begins);
        let window = self.window.unwrap_or(trained);
        let stride = match self.rule {
            Rule::Stride => self.stride.unwrap_or(window).min(window),
            _ => self.stride.unwrap_or(window),
        };
        if window < 2 || stride == 0 || stride > window {
            return Err(TooShort::Window { window, stride });
        }
        match self.rule {
            Rule::LlamaCpp => halves(tokens, begin, window),
            Rule::Gptq => apart(&started(tokens, begin), window, stride),
            Rule::Stride => overlapping(&started(tokens, begin), window, stride),
            Rule::Words => Ok(rolling(tokens, begin, window)),
        }
    }
}

/// The text with the begin token before it.
fn started(tokens: &[Token], begin: Option<Token>) -> Vec<Token> {
    begin.into_iter().chain(tokens.iter().copied()).collect()
}

fn enough(found: usize, needed: usize, window: usize) -> Result<(), TooShort> {
    if found >= needed { Ok(()) } else { Err(TooShort::Tokens { found, needed, window }) }
}

/// As llama-perplexity does it: `window / 2` tokens are context, the begin token takes the place of the first.
fn halves(tokens: &[Token], begin: Option<Token>, window: usize) -> Result<Vec<Placed>, TooShort> {
    let tokens = started(tokens, begin);
    // Of a text of one window llama-perplexity says that it is too short, too.
    enough(tokens.len(), 2 * window, window)?;
    let cut = |(number, part): (usize, &[Token])| {
        let mut tokens = part.to_vec();
        if let Some(begin) = begin {
            tokens[0] = begin;
        }
        Placed { window: Window { tokens, scored_from: window / 2 + 1 }, at: number * window }
    };
    Ok(tokens.chunks_exact(window).enumerate().map(cut).collect())
}

/// Windows `stride` apart, of which each is scored by itself; what is left at the end is dropped.
fn apart(tokens: &[Token], window: usize, stride: usize) -> Result<Vec<Placed>, TooShort> {
    enough(tokens.len(), window, window)?;
    let starts = (0..=tokens.len() - window).step_by(stride);
    let cut = |start: usize| {
        // Only the first has tokens that no window before it scored.
        let scored_from = if start == 0 { 1 } else { (window - stride).max(1) };
        Placed { window: Window { tokens: tokens[start..start + window].to_vec(), scored_from }, at: start }
    };
    Ok(starts.map(cut).collect())
}

/// Windows `stride` apart up to the end of the text; each scores what those before did not.
fn overlapping(tokens: &[Token], window: usize, stride: usize) -> Result<Vec<Placed>, TooShort> {
    enough(tokens.len(), 2, window)?;
    let mut windows = Vec::new();
    let (mut start, mut scored) = (0, 1);
    while scored < tokens.len() {
        let end = tokens.len().min(start + window);
        // A window that begins where the one before ended has nothing before its first token.
        let from = (scored - start).max(1);
        if from < end - start {
            let window = Window { tokens: tokens[start..end].to_vec(), scored_from: from };
            windows.push(Placed { window, at: start });
        }
        scored = end;
        start += stride;
    }
    Ok(windows)
}

/// As the harness does it: each token is scored once, after as many as fit before it; the first after `begin`.
fn rolling(tokens: &[Token], begin: Option<Token>, window: usize) -> Vec<Placed> {
    let tokens = started(tokens, begin);
    let mut windows = Vec::new();
    let mut scored = 1;
    while scored < tokens.len() {
        let end = tokens.len().min(scored + window);
        // The model reads `window` tokens to score the ones after each.
        let start = (end - 1).saturating_sub(window).min(scored - 1);
        let window = Window { tokens: tokens[start..end].to_vec(), scored_from: scored - start };
        windows.push(Placed { window, at: start });
        scored = end;
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(name: &str) -> Protocol {
        name.parse().expect("a protocol")
    }

    fn text(len: usize) -> Vec<Token> {
        (0..len as Token).collect()
    }

    /// A name says all that makes a figure, and reads back.
    #[test]
    fn names_tell_what_was_set() {
        for name in ["llama.cpp-512", "gptq-2048", "hf-stride-512", "lm-eval-words"] {
            assert_eq!(of(name).to_string(), name);
            assert_eq!(of(&format!("wikitext2-raw/{name}")), of(name));
        }
        let custom = Protocol { window: Some(128), stride: Some(128), begins: false, ..of("gptq-2048") };
        assert_eq!(custom.to_string(), "gptq-128-stride-128-no-bos");
        assert_eq!(of("hf-stride-512").within(256).to_string(), "hf-stride-256");
        assert_eq!(of("hf-stride-512").within(2048).to_string(), "hf-stride-512");
        assert!("llama".parse::<Protocol>().is_err());
    }

    /// llama-perplexity scores tokens 257 to 511 of each window of 512, with the begin token as the first.
    #[test]
    fn the_second_half_is_scored_as_llama_perplexity_does() {
        let windows = of("llama.cpp-512").windows(&text(1100), Some(-7), 2048).expect("windows");
        assert_eq!(windows.len(), 2);
        let Placed { window, at } = &windows[1];
        assert_eq!((*at, window.tokens[0], window.tokens[1]), (512, -7, 512));
        assert_eq!(window.tokens.len() - window.scored_from, 255);
        let short = of("llama.cpp-512").windows(&text(1023), None, 2048);
        assert_eq!(short, Err(TooShort::Tokens { found: 1023, needed: 1024, window: 512 }));
    }

    /// Nothing is counted twice, and nothing is left out but what each rule leaves out.
    #[test]
    fn rolling_and_overlapping_score_each_token_once() {
        proptest!(|(len in 2usize..300, window in 2usize..40, stride in 1usize..40)| {
            let stride = stride.min(window);
            let tokens = text(len);
            let scored = |windows: &[Placed]| -> Vec<Token> {
                windows.iter().flat_map(|part| part.window.tokens[part.window.scored_from..].to_vec()).collect()
            };
            let rolled = rolling(&tokens, Some(-1), window);
            prop_assert_eq!(scored(&rolled), tokens.clone());
            // The token before the text is the first of its stream.
            prop_assert!(rolled.iter().all(|part| part.at == 0 || part.window.tokens[0] == part.at as Token - 1));
            prop_assert!(rolled.iter().all(|part| part.window.tokens.len() <= window + 1 && part.window.scored_from >= 1));
            let over = overlapping(&tokens, window, stride).expect("windows");
            prop_assert!(over.iter().all(|part| part.window.tokens.len() <= window && part.window.scored_from >= 1));
            if stride < window {
                prop_assert_eq!(scored(&over), tokens[1..].to_vec());
            }
        });
    }

    /// Windows of nothing, or further apart than long, would score nothing or skip silently.
    #[test]
    fn senseless_windows_are_refused() {
        for (window, stride) in [(1, 1), (0, 1), (8, 0), (8, 9)] {
            let protocol = Protocol { window: Some(window), stride: Some(stride), ..of("gptq-2048") };
            assert!(protocol.windows(&text(100), None, 512).is_err(), "{window} {stride}");
        }
        assert_eq!(of("gptq-2048").windows(&[], None, 512), Err(TooShort::Empty));
    }
}
