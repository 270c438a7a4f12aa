#!/usr/bin/env python3
"""Write both halves of a table, by rows, as Parquet: parts.py TABLE OUT_DIR"""
import os
import sys

import pyarrow.parquet

path, out = sys.argv[1:]
table = pyarrow.parquet.read_table(path)
os.makedirs(out, exist_ok=True)
half = len(table) // 2
for number, part in enumerate((table.slice(0, half), table.slice(half))):
    pyarrow.parquet.write_table(part, os.path.join(out, f"half-{number}.parquet"))
