//! What git sparse and its engine tell each other: one JSON document a line, a request and its replies.
//!
//! The engine reads requests from its standard input and answers on its standard output, one after
//! another. `Generate` has a reply for each piece of text before the last one, and `Importance` one for each window; all others
//! have one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of this protocol. Engines of another one are refused by name.
pub const VERSION: u32 = 2;

/// A model that the engine has loaded.
pub type ModelId = u32;
/// What a model said of some windows, kept by the engine.
pub type HeldId = u32;
/// A token of a model's vocabulary.
pub type Token = i32;

/// What a model is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Another model, which reads the same windows at the same time.
    Model(ModelId),
    /// What another model said of the same windows before.
    Held(HeldId),
}

/// What the engine is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Comes first.
    Hello,
    /// Loads a GGUF file.
    Load { path: PathBuf, threads: u32 },
    /// Frees a model, and what is held of it.
    Unload { model: ModelId },
    /// Text as tokens; no token is added. With `special`, `<|im_start|>` and its like are one token.
    Tokenize { model: ModelId, text: String, special: bool },
    /// Natural logarithms of the probabilities of tokens, window by window.
    Score { model: ModelId, windows: Vec<Window>, against: Option<Baseline> },
    /// Scores windows and keeps what the model said of the whole vocabulary, until it is let go: a baseline
    /// that many others are compared with is worked out once.
    Hold { model: ModelId, windows: Vec<Window> },
    /// Forgets what is held.
    LetGo { held: HeldId },
    /// Writes a model in other types of tensors.
    Quantize(Quantize),
    /// Which types `Quantize` would choose, without doing it.
    Plan(Quantize),
    /// How far tensors of a file would be from themselves in other types.
    Distort(Distort),
    /// Reads text and writes which inputs of the model's matrices matter.
    Importance(Importance),
    /// Writes text.
    Generate(Generate),
    /// Reads `prompt`, then writes `output` tokens, whatever they are, and tells how long each took.
    Time { model: ModelId, prompt: Vec<Token>, output: u32 },
    /// How much memory the engine used at most.
    Memory,
}

/// Tokens that are read together, from an empty context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub tokens: Vec<Token>,
    /// The first token whose probability is asked for, as an index into `tokens`; at least 1.
    pub scored_from: usize,
}

/// How a model is to be written anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantize {
    pub source: PathBuf,
    pub target: PathBuf,
    /// The name of a preset of llama.cpp, such as `Q4_K_M`.
    pub preset: String,
    /// Tensors whose names match get this type: a regular expression and a name such as `Q5_0`, the first match counts.
    pub overrides: Vec<(String, String)>,
    /// A file that `Importance` wrote; `Plan` does not read it.
    #[serde(default)]
    pub importance: Option<PathBuf>,
    pub threads: u32,
}

/// What is read to learn which inputs of a model's matrices matter, and where that is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Importance {
    pub model: ModelId,
    pub windows: Vec<Vec<Token>>,
    /// A file in the older of llama.cpp's two formats of importance matrices.
    pub target: PathBuf,
}

/// Which tensors, and which types each is tried in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distort {
    pub source: PathBuf,
    pub tensors: Vec<Place>,
    /// Names such as `Q4_K`.
    pub types: Vec<String>,
    /// A file that `Importance` wrote: errors count by what they are multiplied with.
    pub importance: Option<PathBuf>,
    /// As many of each tensor are looked at, spread over it.
    pub rows: u32,
}

/// Where a tensor lies in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub name: String,
    /// Of its weights, such as `BF16`.
    pub dtype: String,
    /// Of its first byte.
    pub offset: u64,
    pub columns: u64,
    pub rows: u64,
}

/// The types that tensors would get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Name and type of each tensor, in the order of the file; types as llama.cpp writes them, such as `q5_K`.
    pub tensors: Vec<(String, String)>,
    /// Types are among them that can't be made without an importance matrix.
    pub needs_importance: bool,
}

/// What text is to be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    pub model: ModelId,
    pub prompt: Prompt,
    pub max_tokens: u32,
    /// 0 takes the most likely token each time.
    pub temperature: f32,
    pub top_p: f32,
    pub seed: u32,
    /// The text ends before any of these.
    pub stop: Vec<String>,
}

