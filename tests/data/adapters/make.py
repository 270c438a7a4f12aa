#!/usr/bin/env python3
"""Makes the adapters and their merges in this directory, with PEFT: what src/adapter must give bit for bit.

Run with torch, transformers, peft and safetensors installed (the files are of the versions in versions.json):

    python tests/data/adapters/make.py tests/data/adapters

Each case has a directory: base.safetensors and merged.safetensors (only the tensors that the adapter may
touch), adapter_config.json and adapter_model.safetensors, as PEFT saves them. A merge goes the way of a user:
the adapter is saved, loaded into a fresh base by PeftModel.from_pretrained, merged and saved.
"""

import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore")


def llama(dtype):
    config = LlamaConfig(
        vocab_size=48, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).to(dtype)


def gpt2(dtype):
    config = GPT2Config(
        vocab_size=40, n_positions=16, n_embd=24, n_layer=1, n_head=2, tie_word_embeddings=False,
    )
    return GPT2LMHeadModel(config).to(dtype)


ATTENTION = ["q_proj", "v_proj"]
CASES = {
    "linear-f32": (llama, torch.float32, dict(r=4, lora_alpha=7, target_modules=ATTENTION)),
    "linear-bf16": (llama, torch.bfloat16, dict(r=8, lora_alpha=3, target_modules=ATTENTION)),
    "linear-f16": (llama, torch.float16, dict(r=8, lora_alpha=16, target_modules=ATTENTION)),
    "rslora": (llama, torch.bfloat16, dict(r=6, lora_alpha=5, use_rslora=True, target_modules=ATTENTION)),
    "patterns": (llama, torch.float32, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "up_proj"],
        rank_pattern={"^model.layers.0.self_attn.q_proj": 2, "up_proj": 3},
        alpha_pattern={"layers\\.\\d+\\.self_attn\\.(q|v)_proj": 5, "k_proj": 9})),
    "large-rank": (llama, torch.float32, dict(r=200, lora_alpha=200, target_modules=["k_proj"])),
    "conv1d": (gpt2, torch.float32, dict(r=4, lora_alpha=8, target_modules=["c_attn", "attn.c_proj"],
                                         fan_in_fan_out=True)),
    "whole": (llama, torch.bfloat16, dict(r=4, lora_alpha=8, target_modules=["q_proj"],
                                          modules_to_save=["lm_head", "input_layernorm"])),
    "embedding": (llama, torch.float32, dict(r=4, lora_alpha=8, target_modules=["embed_tokens"])),
    "embedding-f16": (llama, torch.float16, dict(r=4, lora_alpha=8, target_modules=["embed_tokens"])),
}


def shake(parameters):
    for parameter in parameters:
        parameter.data = (torch.randn(parameter.shape) * 0.1).to(parameter.dtype)


def make(name, directory):
    model, dtype, settings = CASES[name]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        base = model(dtype)
        shake(base.parameters())
        base.save_pretrained(scratch / "base")
        trained = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
        shake(parameter for parameter in trained.parameters() if parameter.requires_grad)
        trained.base_model.model.name_or_path = ""
        trained.save_pretrained(scratch / "adapter")

        fresh = model(dtype).from_pretrained(scratch / "base", dtype=dtype)
        loaded = PeftModel.from_pretrained(fresh, scratch / "adapter")
        loaded.merge_and_unload().save_pretrained(scratch / "merged")

        old, new = (load_file(scratch / side / "model.safetensors") for side in ("base", "merged"))
        assert old.keys() == new.keys() and all(old[key].dtype == new[key].dtype for key in old)
        kept = {key for key in old if not torch.equal(old[key], new[key])}
        assert kept, "the adapter changes nothing"
        kept |= {min(set(old) - kept, key=lambda key: old[key].numel())}
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        save_file({key: old[key] for key in kept}, directory / "base.safetensors")
        save_file({key: new[key] for key in kept}, directory / "merged.safetensors")
        shutil.copy(scratch / "adapter/adapter_model.safetensors", directory)
        config = json.loads((scratch / "adapter/adapter_config.json").read_text())
        config["base_model_name_or_path"] = None
        (directory / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    top = Path(sys.argv[1])
    for seed, name in enumerate(CASES):
        torch.manual_seed(seed)
        make(name, top / name)
        print(name, sum(file.stat().st_size for file in (top / name).iterdir()), "bytes")
    versions = {module.__name__: module.__version__.split("+")[0] for module in (torch, transformers, peft)}
    (top / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


main()
