"""Measures the peers that come as packages on the pairs of DIR, and appends to DIR/packages.tsv.

    python benches/peers/packages.py DIR [PEER…]

What that file has already is not measured again, since xdelta3 takes minutes for a pair. Every result
is decoded and compared. One thread, CPU time with that of child processes; lmzip, zstd and xdelta3 are
programs, so theirs includes reading and writing files. A package that is not there is told and left out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy


def main(folder, wanted):
    results = folder / "packages.tsv"
    done = {tuple(line.split("\t")[:2]) for line in results.read_text().splitlines()} if results.exists() else set()
    pairs = [line.split("\t")[:2] for line in (folder / "pairs.tsv").read_text().splitlines()[1:]]
    for peer in wanted or PEERS:
        measure = PEERS[peer]
        for base, target in pairs:
            if (target, peer) in done:
                continue
            files = [folder / f"{name}.safetensors" for name in (base, target)]
            try:
                with tempfile.TemporaryDirectory(dir=folder) as lab:
                    stored, encode, decode = measure(*files, Path(lab))
            except (ImportError, FileNotFoundError, ValueError) as missing:
                print(f"{peer} is left out: {missing}", file=sys.stderr)
                break
            size = files[1].stat().st_size
            speeds = (f"{size / max(seconds, 1e-3) / 1e6:.0f}" for seconds in (encode, decode))
            with results.open("a") as out:
                print(target, peer, size, stored, *speeds, sep="\t", file=out)


def zipnn(base, target, _lab):
    from zipnn import ZipNN

    name = {"bf16": "bfloat16", "fp16": "float16", "f32": "float32"}[dtype(target)]
    codec = ZipNN(input_format="byte", bytearray_dtype=name, threads=1)
    difference = xor(base, target)
    # It works inside the buffer that it is given.
    scratch = difference.tobytes()
    packed, encode = timed(lambda: codec.compress(scratch))
    back, decode = timed(lambda: codec.decompress(packed))
    assert bytes(back) == difference.tobytes()
    return len(packed), encode, decode


def openzl(base, target, _lab):
    """Objects of 8 MiB; the smaller of its graph for numbers and of byte planes with entropy coding."""
    import openzl.ext as zl

    width = 4 if dtype(target) == "f32" else 2
    numbers = lambda to: zl.nodes.ConvertSerialToNumLE(width)(to, zl.graphs.Compress()(to))
    planes = lambda to: zl.nodes.ConvertSerialToStruct(width)(
        to, zl.nodes.TransposeSplit()(to, zl.graphs.Entropy()(to))
    )
    difference = xor(base, target)
    chunks = [difference[at : at + (8 << 20)] for at in range(0, len(difference), 8 << 20)]

    def compress(graph, chunk):
        compressor = zl.Compressor()
        compressor.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
        compressor.select_starting_graph(graph(compressor))
        context = zl.CCtx()
        context.ref_compressor(compressor)
        return context.compress([zl.Input(zl.Type.Serial, chunk)])

    def smaller(chunk):
        # A chunk that is no whole number of numbers, the last, is for byte planes of one.
        graphs = (numbers, planes) if len(chunk) % width == 0 else (lambda to: zl.graphs.Entropy()(to),)
        return min((compress(graph, chunk) for graph in graphs), key=len)

    packed, encode = timed(lambda: [smaller(chunk) for chunk in chunks])
    back, decode = timed(lambda: [zl.DCtx().decompress(frame)[0].content.as_bytes() for frame in packed])
    assert all(bytes(found) == chunk.tobytes() for found, chunk in zip(back, chunks))
    return sum(map(len, packed)), encode, decode


def lmzip(base, target, lab):
    """What the target adds to an archive of a directory with the base."""
    lmz = str(Path(sys.executable).parent / "lmz")
    (lab / "models").mkdir()
    (lab / "models/0.safetensors").hardlink_to(base)
    compress = [lmz, "compress", "-q", "-f", "-j", "1", lab / "models"]
    _, alone = timed(lambda: run(*compress, lab / "base.lmz"))
    (lab / "models/1.safetensors").hardlink_to(target)
    _, both = timed(lambda: run(*compress, lab / "both.lmz"))
    _, decode = timed(lambda: run(lmz, "decompress", "-q", lab / "both.lmz", lab / "back"))
    found = next((lab / "back").rglob("1.safetensors"))
    assert found.read_bytes() == target.read_bytes()
    return (lab / "both.lmz").stat().st_size - (lab / "base.lmz").stat().st_size, both - alone, decode / 2


def zstd(base, target, lab):
    options = ["zstd", "-q", "-f", "--single-thread", "--long=31", f"--patch-from={base}"]
    return program(target, lab, [*options, "-3", target, "-o"], [*options, "-d"], ["-o"])


def xdelta3(base, target, lab):
    return program(target, lab, ["xdelta3", "-3", "-e", "-f", "-s", base, target], ["xdelta3", "-d", "-f", "-s", base], [])


def program(target, lab, encoder, decoder, to):
    """A program that writes a file: `encoder` patch, `decoder` patch `to` file."""
    patch, back = lab / "patch", lab / "back"
    _, encode = timed(lambda: run(*encoder, patch))
    _, decode = timed(lambda: run(*decoder, patch, *to, back))
    assert back.read_bytes() == target.read_bytes()
    return patch.stat().st_size, encode, decode


def run(*command):
    if not shutil.which(command[0]):
        raise FileNotFoundError(f"there is no {command[0]}")
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def dtype(path):
    return path.stem.rpartition("-")[2]


def xor(base, target):
    """Of whole files: both have the same tensors, so the same header."""
    base, target = (numpy.fromfile(path, numpy.uint8) for path in (base, target))
    assert len(base) == len(target)
    return base ^ target


def timed(work):
    """The result, and seconds of CPU time, with that of programs that were run."""
    before = os.times()
    result = work()
    after = os.times()
    return result, sum(after[:4]) - sum(before[:4])


PEERS = {"zipnn": zipnn, "openzl": openzl, "lmzip": lmzip, "zstd": zstd, "xdelta3": xdelta3}

main(Path(sys.argv[1]), sys.argv[2:])
