//! A cascade of two models here: does it show in the first one's words when to ask the second, and what is saved?
//!
//! `cascade ENGINE WEAK.gguf STRONG.gguf TEXT SAVED [PROMPTS]`: both models say the next word of places in a
//! text. What they said is kept in SAVED, a line a prompt, so that a run goes on where it was stopped. The
//! threshold is calibrated on one half of the prompts and told of the other.

use std::io::Write;
use std::path::Path;

use git_sparse::engine::{Engine, Generate, Generated, ModelId, Prompt};
use git_sparse::route::cascade::Calibration;
use git_sparse::statistics::Random;

/// Words that are read before the one that is asked for.
const CONTEXT_WORDS: usize = 32;
/// Tokens that a word may have: names have many, and a model that has read one before says it with confidence.
const WORD_TOKENS: u32 = 8;
const SEED: u64 = 1;
const BOOTSTRAPS: usize = 1000;

/// What two models said to a prompt.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Said {
    at: usize,
    prompt_bytes: usize,
    weak_right: bool,
    strong_right: bool,
    /// Of the weak model's word: ln p of each token, and by how much the likeliest led before the second.
    ln_p: Vec<f64>,
    margins: Vec<f64>,
    weak_ms: f64,
    strong_ms: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let [engine, weak, strong, text, saved] = &arguments[..5] else {
        panic!("cascade ENGINE WEAK.gguf STRONG.gguf TEXT SAVED [PROMPTS]")
    };
    let count = arguments.get(5).map_or(2000, |count| count.parse().expect("a number"));
    let text = std::fs::read_to_string(text).expect("the text");
    let places = places(&text, count);
    let mut said: Vec<Said> = std::fs::read_to_string(saved)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if said.len() < places.len() {
        let mut engine = Engine::start(Path::new(engine)).expect("the engine");
        let mut load = |path: &String| engine.load(Path::new(path), 1).expect("a model").model;
        let (weak, strong) = (load(weak), load(strong));
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(saved).expect("a file");
        for (at, (prompt, word)) in places.iter().enumerate().skip(said.len()) {
            let (first, weak_word, ln_p, margins) = spoken(&mut engine, weak, prompt);
            let (second, strong_word, ..) = spoken(&mut engine, strong, prompt);
            let it = Said {
                at,
                prompt_bytes: prompt.len(),
                weak_right: weak_word == *word,
                strong_right: strong_word == *word,
                ln_p,
                margins,
                weak_ms: first.total_ms,
                strong_ms: second.total_ms,
            };
            writeln!(file, "{}", serde_json::to_string(&it).expect("JSON")).expect("a line");
            said.push(it);
        }
    }
    told(&said[..said.len().min(count)]);
}

/// Places in a text: the words before, and the word that follows.
fn places(text: &str, count: usize) -> Vec<(String, String)> {
    let paragraphs: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('='))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > CONTEXT_WORDS + 5)
        .collect();
    let mut random = Random::new(SEED);
    let mut places = Vec::new();
    while places.len() < count {
        let words = &paragraphs[random.below(paragraphs.len())];
        let at = CONTEXT_WORDS + random.below(words.len() - CONTEXT_WORDS);
        let word = words[at];
        if word.chars().all(char::is_alphabetic) {
            places.push((words[at - CONTEXT_WORDS..at].join(" "), word.to_owned()));
        }
    }
    places
}

