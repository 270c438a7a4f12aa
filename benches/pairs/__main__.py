"""Makes the pairs of models that benches/deltas.sh measures: bases and what real training made of them.

    python benches/pairs [DIR] [smol] [mini]

DIR (default target/pairs) gets safetensors files and, a line for each pair, pairs.tsv: its base, its
target, the standard deviation of target − base, the share of equal weights. What is there already is
not made again. Seeds are fixed and there is one thread; still, another kind of CPU adds in another
order and makes slightly other weights. About 20 minutes of one core for smol, 3 for mini.
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
    pair.write_table(folder, [found for model in MODELS.values() for found in model.PAIRS])


main(sys.argv[1:])
