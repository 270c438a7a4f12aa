//! The models that are loaded, by number.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::path::Path;

use engine_messages::{Loaded, ModelId, Token, Tokens};
use llama_cpp_4::context::LlamaContext;
use llama_cpp_4::context::params::LlamaContextParams;
use llama_cpp_4::llama_backend::LlamaBackend;
use llama_cpp_4::model::params::LlamaModelParams;
use llama_cpp_4::model::{AddBos, LlamaModel, Special};
use llama_cpp_4::token::LlamaToken;

use crate::failure::Failure;
use crate::log;

/// Tokens that are worked on at once; another number gives other roundings.
pub const BATCH: u32 = 512;
/// Bytes that a GGUF file begins with.
const MAGIC: &[u8; 4] = b"GGUF";
/// More threads than any machine here has.
const MAX_THREADS: u32 = 1024;

/// All loaded models.
pub struct Models {
    backend: LlamaBackend,
    loaded: HashMap<ModelId, Model>,
    next: ModelId,
}

/// One loaded model.
pub struct Model {
    pub llama: LlamaModel,
    threads: i32,
}

impl Models {
    pub fn new() -> Result<Models, Failure> {
        log::listen();
        let backend = LlamaBackend::init().map_err(|error| Failure::engine(error.to_string()))?;
        Ok(Models { backend, loaded: HashMap::new(), next: 1 })
    }

    /// Loads a GGUF file.
    pub fn load(&mut self, path: &Path, threads: u32) -> Result<Loaded, Failure> {
        let shown = path.display();
        if threads == 0 || threads > MAX_THREADS {
            return Err(Failure::request(format!("{threads} threads: expected 1 to {MAX_THREADS}")));
        }
        let mut magic = [0; 4];
        std::fs::File::open(path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
            .map_err(|error| Failure::model(format!("{shown}: {error}")))?;
        if &magic != MAGIC {
            return Err(Failure::model(format!("{shown}: not a GGUF file")));
        }
        let (found, said) =
            log::during(|| LlamaModel::load_from_file(&self.backend, path, &LlamaModelParams::default()));
        let llama = found.map_err(|error| match log::complaints(&said) {
            said if said.is_empty() => Failure::model(format!("{shown}: {error}")),
            said => Failure::model(format!("{shown}: {said}")),
        })?;
        let model = Model { llama, threads: threads as i32 };
        let id = self.next;
        let loaded = model.describe(id)?;
        self.next += 1;
        self.loaded.insert(id, model);
        Ok(loaded)
    }

    pub fn unload(&mut self, id: ModelId) -> Result<(), Failure> {
        self.loaded.remove(&id).map(drop).ok_or_else(|| unknown(id))
    }

    pub fn get(&self, id: ModelId) -> Result<&Model, Failure> {
        self.loaded.get(&id).ok_or_else(|| unknown(id))
    }

    /// An empty context of `model` for so many tokens.
    pub fn context<'model>(
        &self,
        model: &'model Model,
        tokens: usize,
    ) -> Result<LlamaContext<'model>, Failure> {
        self.context_with(model, tokens, |params| params)
    }

    /// The same, with settings of its own.
    pub fn context_with<'model>(
        &self,
        model: &'model Model,
        tokens: usize,
        set: impl FnOnce(LlamaContextParams) -> LlamaContextParams,
    ) -> Result<LlamaContext<'model>, Failure> {
        let tokens = u32::try_from(tokens).ok().and_then(NonZeroU32::new);
        let tokens =
            tokens.ok_or_else(|| Failure::request("a context of no tokens, or of more than there can be"))?;
        let params = LlamaContextParams::default()
            .with_n_ctx(Some(tokens))
            .with_n_batch(BATCH)
            .with_n_ubatch(BATCH)
            .with_n_threads(model.threads)
            .with_n_threads_batch(model.threads);
        let params = set(params);
        let (made, said) = log::during(|| model.llama.new_context(&self.backend, params));
        made.map_err(|error| {
            Failure::engine(format!("a context of {tokens} tokens: {error} {}", log::complaints(&said)))
        })
    }
}

impl Model {
    /// Text as tokens, with none added, and how many bytes each is.
    pub fn tokenize(&self, text: &str, special: bool) -> Result<Tokens, Failure> {
        let tokens = self.tokens(text, special)?;
        let kind = if special { Special::Tokenize } else { Special::Plaintext };
        let mut piece = Vec::new();
        let mut size = |token: &Token| {
            let read = self.llama.token_to_raw_bytes_into(LlamaToken(*token), kind, &mut piece);
            read.map(|()| piece.len() as u32).map_err(|error| Failure::engine(error.to_string()))
        };
        let bytes = tokens.iter().map(&mut size).collect::<Result<_, _>>()?;
        Ok(Tokens { tokens, bytes })
    }

    /// Text as tokens, with none added.
    pub fn tokens(&self, text: &str, special: bool) -> Result<Vec<Token>, Failure> {
        let special = if special { Special::Tokenize } else { Special::Plaintext };
        let tokens = self.llama.str_to_token_with_special(text, AddBos::Never, special);
        let tokens = tokens.map_err(|error| Failure::request(format!("the text: {error}")))?;
        Ok(tokens.into_iter().map(|token| token.0).collect())
    }

    /// Tokens as llama.cpp wants them, if the vocabulary has them all.
    pub fn checked(&self, tokens: &[Token]) -> Result<Vec<LlamaToken>, Failure> {
        let vocabulary = self.vocabulary();
        match tokens.iter().find(|token| !(0..vocabulary as Token).contains(*token)) {
            None => Ok(tokens.iter().map(|token| LlamaToken(*token)).collect()),
            Some(token) => Err(Failure::request(format!("token {token} of a vocabulary of {vocabulary}"))),
        }
    }

    pub fn vocabulary(&self) -> usize {
        self.llama.n_vocab().max(0) as usize
    }

    fn describe(&self, model: ModelId) -> Result<Loaded, Failure> {
        let text = |key: &str| self.llama.meta_val_str(key, 256).unwrap_or_default();
        if self.vocabulary() == 0 || !self.llama.has_decoder() || self.llama.has_encoder() {
            return Err(Failure::model("it is no model that continues texts"));
        }
        let wants_begin = self.llama.add_bos_token();
        Ok(Loaded {
            model,
            description: self.llama.desc(256).unwrap_or_default(),
            architecture: text("general.architecture"),
            vocabulary: self.vocabulary() as u32,
            context: self.llama.n_ctx_train(),
            parameters: self.llama.n_params(),
            tensor_bytes: self.llama.model_size(),
            begin: wants_begin.then(|| self.llama.token_bos().0).filter(|token| *token >= 0),
            end: Some(self.llama.token_eos().0).filter(|token| *token >= 0),
            has_template: self.llama.chat_template(None).is_ok(),
            vocabulary_hash: self.vocabulary_hash(),
        })
    }

    /// Over the text of each token: two models of one vocabulary have the same.
    fn vocabulary_hash(&self) -> String {
        let vocab = self.llama.get_vocab();
        // Its keys are fixed, and it need not resist anybody: who lies here compares a model with itself.
        let mut hasher = DefaultHasher::new();
        for token in 0..self.llama.n_vocab() {
            vocab.get_text_bytes(LlamaToken(token)).unwrap_or_default().hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }
}

fn unknown(id: ModelId) -> Failure {
    Failure::request(format!("model {id} is not loaded"))
}
