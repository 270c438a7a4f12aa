//! Text that a model writes, with how sure it was of each token.

use std::io;
use std::time::Instant;

use engine_messages::{Ended, Generate, Generated, Piece, Prompt, Reply, Token, Turn};
use llama_cpp_4::llama_batch::LlamaBatch;
use llama_cpp_4::model::{LlamaChatMessage, Special};
use llama_cpp_4::token::LlamaToken;

use crate::failure::Failure;
use crate::models::{BATCH, Model, Models};
use crate::score::{add, decode};
use crate::softmax::{self, Shift};

/// Tokens of prompt and answer together.
const MAX_TOKENS: usize = 1 << 20;

/// Writes text, and hands over each piece as soon as it is sure; the outer error is that nobody takes it.
pub fn generate(
    models: &Models,
    order: &Generate,
    take: &mut dyn FnMut(Piece) -> io::Result<()>,
) -> io::Result<Result<Reply, Failure>> {
    let started = Instant::now();
    let mut writer = match Writer::begin(models, order) {
        Ok(writer) => writer,
        Err(failure) => return Ok(Err(failure)),
    };
    let mut text = Text::new(&order.stop);
    let mut first_token_ms = 0.0;
    let ended = loop {
        if writer.margins.len() >= writer.most {
            break Ended::Length;
        }
        let token = match writer.next() {
            Ok(token) => token,
            Err(failure) => return Ok(Err(failure)),
        };
        if writer.margins.len() == 1 {
            first_token_ms = milliseconds(started);
        }
        let Some(bytes) = token else { break Ended::Stop };
        let is_stopped = text.push(&bytes);
        if let Some(piece) = text.sure() {
            take(Piece { text: piece })?;
        }
        if is_stopped {
            break Ended::Stop;
        }
    };
    if let Some(rest) = text.rest() {
        take(Piece { text: rest })?;
    }
    Ok(Ok(Reply::Generated(Generated {
        prompt_tokens: writer.prompt as u32,
        output_tokens: writer.margins.len() as u32,
        ended,
        margins: writer.margins,
        ln_p: writer.ln_p,
        first_token_ms,
        total_ms: milliseconds(started),
    })))
}

/// Since `start`.
pub fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

/// A model that writes.
struct Writer<'model> {
    model: &'model Model,
    context: llama_cpp_4::context::LlamaContext<'model>,
    batch: LlamaBatch,
    /// Tokens that were read.
    at: usize,
    prompt: usize,
    /// Tokens to write: as many as were asked for, and as the model can keep in mind.
    most: usize,
    /// The row of the last batch that says what follows.
    row: i32,
    taken: Option<Token>,
    margins: Vec<f32>,
    ln_p: Vec<f32>,
    temperature: f64,
    top_p: f64,
    random: SplitMix,
}