/// What a text follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// As it is.
    Text(String),
    /// A conversation, put into the model's own template.
    Chat(Vec<Turn>),
    /// Already tokens.
    Tokens(Vec<Token>),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    pub content: String,
}

/// What the engine answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Hello(Hello),
    Loaded(Loaded),
    Unloaded,
    Tokens(Tokens),
    Scored(Vec<Scored>),
    Held {
        held: HeldId,
        scored: Vec<Scored>,
    },
    LetGo,
    Quantized {
        bytes: u64,
    },
    Planned(Planned),
    /// For each tensor and each type, the sum of squared errors over the whole tensor; `None` where it can't have that type.
    Distorted(Vec<Vec<Option<f64>>>),
    /// So many windows were read, and more are to come or the last reply.
    Read {
        windows: usize,
    },
    /// Of so many tensors.
    Importance {
        tensors: usize,
    },
    Piece(Piece),
    Generated(Generated),
    Timed(Timed),
    Memory {
        peak_bytes: u64,
    },
    /// The request could not be done; the engine lives on.
    Failed {
        kind: Failed,
        message: String,
    },
}

/// Why a request could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failed {
    /// The file is no model that this engine knows.
    Model,
    /// The model gave a logit that is no number.
    NotFinite,
    /// The question makes no sense for this model.
    Request,
    /// Memory, a file, or llama.cpp itself failed.
    Engine,
    /// The disk of a file that was to be written is full.
    Full,
}

/// Who the engine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// The version of llama.cpp and how it was built; figures of two builds can't be compared.
    pub build: String,
    /// What of the processor it uses, such as `AVX2 = 1`.
    pub processor: String,
}

/// A loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    pub model: ModelId,
    /// What llama.cpp calls it, such as `llama 135M Q4_0`.
    pub description: String,
    pub architecture: String,
    pub vocabulary: u32,
    /// Tokens that it was trained to read at once.
    pub context: u32,
    pub parameters: u64,
    /// Bytes of its tensors.
    pub tensor_bytes: u64,
    /// The token that texts begin with, where the model wants one.
    pub begin: Option<Token>,
    /// The token that texts end with, where there is one.
    pub end: Option<Token>,
    pub has_template: bool,
    /// A hash over all the vocabulary's texts: models with another one can't be compared token by token.
    pub vocabulary_hash: String,
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub tokens: Vec<Token>,
    /// How many bytes of text each of them is.
    pub bytes: Vec<u32>,
}

/// What was asked of one window, for each of its scored tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// ln p of each token.
    pub ln_p: Vec<f64>,
    pub against: Option<Compared>,
}

/// One window of two models, token by token: `against` is the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// ln p of each token by the baseline.
    pub ln_p: Vec<f64>,
    /// Kullback-Leibler divergence of the model from the baseline, in nats.
    pub divergence: Vec<f64>,
    /// Whether both find the same token the most likely.
    pub same_top: Vec<bool>,
    /// The largest difference between two logits of one token.
    pub max_logit: f64,
    /// The mean difference between two logits, over all tokens and the whole vocabulary.
    pub mean_logit: f64,
}

/// A piece of generated text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Whole characters; a character of several tokens comes with the last of them.
    pub text: String,
}

/// How a generated text ended, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    pub prompt_tokens: u32,
    pub output_tokens: u32,
    pub ended: Ended,
    /// For each token: probability of the most likely one less that of the second.
    pub margins: Vec<f32>,
    /// ln p of each token that was taken.
    pub ln_p: Vec<f32>,
    pub first_token_ms: f64,
    pub total_ms: f64,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The model was done, or a stop text came.
    Stop,
    /// As many tokens as were asked for.
    Length,
}

/// How long things took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// From the prompt to the first token.
    pub first_token_ms: f64,
    /// Each token after it.
    pub token_ms: Vec<f64>,
    /// By the clock on the wall, in all.
    pub wall_ms: f64,
    /// Of all threads together.
    pub processor_ms: f64,
    /// Times that the system took the processor away.
    pub preempted: u64,
}
