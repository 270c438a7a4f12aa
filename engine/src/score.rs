//! How likely a model finds texts, token by token, alone or beside a baseline that reads the same.

use engine_messages::{Baseline, Compared, ModelId, Reply, Scored, Token, Window};
use llama_cpp_4::context::LlamaContext;
use llama_cpp_4::llama_batch::LlamaBatch;
use llama_cpp_4::token::LlamaToken;

use crate::failure::Failure;
use crate::held::{Held, Shelf};
use crate::models::{BATCH, Model, Models};
use crate::softmax::{self, Shift};

/// Scores each window from an empty context, against a baseline if one is named.
pub fn score(
    models: &Models,
    shelf: &Shelf,
    model: ModelId,
    windows: &[Window],
    against: Option<Baseline>,
) -> Result<Vec<Scored>, Failure> {
    let model = models.get(model)?;
    check(model, windows)?;
    let mut reader = Reader::new(models, model, windows)?;
    match against {
        None => windows.iter().map(|window| alone(&mut reader, window, &mut |_, _| ())).collect(),
        Some(Baseline::Held(held)) => {
            let held = shelf.get(held)?;
            if !held.is_of(windows) {
                return Err(Failure::request("what is held is of other windows"));
            }
            same_vocabulary(model.vocabulary(), held.vocabulary())?;
            let mut number = 0;
            windows.iter().map(|window| against_held(&mut reader, window, held, &mut number)).collect()
        }
        Some(Baseline::Model(base)) => {
            let base = models.get(base)?;
            check(base, windows)?;
            same_vocabulary(model.vocabulary(), base.vocabulary())?;
            let mut base = Reader::new(models, base, windows)?;
            windows.iter().map(|window| in_lock_step(&mut reader, &mut base, window)).collect()
        }
    }
}

/// Scores windows and keeps all rows of logits.
pub fn hold(
    models: &Models,
    shelf: &mut Shelf,
    model: ModelId,
    windows: &[Window],
) -> Result<Reply, Failure> {
    let model = models.get(model)?;
    check(model, windows)?;
    let mut held = Held::new(windows, model.vocabulary(), shelf.bytes())?;
    let mut reader = Reader::new(models, model, windows)?;
    let mut keep = |row: &[f32], shift: Shift| held.push(row, shift);
    let scored: Result<Vec<_>, _> =
        windows.iter().map(|window| alone(&mut reader, window, &mut keep)).collect();
    Ok(Reply::Held { scored: scored?, held: shelf.put(held) })
}

fn check(model: &Model, windows: &[Window]) -> Result<(), Failure> {
    if windows.is_empty() {
        return Err(Failure::request("no window to score"));
    }
    for window in windows {
        model.checked(&window.tokens)?;
        if window.scored_from == 0 || window.scored_from >= window.tokens.len() {
            let (from, len) = (window.scored_from, window.tokens.len());
            return Err(Failure::request(format!(
                "a window of {len} tokens can't be scored from token {from} on"
            )));
        }
    }
    Ok(())
}

fn same_vocabulary(of: usize, base: usize) -> Result<(), Failure> {
    if of == base {
        return Ok(());
    }
    Err(Failure::request(format!("a vocabulary of {of} tokens can't be compared with one of {base}")))
}

fn alone(
    reader: &mut Reader<'_>,
    window: &Window,
    see: &mut dyn FnMut(&[f32], Shift),
) -> Result<Scored, Failure> {
    let mut ln_p = Vec::with_capacity(window.tokens.len());
    let mut parts = reader.begin(window);
    while let Some(part) = parts.next(reader)? {
        for (row, token) in part {
            let logits = reader.context.get_logits_ith(row);
            let shift = Shift::of(logits)?;
            see(logits, shift);
            ln_p.push(shift.ln_p(logits[token]));
        }
    }
    Ok(Scored { ln_p, against: None })
}

fn against_held(
    reader: &mut Reader<'_>,
    window: &Window,
    held: &Held,
    number: &mut usize,
) -> Result<Scored, Failure> {
    let mut comparison = Comparison::default();
    let mut parts = reader.begin(window);
    while let Some(part) = parts.next(reader)? {
        for (row, token) in part {
            let (base, shift) =
                held.row(*number).ok_or_else(|| Failure::request("what is held ends early"))?;
            comparison.add(reader.context.get_logits_ith(row), base, shift, token)?;
            *number += 1;
        }
    }
    Ok(comparison.finish())
}

fn in_lock_step(reader: &mut Reader<'_>, base: &mut Reader<'_>, window: &Window) -> Result<Scored, Failure> {
    let mut comparison = Comparison::default();
    let (mut parts, mut base_parts) = (reader.begin(window), base.begin(window));
    while let (Some(part), Some(_)) = (parts.next(reader)?, base_parts.next(base)?) {
        for (row, token) in part {
            let base = base.context.get_logits_ith(row);
            comparison.add(reader.context.get_logits_ith(row), base, Shift::of(base)?, token)?;
        }
    }
    Ok(comparison.finish())
}

