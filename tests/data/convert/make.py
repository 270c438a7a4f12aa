"""Makes the checkpoints in this folder, and what `transformers` computes with them.

Tiny models of random weights, one of each family, with tokenizers that were trained on a few sentences. Each has an
`expected.json`: a text, its tokens, and ln p of each token but the first, in float32. The weights are far larger than
in a model before its training, so that each tensor and each setting shows in the result.

    pip install torch transformers tokenizers sentencepiece safetensors
    python make.py [FAMILY...]

Last run with torch 2.15.0, transformers 5.24.0, tokenizers and sentencepiece of November 2026.
"""

import io
import json
import pathlib
import sys

import sentencepiece
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
CORPUS = [
    "The store keeps each model once, and what changed since.",
    "It isn't large: they're 12345 bytes, we'll see 67 of them in 2026.",
    "A push of a fine-tune stores the difference to its base; a clone gets both back.",
    "for (i, layer) in layers.iter().enumerate() {\n    total += layer.weight * 0.5;\n}\n",
    "Die Größe ändert sich nicht. L'été, ça va. Привет, мир. 你好，世界。",
] * 4
TEXT = (
    "The store isn't large:  it keeps 2026 models, and we'll clone 12345 of them.\n\n\n"
    "    for layer in layers {\n\ttotal += 0.5;   }\r\n"
    "Größe, été, Привет, 你好 🦀 — <|end|> done!!! a  b   c\n"
)

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = dict(add_prefix_space=False, trim_offsets=True)


def byte_level(pre, size=336, ignore_merges=False, nfc=False, special=("<|begin|>", "<|end|>")):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def split(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(use_regex=False, **BYTES),
        ]
    )


