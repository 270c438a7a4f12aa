"""Makes the pairs of models that benches/deltas.sh measures: bases and what real training made of them.

    python benches/pairs [DIR] [smol] [mini]

DIR (default target/pairs) gets safetensors files and, a line for each pair, pairs.tsv: its base, its
target, the standard deviation of target − base, the share of equal weights. chains.tsv has the same of
chains of three: what the base was made of comes first. What is there already is not made again. Seeds are fixed and there is one thread; still, another kind of CPU adds in another
order and makes slightly other weights. About 25 minutes of one core for smol, 3 for mini.
"""

import sys
from pathlib import Path

import torch

import mini
import pair
import smol

MODELS = {"smol": smol, "mini": mini}


def main(arguments):
    names = [argument for argument in arguments if argument in MODELS]
    places = [argument for argument in arguments if argument not in MODELS]
    folder = Path(places[0] if places else "target/pairs")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in names or MODELS:
        MODELS[name].make(folder)
    models = MODELS.values()
    pair.write_table(folder, "pairs", ["base", "target"], [row for model in models for row in model.PAIRS])
    chain = ["previous", "base", "target"]
    pair.write_table(folder, "chains", chain, [row for model in models for row in model.CHAINS])


main(sys.argv[1:])