/// What two models said of one window, so far.
#[derive(Default)]
struct Comparison {
    ln_p: Vec<f64>,
    base_ln_p: Vec<f64>,
    divergence: Vec<f64>,
    same_top: Vec<bool>,
    max_logit: f64,
    sum_logit: f64,
    logits: u64,
}

impl Comparison {
    fn add(&mut self, row: &[f32], base: &[f32], base_shift: Shift, token: usize) -> Result<(), Failure> {
        let shift = Shift::of(row)?;
        self.ln_p.push(shift.ln_p(row[token]));
        self.base_ln_p.push(base_shift.ln_p(base[token]));
        self.divergence.push(softmax::divergence(base, base_shift, row, shift));
        self.same_top.push(softmax::top(row) == softmax::top(base));
        let (max, sum) = softmax::differences(row, base);
        self.max_logit = self.max_logit.max(max);
        self.sum_logit += sum;
        self.logits += row.len() as u64;
        Ok(())
    }

    fn finish(self) -> Scored {
        let against = Compared {
            ln_p: self.base_ln_p,
            divergence: self.divergence,
            same_top: self.same_top,
            max_logit: self.max_logit,
            mean_logit: self.sum_logit / self.logits.max(1) as f64,
        };
        Scored { ln_p: self.ln_p, against: Some(against) }
    }
}

/// A context that reads one window after another.
pub struct Reader<'model> {
    context: LlamaContext<'model>,
    batch: LlamaBatch,
}

impl<'model> Reader<'model> {
    fn new(models: &Models, model: &'model Model, windows: &[Window]) -> Result<Reader<'model>, Failure> {
        let longest = windows.iter().map(|window| window.tokens.len()).max().unwrap_or(1);
        // Rows are asked for by their place in a batch, which has to be below the size of the context.
        Ok(Reader::of(models.context(model, longest.max(BATCH as usize + 1))?))
    }

    pub fn of(context: LlamaContext<'model>) -> Reader<'model> {
        Reader { context, batch: LlamaBatch::new(BATCH as usize, 1) }
    }

    /// Reads a window to its last token. Logits are asked for of all of them: else the last layer would read fewer.
    pub fn read_all(&mut self, window: &Window) -> Result<(), Failure> {
        self.context.clear_kv_cache();
        for (number, part) in window.tokens.chunks(BATCH as usize).enumerate() {
            self.batch.clear();
            for (at, token) in part.iter().enumerate() {
                add(&mut self.batch, *token, number * BATCH as usize + at, true)?;
            }
            decode(&mut self.context, &mut self.batch)?;
        }
        Ok(())
    }

    fn begin<'window>(&mut self, window: &'window Window) -> Parts<'window> {
        self.context.clear_kv_cache();
        Parts { window, at: 0 }
    }
}

/// A window on its way through a reader, as many tokens at once as a batch has.
struct Parts<'window> {
    window: &'window Window,
    at: usize,
}

/// The rows of a part whose logits are asked for, and the token whose probability each is to give.
type Rows = Vec<(i32, usize)>;

impl Parts<'_> {
    fn next(&mut self, reader: &mut Reader<'_>) -> Result<Option<Rows>, Failure> {
        let Window { tokens, scored_from } = self.window;
        // Nothing follows the last token, so it need not be read.
        let end = tokens.len() - 1;
        if self.at >= end {
            return Ok(None);
        }
        let part = self.at..end.min(self.at + BATCH as usize);
        reader.batch.clear();
        let mut rows = Rows::new();
        for (row, at) in part.clone().enumerate() {
            let is_asked = at + 1 >= *scored_from;
            add(&mut reader.batch, tokens[at], at, is_asked)?;
            if is_asked {
                rows.push((row as i32, tokens[at + 1] as usize));
            }
        }
        decode(&mut reader.context, &mut reader.batch)?;
        self.at = part.end;
        Ok(Some(rows))
    }
}

/// Puts a token into a batch.
pub fn add(batch: &mut LlamaBatch, token: Token, position: usize, is_asked: bool) -> Result<(), Failure> {
    batch
        .add(LlamaToken(token), position as i32, &[0], is_asked)
        .map_err(|error| Failure::engine(error.to_string()))
}

/// Reads a batch.
pub fn decode(context: &mut LlamaContext<'_>, batch: &mut LlamaBatch) -> Result<(), Failure> {
    context.decode(batch).map_err(|error| Failure::engine(format!("llama.cpp can't read on: {error}")))
}
