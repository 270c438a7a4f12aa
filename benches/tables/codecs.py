#!/usr/bin/env python3
"""Write tables with pages of other codecs: codecs.py TABLE... OUT_DIR"""
import os, sys
import pyarrow.parquet as pq

*tables, out = sys.argv[1:]
os.makedirs(out, exist_ok=True)
for path in tables:
    table = pq.read_table(path)
    name = os.path.basename(os.path.dirname(path))
    for codec, level in (('snappy', None), ('zstd', 1), ('lz4', None)):
        pq.write_table(table, os.path.join(out, f'{name}-{codec}.parquet'), compression=codec, compression_level=level)
