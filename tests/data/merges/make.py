#!/usr/bin/env python3
"""Makes the models in this directory, and what people make of them: the sums that src/origin/merged.rs must find.

Run with torch and safetensors installed (the files are of torch 2.15.0):

    python tests/data/merges/make.py tests/data/merges

Three models of one architecture in f32 and bf16, each a base and two fine-tunes of it, and merges of them
written in the ways in which people write them. mergekit's are its arithmetic (0.1.5 and, as `stacked`, that of
0.0.x), done here with the same calls of torch.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

SHAPES = {"layer.0.weight": (40, 64), "layer.0.norm": (64,), "layer.1.weight": (24, 64)}


def model(base=None, step=0.0):
    return {
        name: torch.randn(shape) * 0.05 if base is None else base[name] + torch.randn(shape) * step
        for name, shape in SHAPES.items()
    }


def linear(tensors, weights):
    total = torch.zeros_like(tensors[0], dtype=torch.float32)
    for tensor, weight in zip(tensors, weights):
        total.addcmul_(tensor, torch.tensor(weight, dtype=torch.float32))
    total.div_(torch.tensor(weights, dtype=torch.float32).sum())
    return total.to(tensors[0].dtype)


def stacked(tensors, weights):
    tensors = torch.stack(tensors)
    weights = torch.tensor(weights, dtype=tensors.dtype).reshape([-1] + [1] * (tensors.dim() - 1))
    return (weights * tensors).sum(dim=0) / weights.sum(dim=0)


def task(base, tensors, weights):
    deltas = torch.stack([tensor - base for tensor in tensors])
    weights = torch.tensor(weights, dtype=base.dtype).reshape([-1] + [1] * base.dim())
    return base + (deltas * weights).sum(dim=0)


MERGES = {
    "native": lambda a, b, c: a * 0.3 + b * 0.7,
    "single": lambda a, b, c: (a.float() * 0.25 + b.float() * 0.6 + c.float() * 0.15).to(a.dtype),
    "double": lambda a, b, c: (a.double() * 0.45 + b.double() * 0.55).to(a.dtype),
    "steps": lambda a, b, c: a + 0.4 * (b - a),
    "two-steps": lambda a, b, c: a + 0.5 * (b - a) + 0.3 * (c - a),
    "far": lambda a, b, c: a + 1.3 * (b - a),
    "add": lambda a, b, c: torch.add(a, b - a, alpha=0.6),
    "lerp": lambda a, b, c: torch.lerp(a, b, 0.3),
    "lerp-back": lambda a, b, c: torch.lerp(a, b, 0.8),
    "half": lambda a, b, c: (a + b) / 2,
    "soup": lambda a, b, c: (a + b + c) / 3,
    "mean": lambda a, b, c: torch.stack([a, b, c]).mean(dim=0),
    "linear": lambda a, b, c: linear([a, b, c], [0.5, 0.3, 0.2]),
    "stacked": lambda a, b, c: stacked([a, b], [0.6, 0.4]),
    "stacked-equal": lambda a, b, c: stacked([a, b, c], [1.0, 1.0, 1.0]),
    "task": lambda a, b, c: task(a, [b, c], [0.4, 0.3]),
}


def main(to):
    torch.manual_seed(7)
    base = model()
    models = {"a": base, "b": model(base, 0.004), "c": model(base, 0.003)}
    for dtype, name in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
        parents = {key: {n: t.to(dtype) for n, t in weights.items()} for key, weights in models.items()}
        for key, weights in parents.items():
            save_file(weights, to / f"{key}-{name}.safetensors")
        for merge, way in MERGES.items():
            merged = {n: way(*(parents[key][n] for key in "abc")) for n in SHAPES}
            save_file(merged, to / f"{merge}-{name}.safetensors")


main(Path(sys.argv[1]))