impl<'model> Writer<'model> {
    fn begin(models: &'model Models, order: &Generate) -> Result<Writer<'model>, Failure> {
        let model = models.get(order.model)?;
        if !(order.temperature >= 0.0 && order.temperature.is_finite()) {
            return Err(Failure::request(format!("a temperature of {}", order.temperature)));
        }
        if !(order.top_p > 0.0 && order.top_p <= 1.0) {
            return Err(Failure::request(format!(
                "top_p of {}: expected more than 0, at most 1",
                order.top_p
            )));
        }
        let tokens = prompt(model, &order.prompt)?;
        let trained = model.llama.n_ctx_train() as usize;
        let most = (order.max_tokens as usize).min(trained.saturating_sub(tokens.len()));
        let room = tokens.len() + most;
        if tokens.is_empty() || room > MAX_TOKENS {
            return Err(Failure::request(format!(
                "a prompt of {} and an answer of {} tokens",
                tokens.len(),
                order.max_tokens
            )));
        }
        if tokens.len() >= trained {
            let told = format!("the prompt has {} tokens, the model was trained on {trained}", tokens.len());
            return Err(Failure::request(told));
        }
        let context = models.context(model, room.max(BATCH as usize + 1))?;
        let mut writer = Writer {
            model,
            context,
            batch: LlamaBatch::new(BATCH as usize, 1),
            at: 0,
            prompt: tokens.len(),
            most,
            row: 0,
            taken: None,
            margins: Vec::new(),
            ln_p: Vec::new(),
            temperature: f64::from(order.temperature),
            top_p: f64::from(order.top_p),
            random: SplitMix(u64::from(order.seed)),
        };
        writer.read(&tokens)?;
        Ok(writer)
    }

    /// Reads tokens; afterwards the model knows what follows the last.
    fn read(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let last = self.at + tokens.len() - 1;
        for part in tokens.chunks(BATCH as usize) {
            self.batch.clear();
            for token in part {
                add(&mut self.batch, *token, self.at, self.at == last)?;
                self.at += 1;
            }
            decode(&mut self.context, &mut self.batch)?;
            self.row = part.len() as i32 - 1;
        }
        Ok(())
    }

    /// The bytes of the next token, `None` when the model is done.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(token) = self.taken.take() {
            self.read(&[token])?;
        }
        let logits = self.context.get_logits_ith(self.row);
        let shift = Shift::of(logits)?;
        let token = choose(logits, self.temperature, self.top_p, &mut self.random);
        self.margins.push(softmax::margin(logits, shift));
        self.ln_p.push(shift.ln_p(logits[token]) as f32);
        let token = LlamaToken(token as i32);
        if self.model.llama.is_eog_token(token) {
            return Ok(None);
        }
        self.taken = Some(token.0);
        let bytes = self.model.llama.token_to_raw_bytes(token, Special::Plaintext);
        bytes.map(Some).map_err(|error| Failure::engine(error.to_string()))
    }
}

/// The tokens of a prompt.
pub fn prompt(model: &Model, prompt: &Prompt) -> Result<Vec<Token>, Failure> {
    let begin = || model.llama.add_bos_token().then(|| model.llama.token_bos().0);
    match prompt {
        Prompt::Tokens(tokens) => model.checked(tokens).map(|_| tokens.clone()),
        Prompt::Text(text) => {
            // What a user wrote forges no turn: its markup is text.
            let tokens = model.tokens(text, false)?;
            Ok(begin().into_iter().chain(tokens).collect())
        }
        Prompt::Chat(turns) => {
            let template = model.llama.chat_template(None);
            let template = template.map_err(|_| Failure::request("the model has no chat template"))?;
            let turns: Result<Vec<_>, _> = turns.iter().map(message).collect();
            let text = model.llama.apply_chat_template(Some(template), &turns?, true);
            let text = text.map_err(|error| Failure::request(format!("the chat template: {error}")))?;
            let tokens = model.tokens(&text, true)?;
            // Many templates begin with the token themselves.
            let begin = begin().filter(|begin| tokens.first() != Some(begin));
            Ok(begin.into_iter().chain(tokens).collect())
        }
    }
}

fn message(turn: &Turn) -> Result<LlamaChatMessage, Failure> {
    let message = LlamaChatMessage::new(turn.role.clone(), turn.content.clone());
    message.map_err(|error| Failure::request(format!("a turn: {error}")))
}

/// Takes a token: the most likely, or by chance among the likely ones that together have `top_p`.
fn choose(logits: &[f32], temperature: f64, top_p: f64, random: &mut SplitMix) -> usize {
    let best = softmax::top(logits);
    if temperature == 0.0 {
        return best;
    }
    let max = f64::from(logits[best]);
    let weight = |logit: f32| ((f64::from(logit) - max) / temperature).exp();
    let mut likely: Vec<(usize, f64)> = logits.iter().map(|logit| weight(*logit)).enumerate().collect();
    likely.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all: f64 = likely.iter().map(|(_, weight)| weight).sum();
    let mut kept = 0.0;
    let count = likely.iter().take_while(|(_, weight)| {
        let is_needed = kept < top_p * all;
        kept += weight;
        is_needed
    });
    let count = count.count().max(1);
    let kept: f64 = likely[..count].iter().map(|(_, weight)| weight).sum();
    let mut left = random.unit() * kept;
    for (token, weight) in &likely[..count] {
        left -= weight;
        if left <= 0.0 {
            return *token;
        }
    }
    best
}

