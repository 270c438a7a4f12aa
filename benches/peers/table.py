"""Prints what was measured as the tables of docs/benchmarks.md, with the goals beside the rows.

    python3 benches/peers/table.py DIR
"""

import sys
from pathlib import Path

PEERS = {
    "bitx": "BitX",
    "bitx-lanes": "BitX, 16-bit lanes",
    "fm-delta": "FM-Delta",
    "zipnn": "zipnn",
    "lmzip": "lmzip",
    "openzl": "openzl on XOR",
    "zstd": "zstd --patch-from",
    "xdelta3": "xdelta3",
}

# Our size over the peer's: at most this. Any other peer is to be larger.
GOALS = {
    "smol-sft-bf16": {"bitx": 0.45, "fm-delta": 0.68},
    "mini-sft-bf16": {"bitx": 0.55, "fm-delta": 0.76},
    "smol-checkpoint-bf16": {"bitx": 0.40},
    "smol-pure-bf16": {"bitx": 0.36},
    "smol-rl-8-bf16": {"bitx": 0.35},
    "smol-lora-bf16": {"bitx": 0.34},
    "smol-frozen-bf16": {"bitx": 0.28},
    "smol-merge-bf16": {"bitx": 0.41},
    "mini-sft-fp16": {"bitx": 0.70},
    "smol-sft-f32": {"bitx": 0.78},
    "mini-sft-f32": {"bitx": 0.62},
}
# Share of a bf16 file without a base.
ALONE = 0.664
DECODE_OVER_BITX = 2.5
DENSE = ("smol-sft-bf16", "mini-sft-bf16")
DENSE_ENCODE = 400


def main(folder):
    pairs = [line.split("\t") for line in (folder / "pairs.tsv").read_text().splitlines()[1:]]
    measured = {}
    files = [folder / name for name in ("codecs.tsv", "packages.tsv")]
    for line in "".join(file.read_text() for file in files if file.exists()).splitlines():
        target, codec, *numbers = line.split("\t")
        size, stored, encode, decode = map(float, numbers)
        measured.setdefault(target, {})[codec] = (stored / size, encode, decode)
    pairs = [pair for pair in pairs if "ours" in measured.get(pair[1], {})]
    # A package that is not there has no column.
    absent = [peer for peer in PEERS if not any(peer in measured[pair[1]] for pair in pairs)]
    for peer in absent:
        del PEERS[peer]
    sizes(pairs, measured)
    print()
    speeds(pairs, measured)
    print()
    alone(sorted({pair[0] for pair in pairs}), measured)
    print()
    chains([line.split("\t")[:3] for line in (folder / "chains.tsv").read_text().splitlines()[1:]], measured)


def sizes(pairs, measured):
    row("base → target", "σ", "equal", "push", "repack", *(f"÷ {peer}" for peer in PEERS.values()), "goals")
    row(*["---"] * (6 + len(PEERS)))
    for base, target, sigma, equal in pairs:
        of = measured[target]
        push, repack = of["ours"][0], of["ours-repack"][0]
        ratios = {peer: (push / of[peer][0], repack / of[peer][0]) for peer in PEERS if peer in of}
        both = lambda pair: f"{pair[0]:.3f}" if pair[1] > 0.995 * pair[0] else f"{pair[0]:.3f}, {pair[1]:.3f}"
        cells = [both(ratios[peer]) if peer in ratios else "" for peer in PEERS]
        row(f"{base} → {target}", sigma, f"{float(equal):.1%}", f"{push:.2%}", f"{repack:.2%}", *cells, goals(target, ratios))


def goals(target, ratios):
    limits = {peer: GOALS[target].get(peer, 1) for peer in ratios if peer != "bitx-lanes"}
    said = [f"{PEERS[peer]} {limit:.2f}" for peer, limit in limits.items() if peer in GOALS[target]]
    missed = [PEERS[peer] for peer, limit in limits.items() if ratios[peer][1] > limit]
    by_repack = [PEERS[peer] for peer, limit in limits.items() if ratios[peer][1] <= limit < ratios[peer][0]]
    verdict = [f"not reached: {', '.join(missed)}" if missed else "reached"]
    if by_repack:
        verdict.append(f"by repack alone: {', '.join(by_repack)}")
    unmeasured = [PEERS[peer] for peer in PEERS if peer not in ratios]
    if unmeasured:
        verdict.append(f"not measured: {', '.join(unmeasured)}")
    return f"{', '.join(said)}, others 1: {'; '.join(verdict)}"


def speeds(pairs, measured):
    """MB/s of one core."""
    codecs = ["ours", "bitx", "bitx-lanes", "fm-delta"]
    heads = ["ours", *(PEERS[codec] for codec in codecs[1:])]
    row("target: encode / decode MB/s", *heads, "decode ÷ BitX", "goals")
    row(*["---"] * (3 + len(codecs)))
    for _, target, _, _ in pairs:
        of = measured[target]
        cells = [f"{of[codec][1]:.0f} / {of[codec][2]:.0f}" for codec in codecs]
        ratio = of["ours"][2] / of["bitx"][2]
        said = [f"decode ≥ {DECODE_OVER_BITX} × BitX: {reached(ratio >= DECODE_OVER_BITX)}"]
        if target in DENSE:
            said.append(f"encode ≥ {DENSE_ENCODE}: {reached(of['ours'][1] >= DENSE_ENCODE)}")
        row(target, *cells, f"{ratio:.2f}", "; ".join(said))


def alone(models, measured):
    """Without a base, and with one that is none."""
    row("no base", "push", "repack", "beside a stranger", "goal")
    row(*["---"] * 5)
    for name in models:
        push, repack, beside = (
            measured[name][codec][0] for codec in ("ours alone", "ours-repack alone", "ours beside a stranger")
        )
        said = f"{ALONE:.1%}: {reached(push <= ALONE)}" if name.endswith("-bf16") else ""
        row(name, f"{push:.2%}", f"{repack:.2%}", f"{beside:.2%}", said)


def chains(chains, measured):
    """What the base's base saves, where it is known."""
    row("previous → base → target", "without previous", "with", "saved", "decode, with ÷ without", "÷ BitX")
    row(*["---"] * 6)
    for previous, base, target in chains:
        of = measured[target]
        (without, _, before), (used, _, after) = of[f"ours of {base}"], of[f"ours of {base} of {previous}"]
        # BitX was measured against the base of the pair.
        same_base = abs(without - of["ours"][0]) < 1e-9 if "ours" in of else False
        bitx = f"{used / of['bitx'][0]:.3f}" if same_base else ""
        saved = f"{1 - used / without:.1%}"
        row(f"{previous} → {base} → {target}", f"{without:.2%}", f"{used:.2%}", saved, f"{after / before:.2f}", bitx)


def reached(yes):
    return "reached" if yes else "not reached"


def row(*cells):
    print(f"| {' | '.join(cells)} |")


main(Path(sys.argv[1]))
