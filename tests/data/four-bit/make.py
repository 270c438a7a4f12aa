#!/usr/bin/env python3
"""Makes checkpoints in four bits of tests/data/gguf/model.safetensors, with bitsandbytes (the files are of 0.50.2).

Run with torch, transformers, accelerate, safetensors and bitsandbytes installed:

    python tests/data/four-bit/make.py tests/data/four-bit

`nf4` has its scales in eight bits (double quantisation), as most published ones do; `relative` is the NF4 of another
model, whose weights lie a little beside.
"""

import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import BitsAndBytesConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parent.parent / "eight-bit"))
from make import SOURCE, model, saved


def four_bits(weights, path, kind, double):
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double)
    with tempfile.TemporaryDirectory() as directory:
        model(weights).save_pretrained(directory)
        made = LlamaForCausalLM.from_pretrained(
            directory, quantization_config=config, device_map="cpu", dtype=torch.bfloat16
        )
        saved(made, path)


def main():
    directory = Path(sys.argv[1])
    torch.manual_seed(7)
    weights = load_file(SOURCE)
    four_bits(weights, directory / "nf4.safetensors", "nf4", True)
    four_bits(weights, directory / "fp4.safetensors", "fp4", False)
    beside = {name: (t.float() * (1 + 0.004 * torch.randn(t.shape))).to(t.dtype) for name, t in weights.items()}
    four_bits(beside, directory / "relative.safetensors", "nf4", True)


if __name__ == "__main__":
    main()
