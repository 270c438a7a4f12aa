//! The engine: llama.cpp in a process of its own, so that its crashes, its memory and its C++ stay here.
//!
//! It reads a request a line and answers on standard output (`engine-messages` has them all). What
//! llama.cpp has to say goes to standard error, where git sparse looks when something failed.

mod distortion;
mod failure;
mod generate;
mod held;
mod importance;
mod log;
mod models;
mod quantize;
mod score;
mod softmax;
mod timing;
mod usage;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use engine_messages::{Hello, Reply, Request, VERSION};
use failure::Failure;
use held::Shelf;
use models::Models;

/// The longest request. A text of that length is longer than any that is scored at once.
const MAX_REQUEST_BYTES: u64 = 256 << 20;

fn main() -> ExitCode {
    let mut models = match Models::new() {
        Ok(models) => models,
        Err(failure) => {
            eprintln!("git-sparse-engine: {}", failure.message);
            return ExitCode::FAILURE;
        }
    };
    match serve(&mut models, &mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("git-sparse-engine: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers requests until there are no more.
fn serve(models: &mut Models, requests: &mut impl BufRead, replies: &mut impl Write) -> io::Result<()> {
    let mut shelf = Shelf::default();
    while let Some(line) = line(requests)? {
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => answer(models, &mut shelf, request, replies)?,
            Err(error) => Err(Failure::request(format!("no request: {error}"))),
        };
        say(replies, &reply.unwrap_or_else(Reply::from))?;
    }
    Ok(())
}

/// The next line, `None` at the end.
fn line(requests: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let count = io::Read::take(requests, MAX_REQUEST_BYTES).read_until(b'\n', &mut line)?;
    if count as u64 == MAX_REQUEST_BYTES {
        return Err(io::Error::other(format!("a request of more than {MAX_REQUEST_BYTES} bytes")));
    }
    Ok((count > 0).then_some(line))
}

/// Answers one request; the outer error is that nobody listens any more.
fn answer(
    models: &mut Models,
    shelf: &mut Shelf,
    request: Request,
    replies: &mut impl Write,
) -> io::Result<Result<Reply, Failure>> {
    Ok(match request {
        Request::Hello => Ok(Reply::Hello(hello())),
        Request::Load { path, threads } => models.load(&path, threads).map(Reply::Loaded),
        Request::Unload { model } => models.unload(model).map(|()| Reply::Unloaded),
        Request::Tokenize { model, text, special } => {
            models.get(model).and_then(|model| model.tokenize(&text, special)).map(Reply::Tokens)
        }
        Request::Score { model, windows, against } => {
            score::score(models, shelf, model, &windows, against).map(Reply::Scored)
        }
        Request::Hold { model, windows } => score::hold(models, shelf, model, &windows),
        Request::LetGo { held } => shelf.remove(held).map(|()| Reply::LetGo),
        Request::Quantize(order) => quantize::quantize(&order),
        Request::Plan(order) => quantize::plan(&order),
        Request::Distort(order) => distortion::distort(&order).map(Reply::Distorted),
        Request::Importance(order) => {
            let told = &mut |windows| say(replies, &Reply::Read { windows });
            return importance::importance(models, &order, told);
        }
        Request::Generate(order) => {
            return generate::generate(models, &order, &mut |piece| say(replies, &Reply::Piece(piece)));
        }
        Request::Time { model, prompt, output } => {
            models.get(model).and_then(|model| timing::time(models, model, &prompt, output)).map(Reply::Timed)
        }
        Request::Memory => usage::peak_bytes().map(|peak_bytes| Reply::Memory { peak_bytes }),
    })
}

fn hello() -> Hello {
    let build = format!("llama.cpp {} (llama-cpp-4 0.11.0)", llama_cpp_4::llama_version());
    Hello { protocol: VERSION, build, processor: llama_cpp_4::print_system_info().trim().to_owned() }
}

fn say(replies: &mut impl Write, reply: &Reply) -> io::Result<()> {
    serde_json::to_writer(&mut *replies, reply)?;
    replies.write_all(b"\n")?;
    replies.flush()
}
