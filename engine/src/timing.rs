//! How long a model takes to read a prompt and to write tokens, one at a time.

use std::time::Instant;

use engine_messages::{Timed, Token};
use llama_cpp_4::llama_batch::LlamaBatch;

use crate::failure::Failure;
use crate::generate::milliseconds;
use crate::models::{BATCH, Model, Models};
use crate::score::{add, decode};
use crate::softmax;
use crate::usage;

/// Tokens in one measurement.
const MAX_TOKENS: usize = 1 << 17;

/// Reads `prompt`, then writes `output` tokens, the most likely each time, past any end.
pub fn time(models: &Models, model: &Model, prompt: &[Token], output: u32) -> Result<Timed, Failure> {
    model.checked(prompt)?;
    let room = prompt.len() + output as usize;
    if prompt.is_empty() || output == 0 || room > MAX_TOKENS {
        return Err(Failure::request(format!(
            "a prompt of {} and an answer of {output} tokens",
            prompt.len()
        )));
    }
    let mut context = models.context(model, room.max(BATCH as usize + 1))?;
    let mut batch = LlamaBatch::new(BATCH as usize, 1);
    let before = usage::now()?;
    let started = Instant::now();
    let mut row = 0;
    for (number, part) in prompt.chunks(BATCH as usize).enumerate() {
        batch.clear();
        for (offset, token) in part.iter().enumerate() {
            let at = number * BATCH as usize + offset;
            add(&mut batch, *token, at, at + 1 == prompt.len())?;
        }
        decode(&mut context, &mut batch)?;
        row = part.len() as i32 - 1;
    }
    let mut token = softmax::top(context.get_logits_ith(row)) as Token;
    let first_token_ms = milliseconds(started);
    let mut token_ms = Vec::with_capacity(output as usize);
    for number in 1..output as usize {
        let began = Instant::now();
        batch.clear();
        add(&mut batch, token, prompt.len() + number - 1, true)?;
        decode(&mut context, &mut batch)?;
        token = softmax::top(context.get_logits_ith(0)) as Token;
        token_ms.push(milliseconds(began));
    }
    let wall_ms = milliseconds(started);
    let after = usage::now()?;
    Ok(Timed {
        first_token_ms,
        token_ms,
        wall_ms,
        processor_ms: after.processor_ms - before.processor_ms,
        preempted: after.preempted.saturating_sub(before.preempted),
    })
}
