#!/usr/bin/env python3
"""Bytes of the chunks of a file that another one does not have: chunks.py FIRST SECOND

Content-defined chunks of 64 KiB on average, 8 to 128 KiB, by a gear hash of 64 bits whose upper 16 are zero; uncompressed.
"""
import hashlib
import sys

import numpy


def chunks(path):
    data = numpy.fromfile(path, numpy.uint8)
    gear = numpy.random.default_rng(1).integers(0, 2**64, 256, numpy.uint64)[data]
    hashes = numpy.zeros(len(data), numpy.uint64)
    for back in range(64):
        hashes[back:] += gear[: len(data) - back] << numpy.uint64(back)
    ends = numpy.flatnonzero(hashes >> numpy.uint64(48) == 0) + 1
    raw, start = data.tobytes(), 0
    while start < len(raw):
        at = numpy.searchsorted(ends, start + (8 << 10))
        end = min(int(ends[at]) if at < len(ends) else len(raw), start + (128 << 10), len(raw))
        yield raw[start:end]
        start = end


known = {hashlib.sha256(chunk).digest() for chunk in chunks(sys.argv[1])}
new = {hashlib.sha256(chunk).digest(): len(chunk) for chunk in chunks(sys.argv[2])}
print(sum(size for digest, size in new.items() if digest not in known))
