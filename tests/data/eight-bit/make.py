#!/usr/bin/env python3
"""Makes INT8 and FP8 checkpoints of tests/data/gguf/model.safetensors, with the tools that people use.

Run with torch, transformers, accelerate, safetensors, bitsandbytes, compressed-tensors, optimum-quanto and torchao
installed (the files are of 0.50.2, 0.18.0, 0.2.7 and 0.18.0):

    python tests/data/eight-bit/make.py tests/data/eight-bit

`blocks` is written as DeepSeek's models are: FP8 with a scale for each square of 128. `relative` is the INT8 of
compressed-tensors of another model, that was trained from the same one: its weights lie a little beside.
"""

import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

SOURCE = Path(__file__).parent.parent / "gguf" / "model.safetensors"
CONFIG = LlamaConfig(
    vocab_size=32, hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=16, tie_word_embeddings=False,
)


def model(weights):
    made = LlamaForCausalLM(CONFIG).to(torch.bfloat16)
    made.load_state_dict(weights)
    return made


def linear(weights):
    """The matrices that quantisers change: not the embedding, and not the head."""
    return {name for name in weights if name.endswith("_proj.weight")}


def saved(made, path):
    with tempfile.TemporaryDirectory() as directory:
        made.save_pretrained(directory)
        Path(path).write_bytes((Path(directory) / "model.safetensors").read_bytes())


def bitsandbytes(weights, path):
    with tempfile.TemporaryDirectory() as directory:
        model(weights).save_pretrained(directory)
        config = BitsAndBytesConfig(load_in_8bit=True)
        made = LlamaForCausalLM.from_pretrained(
            directory, quantization_config=config, device_map="cpu", dtype=torch.bfloat16
        )
        saved(made, path)


def compressed_tensors(weights, path, kind):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy
    from compressed_tensors.quantization.lifecycle.forward import quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    tensor = kind.endswith("tensor")
    strategy = QuantizationStrategy.TENSOR if tensor else QuantizationStrategy.CHANNEL
    args = QuantizationArgs(
        num_bits=8, type="float" if kind.startswith("fp8") else "int", symmetric=True, strategy=strategy
    )
    out = dict(weights)
    for name in linear(weights):
        weight = weights[name]
        if tensor:
            low, high = weight.min().reshape(1), weight.max().reshape(1)
        else:
            low, high = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
        scale, zero = calculate_qparams(low, high, args)
        dtype = torch.float8_e4m3fn if kind.startswith("fp8") else torch.int8
        out[name] = quantize(x=weight, scale=scale, zero_point=zero, args=args, dtype=dtype)
        out[name.replace(".weight", ".weight_scale")] = scale
    save_file(out, path, metadata={"format": "pt"})


def quanto(weights, path):
    from optimum.quanto import freeze, qint8, quantize

    made = model(weights)
    quantize(made, weights=qint8, exclude="lm_head")
    freeze(made)
    save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, path)


def torchao(weights, path):
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    made = model(weights)
    quantize_(made, Int8WeightOnlyConfig(version=2))
    tensors, metadata = flatten_tensor_state_dict(made.state_dict())
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def blocks(weights, path):
    out = dict(weights)
    for name in linear(weights):
        weight = weights[name].float()
        rows, columns = (side // 128 for side in weight.shape)
        squares = weight.reshape(rows, 128, columns, 128)
        scale = squares.abs().amax((1, 3), keepdim=True) / 448.0
        out[name] = (squares / scale).reshape(weight.shape).to(torch.float8_e4m3fn)
        out[name + "_scale_inv"] = scale.reshape(rows, columns)
    save_file(out, path)


def cast(weights, path, dtype):
    save_file({name: tensor.to(dtype) if tensor.ndim > 1 else tensor for name, tensor in weights.items()}, path)


def main():
    directory = Path(sys.argv[1])
    torch.manual_seed(7)
    weights = load_file(SOURCE)
    path = lambda name: directory / f"{name}.safetensors"
    bitsandbytes(weights, path("bitsandbytes"))
    for kind in ("int8-channel", "int8-tensor", "fp8-channel", "fp8-tensor"):
        compressed_tensors(weights, path(f"compressed-tensors-{kind}"), kind)
    quanto(weights, path("quanto"))
    torchao(weights, path("torchao"))
    blocks(weights, path("blocks"))
    cast(weights, path("cast-e4m3"), torch.float8_e4m3fn)
    cast(weights, path("cast-e5m2"), torch.float8_e5m2)
    beside = {name: (t.float() * (1 + 0.004 * torch.randn(t.shape))).to(t.dtype) for name, t in weights.items()}
    compressed_tensors(beside, path("relative"), "int8-channel")


if __name__ == "__main__":
    main()