def marks(prefix, size=448):
    """A SentencePiece model as tokenizer.json, with the merges that `transformers` makes of one: all pairs of tokens
    that make a token, by its score."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=out,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        character_coverage=0.98,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        split_digits=True,
        allow_whitespace_only_pieces=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    scores = {pieces.id_to_piece(i): pieces.get_score(i) for i in range(len(pieces))}
    vocab = {piece: i for i, piece in enumerate(scores)}
    merges = []
    for piece in vocab:
        pairs = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        pairs = [pair for pair in pairs if pair[0] in vocab and pair[1] in vocab]
        merges += [(scores[piece], pair) for pair in sorted(pairs, key=lambda p: (vocab[p[0]], vocab[p[1]]))]
    merges = [pair for _, pair in sorted(merges, key=lambda merge: merge[0], reverse=True)]
    model = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    replace = normalizers.Replace(" ", "▁")
    if prefix:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    else:
        tokenizer.normalizer = replace
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(" ", 1, 0)] if prefix else [])
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocab["<s>"])]
    )
    return tokenizer


SMALL = dict(
    hidden_size=32,
    intermediate_size=48,
    num_attention_heads=4,
    num_key_value_heads=2,
    num_hidden_layers=2,
    max_position_embeddings=256,
)
SPM = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
BPE = dict(bos_token="<|begin|>", eos_token="<|end|>")


def rope(theta, kind="default", **more):
    return dict(rope_theta=theta, rope_type=kind, **more)


def llama():
    tokenizer = byte_level(split(LLAMA3), ignore_merges=True)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing("<|begin|> $A", "<|begin|> $A $B", [("<|begin|>", 0)]),
        ]
    )
    stretched = rope(
        5e5,
        "llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=64,
    )
    config = transformers.LlamaConfig(
        **SMALL, vocab_size=340, rope_parameters=stretched, attention_bias=True, mlp_bias=True
    )
    return transformers.LlamaForCausalLM(config), tokenizer, dict(**BPE, chat_template="{{ messages }}")


def mistral():
    config = transformers.MistralConfig(
        **SMALL, vocab_size=448, head_dim=16, sliding_window=192, rope_parameters=rope(1e4, "linear", factor=2.0)
    )
    return transformers.MistralForCausalLM(config), marks(True), dict(**SPM, add_bos_token=True)


def smollm3():
    pre = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(**BYTES)]
    )
    config = transformers.SmolLM3Config(
        **SMALL | dict(num_hidden_layers=4, intermediate_size=32),
        vocab_size=336,
        pad_token_id=None,
        bos_token_id=0,
        eos_token_id=1,
    )
    return transformers.SmolLM3ForCausalLM(config), byte_level(pre), BPE


def qwen2():
    tokenizer = byte_level(split(QWEN2), nfc=True)
    stretched = rope(1e6, "yarn", factor=4.0, original_max_position_embeddings=64)
    config = transformers.Qwen2Config(**SMALL, vocab_size=336, rope_parameters=stretched, tie_word_embeddings=False)
    return transformers.Qwen2ForCausalLM(config), tokenizer, dict(**BPE, add_bos_token=False)


def qwen3():
    tokenizer = byte_level(split(QWEN2), nfc=True, special=("<|begin|>", "<|end|>"))
    config = transformers.Qwen3Config(
        **SMALL, vocab_size=336, head_dim=16, rope_parameters=rope(1e6), tie_word_embeddings=True
    )
    return transformers.Qwen3ForCausalLM(config), tokenizer, BPE


def gemma():
    config = transformers.GemmaConfig(**SMALL, vocab_size=448, head_dim=16)
    return transformers.GemmaForCausalLM(config), marks(False), SPM


def gemma2():
    config = transformers.Gemma2Config(
        **SMALL,
        vocab_size=448,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=24,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=12.0,
    )
    return transformers.Gemma2ForCausalLM(config), marks(False), SPM


def gemma3():
    config = transformers.Gemma3TextConfig(
        **SMALL | dict(num_hidden_layers=3),
        vocab_size=448,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=24,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(
            full_attention=rope(1e6, "linear", factor=8.0), sliding_attention=rope(2e4)
        ),
    )
    return transformers.Gemma3ForCausalLM(config), marks(False), SPM


FAMILIES = [llama, mistral, smollm3, qwen2, qwen3, gemma, gemma2, gemma3]


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    differences = any("Gemma" in name for name in model.config.architectures)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if "q_norm" in name or "k_norm" in name:
                weight.copy_(0.3 * noise + (-0.4 if differences else 0.6))
            elif differences and ("post_attention" in name or "post_feedforward" in name):
                weight.copy_(0.3 * noise - 0.4)
            elif "norm" in name:
                weight.copy_(0.3 * noise + (0.0 if differences else 1.0))
            elif weight.dim() == 1:
                weight.copy_(0.3 * noise)
            elif "embed" in name:
                weight.copy_(noise * (0.11 if model.config.tie_word_embeddings else 1.0))
            else:
                weight.copy_(0.8 * noise / weight.shape[1] ** 0.5)


def expected(model, tokenizer):
    tokens = tokenizer.encode(TEXT, add_special_tokens=False).ids
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].float()
    log = torch.log_softmax(logits, -1)
    scored = [log[at, token].item() for at, token in enumerate(tokens[1:])]
    plain = tokenizer.encode(TEXT).ids
    return dict(
        text=TEXT,
        tokens=tokens,
        begins=plain[0] != tokens[0],
        ln_p=[round(value, 6) for value in scored],
    )


def make(family, seed):
    model, tokenizer, settings = family()
    model = model.float().eval()
    model.config.architectures = [type(model).__name__]
    randomise(model, seed)
    folder = HERE / family.__name__
    folder.mkdir(exist_ok=True)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    if family is llama:
        save_shards(folder, weights)
    else:
        save_file(weights, folder / "model.safetensors", metadata=dict(format="pt"))
    model.config.dtype = torch.float32
    (folder / "config.json").write_text(model.config.to_json_string())
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    (folder / "expected.json").write_text(json.dumps(expected(model, tokenizer), ensure_ascii=False) + "\n")
    print(family.__name__, sum(weight.numel() for weight in weights.values()), "weights")


def save_shards(folder, weights):
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, own in shards.items():
        save_file({name: weights[name] for name in own}, folder / shard, metadata=dict(format="pt"))
    places = {name: shard for shard, own in shards.items() for name in own}
    index = dict(metadata={}, weight_map=places)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed, family in enumerate(FAMILIES):
        if len(sys.argv) == 1 or family.__name__ in sys.argv[1:]:
            make(family, seed)