/// Random numbers that a seed gives again (Steele, Lea, Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Text that grows: what is sure of it is handed out, in whole characters and never a part of a stop text.
struct Text<'stop> {
    stop: &'stop [String],
    bytes: Vec<u8>,
    handed: usize,
    is_stopped: bool,
}

impl Text<'_> {
    fn new(stop: &[String]) -> Text<'_> {
        Text { stop, bytes: Vec::new(), handed: 0, is_stopped: false }
    }

    /// Adds bytes, and says whether a stop text has come.
    fn push(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        let tail = &self.bytes[self.handed..];
        let ends = self.stop.iter().filter(|stop| !stop.is_empty());
        let first =
            ends.filter_map(|stop| tail.windows(stop.len()).position(|part| part == stop.as_bytes())).min();
        if let Some(at) = first {
            self.bytes.truncate(self.handed + at);
            self.is_stopped = true;
        }
        self.is_stopped
    }

    /// What no later token can change.
    fn sure(&mut self) -> Option<String> {
        let tail = &self.bytes[self.handed..];
        let open = if self.is_stopped { 0 } else { self.open(tail) };
        let sure = &tail[..tail.len() - open];
        // A character may not be complete; the bytes that begin it wait.
        let whole = match std::str::from_utf8(sure) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => sure.len(),
        };
        let text = String::from_utf8_lossy(&sure[..whole]).into_owned();
        self.handed += whole;
        Some(text).filter(|text| !text.is_empty())
    }

    fn rest(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes[self.handed..]).into_owned();
        self.handed = self.bytes.len();
        Some(text).filter(|text| !text.is_empty())
    }

    /// Bytes at the end that may begin a stop text.
    fn open(&self, tail: &[u8]) -> usize {
        let begins = |stop: &String| {
            let most = tail.len().min(stop.len().saturating_sub(1));
            (1..=most).rev().find(|len| tail.ends_with(&stop.as_bytes()[..*len])).unwrap_or(0)
        };
        self.stop.iter().map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(stop: &[&str], tokens: &[&[u8]]) -> Vec<String> {
        let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let mut text = Text::new(&stop);
        let mut pieces = Vec::new();
        for token in tokens {
            let is_stopped = text.push(token);
            pieces.extend(text.sure());
            if is_stopped {
                return pieces;
            }
        }
        pieces.extend(text.rest());
        pieces
    }

    /// A client that shows pieces as they come must never show half a character, or a part of a stop text.
    #[test]
    fn pieces_are_whole_and_end_before_a_stop_text() {
        assert_eq!(spoken(&[], &[b"a", &[0xc3], &[0xa9], b"b"]), ["a", "é", "b"]);
        assert_eq!(spoken(&["END"], &[b"xE", b"N", b"Dy"]), ["x"]);
        assert_eq!(spoken(&["END"], &[b"xE", b"N", b"o"]), ["x", "ENo"]);
        assert_eq!(spoken(&[], &[b"a", &[0xff], b"b"]), ["a", "\u{fffd}", "b"]);
        assert_eq!(spoken(&[], &[b"a", &[0xe2, 0x82]]), ["a", "\u{fffd}"]);
    }

    /// The same seed writes the same text, and only likely tokens are taken.
    #[test]
    fn chance_is_bounded_and_repeatable() {
        let logits = [0.0, 5.0, 4.0, -3.0];
        let run = |seed: u64, top_p: f64| {
            let mut random = SplitMix(seed);
            (0..200).map(|_| choose(&logits, 1.0, top_p, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(run(7, 0.9), run(7, 0.9));
        assert_ne!(run(7, 0.9), run(8, 0.9));
        assert!(run(7, 0.9).iter().all(|token| [1, 2].contains(token)));
        assert!(run(7, 0.5).iter().all(|token| *token == 1));
        assert_eq!(choose(&logits, 0.0, 1.0, &mut SplitMix(1)), 1);
    }
}