/// The word that a model says, and ln p and margin of each of its tokens.
fn spoken(engine: &mut Engine, model: ModelId, prompt: &str) -> (Generated, String, Vec<f64>, Vec<f64>) {
    let order = Generate {
        model,
        prompt: Prompt::Text(prompt.into()),
        max_tokens: WORD_TOKENS,
        temperature: 0.0,
        top_p: 1.0,
        seed: 0,
        stop: Vec::new(),
    };
    let mut pieces: Vec<String> = Vec::new();
    let generated = engine.generate(&order, &mut |piece| pieces.push(piece.to_owned())).expect("a text");
    let text = pieces.concat();
    let word = text.trim_start().split(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_owned();
    // Tokens up to the one that has nothing of the word: it begins the next one, or is a comma.
    let mut so_far = String::new();
    let tokens = pieces.iter().take_while(|piece| {
        let is_over = !so_far.trim().is_empty() && !piece.starts_with(char::is_alphabetic);
        so_far.push_str(piece);
        !is_over
    });
    let tokens = tokens.count().clamp(1, generated.margins.len().max(1));
    let of = |values: &[f32]| values.iter().take(tokens).map(|it| f64::from(*it)).collect();
    let (ln_p, margins) = (of(&generated.ln_p), of(&generated.margins));
    (generated, word, ln_p, margins)
}

impl Said {
    /// What the router goes by: the probability of the least likely token.
    fn confidence(&self) -> f64 {
        least(&self.ln_p).exp()
    }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// How often a wrong answer has a lower number than a right one.
fn auroc(said: &[Said], number: impl Fn(&Said) -> f64) -> f64 {
    let mut order: Vec<(f64, bool)> = said.iter().map(|it| (number(it), it.weak_right)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wrong, mut sum) = (0.0, 0.0);
    let mut at = 0;
    while at < order.len() {
        let tied = order[at..].iter().take_while(|it| it.0 == order[at].0).count();
        let group = &order[at..at + tied];
        let right_here = group.iter().filter(|it| it.1).count() as f64;
        let wrong_here = tied as f64 - right_here;
        sum += right_here * (wrong + wrong_here / 2.0);
        wrong += wrong_here;
        at += tied;
    }
    sum / wrong / (order.len() as f64 - wrong)
}

fn told(said: &[Said]) {
    let share =
        |is: &dyn Fn(&Said) -> bool| said.iter().filter(|it| is(it)).count() as f64 / said.len() as f64;
    let of_all = |of: fn(&Said) -> f64| mean(&said.iter().map(of).collect::<Vec<_>>());
    let (weak_ms, strong_ms) = (of_all(|it| it.weak_ms), of_all(|it| it.strong_ms));
    println!(
        "{} prompts; right: weak {:.3}, strong {:.3}",
        said.len(),
        share(&|it| it.weak_right),
        share(&|it| it.strong_right)
    );
    println!("a request: weak {weak_ms:.0} ms, strong {strong_ms:.0} ms ({:.2} of it)", weak_ms / strong_ms);
    let mut random = Random::new(SEED);
    let mut drawn: Vec<f64> = (0..BOOTSTRAPS)
        .map(|_| {
            let again: Vec<Said> = said.iter().map(|_| said[random.below(said.len())].clone()).collect();
            auroc(&again, Said::confidence)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let [low, high] = [0.025, 0.975].map(|share| drawn[(share * (BOOTSTRAPS - 1) as f64) as usize]);
    println!("AUROC, weak is wrong: least p {:.3} [{low:.3}, {high:.3}]", auroc(said, Said::confidence));
    println!(
        "  mean ln p {:.3}, least margin {:.3}, mean margin {:.3}, prompt length {:.3}",
        auroc(said, |it| mean(&it.ln_p)),
        auroc(said, |it| least(&it.margins)),
        auroc(said, |it| mean(&it.margins)),
        auroc(said, |it| -(it.prompt_bytes as f64))
    );
    let (learn, test) = said.split_at(said.len() / 2);
    let point = |it: &Said| (it.confidence(), f64::from(u8::from(it.weak_right >= it.strong_right)));
    let calibration = Calibration::fit(learn.iter().map(point).collect()).expect("enough prompts");
    println!(
        "held out ({} learnt, {} tested), against always asking the strong model:",
        learn.len(),
        test.len()
    );
    let strong_right = test.iter().filter(|it| it.strong_right).count() as f64;
    for quality in [0.95, 0.96, 0.97, 0.98, 0.99] {
        let threshold = calibration.threshold(quality);
        let passed: Vec<bool> = test.iter().map(|it| it.confidence() < threshold.confidence).collect();
        let passed_on = passed.iter().filter(|it| **it).count() as f64 / test.len() as f64;
        let answers = || test.iter().zip(&passed);
        let right =
            answers().filter(|(it, passed)| if **passed { it.strong_right } else { it.weak_right }).count();
        let no_worse = answers().filter(|(it, passed)| **passed || it.weak_right >= it.strong_right).count();
        println!(
            "  asked {quality}: least p {:.3}, {:.1} % passed on, no worse {:.3}, right {:.3} of the strong model's, cost {:.2} of its",
            threshold.confidence,
            100.0 * passed_on,
            no_worse as f64 / test.len() as f64,
            right as f64 / strong_right,
            (weak_ms + passed_on * strong_ms) / strong_ms
        );
    }
}
