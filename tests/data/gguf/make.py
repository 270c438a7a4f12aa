#!/usr/bin/env python3
"""Makes a small Llama and GGUF files of it: the conversions that src/origin/converted.rs must find.

Run with torch, transformers, safetensors, gguf and llama-cpp-python installed (the files are of its 0.3.36):

    python tests/data/gguf/make.py tests/data/gguf

The files are written as llama.cpp's converter writes them: its names, its order of rows in queries and keys,
vectors in f32. `model-*` are quantised by gguf's own quantiser, `f16-*` by llama.cpp's from model-F16.gguf.
"""

import ctypes
import sys
from pathlib import Path

import gguf
import llama_cpp
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

HEADS, KEY_HEADS, WIDTH = 4, 2, 256
NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def renamed(name):
    if name in WHOLE:
        return WHOLE[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def interleaved(weights, heads):
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def convert(model, path, kind, file_type):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(file_type)
    writer.add_context_length(16)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(32)
    writer.add_tokenizer_model("no_vocab")
    for name, tensor in model.items():
        values = tensor.float().numpy()
        if "q_proj" in name or "k_proj" in name:
            values = interleaved(values, HEADS if "q_proj" in name else KEY_HEADS)
        as_kind = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else kind
        writer.add_tensor(renamed(name), gguf.quants.quantize(values, as_kind), raw_dtype=as_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(to):
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=32, hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1, num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS, max_position_embeddings=16, tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(to)
    for extra in ("config.json", "generation_config.json"):
        (to / extra).unlink()
    model = load_file(to / "model.safetensors")
    for kind in ("F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        file_type = gguf.LlamaFileType[f"MOSTLY_{kind}"]
        convert(model, to / f"model-{kind}.gguf", gguf.GGMLQuantizationType[kind], file_type)
    for kind in ("Q8_0", "Q4_0", "Q4_K_S", "Q5_K_S", "Q6_K"):
        how = llama_cpp.llama_model_quantize_default_params()
        how.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
        paths = [bytes(to / f"{name}.gguf") for name in ("model-F16", f"f16-{kind}")]
        assert llama_cpp.llama_model_quantize(*paths, ctypes.byref(how)) == 0


main(Path(sys.argv[1]))
