"""What all adapters of outside tools share: questions as lines of JSON on standard input, answers on standard output.

An adapter runs in the virtual environment of its tool (docs/optimize.md, "Outside tools"). It gives `serve` the tool's
name, its methods, how a model is quantised into a directory, and how such a directory is loaded.
"""

import importlib.metadata
import json
import os
import sys

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def serve(tool, methods, quantize, load):
    """Answers until there are no more questions.

    quantize(source, target, method, settings, text) writes a model; load(directory) gives one that is called with tokens.
    """
    # What libraries print must not get among the answers, whether Python knows of it or not.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    loaded = {}
    for line in sys.stdin:
        try:
            answer = answer_of(json.loads(line), tool, methods, quantize, load, loaded)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer, allow_nan=False) + "\n")
        answers.flush()


def answer_of(question, tool, methods, quantize, load, loaded):
    (kind, asked), = question.items()
    if kind == "probe":
        version = importlib.metadata.version(tool)
        return {"probed": {"tool": tool, "version": version, "device": device(), "methods": methods}}
    if kind == "quantize":
        os.makedirs(asked["target"], exist_ok=True)
        quantize(asked["source"], asked["target"], asked["method"], asked["settings"], asked["text"])
        return {"quantized": {"bytes": weight_bytes(asked["target"])}}
    if kind == "logprobs":
        name = asked["model"]
        if name not in loaded:
            # Source and candidate take turns; no more than these two are kept.
            while len(loaded) >= 2:
                loaded.pop(next(iter(loaded)))
            loaded[name] = load(name) if is_quantised(name) else plain(name)
        return {"logprobs": logprobs(loaded[name], asked["tokens"], asked["scored_from"])}
    return {"failed": f"no such question: {kind}"}


def device():
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def weight_bytes(directory):
    files = (entry for entry in os.scandir(directory) if entry.is_file() and entry.name.endswith(WEIGHTS))
    return sum(entry.stat().st_size for entry in files)


def is_quantised(directory):
    """Directories that an adapter wrote have this mark; the source has none."""
    return os.path.exists(os.path.join(directory, "git-sparse-adapter.json"))


def mark(directory, **facts):
    with open(os.path.join(directory, "git-sparse-adapter.json"), "w") as file:
        json.dump(facts, file)


def marked(directory):
    with open(os.path.join(directory, "git-sparse-adapter.json")) as file:
        return json.load(file)


def plain(directory):
    """The model as it is, in f32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval().to(device())


def logprobs(model, tokens, scored_from):
    import torch

    ids = torch.tensor([tokens], device=device())
    with torch.inference_mode():
        logits = model(ids).logits[0].double()
    rows = torch.log_softmax(logits[scored_from - 1 : -1], dim=-1)
    return rows.gather(1, ids[0, scored_from:, None])[:, 0].tolist()


def passages(text, directory, count=64, length=512):
    """Passages of a text for calibration, as lists of tokens."""
    from transformers import AutoTokenizer

    with open(text, encoding="utf-8") as file:
        tokens = AutoTokenizer.from_pretrained(directory)(file.read())["input_ids"]
    parts = [tokens[at : at + length] for at in range(0, len(tokens), length)]
    return [part for part in parts if len(part) > 16][:count]
