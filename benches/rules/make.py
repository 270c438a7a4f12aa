#!/usr/bin/env python3
"""Makes files that follow from the models of benches/pairs by a rule: merges, GGUF quantisations by llama.cpp, INT8 and
FP8 checkpoints by compressed-tensors, NF4 by bitsandbytes.

    python benches/rules/make.py PAIRS DIR [merges|gguf|eight-bits|four-bits…]

PAIRS has smol-base-bf16, smol-sft-bf16 and smol-checkpoint-bf16. Needs torch and safetensors; for `gguf` also gguf and
llama-cpp-python, for `eight-bits` transformers and compressed-tensors, for `four-bits` bitsandbytes.
"""

import ctypes
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

MERGES = {
    "average": lambda base, sft, checkpoint: (sft + checkpoint) / 2,
    "linear": lambda base, sft, checkpoint: (0.7 * sft.float() + 0.3 * checkpoint.float()).to(sft.dtype),
    "task": lambda base, sft, checkpoint: base + 0.6 * (sft - base),
}
KINDS = ("Q8_0", "Q4_0", "Q6_K", "Q4_K_M")
NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
# SmolLM2-135M.
HEADS, KEY_HEADS, WIDTH, INNER, LAYERS, HEAD = 9, 3, 576, 1536, 30, 64


def renamed(name):
    if name in WHOLE:
        return WHOLE[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def convert(model, path):
    """As llama.cpp's converter does it: matrices in bf16, vectors in f32, the halves of heads interleaved."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD)
    writer.add_vocab_size(model["model.embed_tokens.weight"].shape[0])
    writer.add_tokenizer_model("no_vocab")
    for name, tensor in model.items():
        if name == "lm_head.weight":
            continue
        values = tensor.float()
        if "q_proj" in name or "k_proj" in name:
            halves = values.reshape(-1, 2, HEAD // 2, values.shape[-1])
            values = halves.transpose(1, 2).reshape(values.shape)
        kind = gguf.GGMLQuantizationType.F32 if values.dim() == 1 else gguf.GGMLQuantizationType.BF16
        writer.add_tensor(renamed(name), gguf.quants.quantize(values.contiguous().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def merges(models, to):
    for name, merge in MERGES.items():
        merged = {tensor: merge(*(model[tensor] for model in models)).contiguous() for tensor in models[0]}
        save_file(merged, to / f"{name}.safetensors")


def quantised(models, to):
    import llama_cpp

    whole = to / "bf16.gguf"
    convert(models[0], whole)
    for kind in KINDS:
        how = llama_cpp.llama_model_quantize_default_params()
        how.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
        done = llama_cpp.llama_model_quantize(bytes(whole), bytes(to / f"{kind}.gguf"), ctypes.byref(how))
        assert done == 0, kind


def eight_bits(models, to):
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "data" / "eight-bit"))
    from make import compressed_tensors

    for kind in ("int8-channel", "fp8-channel"):
        compressed_tensors(models[0], to / f"{kind}.safetensors", kind)
    compressed_tensors(models[2], to / "int8-of-checkpoint.safetensors", "int8-channel")


def four_bits(models, to):
    from bitsandbytes.functional import quantize_4bit

    for name, model in (("nf4", models[0]), ("nf4-of-checkpoint", models[2])):
        out = dict(model)
        for tensor in (tensor for tensor in model if tensor.endswith("_proj.weight")):
            out[tensor], state = quantize_4bit(model[tensor], quant_type="nf4", compress_statistics=True)
            out |= {f"{tensor}.{key}": value for key, value in state.as_dict(packed=True).items()}
        save_file(out, to / f"{name}.safetensors")


def main(pairs, to, *wanted):
    to.mkdir(parents=True, exist_ok=True)
    models = [load_file(pairs / f"smol-{kind}-bf16.safetensors") for kind in ("base", "sft", "checkpoint")]
    for name, make in (("merges", merges), ("gguf", quantised), ("eight-bits", eight_bits), ("four-bits", four_bits)):
        if name in (wanted or (name,)):
            make(models, to)


main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
